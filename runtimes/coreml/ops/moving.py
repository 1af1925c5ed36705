"""Operations that move elements, or make indices: none of them computes with floats.

What comes out owns its memory wherever a state could lie behind it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge.typing import AnyArray
from edge_runtimes.coreml.types import bounded


def reshape(x: AnyArray, shape: AnyArray) -> AnyArray:
    """From iOS 17 on: 0 keeps a size, counted from the right, or adds an axis; one -1 takes what is left."""
    kept = [1] * len(shape) + list(x.shape)
    places = zip(shape, kept[x.ndim :], strict=True)
    return x.reshape([size if n == 0 else int(n) for n, size in places])


def reshape_in_place(x: AnyArray, shape: AnyArray) -> AnyArray:
    """Up to iOS 16: 0 keeps the size of its own axis, where there are as many axes as before."""
    if 0 in shape and len(shape) != x.ndim:
        raise ValueError(f"a 0 in {list(shape)}, and {x.ndim} axes")
    return x.reshape([x.shape[i] if n == 0 else int(n) for i, n in enumerate(shape)])


def concat(values: list[AnyArray], axis: int, interleave: bool = False) -> AnyArray:
    bounded((sum(value.size for value in values),))
    if interleave:
        stacked = np.stack(values, axis=int(axis) % values[0].ndim + 1)
        return stacked.reshape(np.concatenate(values, axis=int(axis)).shape)
    return np.concatenate(values, axis=int(axis))


def stack(values: list[AnyArray], axis: int) -> AnyArray:
    bounded((sum(value.size for value in values),))
    return np.stack(values, axis=int(axis))


def split(
    x: AnyArray, axis: int, num_splits: int | None = None, split_sizes: AnyArray | None = None
) -> tuple[AnyArray, ...]:
    if split_sizes is None:
        return tuple(np.split(x, int(num_splits or 1), axis=int(axis)))
    cuts = np.cumsum([int(size) for size in split_sizes])
    if cuts[-1] != x.shape[int(axis)]:
        raise ValueError(f"parts {list(split_sizes)} of {x.shape[int(axis)]}")
    return tuple(np.split(x, cuts[:-1], axis=int(axis)))


def slices(
    x: AnyArray,
    begin: AnyArray,
    end: AnyArray,
    stride: AnyArray | None = None,
    begin_mask: AnyArray | None = None,
    end_mask: AnyArray | None = None,
    squeeze_mask: AnyArray | None = None,
) -> tuple[slice | int, ...]:
    """numpy's form of the arguments: a mask bit leaves a bound out, or takes one element."""
    out: list[slice | int] = []
    for i in range(x.ndim):
        low = None if begin_mask is not None and begin_mask[i] else int(begin[i])
        high = None if end_mask is not None and end_mask[i] else int(end[i])
        if squeeze_mask is not None and squeeze_mask[i]:
            out.append(low or 0)
        else:
            out.append(slice(low, high, 1 if stride is None else int(stride[i])))
    return tuple(out)


def slice_by_index(x: AnyArray, **bounds: Any) -> AnyArray:
    return np.array(x[slices(x, **bounds)])


def slice_by_size(x: AnyArray, begin: AnyArray, size: AnyArray) -> AnyArray:
    """size -1: all from there."""
    starts = [int(b) % whole for b, whole in zip(begin, x.shape, strict=True)]
    ends = [
        whole if n == -1 else start + int(n)
        for start, n, whole in zip(starts, size, x.shape, strict=True)
    ]
    picked = tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))
    return np.array(x[picked])


def slice_update(x: AnyArray, update: AnyArray, **bounds: Any) -> AnyArray:
    """x with a slice of it replaced."""
    out = np.array(x)
    put(out, update, **bounds)
    return out


