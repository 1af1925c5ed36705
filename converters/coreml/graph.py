"""Entry points: functions of one program, which share every weight of its package.

A sequence is read by functions of fixed lengths, for that is what the Neural Engine compiles; the
rest of a prompt is padded, or read by single steps near the end of the cache. `main` takes any
length: swift-transformers calls that one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.coreml.calls import Call, ranged, static
from converters.coreml.ops import KEYS, VALUES, MilOps, stand_in
from converters.coreml.plan import Plan
from converters.coreml.toolkit import ct, mb, mil, types
from edge.nn.decoder import embed, head, layers
from edge.quant.recipe import Recipe
from edge.quant.tensor import Float
from edge.spec import DecoderSpec, LayerSpec, parts

Var = Any  # coremltools' Var
MAIN = "main"
ROWS = 32  # a state's sizes are multiples of this: the Neural Engine refuses others (coremltools #2631)
_LENGTHS = (16, 64, 512)  # of prompts
_SCORES = 1 << 25  # of one call of a layer that hides rows by head: its mask is as large
TARGET = ct.target.iOS18


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A function: how many positions it reads, and whether it gives logits of one or of all."""

    name: str
    length: int | None  # None: any
    all_logits: bool = False


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

    @property
    def folder(self) -> str:
        if self.count == 1:
            return "model.mlpackage"
        return f"model-{self.index + 1:05d}-of-{self.count:05d}.mlpackage"


def entries(spec: DecoderSpec) -> list[Entry]:
    """A step, prompts of two lengths at most, and all logits of a few positions."""
    most = _SCORES // (max(map(_masked_heads, spec.layers)) * spec.context or 1)
    fits = [n for n in _LENGTHS if 4 * n <= spec.context and n <= most][-2:] or [1]
    out = [Entry(name="step", length=1)]
    out += [Entry(name=f"prompt{n}", length=n) for n in fits if n > 1]
    out += [Entry(name=f"score{n}", length=n, all_logits=True) for n in fits[:1] if n > 1]
    return out


def program(spec: DecoderSpec, recipe: Recipe, plan: Plan, chunk: Chunk) -> Any:
    """Every function of a package: of each part of the spec, under its label."""
    mb.name_count.clear()  # names are made of counters: the same model, the same names
    made = mil.Program()
    for label, part in parts(spec).items():
        for entry in entries(part):
            name = label.replace("-", "_") + entry.name
            made.add_function(name, _Builder(part, recipe, plan, chunk).function(entry))
    if chunk.count == 1:
        part = next(iter(parts(spec).values()))
        made.add_function(MAIN, _Builder(part, recipe, plan, chunk).ranged())
    made.default_function_name = MAIN if chunk.count == 1 else next(iter(made.functions))
    made.export_as_multifunction = True
    return made


def number_of(recipe: Recipe) -> Float:
    """The type of activations, norms and biases: that of the body's floats or scales."""
    return recipe.body.number


@dataclass(frozen=True, slots=True)
class _Builder:
    spec: DecoderSpec
    recipe: Recipe
    plan: Plan
    chunk: Chunk

    @property
    def rows(self) -> int:
        return -(-self.spec.context // ROWS) * ROWS

    def function(self, entry: Entry) -> Any:
        """A function of a fixed length."""
        assert entry.length is not None
        inputs = {self._input(): self._placeholder(entry.length)}
        inputs |= {name: mb.placeholder((1,), types.int32) for name in ("position", "rows")}
        wanted = self.chunk.final and entry.length > 1 and not entry.all_logits
        if wanted:
            inputs["last"] = mb.placeholder((1,), types.int32)
        with self._open(inputs) as function:
            given = dict(function.inputs)
            self._emit(function, static(self._fixed, given, entry.length, self.rows))
        return function

    def ranged(self) -> Any:
        """A function of any length, called as swift-transformers does."""
        inputs = {
            "inputIds": mb.placeholder((1, mil.get_new_symbol()), types.int32),
            "causalMask": mb.placeholder((1, 1, 1, mil.get_new_symbol()), types.fp16),
        }
        with self._open(inputs) as function:
            self._emit(function, ranged(self._fixed, dict(function.inputs), self.rows))
        most = self.spec.context
        lengths = ct.RangeDim(lower_bound=1, upper_bound=most, default=1)
        masks = ct.RangeDim(lower_bound=2, upper_bound=most + 1, default=2)
        function.set_input_types(
            (
                ct.TensorType("inputIds", shape=(1, lengths), dtype=np.int32),
                ct.TensorType("causalMask", shape=(1, 1, 1, masks), dtype=np.float16),
            )
        )
        return function

    def _open(self, inputs: Mapping[str, Any]) -> Any:
        shape = (1, sum(self._kv_heads()), self.rows, max(self._widths()))
        states = {name: mb.state_tensor_placeholder(shape, types.fp16) for name in (KEYS, VALUES)}
        return mil.Function({**inputs, **states}, opset_version=TARGET)

    def _emit(self, function: Any, call: Call) -> None:
        """The layers of this chunk, and at the ends of the model the embedding and the head."""
        spec, chunk = self.spec, self.chunk
        heads = dict(zip(range(chunk.start, chunk.stop), self._firsts(), strict=True))
        ops = MilOps(
            plan=self.plan,
            recipe=self.recipe,
            number=number_of(self.recipe),
            call=call,
            states={name: function.inputs[name] for name in (KEYS, VALUES)},
            heads=heads,
        )
        x = function.inputs[self._input()]
        x = embed(ops, spec, x) if chunk.first else x
        rope = ops.rope(spec.rope, spec.context)
        x, d = layers(ops, spec, x, None, rope, start=chunk.start, stop=chunk.stop)
        assert d is not None
        out = head(ops, spec, x, d) if chunk.final else ops.add(x, d)
        out.name = "logits" if chunk.final else "nextHidden"
        function.set_outputs([out])

    def _input(self) -> str:
        return "inputIds" if self.chunk.first else "hidden"

    def _placeholder(self, length: int) -> Any:
        if self.chunk.first:
            return mb.placeholder((1, length), types.int32)
        kind = types.fp16 if number_of(self.recipe) == "fp16" else types.fp32
        return mb.placeholder((1, length, self.spec.width), kind)

    def _fixed(self, length: int) -> Var:
        """0, 1, … as a constant that functions share."""
        return stand_in(
            self.plan.constant(
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


def _masked_heads(layer: LayerSpec) -> int:
    return layer.heads if layer.sparse is not None else 0
