"""Operations that coremltools computes itself while it builds a program.

One operation is built over constants, and the value that coremltools infers is taken. None of these
makes more than it was given, so that no hostile program grows here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge.errors import Unsupported
from edge_runtimes.coreml.toolkit import ct, mb, mil

KINDS = {
    "acos", "argsort", "asin", "atan", "atanh", "band_part", "clamped_relu", "cosh", "elu",
    "fill_like", "l2_norm", "linear_activation", "non_zero", "prelu", "relu6", "reverse",
    "reverse_sequence", "scaled_tanh", "scatter_along_axis", "sigmoid_hard", "sinh",
    "softplus_parametric", "softsign", "tan", "threshold", "thresholded_relu", "topk",
}  # fmt: skip


def infer(kind: str, inputs: Mapping[str, Any]) -> Any:
    """The value of one operation: an array, or several."""
    given = {n: v[()] if isinstance(v, np.ndarray) and not v.ndim else v for n, v in inputs.items()}
    with mil.Function({}, opset_version=ct.target.iOS18):
        out = getattr(mb, kind)(**given)
    several = isinstance(out, list | tuple)
    values = [var.val for var in (out if several else [out])]
    if any(value is None for value in values):
        raise Unsupported(
            f"coremltools infers no value of {kind} here", fix="use a package without it"
        )
    return tuple(values) if several else values[0]
