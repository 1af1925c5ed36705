"""Compressed constants: what Core ML expands when it loads a model, or as it goes.

The types of iOS 16 give shapes and packed bytes where those of iOS 18 give tensors.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from edge.typing import F32, U8, AnyArray
from edge_runtimes.coreml.blobs import unpack
from edge_runtimes.coreml.types import bounded


def blockwise(data: AnyArray, scale: F32, offset: AnyArray | None = None) -> F32:
    """(data - offset) * scale, one scale and offset for each block along every axis."""
    shape = _blocks(data.shape, scale.shape)
    values = data.astype(np.float32).reshape([size for pair in shape for size in pair])
    spread = [size for count, _ in shape for size in (count, 1)]
    if offset is not None:
        values -= offset.astype(np.float32).reshape(spread)
    values *= scale.reshape(spread)
    return values.reshape(data.shape)


def affine(quantized_data: AnyArray, zero_point: AnyArray, scale: F32, axis: int) -> F32:
    """(data - zero point) * scale along one axis: iOS 16."""
    shape = [1] * quantized_data.ndim
    shape[int(axis)] = -1
    values = quantized_data.astype(np.float32)
    values -= np.asarray(zero_point, np.float32).reshape(shape if np.ndim(zero_point) else ())
    return values * np.asarray(scale).reshape(shape if np.ndim(scale) else ())


def palette(
    indices: AnyArray, lut: F32, shape: AnyArray | None = None, vector_axis: int | None = None
) -> F32:
    """Codes -> values of a table, or of one table for each block of codes."""
    if shape is not None:
        return _packed_palette(indices.view(np.uint8), lut, tuple(int(size) for size in shape))
    *counts, entries, vector = lut.shape
    blocks = _blocks(indices.shape, tuple(counts))
    bounded((*indices.shape, vector))
    codes = indices.reshape([size for pair in blocks for size in pair])
    tables = lut.reshape(-1, entries, vector)
    which = np.arange(len(tables)).reshape([size for count, _ in blocks for size in (count, 1)])
    values = tables[which, codes].reshape(*indices.shape, vector)
    if vector == 1:
        return values[..., 0]
    axis = int(vector_axis or 0) % indices.ndim
    values = np.moveaxis(values, -1, axis + 1)
    out = list(indices.shape)
    out[axis] *= vector
    return values.reshape(out)


def _packed_palette(packed: U8, lut: F32, shape: tuple[int, ...]) -> F32:
    bits = round(math.log2(len(lut)))
    codes = packed if bits == 8 else unpack(packed, bits)
    return lut[codes[: math.prod(bounded(shape))]].reshape(shape)


def sparse(nonzero_data: F32, mask: AnyArray, shape: AnyArray | None = None) -> F32:
    """Values where the mask has a bit, zeros elsewhere."""
    if shape is not None:
        size = bounded(tuple(int(s) for s in shape))
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")[: math.prod(size)]
        mask = bits.reshape(size)
    out = np.zeros(mask.shape, np.float32)
    out[mask != 0] = nonzero_data
    return out


def _blocks(data: tuple[int, ...], table: tuple[int, ...]) -> list[tuple[int, int]]:
    """Of each axis: how many blocks, and how long one is."""
    if len(data) != len(table) or any(n == 0 or d % n for d, n in zip(data, table, strict=True)):
        raise ValueError(f"blocks {list(table)} do not divide {list(data)}")
    return [(n, d // n) for d, n in zip(data, table, strict=True)]


OPS: Mapping[str, Callable[..., AnyArray]] = {
    "constexpr_blockwise_shift_scale": blockwise,
    "constexpr_affine_dequantize": affine,
    "constexpr_lut_to_dense": palette,
    "constexpr_sparse_to_dense": sparse,
    "constexpr_cast": lambda source_val, output_dtype: source_val,
}
