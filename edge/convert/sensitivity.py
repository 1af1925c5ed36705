"""How much a model's answers change when one matrix has fewer bits, measured with a short text.

A layer is rounded alone, and the model's choices are then compared with what they were: their divergence, which the
matrices of the layer share by what each of them changes in what leaves it. So are the embedding and the head. (That
losses of single layers add up: arXiv 2411.17525.) L layers take about L L / 2 steps of one layer.

T tokens, D width, N rows and K columns of a matrix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.contracts import Calibrator, Walk
from edge.nn.decoder import head_name
from edge.quant import bounds
from edge.quant.methods import methods
from edge.quant.recipe import Recipe, parse
from edge.quant.tensor import Scheme, Zero
from edge.source.checkpoint import Checkpoint
from edge.source.finite import blocks, whole
from edge.system.progress import Advance, Progress
from edge.typing import F32, AnyArray

STEPS: tuple[Zero, ...] = ("middle", "minimum", "integer")
# Bits at which matrices are compared: what the fewest lose is what must not be taken for too little.
_TRIED = 2
_PLAIN = parse("rtn-int4-g32").body  # where a library makes all that a matrix may be
_ROWS = 256  # of a matrix, by which its errors are known
_TINY = 1e-30

Able = Mapping[str, Sequence[Scheme]]  # what each matrix may be
Losses = dict[str, dict[Scheme, float]]


@dataclass(frozen=True, slots=True)
class _Heard:
    """Mean squares of what matrices of these names multiply, [K] each."""

    squares: dict[str, F32]

    def hear(self, names: tuple[str, ...], x: F32) -> None:
        for name in names:
            self.squares[name] = self.squares.get(name, 0) + np.square(x).mean(axis=0)


def lost(
    checkpoint: Checkpoint,
    able: Able,
    windows: Sequence[Sequence[int]],
    progress: Progress,
    by: Calibrator,
) -> Losses:
    """What each scheme of each matrix loses, in nats a token. `able`: of matrices of layers, of `embed` as it is looked
    up, and of `head` as it multiplies, though both may be one weight.
    """
    count, tokens = len(checkpoint.decoder.layers), sum(map(len, windows))
    # One text that nothing is done to; one of what became of each change in a layer before; one of other rows.
    front, behind = (by.walk(checkpoint, windows) for _ in range(2))
    rows = by.walk(checkpoint, windows, _few_rows(able))
    out: Losses = {}
    steps = 3 * count + len(able) + count * (count + 1) // 2
    with progress("what bits are worth", tokens * steps) as advance, by.steadily():
        for index in range(count):
            names = [name for name in able if name.startswith(f"layers.{index}.")]
            full = {name: whole(checkpoint, name) for name in names}  # read once for all
            for walk in (front, behind, rows):
                for name, weight in full.items():
                    walk.replace(name, weight)
            heard = _Heard({})
            plain = front.through(heard.hear, advance)
            changed, shares = _changes(front, full, able, plain, advance)
            for name in names:
                some = full[name][:: max(1, len(full[name]) // _ROWS)][:_ROWS]
                costs = _costs(some, able[name], heard.squares[name])
                out[name] = {one: shares[name] * cost for one, cost in costs.items()}
            front.arrive(plain)
            behind.arrive([*behind.through(None, advance), *changed])
            rows.arrive(rows.through(None, advance))
        end, *reached = (*_last(behind, len(windows)), *_last(rows, len(windows)))
        *layers, embed, head = _diverged(checkpoint, end, reached, able.get("head"))
    for name, losses in out.items():
        layer = int(name.split(".")[1])
        out[name] = {one: loss * layers[layer] for one, loss in losses.items()}
    ends = {
        "embed": ("embed", embed, np.ones_like(end[0])),
        "head": (head_name(checkpoint.decoder), head, np.square(end).mean(axis=0)),
    }
    for name in ends.keys() & able.keys():
        table, own, squares = ends[name]
        costs = _costs(_some_rows(checkpoint, table), able[name], squares)
        out[name] = {one: own * cost for one, cost in costs.items()}
    return out


def _few_rows(able: Able) -> Recipe:
    """An embedding of few bits, if its bits are to be chosen."""
    plain = parse("fp32")
    return replace(plain, embed=_by_nearest(_tried(able["embed"]))) if "embed" in able else plain


def _some_rows(checkpoint: Checkpoint, name: str) -> F32:
    step = max(1, checkpoint.shape(name)[0] // _ROWS)
    parts = [block[-row % step :: step] for row, block in blocks(checkpoint, name)]
    return np.concatenate(parts)[:_ROWS]


def _changes(
    walk: Walk,
    full: Mapping[str, F32],
    able: Able,
    plain: Sequence[F32],
    advance: Advance,
) -> tuple[list[F32], dict[str, float]]:
    """What leaves a layer of few bits; and of its change, which share each matrix has that changes alone."""
    few = {name: _few(weight, _tried(able[name])) for name, weight in full.items()}
    own = {}
    for name in full:
        walk.replace(name, few[name])
        own[name] = _square(walk.through(None, advance), plain)
        walk.replace(name, full[name])
    for name in full:
        walk.replace(name, few[name])
    every = max(sum(own.values()), _TINY)
    return walk.through(None, advance), {name: value / every for name, value in own.items()}


def _tried(schemes: Sequence[Scheme]) -> Scheme:
    """The one of so many bits, or the nearest; of two, that of more."""
    own = [one for one in schemes if not one.block_bytes] or [_PLAIN]
    return min(own, key=lambda one: (abs(one.bits - _TRIED), -one.bits))


def _by_nearest(scheme: Scheme) -> Scheme:
    """Rounded without a text, to the nearest code where codes are steps: what bits are worth before a method helps."""
    return replace(scheme, method="rtn", rotated=False) if scheme.zero in STEPS else scheme


def _few(weights: F32, scheme: Scheme) -> F32:
    own = _by_nearest(scheme)
    return methods()[own.method].quantize(weights, own).dequantize()


def _costs(weights: F32, schemes: Sequence[Scheme], squares: F32) -> dict[Scheme, float]:
    """The square of what products of these rows are off by, beside that of the scheme that is tried."""
    every = {one: _cost(weights, one, squares) for one in (*schemes, _tried(schemes))}
    own = max(every[_tried(schemes)], _TINY)
    return {one: every[one] / own for one in schemes}


def _cost(weights: F32, scheme: Scheme, squares: F32) -> float:
    """Of a type that a library makes, by what it does to a normal distribution."""
    if scheme.block_bytes:
        share = bounds.LIBRARY[scheme.method] ** 2
        return share * float(np.einsum("nk,k->", np.square(weights), squares))
    return float(np.einsum("nk,k->", np.square(_few(weights, scheme) - weights), squares))


def _square(some: Sequence[F32], others: Sequence[F32]) -> float:
    pairs = zip(some, others, strict=True)
    return sum(float(np.square(a - b, dtype=np.float64).sum()) for a, b in pairs)


def _last(walk: Walk, windows: int) -> list[F32]:
    """What the head multiplies, [T, D] of each text of so many windows."""
    heard: list[F32] = []
    walk.last(lambda _, x: heard.append(x))
    return [np.concatenate(heard[at : at + windows]) for at in range(0, len(heard), windows)]


def _diverged(
    checkpoint: Checkpoint, plain: F32, others: Sequence[F32], head: Sequence[Scheme] | None
) -> list[float]:
    """Of choices by what the head multiplies, [T, D], from those by `plain`: nats a token of each; and at last by a
    head of few bits. The vocabulary is read in parts.
    """
    spec = checkpoint.decoder
    own, sums = _Sum.none(len(plain)), [_Sum.none(len(plain)) for _ in range(len(others) + 1)]
    crossed = np.zeros((len(sums), len(plain)))
    for row, block in blocks(checkpoint, head_name(spec)):
        kept = np.isin(np.arange(row, row + len(block)), spec.forbidden, invert=True)
        if not kept.any():
            continue
        block = block[kept] * np.float32(spec.logit_scale)
        few = block if head is None else _few(block, _tried(head))
        logits = plain @ block.T
        shrunk, chances = own.add(logits)
        for at, (total, x) in enumerate(zip(sums, (*others, plain), strict=True)):
            found = x @ (few if at == len(others) else block).T
            total.add(found)
            crossed[at] = crossed[at] * shrunk + (chances * (logits - found)).sum(axis=1)
    each = (
        crossed[at] / own.total - own.logarithm + total.logarithm for at, total in enumerate(sums)
    )
    return [max(float(nats.mean()), 0.0) for nats in each]


@dataclass(slots=True)
class _Sum:
    """Of exponentials of a row that comes in parts: in units of that of the `most`, [T] each."""

    most: AnyArray
    total: AnyArray

    @classmethod
    def none(cls, rows: int) -> "_Sum":
        return cls(np.full(rows, -np.inf), np.zeros(rows))

    def add(self, logits: F32) -> tuple[AnyArray, AnyArray]:
        """[T, V] -> by what sums so far shrink in the new unit, [T]; and these exponentials."""
        most = np.maximum(self.most, logits.max(axis=1, initial=-np.inf))
        shrunk = np.exp(self.most - most)
        each = np.exp(logits - most[:, None])
        self.most, self.total = most, self.total * shrunk + each.sum(axis=1)
        return shrunk, each

    @property
    def logarithm(self) -> AnyArray:
        found: AnyArray = self.most + np.log(self.total)
        return found
