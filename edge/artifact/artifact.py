"""An artifact: a folder of a target's own native files, and `edge.json`, which says what they are
and where they came from.

It is written to a sibling folder and renamed at the end: a conversion killed at any moment leaves
nothing that looks finished.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.config import Config, is_plain, read_json
from edge.files.records import read
from edge.spec import DecoderSpec

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

try:
    import fcntl
except ModuleNotFoundError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

MANIFEST = "edge.json"
MODULE = "module"  # the `kind` of a manifest that is no decoder's: `edge.artifact.network`
SCHEMA = 1
_CHUNK = 1 << 22
_LONGEST = 512  # letters of a file's name, its folders included


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What `edge.json` holds. Hashes are sha256, by file name."""

    target: str
    family: str
    name: str
    recipe: str
    embed: str
    head: str
    overrides: Mapping[str, str]  # pattern of names -> precision
    spec: DecoderSpec
    bos: int | None  # starts a text
    stop: tuple[int, ...]  # any of these ends an answer
    repository: str | None  # where the source was pulled from, and at which commit
    revision: str | None
    source: Mapping[str, str]  # input file -> hash
    files: Mapping[str, str]  # output file -> hash
    tools: Mapping[str, str]  # package -> version
    calibration: Mapping[str, Any] | None = None  # what an importance matrix was made from
    verified: Mapping[str, Any] | None = None  # the last result of `edge verify`
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class Artifact:
    """A folder with a manifest that was read and found whole; or a `file` of others that says itself
    what a manifest would.
    """

    folder: Path
    manifest: Manifest
    file: Path | None = None

    @classmethod
    def open(cls, folder: Path) -> "Artifact":
        """Read the manifest; every file that it names must be there, and be a plain file of this
        folder.
        """
        manifest = _from_json(read_json(folder / MANIFEST), folder / MANIFEST)
        for name in manifest.files:
            contained(folder, name)
        return cls(folder, manifest)

    @property
    def place(self) -> Path:
        """What a runtime opens."""
        return self.file or self.folder

    @property
    def nbytes(self) -> int:
        return sum((self.folder / name).stat().st_size for name in self.manifest.files)

    def check_hashes(self) -> tuple[str, ...]:
        """Names of files that are not what the manifest says."""
        return tuple(n for n, h in self.manifest.files.items() if sha256(self.folder / n) != h)

    def record(self, verified: Mapping[str, Any]) -> None:
        """Keep the result of a verification in the manifest."""
        write_manifest(self.folder, replace(self.manifest, verified=verified))


