"""What a device must compute with an artifact's packages: tokens, and rows of the cache at several lengths.

A sequence may begin anywhere in an empty cache, whose rows are zeros until they are written: so rows far along
cost no more than the first. T tokens, G kv heads, S rows, W head width.
"""

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edge.contracts import Opening
from edge.spec import DecoderSpec
from edge.typing import F32, AnyArray
from edge_runtimes.coreml.agreement import KEYS, VALUES, shares
from edge_runtimes.coreml.decoder import CoreMlDecoder
from edge_runtimes.coreml.reference import Evaluated, evaluated

_BOUNDS = tuple(1 << power for power in range(9, 18))  # rows at which devices are known to go wrong
_SHORT = 72  # ids: a call that they fill, one that is padded, and steps
_BEFORE = 8  # rows before a bound at which a sequence begins
_FIRST, _MORE = 8, 2  # tokens that follow the first prompt, and later ones
_SURE = (
    0.03  # of the largest logit: how far the second token must be behind the first to be sure of it
)


def device_test(opening: Opening, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Cases, by their first rows: ids, the tokens that follow and whether each is sure, and a few rows of the cache."""
    packages = evaluated(opening)
    return [_case(packages, opening, start, part) for start, part in _starts(opening.spec, ids)]


def _starts(spec: DecoderSpec, ids: Sequence[int]) -> Iterator[tuple[int, Sequence[int]]]:
    """Where sequences begin, and what they begin with: at first the longest prompt of one call, and some ids more."""
    yield 0, ids[: spec.context // 2]
    short = ids[:_SHORT]
    room = len(short) + _MORE
    bounds = [bound - _BEFORE for bound in _BOUNDS if bound - _BEFORE + room <= spec.context]
    for start in sorted({*bounds, spec.context - room}):
        if start > len(ids):
            yield start, short


def _case(
    packages: Sequence[Evaluated], opening: Opening, start: int, ids: Sequence[int]
) -> dict[str, Any]:
    decoder = _From(opening.spec, [package.again() for package in packages], opening.part)
    decoder.begin(start)
    logits, tokens, sure = decoder.prefill(ids), list[int](), list[bool]()
    while len(tokens) < (_MORE if start else _FIRST):
        tokens.append(int(logits.argmax()))
        sure.append(_sure(logits))
        logits = decoder.step(tokens[-1])
    rows = sorted({start, start + len(ids) - 1, start + len(ids) + len(tokens) - 1})
    told = [{"row": row, **decoder.cached(row)} for row in rows]
    return {"start": start, "ids": list(ids), "tokens": tokens, "sure": sure, "rows": told}


class _From(CoreMlDecoder):
    """A decoder whose sequence begins at any row of an empty cache, which can be looked at."""

    def __init__(self, spec: DecoderSpec, packages: Sequence[Evaluated], part: str) -> None:
        super().__init__(spec, packages, part)
        self._packages = packages
        self._shares = shares([package.caches for package in packages], spec)

    def begin(self, row: int) -> None:
        self._length = self._rows = row

    def cached(self, row: int) -> dict[str, str]:
        """Keys and values of a row, of one head of each layer, in turn: numbers of 16 bits in base64."""
        return {"keys": self._of(KEYS, row), "values": self._of(VALUES, row)}

    def _of(self, state: str, row: int) -> str:
        found: list[AnyArray] = []
        for package, layers in zip(self._packages, self._shares, strict=True):
            held, at = package.read(state), 0
            for index in layers:
                layer = self.spec.layers[index]
                found.append(held[0, at + index % layer.kv_heads, row, : layer.head_width])
                at += layer.kv_heads
        return base64.b64encode(np.concatenate(found).astype("<f2").tobytes()).decode()


def _sure(logits: F32) -> bool:
    second, first = np.partition(logits, -2)[-2:]
    return bool(first - second >= _SURE * np.abs(logits).max())
