"""Codes that are trained by a text (`edge.contracts.Tuner`): those of each layer when it is known what comes into it,
to give what the model in floats gives there; and at the end the scales of all layers.

The text goes through the model in floats, too. Codes are kept on the disk until those of all layers are there: a
conversion that was killed goes on with the layer that it was at. For the scales, the codes of all layers and the floats
of one are in memory.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np

from edge import targets
from edge.contracts import Calibrator, Walk
from edge.convert.calibration import WINDOW
from edge.names import shapes
from edge.nn.decoder import head_name
from edge.quant.bounds import most, too_far
from edge.quant.methods import Training
from edge.quant.parts import of_parts, parts_of
from edge.quant.recipe import Recipe
from edge.quant.search import take_rows
from edge.quant.tensor import QTensor
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.spec import DecoderSpec
from edge.system.progress import Advance
from edge.system.team import Team
from edge.typing import F32, AnyArray

Codes = Mapping[str, QTensor]
Pair = tuple[F32, F32]
_FILE = "trained-{}.npz"  # gone before an artifact is published
_STREAM = "in floats {}"
_TORCH = 1 << 29  # bytes, as it is loaded


class Text(Protocol):
    """What is read, by whom, and where what comes of it is kept."""

    @property
    def windows(self) -> Sequence[Sequence[int]]: ...

    @property
    def folder(self) -> Path: ...

    @property
    def by(self) -> Calibrator: ...

    @property
    def team(self) -> Team: ...

    def through(self, walk: Walk, advance: Advance) -> list[F32]:
        """What comes out of a layer."""
        ...


@dataclass(slots=True)
class Course:
    """The training of one conversion in its folder. `streams`: what the model in floats makes of each window before the
    layer that comes next; as they were kept, where it goes on.
    """

    checkpoint: Checkpoint
    recipe: Recipe
    reading: Text
    streams: dict[str, F32] = field(default_factory=dict)
    _walk: Walk | None = None

    @property
    def passes(self) -> int:
        """How often each layer reads the text for it."""
        return 1 + sum(training.passes for training in self._trainings())

    @property
    def rounds(self) -> int:
        """How often all layers do so together."""
        return sum(training.rounds for training in self._trainings())

    def layer(self, walk: Walk, made: Codes, advance: Advance) -> dict[str, QTensor]:
        """A layer's codes, some of them trained from those that were made; kept."""
        index, full = walk.layer, self._full(walk.layer)
        wanted = self.reading.through(full, advance)
        out = dict(made)
        if self.reading.team.first:
            self._train(index, out, list(zip(walk.streams, wanted, strict=True)), advance)
            self._keep(index, out)
        full.arrive(wanted)
        self.streams |= {_STREAM.format(i): stream for i, stream in enumerate(full.streams)}
        return self._codes(self.reading.team.told(_arrays(out)))

    def _train(
        self, index: int, codes: dict[str, QTensor], pairs: Sequence[Pair], advance: Advance
    ) -> None:
        """Put a layer's codes in the place of those that they are trained from."""
        spec, floats = self.checkpoint.decoder, self._floats(f"layers.{index}.")
        for training in self._trainings():
            weights, some = self._parted(floats, codes, training)
            if not some:
                continue
            new = targets.tuner().layer(
                spec, index, weights, some, pairs, training, advance, self.reading.by.device
            )
            codes |= {name: _near(floats[name], one, codes[name]) for name, one in new.items()}

    def end(self, head: F32, advance: Advance) -> list[dict[str, QTensor]]:
        """The codes of each layer, with scales that were trained together; `head`: as it is stored, [V, D]. None but
        in the process that writes.
        """
        if not self.reading.team.first:
            return []
        spec, name = self.checkpoint.decoder, head_name(self.checkpoint.decoder)
        count = len(spec.layers)
        kept = [self._kept(index) for index in range(count)]
        out = {name: one for some in kept for name, one in some.items()}
        begun = self.reading.by.walk(self.checkpoint, self.reading.windows, self.recipe).streams
        pairs = list(zip(begun, self._full(count).streams, strict=True))
        floats, rest = whole(self.checkpoint, name), self._floats("", but={"embed", "head", *out})
        for training in self._trainings():
            weights, some = self._parted({**rest, name: head}, out, training)
            new = targets.tuner().scales(
                spec, weights, some, pairs, floats, training, advance, self.reading.by.device
            )
            for each, one in new.items():
                out[each] = _near(whole(self.checkpoint, each), one, out[each])
        return [{name: out[name] for name in some} for some in kept]

    def _trainings(self) -> list[Training]:
        """Those of all matrices, each once."""
        every = map(self.recipe.training, self.checkpoint.places)
        return list(dict.fromkeys(one for one in every if one is not None))

    def _parted(
        self, floats: Mapping[str, F32], codes: Codes, training: Training
    ) -> tuple[dict[str, F32], dict[str, QTensor]]:
        """All weights, of those that this training leaves alone what their codes mean; and the codes that it trains."""
        some = {name: one for name, one in codes.items() if self.recipe.training(name) == training}
        others = {name: one.dequantize() for name, one in codes.items() if name not in some}
        return {**floats, **others}, some

    def _floats(self, start: str, *, but: Collection[str] = ()) -> dict[str, F32]:
        """The checkpoint's weights whose names start so, but some."""
        return {
            name: whole(self.checkpoint, name)
            for name in self.checkpoint.places
            if name.startswith(start) and name not in but
        }

    def _full(self, layer: int) -> Walk:
        """The text before this layer, in floats."""
        if self._walk is None:
            self._walk = walk = self.reading.by.walk(self.checkpoint, self.reading.windows)
            while walk.layer < layer:
                walk.arrive([self.streams[_STREAM.format(i)] for i in range(len(walk.streams))])
        return self._walk

    def _keep(self, index: int, codes: Codes) -> None:
        file = self.reading.folder / _FILE.format(index)
        partial = file.with_name(f".{file.name}")
        with partial.open("wb") as opened:
            np.savez(opened, **_arrays(codes))  # type: ignore[arg-type]
        partial.replace(file)

    def _kept(self, index: int) -> dict[str, QTensor]:
        with np.load(self.reading.folder / _FILE.format(index)) as found:
            return self._codes(found)

    def _codes(self, arrays: Mapping[str, AnyArray]) -> dict[str, QTensor]:
        """`_arrays`, back."""
        parts: dict[str, dict[str, AnyArray]] = {}
        for key in arrays:
            name, _, part = key.partition(" ")
            parts.setdefault(name, {})[part] = arrays[key]
        return {
            name: of_parts(own, self.recipe.scheme(name), self.checkpoint.shape(name)[1])
            for name, own in parts.items()
        }


