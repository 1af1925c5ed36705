"""How a weight is stored, and the neutral low-bit tensor that methods make and targets pack.

N rows (outputs), K columns (inputs), J groups of columns.
"""

from dataclasses import dataclass

import numpy as np

from edge.typing import F32, U8


@dataclass(frozen=True, slots=True)
class Scheme:
    """A precision: a float of `bits`, or integers of `bits` with one scale for each `group` of a
    row's columns.
    """

    bits: int
    group: int | None = None

    @property
    def is_float(self) -> bool:
        return self.group is None

    def groups(self, columns: int) -> int:
        """Groups of one row; the last may be shorter."""
        assert self.group is not None
        return -(-columns // self.group)

    def nbytes(self, rows: int, columns: int) -> int:
        """Bytes of a stored matrix, scales in float32 included."""
        if self.group is None:
            return rows * columns * self.bits // 8
        groups = self.groups(columns)
        return rows * groups * (self.group * self.bits // 8 + 4)

    def __str__(self) -> str:
        return f"fp{self.bits}" if self.is_float else f"int{self.bits}-g{self.group}"


FP32, FP16 = Scheme(32), Scheme(16)


@dataclass(frozen=True, slots=True)
class QTensor:
    """w = (codes - 2^(bits - 1)) * scale, symmetric: codes [N, J group] in 0..2^bits - 1, scales
    [N, J].

    Columns past K are padding and hold the code of zero.
    """

    codes: U8
    scales: F32
    scheme: Scheme
    columns: int  # K

    def dequantize(self) -> F32:
        """The weights that these codes mean: [N, K]."""
        rows, groups = self.scales.shape
        zero = np.float32(1 << (self.scheme.bits - 1))
        values = self.codes.reshape(rows, groups, -1).astype(np.float32) - zero  # [N, J, group]
        values *= self.scales[:, :, None]
        return values.reshape(rows, -1)[:, : self.columns]
