"""Which functions a package has, from the numbers of a model alone.

A sequence is read by functions of fixed lengths, for that is what the Neural Engine compiles: `step`,
`promptN`, `scoreN` with logits of all N positions. A model with exits has, for one after layer E, `earlyE`
(a token up to it), `draftE` (with logits there, too) and `lateE_N` (N rows from there on). One with small
caches has `observeN`, which gives each layer's rotated queries, and for a cache of C rows functions whose
names begin with `cutC_`, over a state of their own. One that takes rows for tokens has `rowsN`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from edge.spec import DecoderSpec, LayerSpec

LATE = (1, 2, 4, 8, 16)  # rows that go on from an exit together
VERIFIED = 8  # positions of a draft and the token before it
_LENGTHS = (16, 64, 512)  # of prompts
_WINDOWS = (16, 32, 64)  # of observations; what is shorter is padded
_SCORES = 1 << 25  # of one call of a layer that hides rows by head: its mask is as large


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A function: how many positions it reads, through which layers, over which cache, and what it gives:
    logits of one position or of all if it `ends` in the head, and `queries` of its layers.
    """

    name: str
    length: int | None  # None: any
    start: int = 0
    stop: int | None = None  # None: the last layer
    ends: bool = True
    all_logits: bool = False
    queries: bool = False
    rows: int | None = None  # of a small cache; None: the whole
    embedded: bool = False  # rows go in for tokens

    @property
    def exits(self) -> bool:
        """Whether it stops early."""
        return self.stop is not None

    @property
    def asked(self) -> bool:
        """Whether it is told which position's logits are wanted."""
        early = self.exits or not self.ends
        return not (self.all_logits or early) and self.length != 1


def entries(spec: DecoderSpec) -> list[Entry]:
    """A step, prompts of two lengths at most, all logits of a few positions, and what exits and small
    caches need.
    """
    fits = prompts(spec)
    out = [Entry(name="step", length=1)]
    out += [Entry(name=f"prompt{n}", length=n) for n in fits]
    out += [_score(n) for n in fits[:1]]
    caches = small(spec)
    if (spec.exits or caches) and spec.context >= 4 * VERIFIED:
        out.append(_score(VERIFIED))
    for exit_ in spec.exits:
        out += _exit(exit_, spec.context)
    if caches:
        out += _observations(spec)
    for rows in caches:
        out += _small(rows, fits)
    if spec.spliced:
        out += [Entry(name=f"rows{n}", length=n, embedded=True) for n in (1, *fits)]
    return out


def prompts(spec: DecoderSpec) -> list[int]:
    """Lengths of calls that read prompts, at most two."""
    most = _SCORES // (max(map(_masked_heads, spec.layers)) * spec.context or 1)
    return [n for n in _LENGTHS if 4 * n <= spec.context and n <= most][-2:]


def small(spec: DecoderSpec) -> list[int]:
    """Rows of small caches that are smaller than the whole."""
    return [rows for rows in spec.snapkv_rows if rows < spec.context]


def _exit(exit_: int, context: int) -> Iterator[Entry]:
    yield Entry(name=f"early{exit_}", length=1, stop=exit_, ends=False)
    yield Entry(name=f"draft{exit_}", length=1, stop=exit_)
    for n in LATE:
        if n == 1 or 4 * n <= context:
            yield Entry(name=f"late{exit_}_{n}", length=n, start=exit_, all_logits=True)


def _observations(spec: DecoderSpec) -> Iterator[Entry]:
    for n in [1, *[n for n in _WINDOWS if 4 * n <= spec.context][-1:]]:
        yield Entry(name=f"observe{n}", length=n, queries=True)


def _small(rows: int, lengths: list[int]) -> Iterator[Entry]:
    at = f"cut{rows}_"
    yield Entry(name=f"{at}step", length=1, rows=rows)
    for n in [n for n in lengths if 2 * n <= rows][-1:]:
        yield Entry(name=f"{at}prompt{n}", length=n, rows=rows)
    if rows >= 2 * VERIFIED:
        yield _score(VERIFIED, at, rows)


def _score(length: int, at: str = "", rows: int | None = None) -> Entry:
    return Entry(name=f"{at}score{length}", length=length, all_logits=True, rows=rows)


def _masked_heads(layer: LayerSpec) -> int:
    return layer.heads if layer.sparse is not None else 0
