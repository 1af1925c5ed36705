"""Fetch a checkpoint from the Hugging Face hub: resumed where it stopped, pinned from the first
time on.

`models.lock` in `EDGE_HOME` records the revision and the sha256 of every file that was got; later
pulls ask for that revision and accept only those bytes.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.errors import Damaged, EdgeError
from edge.files.config import Config, is_plain
from edge.files.hashing import sha256
from edge.source.headers import Headers
from edge.source.hub import Repository, is_commit
from edge.system.home import checkpoints, home
from edge.typing import Say


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """What was got: a repository at a commit, and the hash of each file."""

    source: str
    revision: str
    files: Mapping[str, str]


def pull(model: str, source: str, *, say: Say = lambda _: None) -> Path:
    """Fetch `source` (owner/name) as `model` -> its folder."""
    pin = _pin(model, source)
    folder = checkpoints() / model
    there = _repository(source, pin)
    for name in there.files:
        say(f"{source}@{there.revision[:8]} {name}")
        there.download(name, folder)
    files = {name: sha256(folder / name) for name in there.files}
    got = Pin(source=source, revision=there.revision, files=files)
    if pin is not None:
        _same(model, pin, got)
    _write_pins({**read_pins(), model: got})
    return folder


def headers_of(model: str, source: str) -> Headers:
    """What `pull` would fetch, from its config and headers alone."""
    return _repository(source, _pin(model, source)).headers()


def _pin(model: str, source: str) -> Pin | None:
    pin = read_pins().get(model)
    if pin is not None and pin.source != source:
        raise EdgeError(
            f"{model} is pinned to {pin.source}, not {source}", fix=f"edge rm {model}, then pull it"
        )
    return pin


def _repository(source: str, pin: Pin | None) -> Repository:
    return Repository.at(source, None if pin is None else pin.revision)


def read_pins() -> dict[str, Pin]:
    """The lock file; empty where nothing was pulled."""
    file = _lock_file()
    if not file.exists():
        return {}
    table = Config.load(file)
    return {name: _read_pin(table, name) for name in table.data}


def _read_pin(table: Config, name: str) -> Pin:
    fields = table.table(name)
    files = None if fields is None else fields.table("files")
    if fields is None or files is None or set(fields.data) != {"source", "revision", "files"}:
        raise _no_lock(name)
    source, revision = fields.text("source"), fields.text("revision")
    hashes = {file: files.text(file) for file in files.data}
    digests = all(re.fullmatch("[0-9a-f]{64}", digest) for digest in hashes.values())
    good = is_source(source) and is_commit(revision) and all(map(is_plain, hashes)) and digests
    if not good:
        raise _no_lock(name)
    return Pin(source=source, revision=revision, files=hashes)


def _no_lock(name: str) -> Damaged:
    return Damaged(
        f"{_lock_file()}: {name!r:.60} is no pin of a model", fix="remove it and pull again"
    )


def is_source(name: str) -> bool:
    """Whether this is owner/name, as the hub has them; neither part is a path's dots."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None


def pin_of(folder: Path) -> Pin | None:
    """What a pulled checkpoint's folder holds; None for any other folder."""
    folder = folder.resolve()
    known = folder.parent == checkpoints().resolve()
    return read_pins().get(folder.name) if known else None


def forget(model: str) -> bool:
    """Drop a model's pin; whether there was one."""
    pins = read_pins()
    found = pins.pop(model, None) is not None
    if found:
        _write_pins(pins)
    return found


def _lock_file() -> Path:
    return home() / "models.lock"


def _write_pins(pins: Mapping[str, Pin]) -> None:
    file = _lock_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    text = json.dumps({key: asdict(pin) for key, pin in pins.items()}, indent=1, sort_keys=True)
    partial.write_text(text + "\n")
    partial.replace(file)


def _same(model: str, pin: Pin, got: Pin) -> None:
    changed = sorted(name for name in pin.files if got.files.get(name) != pin.files[name])
    if changed:
        raise Damaged(
            f"{model}: {', '.join(changed[:3])} is not what was got before",
            fix=f"remove it with `edge rm {model}` and pull it again, if you trust the new files",
        )
