"""Rows that say what an earlier one says: the same text, or nearly. The first one in the order of the sources stays.

A row goes only because of a row that stays: a chain of ever less similar texts does not go for its first.
"""

import hashlib
import unicodedata

import numpy as np

from edge.data.frame.step import Row, Verdict, Whole
from edge.data.steps.minhash import MinHash
from edge.typing import I64, U8, U64

_EXACT = 16  # bytes
SAME, NEAR = 0, 1


def duplicates(near: MinHash | None) -> Whole:
    """The step: the same text as before, but for white space at its ends; and with `near` those that meet in a band."""
    bands = 0 if near is None else near.bands

    def key(row: Row, seed: int) -> bytes:
        text = row.data["text"]
        exact = unicodedata.normalize("NFC", text).strip().encode()
        some = b"" if near is None else near.keys(text, seed).astype("<u8").tobytes()
        return hashlib.blake2b(exact, digest_size=_EXACT).digest() + some

    return Whole(
        name="duplicates",
        width=_EXACT + 8 * bands,
        reasons=("same text", "near copy"),
        key=key,
        decide=decide,
    )


def decide(keys: U8) -> Verdict:
    """Of the keys of all rows [N, 16 + 8 B]. Only rows that share something with another are looked at one by one."""
    count, width = keys.shape
    of, why = np.full(count, -1, np.int64), np.zeros(count, np.int64)
    exact = (
        np.ascontiguousarray(keys[:, :_EXACT]).view("S16")[:, 0] if count else np.empty(0, "S16")
    )
    same = _groups(np.unique(exact, return_inverse=True)[1])
    bands = np.ascontiguousarray(keys[:, _EXACT:]).view("<u8") if width > _EXACT and count else None
    near = [] if bands is None else [_groups(bands[:, band]) for band in range(bands.shape[1])]
    first: list[dict[int, int]] = [{} for _ in (same, *near)]
    shared = np.zeros(count, bool)
    for groups in (same, *near):
        shared |= groups >= 0
    for number in np.flatnonzero(shared).tolist():
        mine = [int(groups[number]) for groups in (same, *near)]
        found = [kept[group] for kept, group in zip(first, mine, strict=True) if group in kept]
        if found:
            exactly = mine[0] in first[0]
            of[number] = first[0][mine[0]] if exactly else min(found)
            why[number] = SAME if exactly else NEAR
            continue
        for kept, group in zip(first, mine, strict=True):
            if group >= 0:
                kept[group] = number
    return Verdict(of, why)


def _groups(keys: U64 | I64) -> I64:
    """Of each row the number of the group of those with its key, [N]; -1 where it is alone."""
    _, group, size = np.unique(keys, return_inverse=True, return_counts=True)
    found: I64 = np.where(size[group] > 1, group, -1).astype(np.int64)
    return found
