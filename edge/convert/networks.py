"""What is converted where a model is a network that is no decoder: how it is shown pictures, what its rows
mean, and a head that is cut to some classes.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge import targets
from edge.artifact.manifest import Manifest
from edge.contracts import Layout
from edge.convert.mixtures import whole_groups
from edge.convert.options import Options, refuse_given
from edge.errors import EdgeError, Unsupported
from edge.families import family_of
from edge.files.config import read_json
from edge.files.texts import text_of
from edge.names import Location, Made, Spec, shapes
from edge.net import NetSpec
from edge.nn.tracing import tables
from edge.quant.fitting import in_whole_groups
from edge.quant.recipe import Recipe
from edge.quant.tensor import FLOATS
from edge.source.checkpoint import Checkpoint
from edge.source.headers import config_of
from edge.system.progress import Progress
from edge.text.ids import SpecialIds
from edge.typing import F32, Shape
from edge.vision.classes import Cut, alike, cut
from edge.vision.labels import Vocabulary
from edge.vision.preparation import Preparation, at_size, read_preparation, size_of
from edge.vision.settings import LABELS, VisionSettings
from edge.vision.wordnet import WordNet

PREPARATION = "preprocessor_config.json"
# What pixels, or a box's numbers, are multiplied by first: few weights, of rows that divide into no groups, and the
# input's whole range. So they stay floats unless a pattern says otherwise.
FIRST = ("patch", "stem.?", "place.in")


@dataclass(frozen=True, slots=True)
class NetSubject:
    """`edge.convert.conversion.Subject` of a network."""

    checkpoint: Checkpoint
    files: Sequence[Path]
    vision: VisionSettings | None
    changes: Mapping[str, Any] | None
    labels: Sequence[str] = ()
    notes: tuple[str, ...] = ()
    own_config: bool = False  # where its source's is of several networks

    @classmethod
    def open(cls, source: Path, options: Options) -> "NetSubject":
        refuse_of_text(options)
        said, changes = _shown(source, options)
        checkpoint = Checkpoint.open(source, changes=changes, stage=options.stage)
        try:
            vision = settings(checkpoint, said)
            notes = _resized(checkpoint)
            files = [source / name for name in ("config.json", PREPARATION)]
            known = [file for file in files if file.is_file()]
            own = options.stage is not None
            found = cls(checkpoint, known, vision, changes, notes=notes, own_config=own)
            return found._labelled(options)
        except BaseException:
            checkpoint.close()
            raise

    def asked(self, outs: Iterable[str]) -> "NetSubject":
        return self

    def recipe(self, recipe: Recipe, target: str, progress: Progress) -> Recipe:
        recipe.check(self.checkpoint.places)
        assert isinstance(self.checkpoint.spec, NetSpec)
        return of_network(recipe, target, self.checkpoint.spec)

    def layout(self, target: str, recipe: Recipe) -> Layout[Spec]:
        return targets.layout(target, self.checkpoint.spec, recipe)

    def copy(self, folder: Path) -> SpecialIds:
        for file in self.files:
            shutil.copyfile(file, folder / file.name)
        if self.own_config:
            text = json.dumps(dict(self.checkpoint.config.data), indent=1) + "\n"
            (folder / "config.json").write_text(text)
        if self.labels:
            (folder / LABELS).write_text("".join(f"{label}\n" for label in self.labels))
        return SpecialIds(None, frozenset())

    def _labelled(self, options: Options) -> "NetSubject":
        """With what the rows of its head mean, as far as anyone says; cut to what was asked for."""
        size = _classes(self.checkpoint.spec)
        asked = {"--labels": options.labels, "--classes": options.classes}
        if size is None:
            refuse_given("this network has no head", {**asked, "--wordnet": options.wordnet})
            return self
        wordnet = None if options.wordnet is None else WordNet.load(options.wordnet)
        known = _vocabulary(self.checkpoint, options.labels, size)
        if known is None:
            refuse_given(
                "what the rows of this head mean is nowhere said",
                {"--classes": options.classes, "--wordnet": options.wordnet},
                fix="give --labels the vocabulary that was published with the model",
            )
            return self
        named = known if wordnet is None else known.named(wordnet)
        found = replace(self, labels=[label.name for label in named.labels])
        if options.classes is None:
            return found
        wanted = [line.strip() for line in text_of(options.classes).splitlines() if line.strip()]
        return found._cut(cut(wanted, named, wordnet))

    def _cut(self, cuts: Sequence[Cut]) -> "NetSubject":
        assert self.vision is not None, "a head of labels is of a network that is shown pictures"
        vision = replace(self.vision, cut=tuple(one.rows for one in cuts))
        notes = tuple(
            f"the same rows stand for {', '.join(labels)}: the head cannot tell them apart"
            for labels in alike(cuts)
        )
        labels = [one.label for one in cuts]
        checkpoint = with_cut(self.checkpoint, vision.cut)
        every = (*self.notes, *notes)
        return replace(self, checkpoint=checkpoint, vision=vision, labels=labels, notes=every)


def of_network(recipe: Recipe, target: str, spec: NetSpec) -> Recipe:
    """A recipe as a network has it on a target: `floats_first`, and groups that fit."""
    widths = {name: s[1] for name, s in shapes(spec).items() if len(s) == 2}
    found = floats_first(recipe, spec)
    return in_whole_groups(found, widths) if whole_groups(target) else found


def floats_first(recipe: Recipe, spec: NetSpec) -> Recipe:
    """The recipe with floats for what pixels meet first, and for tables, which are small; refuses types that no
    network has.
    """
    if recipe.foreign:
        raise Unsupported(
            f"{recipe} is of llama.cpp's library, which makes no such networks",
            fix="use fp32, fp16, int8 or int4",
        )
    if recipe.by_inputs or recipe.balanced:
        raise Unsupported(
            f"{recipe} is made by what weights multiply in a text, and this network reads none",
            fix="use rtn-int4-g32, int8 or another recipe that asks for no text",
        )
    if recipe.body.is_float:
        return recipe
    floats = FLOATS[recipe.body.number]
    first = [(name, floats) for name in (*FIRST, *sorted(tables(spec)))]
    return replace(recipe, overrides=(*recipe.overrides, *first))


def as_made(source: Path, manifest: Manifest) -> Checkpoint:
    """The checkpoint as an artifact was made of it."""
    checkpoint = Checkpoint.open(source, changes=manifest.changes, stage=manifest.stage)
    try:
        return with_cut(checkpoint, () if manifest.vision is None else manifest.vision.cut)
    except BaseException:
        checkpoint.close()
        raise


def with_cut(checkpoint: Checkpoint, rows: Sequence[Sequence[int]]) -> Checkpoint:
    """The same network whose head has a row for each of these, the mean of those of the whole head; none:
    as it is.
    """
    spec = checkpoint.spec
    size = _classes(spec)
    if not rows:
        return checkpoint
    if size is None or not all(part and all(0 <= row < size for row in part) for part in rows):
        raise EdgeError(
            f"{checkpoint.folder} has a head of {size or 0} rows, not those of the artifact's classes",
            fix="give --against the checkpoint that the artifact was made from",
        )
    assert isinstance(spec, NetSpec)
    config: Any = replace(spec.config, classes=len(rows))  # type: ignore[type-var]
    places = dict(checkpoint.places)
    for name in ("head", "head.bias"):
        whole = places[name]
        assert whole.made is None
        assert not whole.rows
        made = Made((whole.tensor,), _always(whole.stored), _means(rows))
        places[name] = Location(
            whole.tensor, (len(rows), *whole.shape[1:]), whole.stored, made=made, config=config
        )
    return replace(checkpoint, spec=replace(spec, config=config), places=places)


def _always(shape: Shape) -> Callable[[Any, Shape], tuple[Shape, ...]]:
    return lambda _config, _weight: (shape,)


def _means(rows: Sequence[Sequence[int]]) -> Any:
    def made(_config: Any, whole: F32) -> F32:
        return np.stack([whole[list(part)].mean(axis=0) for part in rows])

    return made


def settings(checkpoint: Checkpoint, said: Preparation | None) -> VisionSettings | None:
    """How it is shown pictures: as its own files say, else as its family does, at its size."""
    shown, spec = checkpoint.family.shown(checkpoint.config), checkpoint.spec
    if shown is None or not isinstance(spec, NetSpec):
        return shown
    preparation = said or shown.preparation
    size = _image(spec)
    if size is not None and size_of(preparation) != size:
        preparation = at_size(preparation, size)
    return replace(shown, preparation=preparation)


def shown(checkpoint: Checkpoint) -> VisionSettings | None:
    """How a checkpoint is shown pictures, as it lies there."""
    file = checkpoint.folder / PREPARATION
    return settings(checkpoint, read_preparation(read_json(file)) if file.is_file() else None)


def labels_of(checkpoint: Checkpoint) -> list[str]:
    """What the rows of its head mean, as far as its config says."""
    size = _classes(checkpoint.spec)
    known = None if size is None else _vocabulary(checkpoint, None, size)
    return [] if known is None else [label.name for label in known.labels]


def _image(spec: NetSpec) -> tuple[int, int] | None:
    """Height and width of the pictures that a network takes, if it takes any of one size."""
    for port in spec.config.inputs:
        sizes = [n for n in port.shape[1:3] if isinstance(n, int)]
        if port.name == "image" and len(sizes) == 2:
            return sizes[0], sizes[1]
    return None


def _resized(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Tables that lie there in another size: who did not ask for that may have a config of another model."""
    notes = []
    for name, place in checkpoint.places.items():
        for tensor, wanted in place.tensors.items():
            if -1 not in wanted:
                continue
            rows = checkpoint.stored(name)[tensor][wanted.index(-1)]
            if place.shape[0] - rows not in (0, 1):  # with a row of the class token, or without
                notes.append(f"{tensor} has {rows} rows, and {place.shape[0]} are made of them")
    return tuple(notes)


