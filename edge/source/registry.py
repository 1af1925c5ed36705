"""The registry: `models.yaml`, from an id to what is known of a published checkpoint."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from edge.errors import EdgeError
from edge.system.home import checkpoints

DEFAULT = "edge-stories"
READER = "edge-reads"  # where a picture is shown
_HERE = Path(__file__).parents[1]
_LISTS = ("aliases", "exits")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One model. `package`: a checkpoint that ships with edge; else `source` is a repository on the
    Hugging Face hub, or `url` a file of weights alone, which the user gets, and `config` the config.json
    that it lacks. `exits`: layers after which it was trained to draft (LayerSkip). `context`: of a decoder
    of text.
    """

    id: str
    family: str
    licence: str
    context: int | None = None
    aliases: tuple[str, ...] = ()
    package: str | None = None
    source: str | None = None
    url: str | None = None
    config: Mapping[str, Any] | None = None
    parameters: int | None = None
    gated: bool = False
    target: str | None = None  # what `run` converts to on first use; else this machine's fastest
    quant: str | None = None  # None: what suits its kind
    exits: tuple[int, ...] = ()
    about: str = ""

    @property
    def folder(self) -> Path:
        """Where its checkpoint lies on this machine, if it does."""
        return checkpoints() / self.id if self.package is None else _HERE / "models" / self.package

    def here(self) -> bool:
        """Whether its checkpoint is on this machine."""
        return self.package is not None or (self.folder / "config.json").is_file()

    @property
    def way(self) -> str:
        """How its checkpoint comes here."""
        if self.url is None:
            return f"edge pull {self.id}"
        return f"get {self.url}, then: edge pull {self.id} --file {self.url.rpartition('/')[2]}"

    def checkpoint(self) -> Path:
        """The folder of the checkpoint on this machine."""
        if not (self.folder / "config.json").is_file():
            if self.package is not None:
                raise EdgeError(f"{self.id} is not in this installation", fix="install edge again")
            raise EdgeError(f"{self.id} is not on this machine", fix=self.way)
        return self.folder


@cache
def entries() -> Mapping[str, Entry]:
    """Every model of the registry, by id."""
    return {
        key: Entry(id=key, **{**fields, **{name: tuple(fields.get(name, ())) for name in _LISTS}})
        for key, fields in _read().items()
    }


def find(model: str) -> Entry | None:
    """By id, alias or repository, in any case; a folder of a repository's name is that folder."""
    wanted = model.lower()
    for entry in entries().values():
        if wanted in (entry.id, *entry.aliases):
            return entry
        if entry.source is not None and wanted == entry.source.lower():
            return None if Path(model).is_dir() else entry
    return None


def nearest(model: str) -> EdgeError:
    """The error for a name that is neither an id nor a path."""
    close = difflib.get_close_matches(model.lower(), entries(), n=3, cutoff=0.3)
    known = ", ".join(close or list(entries())[:3])
    return EdgeError(
        f"{model!r} is no model of the registry and no path",
        fix=f"did you mean {known}? `edge list` shows all",
    )


def _read() -> dict[str, dict[str, Any]]:
    """In a wheel the file lies in the package; in a source tree, above it."""
    file = next(
        path for path in (_HERE / "models.yaml", _HERE.parent / "models.yaml") if path.is_file()
    )
    table = yaml.safe_load(file.read_text())
    assert isinstance(table, dict), f"{file} is no table"
    return table
