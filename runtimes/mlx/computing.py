"""How this runtime computes, and how much memory that takes, from numbers alone."""

from collections.abc import Iterable
from dataclasses import replace

import mlx.core as mx

from edge.contracts import PLAINLY, Numerics, Use
from edge.names import shapes
from edge.quant.recipe import Recipe
from edge.quant.tensor import FP32, Float, Scheme
from edge.spec import DecoderSpec

CHUNK = 512  # tokens of a prompt at a time: bounds the memory of activations
SCORES = 1 << 22  # attention scores a head and call
BASE = 105_000_000  # bytes: interpreter, numpy, MLX, a tokenizer
TYPES: dict[Float, mx.Dtype] = {"fp32": mx.float32, "fp16": mx.float16, "bf16": mx.bfloat16}
_ERRORS: dict[Float, float] = {
    "fp16": 1e-2,
    "bf16": 8e-2,
}  # of logits: eight bits are eight times as coarse


def activations(numbers: Iterable[Float], *, packed: bool, exact: bool) -> Float:
    """The type of activations: that of all stored floats, else float32, which is also the exact one.

    A CPU multiplies codes by float16 forty times slower than by float32: there codes mean float32.
    """
    found = set(numbers)
    if exact or len(found) > 1 or (packed and on_cpu()):
        return "fp32"
    return found.pop()


def on_cpu() -> bool:
    return mx.default_device().type == mx.DeviceType.cpu


def numerics(recipe: Recipe, *, exact: bool) -> Numerics:
    """How a decoder that was opened so computes."""
    schemes, number = _schemes(recipe), _activations(recipe, exact=exact)
    vectors = recipe.body.number
    if number != "fp32":
        return Numerics(tolerance=_ERRORS[number], vectors=vectors, cache=number)
    tolerance = 1e-4 if schemes == {FP32} else 1e-3
    if not exact:  # a dense weight of another type rounds what it is multiplied by
        narrow = (_ERRORS.get(scheme.number, 0) for scheme in schemes if scheme.is_float)
        tolerance = max(tolerance, *narrow, 0)
    return Numerics(tolerance=tolerance, vectors=vectors)


def memory(spec: DecoderSpec, recipe: Recipe, *, tokens: int, use: Use = PLAINLY) -> int:
    """Peak resident bytes of a run whose sequence reaches this many tokens; an exit takes no more."""
    number = _activations(recipe, exact=False)
    size = TYPES[number].size
    rows = use.reads(tokens)
    cache = sum(2 * size * layer.kv_heads * layer.head_width * rows for layer in spec.layers)
    cache += use.cutting(spec, tokens, answer=0, number=size)
    weights = 0
    for name, shape in shapes(spec).items():
        if len(shape) == 2:
            scheme = recipe.scheme(name, by_row=name == "embed")
            own = scheme if scheme.is_float else replace(scheme, number=number, zero="minimum")
            weights += own.nbytes(*shape)
    return BASE + weights + cache + _working(spec, min(tokens, CHUNK), tokens)


def chunk(length: int) -> int:
    """Tokens of a prompt that are read at a time after `length` others: long caches take fewer."""
    return max(64, min(CHUNK, SCORES // (length + CHUNK)))


def _working(spec: DecoderSpec, count: int, tokens: int) -> int:
    """The widest layer's activations, in float32, and its scores, which a CPU keeps."""
    widest = 0
    for layer in spec.layers:
        wide = 4 * spec.width + 2 * (layer.heads + 2 * layer.kv_heads) * layer.head_width
        seen = min(tokens, (layer.window or tokens) + count)
        scores = layer.heads * min(SCORES, count * seen) * 5 // 4
        widest = max(widest, count * (wide + 4 * layer.ffn_width) + scores)
    return 4 * widest


def _schemes(recipe: Recipe) -> set[Scheme]:
    return {recipe.body, recipe.embed, recipe.head, *(scheme for _, scheme in recipe.overrides)}


def _activations(recipe: Recipe, *, exact: bool) -> Float:
    schemes = _schemes(recipe)
    packed = any(not scheme.is_float for scheme in schemes)
    return activations((scheme.number for scheme in schemes), packed=packed, exact=exact)
