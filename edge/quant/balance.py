"""Numbers that move between two operations and leave what both compute as it is: what a matrix multiplies is divided
by them, and its columns are multiplied. So inputs that matter are rounded finer, or inputs that are large become
smaller (AWQ, arXiv 2306.00978; SmoothQuant, arXiv 2211.10438).

What is divided is the operation before: a norm's weight and bias, the rows of `up`, which its gate multiplies, or of
`v`, of which attention makes means. D width, F feed-forward width, H query heads, G kv heads, W head width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edge.errors import Damaged
from edge.names import shapes
from edge.spec import DecoderSpec
from edge.typing import F32

_AGAIN = "convert again"
Factors = tuple[F32 | None, F32 | None]  # of a weight's rows, or of a vector; of its columns


@dataclass(frozen=True, slots=True)
class Joint:
    """Where numbers may move: `before`, after whose name they are called, and matrices `after`, each input of
    which is one of `before`'s outputs; `heads`: how many heads of `after` share one of `before`.
    """

    before: str
    after: tuple[str, ...]
    width: int  # of `before`'s outputs
    heads: int = 1
    head_width: int = 1

    def inputs(self, values: F32) -> F32:
        """A number for each output of `before` -> one for each input of `after`."""
        parts = values.reshape(-1, self.head_width if self.heads > 1 else len(values))
        return np.repeat(parts, self.heads, axis=0).ravel()

    def outputs(self, values: F32) -> F32:
        """The mean of what the inputs of `after` have, for each output of `before`."""
        if self.heads == 1:
            return values
        return values.reshape(-1, self.heads, self.head_width).mean(axis=1).ravel()

    def most(self, values: F32) -> F32:
        """The most of them."""
        if self.heads == 1:
            return values
        return values.reshape(-1, self.heads, self.head_width).max(axis=1).ravel()


def joints(spec: DecoderSpec, index: int) -> Iterator[Joint]:
    """Of one layer."""
    layer, at = spec.layers[index], f"layers.{index}."
    known = shapes(spec)
    yield Joint(at + "attn.norm", (at + "attn.q", at + "attn.k", at + "attn.v"), spec.width)
    each = layer.heads // layer.kv_heads
    rows = known[at + "attn.v"][0]
    yield Joint(at + "attn.v", (at + "attn.o",), rows, each, layer.head_width)
    yield Joint(at + "mlp.norm", (at + "mlp.gate", at + "mlp.up"), spec.width)
    if layer.gate == "silu":  # the other gate adds one to `up`
        yield Joint(at + "mlp.up", (at + "mlp.down",), known[at + "mlp.up"][0])


def factors(spec: DecoderSpec, balance: Mapping[str, F32]) -> dict[str, Factors]:
    """What each weight is multiplied by, of those that change; refuses numbers that are of another model."""
    every = {joint.before: joint for i in range(len(spec.layers)) for joint in joints(spec, i)}
    for name, values in balance.items():
        if name not in every or values.shape != (every[name].width,) or not (values > 0).all():
            raise Damaged(f"what {name!r:.80} is balanced by is of another model", fix=_AGAIN)
    rows: dict[str, F32] = {}
    columns: dict[str, F32] = {}
    known = shapes(spec)
    for before, values in balance.items():
        for name in (before, f"{before}.bias"):
            if name in known:
                rows[name] = np.float32(1) / values
        for name in every[before].after:
            columns[name] = every[before].inputs(values)
    return {name: (rows.get(name), columns.get(name)) for name in rows.keys() | columns.keys()}


def balanced(block: F32, row: int, by: Factors) -> F32:
    """Rows of a weight, from `row` on, [N, K] or [N] -> the same multiplied."""
    rows, columns = by
    if rows is not None:
        part = rows[row : row + len(block)]
        block = block * (part if block.ndim == 1 else part[:, None])
    return block if columns is None else block * columns
