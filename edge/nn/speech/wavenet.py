"""A WaveNet that sees both ways (arXiv 1609.03499), as NaturalSpeech 2 has it (arXiv 2304.09116): gated
convolutions whose dilations go round, a condition for each row, and every few layers attention to the rows of a
prompt, which scale and shift what is gated (FiLM, arXiv 1709.07871).

B batch, T rows, C channels, D width, N prompt rows.
"""

import math
from dataclasses import dataclass

from edge.nn.composed import Composed
from edge.nn.speech.blocks import attend, attention_shapes, check, check_heads, columns
from edge.nn.weights import LAYER, matrix, norm
from edge.ops import Array
from edge.typing import Shape

KERNEL = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class WaveSpec:
    """`cycle`: dilations are 1, 2, 4, …, so many of them, again and again. `attention_every`: of so many
    layers the first sees the prompt; None: none does.
    """

    channels: int
    width: int
    layers: int
    cycle: int
    attention_every: int | None = None
    heads: int = 1

    def __post_init__(self) -> None:
        numbers = {"channels": self.channels, "width": self.width}
        numbers |= {"attention_every": 1 if self.attention_every is None else self.attention_every}
        check("a WaveNet", numbers, layers=self.layers)
        check("a WaveNet", {"cycle": self.cycle if self.cycle <= 16 else 0})
        check_heads("a WaveNet", self.width, self.heads)
        check_heads("the angles of a WaveNet", self.width, 2)

    def attends(self, layer: int) -> bool:
        return self.attention_every is not None and layer % self.attention_every == 0

    def shapes(self) -> dict[str, Shape]:
        width = self.width
        out = norm("condition.norm", width) | matrix("input", width, self.channels)
        out |= matrix("step.up", 4 * width, width) | matrix("step.down", width, 4 * width)
        for i in range(self.layers):
            out |= self._layer(f"layers.{i}.", attends=self.attends(i))
        return out | matrix("skip", width, width) | matrix("output", self.channels, width)

    def _layer(self, at: str, *, attends: bool) -> dict[str, Shape]:
        width = self.width
        out = matrix(at + "step", width, width)
        if attends:
            out |= norm(at + "norm", width) | attention_shapes(at, width)
        out |= matrix(at + "conv", 2 * width, KERNEL * width)
        out |= matrix(at + "condition", 2 * width, width)
        if attends:
            out |= matrix(at + "gain", 2 * width, width) | matrix(at + "shift", 2 * width, width)
        return out | matrix(at + "out", 2 * width, width)


def wavenet(
    ops: Composed[Array], spec: WaveSpec, x: Array, condition: Array, step: Array, mask: Array,
    prompt: Array | None = None,
) -> Array:  # fmt: skip
    """x [B, T, C], condition [B, T, D], step [B, 1, D], mask [B, T], prompt [B, N, D] -> [B, T, C]. Rows that
    the mask does not count are no better than noise.
    """
    keep, total = columns(ops, mask), None
    condition = ops.norm(condition, "condition.norm", LAYER)
    x = ops.act(ops.one(x, "input"), "relu")
    step = ops.one(ops.act(ops.one(step, "step.up"), "mish"), "step.down")
    for i in range(spec.layers):
        at = f"layers.{i}."
        y = ops.mul(ops.add(x, ops.one(step, at + "step")), keep)
        seen = _seen(ops, spec, at, y, prompt) if spec.attends(i) else None
        far = 2 ** (i % spec.cycle)
        y = ops.conv_rows(y, at + "conv", kernel=KERNEL, pad=(far, far), dilation=far)
        y = ops.add(y, ops.one(condition, at + "condition"))
        if seen is not None:
            y = ops.add(ops.mul(y, ops.one(seen, at + "gain")), ops.one(seen, at + "shift"))
        gate, signal = ops.split(y, spec.width, spec.width)
        y = ops.one(ops.mul(ops.act(gate, "sigmoid"), ops.act(signal, "tanh")), at + "out")
        more, skip = ops.split(y, spec.width, spec.width)
        x = ops.mul(ops.add(x, more), math.sqrt(0.5))
        total = skip if total is None else ops.add(total, skip)
    assert total is not None
    total = ops.one(ops.mul(total, 1 / math.sqrt(spec.layers)), "skip")
    return ops.one(ops.act(total, "relu"), "output")


def _seen(ops: Composed[Array], spec: WaveSpec, at: str, y: Array, prompt: Array | None) -> Array:
    assert prompt is not None, "a WaveNet that sees a prompt is given one"
    h = ops.norm(y, at + "norm", LAYER)
    return attend(ops, at, h, prompt, heads=spec.heads)
