"""Whether an artifact's files are what its manifest says, found once a change and not at each load.

A file that was hashed is remembered by its size, its time of change and its inode, in `EDGE_HOME`:
the next load of an unchanged artifact costs one look at each file.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from edge.artifact.manifest import MANIFEST, Artifact, Manifest
from edge.artifact.network import Network
from edge.artifact.pipeline import PipelineArtifact
from edge.errors import Damaged, EdgeError
from edge.files.config import is_plain
from edge.files.hashing import sha256
from edge.system.home import home

_LIMIT = 4096  # entries kept
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """Which files are not those that the manifest names; inputs only where their folder was given."""

    passed: bool
    changed_files: tuple[str, ...]
    changed_inputs: tuple[str, ...] | None
    missing_inputs: tuple[str, ...] | None

    def json(self) -> dict[str, object]:
        return asdict(self)


def compare(
    folder: Path,
    manifest: Manifest | Network,
    source: Path | None,
    progress: Progress,
    adapter: Path | None = None,
) -> Files:
    """Hash every file again: the artifact's own and, in `source` and in its `adapter`, those that it was made
    from.
    """
    changed = _changed(folder, manifest.files, progress)
    if source is None:
        return Files(
            passed=not changed, changed_files=changed, changed_inputs=None, missing_inputs=None
        )
    inputs, missing = _inputs(folder, manifest.source, source, progress)
    if isinstance(manifest, Manifest) and manifest.adapter is not None and adapter is not None:
        more = _inputs(folder, manifest.adapter, adapter, progress)
        inputs, missing = (*inputs, *more[0]), (*missing, *more[1])
    return Files(
        passed=not (changed or inputs or missing),
        changed_files=changed,
        changed_inputs=inputs,
        missing_inputs=missing,
    )


def _inputs(
    folder: Path, wanted: Mapping[str, str], source: Path, progress: Progress
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which of a folder's files are others than an artifact was made from, and which are not there."""
    strange = [name for name in wanted if not is_plain(name)]
    if strange:
        raise Damaged(
            f"{folder / MANIFEST} names the input {strange[0]!r:.80}, which is no file name",
            fix="do not trust it",
        )
    missing = tuple(name for name in wanted if not (source / name).is_file())
    present = {name: digest for name, digest in wanted.items() if name not in missing}
    return _changed(source, present, progress), missing


def of_all(artifact: PipelineArtifact, source: Path | None, progress: Progress) -> Files:
    """Of the files that are of all networks of an artifact; in `source` they have the same names."""
    files = artifact.manifest.files
    changed = _changed(artifact.folder, files, progress)
    inputs, missing = (None, None)
    if source is not None:
        inputs, missing = _inputs(artifact.folder, files, source, progress)
    return Files(
        passed=not (changed or inputs or missing),
        changed_files=changed,
        changed_inputs=inputs,
        missing_inputs=missing,
    )


def together(parts: Mapping[str, Files]) -> Files:
    """Of an artifact of several networks, which were made from the same inputs; "": of what is of all of them."""

    def inputs(each: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
        known = [names for names in each if names is not None]
        return tuple(sorted({name for names in known for name in names})) if known else None

    changed = {part: own.changed_files for part, own in parts.items()}
    return Files(
        passed=all(own.passed for own in parts.values()),
        changed_files=tuple(
            f"{part}/{name}".lstrip("/") for part, names in changed.items() for name in names
        ),
        changed_inputs=inputs(own.changed_inputs for own in parts.values()),
        missing_inputs=inputs(own.missing_inputs for own in parts.values()),
    )


def _changed(folder: Path, wanted: Mapping[str, str], progress: Progress) -> tuple[str, ...]:
    files = [folder / name for name in wanted]
    total = sum(file.stat().st_size for file in files)
    with progress(f"sha256 {folder.name}", total) as advance, ThreadPoolExecutor() as pool:
        found = pool.map(partial(sha256, progress=advance), files)
        return tuple(n for n, got in zip(wanted, found, strict=True) if got != wanted[n])


def check(artifact: Artifact | PipelineArtifact) -> None:
    """Refuse an artifact one of whose files is not the one that was converted."""
    known = _known()
    before = len(known)
    for name, wanted in artifact.files.items():
        file = artifact.folder / name
        stamp = _stamp(file)
        if known.get(stamp) == wanted:
            continue
        if sha256(file) != wanted:
            raise Damaged(
                f"{file} is not the file that was converted: its hash differs from edge.json",
                fix="convert again, or give --unchecked if you changed it yourself",
            )
        known[stamp] = wanted
    if len(known) > before:
        _remember(known)


def _stamp(file: Path) -> str:
    status = file.stat()
    return f"{file.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ino}"


def _file() -> Path:
    return home() / "checked.json"


def _known() -> dict[str, str]:
    """What was hashed before; a lost or broken memory only costs time."""
    try:
        found = json.loads(_file().read_bytes())
    except (OSError, ValueError, EdgeError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _remember(known: dict[str, str]) -> None:
    with suppress(OSError, EdgeError):  # no home, or none that can be written: every load hashes
        file = _file()
        partial = file.with_suffix(".partial")
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(dict(list(known.items())[-_LIMIT:])))
        partial.replace(file)
