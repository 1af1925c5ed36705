"""What an adapter of low rank does beside a product, once for every target (LoRA, arXiv 2106.09685; DoRA,
arXiv 2402.09353).

x -> (W x + up (down x)) gain. N rows of a weight, K columns, R rank.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from edge.adapters.value import Delta
from edge.quant.balance import Factors
from edge.typing import F32


@dataclass(frozen=True, slots=True)
class Branch:
    """down [R, K], up [N, R], in which the adapter's scale is; gain [N], or none: of one."""

    down: F32
    up: F32
    gain: F32 | None = None

    def first(self, rows: int) -> "Branch":
        """Beside the first rows of the weight."""
        gain = None if self.gain is None else self.gain[:rows]
        return Branch(self.down, self.up[:rows], gain)

    def beside(self, x: F32, out: F32) -> F32:
        """x [..., K], and what the weight makes of it, [..., N] -> what both make."""
        low: F32 = x @ self.down.T
        both: F32 = out + low @ self.up.T
        if self.gain is not None:
            both *= self.gain
        return both


@dataclass(frozen=True, slots=True)
class Branches:
    """Of an adapter: beside which weights, by name. `key`: no two that differ have the same one over one artifact."""

    key: str
    of: Mapping[str, Branch]

    def within(self, layers: range) -> "Branches":
        """Those beside weights of these layers, and beside what is of no layer."""
        return Branches(self.key, {n: branch for n, branch in self.of.items() if _is_in(n, layers)})

    def stacked(self, names: Sequence[str], heights: Sequence[int]) -> Branch | None:
        """Beside weights of these heights on top of each other; None where there is none beside any. A `down` that
        several share, as those of a fused tensor do, is there once.
        """
        some = [self.of[name] for name in names if name in self.of]
        if not some:
            return None
        downs = {id(branch.down): branch.down for branch in some}
        at, places = 0, {}
        for key, down in downs.items():
            places[key] = slice(at, at + len(down))
            at += len(down)
        up, row = np.zeros((sum(heights), at), np.float32), 0
        gain = np.ones(sum(heights), np.float32)
        for name, height in zip(names, heights, strict=True):
            branch, rows = self.of.get(name), slice(row, row + height)
            row += height
            if branch is None:
                continue
            up[rows, places[id(branch.down)]] = branch.up
            if branch.gain is not None:
                gain[rows] = branch.gain
        gained = any(branch.gain is not None for branch in some)
        return Branch(np.concatenate(list(downs.values())), up, gain if gained else None)


def _is_in(name: str, layers: range) -> bool:
    words = name.split(".")
    return words[0] != "layers" or int(words[1]) in layers


def beside(
    key: str,
    deltas: Mapping[str, Delta],
    blocks: Callable[[str], Iterable[F32]],
    factors: Mapping[str, Factors] = MappingProxyType({}),
) -> Branches:
    """What deltas of weights are beside an artifact's. `blocks`: rows of one of these as the artifact means them, block
    by block [n, K]. `factors`: what they were multiplied by before they were stored (`edge.quant.balance`); a delta is
    of what they were before.

    A row's length is that of the artifact's own row, rounded as it is, with the delta: so the sum is as long as the
    adapter says.
    """
    out = {}
    for name, delta in deltas.items():
        rows, columns = factors.get(name, (None, None))
        down, up = delta.down, np.float32(delta.scale) * delta.up
        gain = None
        if delta.magnitude is not None:
            before = _divided(blocks(name), rows, columns)
            gain = gains(delta.magnitude, before, down, up)
        up = up if rows is None else up * rows[:, None]
        out[name] = Branch(down if columns is None else down * columns, up, gain)
    return Branches(key, out)


def gains(magnitude: F32, blocks: Iterable[F32], down: F32, up: F32) -> F32:
    """What rows are multiplied by so that they are as long as their magnitudes [N]: rows of a weight, block by block,
    with what is added to them, up [N, R] times down [R, K].
    """
    out, at = np.zeros(len(magnitude), np.float32), 0
    for block in blocks:
        some = slice(at, at + len(block))
        at += len(block)
        lengths = np.linalg.norm(block + up[some] @ down, axis=1)
        # A row of zeros has no direction to go in.
        np.divide(magnitude[some], lengths, out=out[some], where=lengths > 0)
    assert at == len(out), f"{at} rows of {len(out)}"
    return out


def _divided(blocks: Iterable[F32], rows: F32 | None, columns: F32 | None) -> Iterator[F32]:
    at = 0
    for block in blocks:
        some = slice(at, at + len(block))
        at += len(block)
        block = block if rows is None else block / rows[some, None]
        yield block if columns is None else block / columns