def put(x: AnyArray, update: AnyArray, **bounds: Any) -> None:
    """Replace a slice where it lies; as Core ML has it, no row may fall outside."""
    at = slices(x, **bounds)
    if x[at].shape != update.shape:
        raise ValueError(f"an update of {list(update.shape)} into {list(x[at].shape)}")
    x[at] = update


def gather(
    x: AnyArray,
    indices: AnyArray,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool = False,
) -> AnyArray:
    """Rows by number; one outside is an error here, whatever a device does with it."""
    at, shared = int(axis) % x.ndim, int(batch_dims)
    if not 0 <= shared <= min(at, np.ndim(indices)):
        raise ValueError(f"gather along axis {at} with {shared} batch_dims")
    bounded((*x.shape[:at], *np.shape(indices)[shared:], *x.shape[at + 1 :]))
    if not shared:
        return np.take(x, indices, axis=at)
    batch = x.shape[:shared]
    if indices.shape[:shared] != batch:
        raise ValueError(f"indices {list(indices.shape)} into {list(x.shape)}")
    rows = [np.take(x[i], indices[i], axis=at - shared) for i in np.ndindex(batch)]
    return np.reshape(rows, (*batch, *rows[0].shape))


def gather_along_axis(
    x: AnyArray, indices: AnyArray, axis: int = 0, validate_indices: bool = False
) -> AnyArray:
    at = int(axis) % x.ndim
    if (
        indices.ndim != x.ndim
        or np.delete(x.shape, at).tolist() != np.delete(indices.shape, at).tolist()
    ):
        raise ValueError(f"indices {list(indices.shape)} into {list(x.shape)}")
    return np.take_along_axis(x, indices, axis=at)


def tile(x: AnyArray, reps: AnyArray) -> AnyArray:
    counts = [int(n) for n in reps]
    bounded(tuple(size * n for size, n in zip(x.shape, counts, strict=True)))
    return np.tile(x, counts)


def fill(shape: AnyArray, value: AnyArray) -> AnyArray:
    return np.full(bounded(tuple(int(size) for size in shape)), value)


def range_1d(start: Any, end: Any, step: Any) -> AnyArray:
    bounded((max(0, int(np.ceil((end - start) / step))),))
    return np.arange(start, end, step)


def pad(
    x: AnyArray, pad: AnyArray, mode: str = "constant", constant_val: AnyArray | float = 0
) -> AnyArray:
    """Pairs of sizes for the last axes."""
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + [
        (int(a), int(b)) for a, b in zip(pad[::2], pad[1::2], strict=True)
    ]
    bounded(tuple(size + a + b for size, (a, b) in zip(x.shape, pairs, strict=True)))
    if mode == "constant":
        return np.pad(x, pairs, constant_values=constant_val)
    modes = {"reflect": "reflect", "replicate": "edge"}
    return np.pad(x, pairs, mode=modes[mode])  # type: ignore[call-overload]


def expand_dims(x: AnyArray, axes: AnyArray) -> AnyArray:
    return np.expand_dims(x, tuple(int(a) for a in axes))


def squeeze(x: AnyArray, axes: AnyArray | None = None) -> AnyArray:
    return np.squeeze(x, None if axes is None else tuple(int(a) for a in axes))


def flatten2d(x: AnyArray, axis: int = 1) -> AnyArray:
    return x.reshape(int(np.prod(x.shape[: int(axis)])), -1)


OPS: Mapping[str, Callable[..., Any]] = {
    "concat": concat,
    "expand_dims": expand_dims,
    "fill": fill,
    "flatten2d": flatten2d,
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "identity": lambda x: x,
    "pad": pad,
    "range_1d": range_1d,
    "reshape": reshape,
    "shape": lambda x: np.array(x.shape, np.int32),
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "slice_update": slice_update,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "tile": tile,
    "transpose": lambda x, perm: np.transpose(x, [int(p) for p in perm]),
}
BEFORE_7: Mapping[str, Callable[..., Any]] = {"reshape": reshape_in_place}
