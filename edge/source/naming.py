"""What a user's name of a model stands for: looked up once, told everybody."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.artifact.manifest import is_artifact
from edge.errors import EdgeError
from edge.source.pull import is_source
from edge.source.registry import Entry, find, nearest
from edge.system.home import checkpoints

# An artifact's folder; a file, such as a GGUF; a checkpoint that ships with edge, that was pulled, or
# in a folder of the user's; or what is not here but may be on the hub.
Kind = Literal["artifact", "file", "packaged", "pulled", "folder", "hub"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """One model. `path`: where it lies on this machine; `entry`: what the registry knows of it, also where
    an artifact or a file of that name lies before it; `source`: its repository on the hub.
    """

    name: str
    kind: Kind
    path: Path | None
    entry: Entry | None = None
    source: str | None = None

    @property
    def kept(self) -> str:
        """The name under which edge keeps what it fetched and made of it."""
        return kept_name(self.name)

    @property
    def exits(self) -> tuple[int, ...]:
        """Layers after which it was trained to draft, as far as the registry knows."""
        return () if self.entry is None else self.entry.exits

    @property
    def here(self) -> bool:
        """Whether its checkpoint is on this machine."""
        return self.path is not None if self.entry is None else self.entry.here()

    def checkpoint(self) -> Path:
        """The folder of its checkpoint; refuses what is not here, or is none."""
        if self.entry is not None:
            return self.entry.checkpoint()
        if self.kind == "file":
            raise EdgeError(f"{self.name} is a file", fix="name the checkpoint's folder")
        if self.path is None:
            raise EdgeError(
                f"{self.name} is no path, and no repository of that name was pulled",
                fix=f"correct the path; what lies on the hub is fetched by `edge pull {self.name}`",
            )
        return self.path


def resolve(name: str) -> Named:
    """What a name stands for; refuses one that can stand for nothing."""
    if not name:  # as a path it would be the current folder
        raise EdgeError("the model's name is empty", fix="name one: `edge list` shows them")
    entry = find(name)
    found = _here(name, entry)
    source = entry.source if entry is not None else name if is_source(name) else None
    if found is None and source is None and entry is None:
        raise nearest(name)
    if found is None:
        return Named(name=name, kind="hub", path=None, entry=entry, source=source)
    return Named(name=name, kind=found[0], path=found[1], entry=entry, source=source)


def _here(name: str, entry: Entry | None) -> tuple[Kind, Path] | None:
    """What of that name lies on this machine. An artifact or a file comes first, then the registry."""
    path = Path(name)
    if is_artifact(path):
        return "artifact", path
    if path.is_file():
        return "file", path
    if entry is not None and entry.here():
        return "pulled" if entry.package is None else "packaged", entry.folder
    if entry is None and path.is_dir():
        return "folder", path
    pulled = checkpoints() / kept_name(name)
    return ("pulled", pulled) if (pulled / "config.json").is_file() else None


def kept_name(name: str) -> str:
    """A registry's id; or a repository's name with its / as the name of a folder."""
    entry = find(name)
    return name.replace("/", "--") if entry is None else entry.id