def _shown(source: Path, options: Options) -> tuple[Preparation | None, Mapping[str, Any] | None]:
    """What a folder's own file says of pictures, and the config's field that a size of them changes."""
    config = config_of(source, stage=options.stage)
    file = source / PREPARATION
    said = read_preparation(read_json(file)) if file.is_file() else None
    if family_of(config).vision is None:
        refuse_given("this network sees no pictures", {"--image-size": options.image_size})
        return said, None
    if options.image_size is not None:
        return said, {"image_size": options.image_size}
    size = None if said is None else size_of(said)
    named = config.data.get("image_size")
    known = list(named) if isinstance(named, list) else [named, named]
    if size is None or list(size) == known:
        return said, None
    return said, {"image_size": size[0] if size[0] == size[1] else list(size)}


def _vocabulary(checkpoint: Checkpoint, file: Path | None, size: int) -> Vocabulary | None:
    """Of the user's file, or of the config, where that gives names."""
    if file is not None:
        return Vocabulary.read(file, size=size)
    table = checkpoint.config.table("id2label")
    if table is None or len(table.data) != size:
        return None
    names = [table.text(str(row)) for row in range(size) if table.has(str(row))]
    if len(names) != size or names == [f"LABEL_{row}" for row in range(size)]:
        return None
    if len(set(names)) == size:
        return Vocabulary.of(names, size=size)
    # ImageNet's list has two cranes and two maillots.
    return Vocabulary.of([f"{name} ({row})" if names.count(name) > 1 else name
                          for row, name in enumerate(names)], size=size)  # fmt: skip


def _classes(spec: Spec) -> int | None:
    found = getattr(spec.config, "classes", None) if isinstance(spec, NetSpec) else None
    return found if isinstance(found, int) else None


def refuse_of_text(options: Options) -> None:
    """What only a decoder of text has is not asked of a network."""
    refuse_given(
        "a network that is no decoder of text has none",
        {
            "--context": options.context,
            "--layerskip": options.exits,
            "--draft-vocab": options.draft_vocab,
            "--snapkv-rows": options.snapkv_rows,
            "--calibrate": options.calibrate,
            "--tokenizer": options.tokenizer,
            "--embed": options.embed,
            "--size": options.size,
            "--adapter": options.adapter,
        },
    )