def _arrays(codes: Codes) -> dict[str, AnyArray]:
    """By names of their own."""
    return {
        f"{name} {part}": array
        for name, one in codes.items()
        for part, array in parts_of(one).items()
    }


def memory(spec: DecoderSpec, tokens: int) -> int:
    """Bytes that training by so many tokens takes beside rounding by them: torch; of one layer what a step keeps of
    each weight, its gradient and two means of those; or codes of all, the head twice and a window's chances; and what
    the model in floats makes of the text.
    """
    known, window = shapes(spec), min(tokens, WINDOW)
    each = [prod(shape) for name, shape in known.items() if name.startswith("layers.")]
    largest, scores = 0, 0
    for index, layer in enumerate(spec.layers):
        at = f"layers.{index}."
        largest = max(largest, sum(prod(s) for name, s in known.items() if name.startswith(at)))
        scores = max(scores, layer.heads * window**2)
    alone = 48 * largest + 16 * scores
    together = sum(each) + 8 * spec.vocab * spec.width + 24 * window * spec.vocab + 16 * largest
    return _TORCH + max(alone, together) + 4 * tokens * spec.width


def drop(folder: Path) -> None:
    for file in folder.glob(f"*{_FILE.format('*')}"):
        file.unlink()


def _near(weights: F32, made: QTensor, own: QTensor) -> QTensor:
    """What training made, but the rows that are farther off than a proof allows: those are as they were."""
    far = too_far(weights, made.dequantize(), own.dequantize(), most(weights, made.scheme))
    take_rows(made, own, far)
    return made
