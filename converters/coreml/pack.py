"""How Core ML stores codes.

N rows, K columns, J groups of a row.
"""

from threading import Lock

import numpy as np

from edge.quant.stream import packed
from edge.quant.tensor import QTensor, float_bytes
from edge.typing import F32, U8


def parts(stored: QTensor) -> tuple[U8, U8, U8]:
    """The bytes of codes, of scales or tables, and of zeros, which may be none.

    A middle zero becomes a sign: the code of zero is 0 in two's complement.
    """
    scheme = stored.scheme
    codes = stored.codes
    if scheme.zero == "middle":
        codes = codes ^ np.uint8(1 << (scheme.bits - 1))
    zeros = np.empty(0, np.uint8)
    if scheme.zero == "integer" and stored.zeros is not None:
        zeros = _packed(stored.zeros.astype(np.uint8), scheme.bits)
    return _packed(codes, scheme.bits), float_bytes(stored.scales, scheme.number), zeros


def _packed(codes: U8, bits: int) -> U8:
    """Rows end to end: they fill whole bytes together."""
    return packed(codes.reshape(1, -1), bits)[0]


class Together:
    """Blocks of rows, cut anew so that rows which share a table come together."""

    def __init__(self, rows: int, group: int) -> None:
        self._rows, self._group = rows, group
        self._parts: dict[int, dict[int, F32]] = {}  # group -> its rows that are here
        self._lock = Lock()

    def add(self, row: int, block: F32) -> list[tuple[int, F32]]:
        """Rows from `row` on -> every group that is whole now, with its first row."""
        whole: list[tuple[int, F32]] = []
        at = 0
        while at < len(block):
            group, inside = divmod(row + at, self._group)
            length = min(self._group, self._rows - group * self._group)
            taken = min(length - inside, len(block) - at)
            piece = block[at : at + taken]
            if taken == length:
                whole.append((row + at, piece))
            else:
                whole += self._join(group, inside, piece, length)
            at += taken
        return whole

    def _join(self, group: int, inside: int, piece: F32, length: int) -> list[tuple[int, F32]]:
        with self._lock:
            held = self._parts.setdefault(group, {})
            held[inside] = piece
            if sum(map(len, held.values())) < length:
                return []
            del self._parts[group]
        return [(group * self._group, np.concatenate([held[at] for at in sorted(held)]))]
