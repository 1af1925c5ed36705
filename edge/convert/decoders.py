"""What is converted where a model is a decoder of text: its tokenizer beside it, caches, exits, mixtures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edge import targets
from edge.contracts import Layout
from edge.convert.calibration import Calibration
from edge.convert.footprint import Footprint
from edge.convert.mixtures import resolved
from edge.convert.options import (
    Options,
    of_their_own,
    refuse_fewer,
    refuse_given,
    refuse_longer,
    with_caches,
    with_exits,
)
from edge.convert.sized import TOKENS, Budget, sized
from edge.convert.text_files import copy_text, text_files
from edge.convert.trained import as_trained
from edge.errors import EdgeError
from edge.names import Spec
from edge.quant.fitting import without_text
from edge.quant.recipe import Recipe
from edge.source.checkpoint import Checkpoint, refuse_unasked
from edge.system.progress import Progress
from edge.text.ids import SpecialIds
from edge.text.vocabulary import vocabulary_of
from edge.vision.settings import VisionSettings


@dataclass(frozen=True, slots=True)
class DecoderSubject:
    """`edge.convert.conversion.Subject` of a decoder."""

    checkpoint: Checkpoint
    options: Options
    files: Sequence[Path]
    vision: VisionSettings | None = None
    changes: None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, source: Path, options: Options) -> "DecoderSubject":
        refuse_given(
            "a decoder of text sees no pictures",
            {
                "--labels": options.labels,
                "--wordnet": options.wordnet,
                "--classes": options.classes,
                "--image-size": options.image_size,
            },
        )
        opened = Checkpoint.open(
            source, context=options.context, stage=options.stage, adapter=options.adapter
        )
        try:
            checkpoint = with_exits(opened, options.exits, options.draft_vocab)
            spec = replace(checkpoint.decoder, spliced=options.spliced)
            checkpoint = replace(checkpoint, spec=spec)
            return cls(checkpoint, options, text_files(source, options.tokenizer))
        except BaseException:
            opened.close()
            raise

    def asked(self, outs: Iterable[str]) -> "DecoderSubject":
        tokenizer = self.options.tokenizer
        if tokenizer and vocabulary_of(tokenizer) is None:
            raise EdgeError(f"{tokenizer} has no tokenizer.json", fix="name the folder of one")
        spec = with_caches(self.checkpoint.decoder, self.options.snapkv_rows, outs)
        return replace(self, checkpoint=replace(self.checkpoint, spec=spec))

    def recipe(self, recipe: Recipe, target: str, progress: Progress) -> Recipe:
        recipe.check(self.checkpoint.places)
        tokenizer = self.options.tokenizer or self.checkpoint.folder
        if vocabulary_of(tokenizer) is None:
            recipe = without_text(recipe)
        found = resolved(
            recipe,
            target,
            self.checkpoint.decoder,
            self.checkpoint.family.known_as,
            calibrated=self.options.calibrate is not None,
            own=of_their_own(self.options),
        )
        if self.options.size is None:
            held = partial(self.layout, target)
            return as_trained(self.checkpoint, recipe, found, held) if recipe.chosen else found
        if vocabulary_of(tokenizer) is None:
            raise EdgeError(
                f"{tokenizer} has no tokenizer to read a text with, which says what bits are worth",
                fix="give --tokenizer the folder of one, or leave out --size",
            )
        text = replace(self.options.calibrate or Calibration.packaged(), tokens=TOKENS)
        context = self.checkpoint.decoder.context
        footprint = Footprint(
            source=self,
            target=target,
            layout=partial(self.layout, target),
            asked=self.options.calibrate,
            on=self.options.calibrate_on,
            read=lambda other: other.windows(tokenizer, context),
            stage=self.options.stage,
        )
        budget = Budget(
            nbytes=self.options.size,
            windows=text.windows(tokenizer, context),
            by=targets.calibrator(self.options.calibrate_on),
            planned=partial(self.layout, target),
            whole=footprint.nbytes,
            patterns=recipe.overrides,
            ends=of_their_own(self.options),
            weighed=self.options.calibrate is not None,
        )
        return sized(self.checkpoint, found, budget, progress=progress)

    def layout(self, target: str, recipe: Recipe) -> Layout[Spec]:
        refuse_unasked(self.checkpoint.decoder, self.options.context)
        layout = targets.converter(target).layout(self.checkpoint.decoder, recipe)
        refuse_longer(layout, target, self.options.context)
        refuse_fewer(layout, target, self.options.draft_vocab)
        return layout

    def copy(self, folder: Path) -> SpecialIds:
        config = None if self.options.stage is None else self.checkpoint.config.data
        return copy_text(folder, self.files, self.checkpoint.decoder.vocab, config)
