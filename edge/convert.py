"""A checkpoint -> an artifact: the target's files, the tokenizer's, and a manifest that ties them
to their source.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edge import targets
from edge.artifact import MANIFEST, Artifact, Manifest, publishing, sha256, write_manifest
from edge.checkpoint import Checkpoint
from edge.errors import EdgeError
from edge.pull import pin_of
from edge.quant import recipe as recipes
from edge.text.ids import SpecialIds

TEXT_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)
Advance = Callable[[int], None]
Progress = Callable[[str, int], AbstractContextManager[Advance]]  # what, how many bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to convert. `embed` and `head`: precisions of their own; `tokenizer`: a folder, if the
    source lacks one.
    """

    target: str = "onnx"
    quant: str = "int4"
    embed: str | None = None
    head: str | None = None
    context: int | None = None
    tokenizer: Path | None = None
    force: bool = False


def convert(
    source: Path, out: Path, options: Options, progress: Progress | None = None
) -> Artifact:
    """Convert a checkpoint folder; `out` appears when all of it is there."""
    progress = progress or silent
    recipe = recipes.parse(options.quant, embed=options.embed, head=options.head)
    converter = targets.converter(options.target)
    if options.tokenizer and not _has_tokenizer(options.tokenizer):
        raise EdgeError(f"{options.tokenizer} has no tokenizer.json", fix="name the folder of one")
    with Checkpoint.open(source, context=options.context) as checkpoint:
        spec = checkpoint.spec
        total = converter.nbytes(spec, recipe)
        text = text_files(source, options.tokenizer)
        _room(out, total)
        with publishing(out, force=options.force) as folder:
            for file in text:
                shutil.copyfile(file, folder / file.name)
            _complete_tokenizer(folder)
            ids = _special_ids(folder, spec.vocab)
            with progress(f"{options.target} {recipe}", total) as advance:
                converter.convert(checkpoint, recipe, folder, ids=ids, progress=advance)
            inputs = [*checkpoint.files, *text]
            outputs = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
            hashes = _hashes([*inputs, *outputs], progress)
            pin = pin_of(source)
            manifest = Manifest(
                target=options.target,
                family=checkpoint.family.name,
                name=source.resolve().name,
                recipe=options.quant,
                embed=options.embed or options.quant,
                head=options.head or options.quant,
                spec=spec,
                bos=ids.bos,
                stop=tuple(sorted(ids.stop)),
                repository=None if pin is None else pin.source,
                revision=None if pin is None else pin.revision,
                source={path.name: hashes[path] for path in inputs},
                files={path.name: hashes[path] for path in outputs},
                tools=_versions(converter.TOOLS),
            )
            write_manifest(folder, manifest)
    return Artifact.open(out)


def text_files(source: Path, tokenizer: Path | None = None) -> list[Path]:
    """The config and the files that concern text; those of a tokenizer's own folder come first."""
    found = {file.name: file for file in _present(source)}
    found |= {} if tokenizer is None else {file.name: file for file in _present(tokenizer)}
    return [source / "config.json", *found.values()]


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))


def _present(folder: Path) -> list[Path]:
    return [folder / name for name in TEXT_FILES if (folder / name).is_file()]


def _complete_tokenizer(folder: Path) -> None:
    """A SentencePiece model alone gets a tokenizer.json beside it, once, so that no run needs more."""
    file = folder / "tokenizer.json"
    if (folder / "tokenizer.model").is_file() and not file.is_file():
        from edge.text.settings import Settings
        from edge.text.tokenizer import definition_of

        file.write_text(definition_of(folder, Settings.load(folder)))


def _special_ids(folder: Path, vocab: int) -> SpecialIds:
    """What starts a text and ends an answer; a broken tokenizer is found before any work is done."""
    if not (folder / "tokenizer.json").is_file():
        from edge.text.settings import Settings

        settings = Settings.load(folder)
        return SpecialIds(settings.bos_id, settings.eos_ids)
    from edge.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder)
    tokenizer.check(vocab)
    return SpecialIds(tokenizer.bos_id, tokenizer.stop_ids)


def _room(out: Path, needed: int) -> None:
    """Refuse a disk that is too full before it is."""
    parent = next(folder for folder in out.resolve().parents if folder.exists())
    free = shutil.disk_usage(parent).free
    if free < needed + (64 << 20):
        raise EdgeError(
            f"the artifact takes {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free at {parent}",
            fix="make room, or give -o on another disk",
        )


def _hashes(paths: list[Path], progress: Progress) -> Mapping[Path, str]:
    total = sum(path.stat().st_size for path in paths)
    with progress("sha256", total) as advance, ThreadPoolExecutor() as pool:
        return dict(zip(paths, pool.map(partial(sha256, progress=advance), paths), strict=True))


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    out = {}
    for package in ("edge-toolkit", "numpy", *packages):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "unknown"  # run from a source tree that is not installed
    return out


@contextmanager
def silent(_what: str, _total: int) -> Iterator[Advance]:
    yield lambda _: None
