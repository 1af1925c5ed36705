"""An artifact: a folder of a target's own native files, and `edge.json`, which says what they are
and where they came from.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.adapters.branches import Branches
from edge.errors import Damaged, Unsupported
from edge.files.config import Config, is_plain, read_json
from edge.files.hashing import sha256
from edge.files.records import read
from edge.names import Spec, decoder_of
from edge.net import NetSpec
from edge.nn.networks import read_spec
from edge.quant.recipe import Recipe, parse
from edge.spec import MATRICES, DecoderSpec
from edge.vision.settings import VisionSettings, read_settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MANIFEST = "edge.json"
MODULE = "module"  # the `kind` of a manifest that is no decoder's: `edge.artifact.network`
PIPELINE = "pipeline"  # of one that is several networks': `edge.artifact.pipeline`
SCHEMA = 1
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
    spec: Spec
    bos: int | None  # starts a text
    stop: tuple[int, ...]  # any of these ends an answer
    repository: str | None  # where the source was pulled from, and at which commit
    revision: str | None
    source: Mapping[str, str]  # input file -> hash
    files: Mapping[str, str]  # output file -> hash
    tools: Mapping[str, str]  # package -> version
    calibration: Mapping[str, Any] | None = None  # what an importance matrix was made from
    verified: Mapping[str, Any] | None = None  # the last result of `edge verify`
    vision: VisionSettings | None = None  # how it is shown pictures, if it is
    changes: Mapping[str, Any] | None = None  # fields of the source's config that were to be others
    stage: str | None = None  # which of several networks of its source it is
    adapter: Mapping[str, str] | None = None  # file of what was merged into its weights -> hash
    schema: int = SCHEMA

    @property
    def decoder(self) -> DecoderSpec:
        """Its spec; refuses what is no decoder of text."""
        return decoder_of(self.spec, self.name)

    @property
    def network(self) -> NetSpec:
        """Its spec; refuses a decoder of text."""
        if isinstance(self.spec, NetSpec):
            return self.spec
        raise Unsupported(
            f"{self.name} is a decoder of text", fix="name a model that sees pictures"
        )


@dataclass(frozen=True, slots=True)
class Artifact:
    """A folder with a manifest that was read and found whole; or a `file` of others that says itself
    what a manifest would. `branches`: of an adapter that it is opened with.
    """

    folder: Path
    manifest: Manifest
    file: Path | None = None
    branches: Branches | None = None

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
    def files(self) -> Mapping[str, str]:
        """Hashes by name."""
        return self.manifest.files

    @property
    def nbytes(self) -> int:
        return sum((self.folder / name).stat().st_size for name in self.manifest.files)

    def check_hashes(self) -> tuple[str, ...]:
        """Names of files that are not what the manifest says."""
        return tuple(n for n, h in self.manifest.files.items() if sha256(self.folder / n) != h)

    def record(self, verified: Mapping[str, Any]) -> None:
        """Keep the result of a verification in the manifest."""
        write_manifest(self.folder, replace(self.manifest, verified=verified))


def recipe_of(manifest: Manifest) -> Recipe:
    """The recipe that an artifact was made by."""
    return parse(
        manifest.recipe, embed=manifest.embed, head=manifest.head, overrides=manifest.overrides
    )


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


def _from_json(data: dict[str, Any], file: Path) -> Manifest:
    if data.get("schema") != SCHEMA:
        raise Damaged(
            f"{file} has schema {data.get('schema')!r}, this edge reads {SCHEMA}",
            fix="convert again with this edge, or run it with the edge that made it",
        )
    config = Config(data, str(file))
    if data.get("kind") == PIPELINE:
        raise Unsupported(
            f"{file.parent} is several networks, not one",
            fix=f"name one of them: {file.parent / next(iter(config.strings('stages')), 'text')} and so on",
        )
    if data.get("kind") == MODULE:
        raise Unsupported(
            f"{file.parent} is no decoder but {config.text('architecture')}, for {config.text('task')}",
            fix=f"run {config.text('entry')} with {config.text('target')}'s own runtime; "
            "`edge inspect` shows its inputs and outputs",
        )
    spec, verified = config.table("spec"), config.table("verified")
    calibration, vision = config.table("calibration"), config.table("vision")
    changes = config.table("changes")
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
        spec=read_spec(spec) if spec.has("kind") else read(DecoderSpec, _of_today(spec)),
        bos=config.integer("bos", low=0) if config.has("bos") else None,
        stop=config.integers("stop", low=0) if config.data.get("stop") else (),
        repository=config.text("repository") if config.has("repository") else None,
        revision=config.text("revision") if config.has("revision") else None,
        source=_strings(config, "source"),
        files=_strings(config, "files"),
        tools=_strings(config, "tools"),
        calibration=None if calibration is None else calibration.data,
        verified=None if verified is None else verified.data,
        vision=None if vision is None else read_settings(vision),
        changes=None if changes is None else changes.data,
        stage=config.text("stage") if config.has("stage") else None,
        adapter=_strings(config, "adapter") or None,
    )


def _of_today(spec: Config) -> Config:
    """Artifacts of before say of a layer `bias`: whether each of its matrices has one."""
    layers = spec.data.get("layers")
    if not isinstance(layers, list):
        return spec
    return Config({**spec.data, "layers": [_layer_of_today(layer) for layer in layers]}, spec.where)


def _layer_of_today(layer: Any) -> Any:
    if not isinstance(layer, dict) or not isinstance(layer.get("bias"), bool):
        return layer
    named = list(MATRICES) if layer["bias"] else []
    return {**{key: value for key, value in layer.items() if key != "bias"}, "biases": named}


def _strings(config: Config, key: str) -> dict[str, str]:
    table = config.table(key)
    return {} if table is None else {name: table.text(name) for name in table.data}
