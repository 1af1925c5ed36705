"""Attention and its softmax.

L queries, S keys, E their width, V the width of values.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from edge.typing import F32, AnyArray
from edge_runtimes.coreml.types import bounded


def softmax(x: F32, axis: int = -1) -> F32:
    """The largest is taken out first: exp overflows past 88."""
    weights = np.exp(x - x.max(axis=int(axis), keepdims=True))
    return weights / weights.sum(axis=int(axis), keepdims=True)


def scaled_dot_product_attention(
    query: F32, key: F32, value: F32, attn_mask: AnyArray | None = None
) -> F32:
    """query [..., L, E], key [..., S, E], value [..., S, V] -> [..., L, V].

    A mask [..., L, S] of floats is added to the scores; one of truths says which take part.
    """
    rows = np.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    scored = bounded((*rows, query.shape[-2], key.shape[-2]))
    bounded((*rows, query.shape[-2], value.shape[-1]))
    if attn_mask is not None and np.broadcast_shapes(attn_mask.shape, scored) != scored:
        raise ValueError(f"a mask of {list(attn_mask.shape)} for scores of {list(scored)}")
    scores = query @ np.swapaxes(key, -1, -2) / np.float32(math.sqrt(query.shape[-1]))
    if attn_mask is not None and attn_mask.dtype == np.bool_:
        scores = np.where(attn_mask, scores, np.float32(-np.inf))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return softmax(scores) @ value


OPS: Mapping[str, Callable[..., AnyArray]] = {
    "softmax": softmax,
    "scaled_dot_product_attention": scaled_dot_product_attention,
}
