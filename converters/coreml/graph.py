"""Entry points: functions of one program, which share every weight of its package.

Whatever is shorter than a function's fixed length is padded, or read by single steps near the end of
the cache. `main` takes any length: swift-transformers calls that one. A model of several packages is cut
between layers; a function that ends before a package's layers, or begins after them, is not in it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge.nn.decoder import embed, head, head_name, layers
from edge.quant.recipe import Recipe
from edge.quant.tensor import Float
from edge.spec import DecoderSpec, LayerSpec, parts
from edge_converters.coreml.calls import Call, ranged, static
from edge_converters.coreml.emitter import stand_in
from edge_converters.coreml.entries import Entry, entries
from edge_converters.coreml.ops import KEYS, VALUES, MilOps
from edge_converters.coreml.toolkit import ct, mb, mil, types
from edge_converters.coreml.weight_file import WeightFile

Var = Any  # coremltools' Var
MAIN = "main"
IDS, HIDDEN = "inputIds", "hidden"
ROWS = 32  # a state's sizes are multiples of this: the Neural Engine refuses others (coremltools #2631)
TARGET = ct.target.iOS18


@dataclass(frozen=True, slots=True)
class Chunk:
    """Layers of one package, of `count` in all."""

    index: int
    count: int
    start: int
    stop: int

    @property
    def first(self) -> bool:
        return self.index == 0

    @property
    def final(self) -> bool:
        return self.index == self.count - 1

    def layers(self, entry: Entry) -> range:
        """Those of its own that a function goes through."""
        stop = self.stop if entry.stop is None else min(self.stop, entry.stop)
        return range(max(self.start, entry.start), stop)

    def takes_part(self, entry: Entry) -> bool:
        """Drafts end where the head lies; before it, what stops early is the same without logits."""
        if entry.embedded:  # past the first package it is what reads a prompt
            return self.first
        if entry.exits and entry.ends:
            return self.final
        return len(self.layers(entry)) > 0

    @property
    def folder(self) -> str:
        if self.count == 1:
            return "model.mlpackage"
        return f"model-{self.index + 1:05d}-of-{self.count:05d}.mlpackage"


def program(spec: DecoderSpec, recipe: Recipe, weights: WeightFile, chunk: Chunk) -> Any:
    """Every function of a package: of each part of the spec, under its label."""
    mb.name_count.clear()  # names are made of counters: the same model, the same names
    made = mil.Program()
    for label, part in _parts(spec).items():
        builder = _Builder(part, recipe, weights, chunk)
        for entry in entries(part):
            if chunk.takes_part(entry):
                made.add_function(label.replace("-", "_") + entry.name, builder.function(entry))
    if chunk.count == 1:
        part = next(iter(parts(spec).values()))
        made.add_function(MAIN, _Builder(part, recipe, weights, chunk).ranged())
    made.default_function_name = MAIN if chunk.count == 1 else next(iter(made.functions))
    made.export_as_multifunction = True
    return made


def _parts(spec: DecoderSpec) -> Mapping[str, DecoderSpec]:
    """A sequence that may go from one part to the other has no drafts in flight."""
    found = parts(spec)
    return found if len(found) == 1 else {k: replace(p, exits=()) for k, p in found.items()}


def number_of(recipe: Recipe) -> Float:
    """The type of activations, norms and biases: that of the body's floats or scales."""
    return recipe.body.number