def is_artifact(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def contained(folder: Path, name: str, *, by: str = MANIFEST) -> Path:
    """A plain file below a folder, named by a file in it: no way up, and no link on the way."""
    path = folder
    for part in name.split("/"):
        path = path / part
        if not is_plain(part) or len(name) > _LONGEST:
            raise Damaged(
                f"{folder / by} names {name!r:.80}, which is no file of its folder",
                fix="do not trust it",
            )
        if path.is_symlink():
            raise Damaged(
                f"{path} is a link: {folder / by} names a file of its folder", fix="do not trust it"
            )
    if not path.is_file():
        raise Damaged(f"{folder} lacks the file {name}", fix="get it again, or convert again")
    return path


def files_of(folder: Path) -> list[Path]:
    """Every file below a folder but the manifest."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST
    )


@contextmanager
def publishing(
    out: Path, *, force: bool, keep: Callable[[Path], bool] = lambda _: False
) -> Iterator[Path]:
    """A folder to fill, which becomes `out` at once if the body succeeds and vanishes if it fails.

    `keep`: whether what a conversion left in it, that was killed or found the disk full, is of use.
    """
    _check_free(out, force=force)
    partial = partial_of(out)
    with alone(out):
        if not keep(partial):
            shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(exist_ok=True)
            yield partial
            for inner in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
                _sync(inner)
            replaced = out.with_name(f".{out.name}.replaced")
            if out.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                out.rename(replaced)
            partial.rename(out)
            _sync(out.parent)
            shutil.rmtree(replaced, ignore_errors=True)
        except BaseException as error:
            if not (_full(error, out) and keep(partial)):
                shutil.rmtree(partial, ignore_errors=True)
            raise


def check_place(out: Path) -> Path:
    """The folder that is there and that `out` will lie in, if anything can."""
    if out.name in ("", "..") or out.is_symlink():
        raise EdgeError(f"{out} cannot become an artifact", fix="give -o the name of a new folder")
    above = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise EdgeError(f"{above} is no folder: nothing lies below it", fix="give another -o")
    return above


def _check_free(out: Path, *, force: bool) -> None:
    """Refuse to replace what is there, before any work."""
    check_place(out)
    if out.exists() and not force:
        raise EdgeError(f"{out} exists already", fix="give --force to replace it, or another -o")
    if out.exists() and not (out.is_dir() and (is_artifact(out) or not any(out.iterdir()))):
        raise EdgeError(f"{out} is not an artifact: it will not be replaced", fix="give another -o")


def _full(error: BaseException, out: Path) -> bool:
    """Whether it is of a full disk, which then is said to be that of `out`."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return False
    error.filename = error.filename or str(out)
    return True


def partial_of(out: Path) -> Path:
    """Where an artifact is while it is being made."""
    return out.with_name(f".{out.name}.partial")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Refuse a second conversion into the same place; the lock of a killed one is free again."""
    lock = out.with_name(f".{out.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    ours = True  # an interruption at any moment from here on takes the lock away
    try:
        with lock.open("w") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    ours = False
                    raise EdgeError(
                        f"another conversion is writing {out}",
                        fix="wait for it, or give another -o",
                    ) from None
            yield
    finally:
        if ours:
            lock.unlink(missing_ok=True)


def write_manifest(folder: Path, manifest: "DataclassInstance") -> None:
    """Replace the manifest in one step."""
    text = json.dumps(asdict(manifest), indent=1) + "\n"
    partial = folder / f".{MANIFEST}.partial"
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / MANIFEST)


@contextmanager
def for_later(say: Callable[[str], None]) -> Iterator[None]:
    """What is only kept beside a result: the result stands where nothing can be written."""
    try:
        yield
    except OSError as error:
        say(f"the result is not kept in {MANIFEST}: {error.strerror or error}")


def sha256(path: Path, progress: Callable[[int], None] = lambda _: None) -> str:
    """The hash of a file, read in pieces."""
    digest, buffer = hashlib.sha256(), bytearray(_CHUNK)
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(buffer):
            digest.update(memoryview(buffer)[:got])
            progress(got)
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _from_json(data: dict[str, Any], file: Path) -> Manifest:
    if data.get("schema") != SCHEMA:
        raise Damaged(
            f"{file} has schema {data.get('schema')!r}, this edge reads {SCHEMA}",
            fix="convert again with this edge, or run it with the edge that made it",
        )
    config = Config(data, str(file))
    if data.get("kind") == MODULE:
        raise Unsupported(
            f"{file.parent} is no decoder but {config.text('architecture')}, for {config.text('task')}",
            fix=f"run {config.text('entry')} with {config.text('target')}'s own runtime; "
            "`edge inspect` shows its inputs and outputs",
        )
    spec, verified = config.table("spec"), config.table("verified")
    calibration = config.table("calibration")
    if spec is None:
        raise Damaged(f"{file} holds no spec", fix="convert again")
    return Manifest(
        target=config.text("target"),
        family=config.text("family"),
        name=config.text("name"),
        recipe=config.text("recipe"),
        embed=config.text("embed"),
        head=config.text("head"),
        overrides=_strings(config, "overrides"),
        spec=read(DecoderSpec, spec),
        bos=config.integer("bos", low=0) if config.has("bos") else None,
        stop=config.integers("stop", low=0) if config.data.get("stop") else (),
        repository=config.text("repository") if config.has("repository") else None,
        revision=config.text("revision") if config.has("revision") else None,
        source=_strings(config, "source"),
        files=_strings(config, "files"),
        tools=_strings(config, "tools"),
        calibration=None if calibration is None else calibration.data,
        verified=None if verified is None else verified.data,
    )


def _strings(config: Config, key: str) -> dict[str, str]:
    table = config.table(key)
    return {} if table is None else {name: table.text(name) for name in table.data}
