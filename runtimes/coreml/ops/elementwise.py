"""Operations on each element by itself, and on pairs that broadcast.

What MIL calls a scalar goes through `float`, which refuses an array that would broadcast.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge.typing import F32, AnyArray
from edge_runtimes.coreml.types import bounded

_SQRT_HALF = np.float32(math.sqrt(0.5))


def cast(x: AnyArray, dtype: str) -> AnyArray:
    """The evaluator gives the result its declared type; only truth is decided here."""
    return x != 0 if dtype == "bool" else x


def clip(x: F32, alpha: float, beta: float) -> F32:
    return np.clip(x, float(alpha), float(beta))


def erf(x: F32) -> F32:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), np.float32)


def gelu(x: F32, mode: str = "EXACT") -> F32:
    """x times the normal distribution function, or one of its two approximations."""
    if mode == "EXACT":
        return x * ((erf(x * _SQRT_HALF) + np.float32(1)) * np.float32(0.5))
    if mode == "SIGMOID_APPROXIMATION":
        return x * sigmoid(np.float32(1.702) * x)
    if mode != "TANH_APPROXIMATION":
        raise ValueError(f"gelu has no mode {mode!r}")
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return x * ((np.tanh(inner) + np.float32(1)) * np.float32(0.5))


def sigmoid(x: F32) -> F32:
    return np.float32(1) / (
        np.float32(1) + np.exp(-x)
    )  # exp overflows to infinity, and 1 / inf is right


def select(cond: AnyArray, a: AnyArray, b: AnyArray) -> AnyArray:
    bounded(np.broadcast_shapes(np.shape(cond), np.shape(a), np.shape(b)))
    return np.where(cond, a, b)


def softplus(x: F32) -> F32:
    out: F32 = np.logaddexp(x, np.float32(0))
    return out


def leaky_relu(x: F32, alpha: float) -> F32:
    out: F32 = np.where(x >= 0, x, float(alpha) * x)
    return out


def _pair(function: Callable[[Any, Any], Any]) -> Callable[..., AnyArray]:
    def call(x: AnyArray, y: AnyArray) -> AnyArray:
        bounded(np.broadcast_shapes(np.shape(x), np.shape(y)))
        return function(x, y)

    return call


OPS: Mapping[str, Callable[..., AnyArray]] = {
    "abs": lambda x: np.abs(x),
    "add": _pair(np.add),
    "cast": cast,
    "ceil": lambda x: np.ceil(x),
    "clip": clip,
    "cos": lambda x: np.cos(x),
    "equal": _pair(np.equal),
    "erf": erf,
    "exp": lambda x: np.exp(x),
    "exp2": lambda x: np.exp2(x),
    "floor": lambda x: np.floor(x),
    "floor_div": _pair(np.floor_divide),
    "gelu": gelu,
    "greater": _pair(np.greater),
    "greater_equal": _pair(np.greater_equal),
    "inverse": lambda x, epsilon=1e-4: 1 / (x + float(epsilon)),
    "leaky_relu": leaky_relu,
    "less": _pair(np.less),
    "less_equal": _pair(np.less_equal),
    "log": lambda x, epsilon=1e-45: np.log(x + float(epsilon)),
    "logical_and": _pair(np.logical_and),
    "logical_not": lambda x: np.logical_not(x),
    "logical_or": _pair(np.logical_or),
    "logical_xor": _pair(np.logical_xor),
    "maximum": _pair(np.maximum),
    "minimum": _pair(np.minimum),
    "mod": _pair(np.mod),
    "mul": _pair(np.multiply),
    "not_equal": _pair(np.not_equal),
    "pow": _pair(np.power),
    "real_div": _pair(np.divide),
    "relu": lambda x: np.maximum(x, 0),
    "round": lambda x: np.rint(x),
    "rsqrt": lambda x, epsilon=1e-12: 1 / np.sqrt(x + float(epsilon)),
    "select": select,
    "sigmoid": sigmoid,
    "sign": lambda x: np.sign(x),
    "silu": lambda x: x * sigmoid(x),
    "sin": lambda x: np.sin(x),
    "softplus": softplus,
    "sqrt": lambda x: np.sqrt(x),
    "square": lambda x: x * x,
    "sub": _pair(np.subtract),
    "tanh": lambda x: np.tanh(x),
}