@dataclass(frozen=True, slots=True)
class _Builder:
    spec: DecoderSpec
    recipe: Recipe
    weights: WeightFile
    chunk: Chunk

    def function(self, entry: Entry) -> Any:
        """A function of a fixed length."""
        inputs = {self._input(entry): self._placeholder(entry)}
        if self.chunk.layers(entry):
            inputs |= {name: mb.placeholder((1,), types.int32) for name in ("position", "rows")}
        if entry.asked and self.chunk.final:
            inputs["last"] = mb.placeholder((1,), types.int32)
        with self._open(inputs, entry) as function:
            self._emit(function, entry, self._call(function, entry))
        return function

    def ranged(self) -> Any:
        """A function of any length, called as swift-transformers does."""
        entry = Entry(name=MAIN, length=None)
        inputs = {
            IDS: mb.placeholder((1, mil.get_new_symbol()), types.int32),
            "causalMask": mb.placeholder((1, 1, 1, mil.get_new_symbol()), types.fp16),
        }
        with self._open(inputs, entry) as function:
            call = ranged(self._fixed, dict(function.inputs), self._rows(entry))
            self._emit(function, entry, call)
        most = self.spec.context
        lengths = ct.RangeDim(lower_bound=1, upper_bound=most, default=1)
        masks = ct.RangeDim(lower_bound=2, upper_bound=most + 1, default=2)
        function.set_input_types(
            (
                ct.TensorType(IDS, shape=(1, lengths), dtype=np.int32),
                ct.TensorType("causalMask", shape=(1, 1, 1, masks), dtype=np.float16),
            )
        )
        return function

    def _open(self, inputs: Mapping[str, Any], entry: Entry) -> Any:
        shape = (1, sum(self._kv_heads()), self._rows(entry), max(self._widths()))
        held = {name: mb.state_tensor_placeholder(shape, types.fp16) for name in _states(entry)}
        states = held if self.chunk.layers(entry) else {}
        return mil.Function({**inputs, **states}, opset_version=TARGET)

    def _emit(self, function: Any, entry: Entry, call: Call | None) -> None:
        """The entry's layers of this chunk, and at the ends of the model the embedding and the head."""
        spec, chunk = self.spec, self.chunk
        ops = self._ops(function, entry, call)
        name = self._input(entry)
        x, d = function.inputs[name], None
        x = embed(ops, spec, x) if name == IDS else x
        outputs: dict[str, Var] = {}
        own = chunk.layers(entry)
        if own:
            rope = ops.rope(spec.rope, spec.context)
            x, d = layers(ops, spec, x, None, rope, start=own.start, stop=own.stop)
        ends = entry.ends and chunk.final
        if own and (entry.exits or not ends):
            x, d = ops.add(x, d), None
            outputs["nextHidden"] = x
        if ends:
            outputs["logits"] = head(ops, self._heading(entry), x, d)
        outputs |= {f"queries{index}": q for index, q in ops.queries.items() if entry.queries}
        for name, var in outputs.items():
            var.name = name
        function.set_outputs(list(outputs.values()))

    def _call(self, function: Any, entry: Entry) -> Call | None:
        """Where it stands in the sequence; a head alone stands nowhere."""
        assert entry.length is not None
        if not self.chunk.layers(entry):
            return None
        return static(self._fixed, dict(function.inputs), entry.length, self._rows(entry))

    def _ops(self, function: Any, entry: Entry, call: Call | None) -> MilOps:
        own = self.chunk.layers(entry)
        names = zip((KEYS, VALUES), _states(entry), strict=True)
        trimmed = self.spec.draft_vocab if entry.exits else None
        return MilOps(
            weights=self.weights,
            recipe=self.recipe,
            number=number_of(self.recipe),
            call=call,
            states={part: function.inputs[name] for part, name in names} if own else {},
            heads=dict(zip(range(self.chunk.start, self.chunk.stop), self._firsts(), strict=True)),
            first_rows={} if trimmed is None else {head_name(self.spec): trimmed},
        )

    def _heading(self, entry: Entry) -> DecoderSpec:
        """The spec of the head: a draft's may be of the first ids alone."""
        count = self.spec.draft_vocab
        if not entry.exits or count is None:
            return self.spec
        return replace(self.spec, forbidden=tuple(i for i in self.spec.forbidden if i < count))

    def _input(self, entry: Entry) -> str:
        tokens = self.chunk.first and entry.start == 0 and not entry.embedded
        return IDS if tokens else HIDDEN

    def _placeholder(self, entry: Entry) -> Any:
        if self._input(entry) == IDS:
            return mb.placeholder((1, entry.length), types.int32)
        kind = types.fp16 if number_of(self.recipe) == "fp16" else types.fp32
        return mb.placeholder((1, entry.length, self.spec.width), kind)

    def _rows(self, entry: Entry) -> int:
        return -(-(entry.rows or self.spec.context) // ROWS) * ROWS

    def _fixed(self, length: int) -> Var:
        """0, 1, … as a constant that functions share."""
        return stand_in(
            self.weights.constant(
                f"steps.{length}", "int32", (length,), lambda: np.arange(length, dtype=np.int32)
            )
        )

    def _layers(self) -> tuple[LayerSpec, ...]:
        return self.spec.layers[self.chunk.start : self.chunk.stop]

    def _kv_heads(self) -> list[int]:
        return [layer.kv_heads for layer in self._layers()]

    def _widths(self) -> list[int]:
        return [layer.head_width for layer in self._layers()]

    def _firsts(self) -> Iterator[int]:
        """Where each layer's heads begin in the states."""
        return iter(np.cumsum([0, *self._kv_heads()])[:-1].tolist())


def _states(entry: Entry) -> tuple[str, str]:
    """A small cache has states of its own: one name has one shape."""
    suffix = "" if entry.rows is None else str(entry.rows)
    return KEYS + suffix, VALUES + suffix
