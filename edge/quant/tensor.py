"""How a weight is stored, and the neutral low-bit tensor that methods make and targets pack.

N rows (outputs), K columns (inputs), J groups of columns.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edge.quant.rotation import back
from edge.typing import F32, I64, U8

Float = Literal["fp32", "fp16", "bf16"]
Zero = Literal[
    "middle", "integer", "minimum", "table", "levels", "shifted", "bits", "signs", "salient"
]
_SUFFIX: dict[Zero, str] = {"integer": "-asym", "minimum": "-min"}
_BYTES: dict[Float, int] = {"fp32": 4, "fp16": 2, "bf16": 2}
SUMS: tuple[Zero, ...] = ("bits", "signs", "salient")  # what is multiplied with twice, and added up
_ORDER = 4  # bytes of a column's number
_SALIENT = {2: 7, 1: 10}  # one column of so many, by a recipe's bits: 2.0 and 1.8 bits a weight


ROW = 0  # the group of a whole row


@dataclass(frozen=True, slots=True)
class Scheme:
    """A precision: a float, or integers of `bits` with one scale for each `group` of a row's columns, or
    for the row (`ROW`).

    `zero`: which code means zero. The middle one; one of its own for each group; or none, each group having a
    minimum in its place; or a code means an entry of a table, which `group` rows share; or one of the levels that
    the method has, times the group's scale, and `shifted` by a number of the group's own. Or a weight is the sum of
    two, each of which has codes of its own (`terms`): two of one bit, or one of one bit, and of columns whose
    inputs are large another of eight; `bits` are then what the method is called by. `number`: the type of a float,
    or of scales, minimums, entries and levels. `method`: who rounds to it; two methods make two weights.
    `block_bytes`: of a group in a format that only its own library makes and reads, which `method` names; `bits`
    are then its name's. `rotated`: codes are of columns that are rotated, as inputs must be
    (`edge.quant.rotation`). `inputs`: bits that what it multiplies is rounded to, with one scale a token; 0: to
    what a kernel rounds it, if to anything.
    """

    bits: int
    group: int | None = None
    zero: Zero = "middle"
    number: Float = "fp32"
    method: str = "rtn"
    block_bytes: int = 0
    rotated: bool = False
    inputs: int = 0

    @property
    def is_float(self) -> bool:
        return self.group is None

    @property
    def kind(self) -> str:
        """What recipes call its codes; levels have the name of their method."""
        return {"table": "lut", "levels": "", "shifted": ""}.get(self.zero, "int")

    @property
    def leveled(self) -> bool:
        """Whether a code is one of the levels of its method."""
        return self.zero in ("levels", "shifted")

    @property
    def terms(self) -> "tuple[Scheme, ...]":
        """What weights of a sum are the sums of; none of any other."""
        if self.zero not in SUMS:
            return ()
        one = Scheme(1, self.group, "minimum", self.number, self.method)
        eight = Scheme(8, 32, "middle", self.number, self.method)
        return (one, eight) if self.zero == "salient" else (one, one)

    @property
    def ordered(self) -> bool:
        """Whether columns go by the size of their inputs, the largest first."""
        return self.zero in ("signs", "salient")

    def added(self, columns: int) -> int:
        """How many of the first columns the second term of a sum has."""
        if self.zero != "salient":
            return columns
        return min(columns, max(32, round(columns / _SALIENT[self.bits] / 32) * 32))

    @property
    def rows_of_scales(self) -> int:
        """Rows that a row of scales or entries belongs to."""
        return self.group if self.zero == "table" and self.group else 1

    def groups(self, columns: int) -> int:
        """Groups of one row; the last may be shorter."""
        return -(-columns // self.width(columns))

    def width(self, columns: int) -> int:
        """Columns of a group in rows of so many."""
        assert self.group is not None
        return self.group or columns

    def nbytes(self, rows: int, columns: int) -> int:
        """Bytes of a stored matrix, scales and zeros included."""
        if self.group is None:
            return rows * columns * self.bits // 8
        if self.block_bytes:
            return rows * self.groups(columns) * self.block_bytes
        scale = _BYTES[self.number]
        if self.terms:
            first, second = self.terms
            order = _ORDER * columns if self.ordered else 0
            return first.nbytes(rows, columns) + second.nbytes(rows, self.added(columns)) + order
        if self.zero == "table":
            tables = -(-rows // self.group)
            return rows * -(-columns * self.bits // 8) + tables * (scale << self.bits)
        groups = self.groups(columns)
        own = groups * scale  # a number of each group
        integers = -(-groups * self.bits // 8)
        zeros = {"integer": integers, "minimum": own, "shifted": own}.get(self.zero, 0)
        levels = scale << self.bits if self.leveled else 0
        codes = self.width(columns) * self.bits // 8
        return rows * (groups * (codes + scale) + zeros) + levels

    def __str__(self) -> str:
        if self.is_float:
            return self.number
        if self.block_bytes:
            return self.method
        number = "" if self.number == "fp32" else f"-{self.number}"
        if self.leveled:
            return f"{self.method}-g{self.group}{number}"
        method = "" if self.method == "rtn" else f"{self.method}-"
        zero = _SUFFIX.get(self.zero, "")
        group = "-row" if self.group == ROW else f"-g{self.group}"
        return f"{method}{self.kind}{self.bits}{group}{zero}{number}"


FP32, FP16, BF16 = Scheme(32), Scheme(16, number="fp16"), Scheme(16, number="bf16")
FLOATS: dict[Float, Scheme] = {"fp32": FP32, "fp16": FP16, "bf16": BF16}


@dataclass(frozen=True, slots=True)
class QTensor:
    """Codes [N, J group] in 0..2^bits - 1 and scales [N, J], which are values of `scheme.number`.

    What a code means, by `scheme.zero`: (code - 2^(bits - 1)) * scale; (code - zero) * scale; or code * scale +
    minimum, with `zeros` [N, J] the codes of zero or the minimums. Columns past K are padding. Of a table, codes
    are [N, K] and `scales` holds the entries, [tables, 2^bits]. Of levels, a code is one of `levels` [2^bits], in
    units of the group's scale, from `zeros` on if these are shifted. Of a sum, codes, scales and zeros are the
    first term's, the second is `added`, and the first columns of both are those that `order` [K] names first, if
    there is one.
    """

    codes: U8
    scales: F32
    scheme: Scheme
    columns: int  # K
    zeros: U8 | F32 | None = None
    levels: F32 | None = None
    added: "QTensor | None" = None
    order: I64 | None = None

    @property
    def terms(self) -> "tuple[QTensor, ...]":
        """What is added up: itself, or both of a sum."""
        if self.added is None:
            return (self,)
        return replace(self, scheme=self.scheme.terms[0], added=None, order=None), self.added

    def cut(self, start: int, stop: int) -> "QTensor":
        """Some of its rows; none of a table's."""
        zeros = None if self.zeros is None else self.zeros[start:stop]
        added = None if self.added is None else self.added.cut(start, stop)
        codes, scales = self.codes[start:stop], self.scales[start:stop]
        return replace(self, codes=codes, scales=scales, zeros=zeros, added=added)

    def dequantize(self) -> F32:
        """The weights that these codes mean: [N, K]."""
        if self.scheme.rotated:
            return back(replace(self, scheme=replace(self.scheme, rotated=False)).dequantize())
        if self.added is not None:
            return self._sum()
        if self.scheme.zero == "table":
            which = np.arange(len(self.codes)) // (self.scheme.group or 1)
            return self.scales[which[:, None], self.codes]
        rows, groups = self.scales.shape
        codes = self.codes.reshape(rows, groups, -1)  # [N, J, group]
        values, scales = codes.astype(np.float32), self.scales[:, :, None]
        if self.levels is not None:
            values = self.levels[codes] * scales
            if self.zeros is not None:
                values = values + self.zeros[:, :, None]
        elif self.zeros is None:
            values = (values - np.float32(1 << (self.scheme.bits - 1))) * scales
        elif self.scheme.zero == "integer":
            values = (values - self.zeros[:, :, None].astype(np.float32)) * scales
        else:
            values = values * scales + self.zeros[:, :, None]
        return values.reshape(rows, -1)[:, : self.columns]

    def _sum(self) -> F32:
        first, second = (term.dequantize() for term in self.terms)
        first[:, : second.shape[1]] += second
        if self.order is None:
            return first
        out = np.empty_like(first)
        out[:, self.order] = first
        return out


def rounded(values: F32, number: Float) -> F32:
    """Values of a type, as float32: [...] -> [...]. What overflows becomes infinite."""
    if number == "fp32":
        return values
    if number == "fp16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    return (bf16_bits(values).astype(np.uint32) << 16).view(np.float32)


def bf16_bits(values: F32) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]":
    """The nearest bfloat16, ties to even, as its bits: [...] -> [...]; NaN stays NaN."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(values), quiet, nearest).astype(np.uint16)


def float_bytes(values: F32, number: Float) -> U8:
    """Values [N, K] as the bytes of a type: [N, K bytes], little-endian."""
    if number == "bf16":
        return bf16_bits(values).view(np.uint8)
    with np.errstate(over="ignore"):
        kind = np.float16 if number == "fp16" else np.float32
        return np.ascontiguousarray(values.astype(kind)).view(np.uint8)
