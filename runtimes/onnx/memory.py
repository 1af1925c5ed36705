"""What a run of ONNX Runtime computes like, and how much memory it takes, from numbers alone.

Fitted to what is seen on the CPU provider: low-bit matrices are packed anew at load, with a block
sum beside each scale, and the mapped originals are let go; an embedding that only gathers rows
stays mapped. Activations live for one chunk of the prompt.
"""

from edge.quant.recipe import Recipe
from edge.quant.tensor import FP32, Scheme
from edge.spec import DecoderSpec
from edge.targets import Numerics, Rounding
from runtimes.onnx.decoder import CHUNK, biased, chunk

BASE = 105_000_000  # interpreter, numpy, the runtime's library, a tokenizer
_FLOAT = 4


def numerics(recipe: Recipe, *, exact: bool) -> Numerics:
    tolerance = 1e-4 if recipe.body == FP32 else 1e-3
    return Numerics(tolerance=tolerance) if exact else Numerics(tolerance=tolerance, inputs=_inputs)


def _inputs(scheme: Scheme) -> Rounding | None:
    """The fast kernels round to int8, but where zeros are floats: there weights are unpacked."""
    return None if scheme.is_float or scheme.zero == "minimum" else "int8"


def memory(spec: DecoderSpec, recipe: Recipe, *, tokens: int) -> int:
    """Peak resident bytes of a run whose sequence reaches this many tokens."""
    cache = sum(2 * _FLOAT * layer.kv_heads * layer.head_width * tokens for layer in spec.layers)
    new, heads = min(tokens, CHUNK), biased(spec)
    # Twice: while a cache grows, the allocator holds the bias of the chunk before.
    bias = 2 * _FLOAT * heads * tokens * min(new, chunk(tokens, heads))
    return BASE + _weights(spec, recipe) + cache + bias + _activations(spec, new, tokens)


def _weights(spec: DecoderSpec, recipe: Recipe) -> int:
    total = recipe.embed.nbytes(spec.vocab, spec.width) + _packed(
        recipe.head, spec.vocab, spec.width
    )
    for layer in spec.layers:
        q, kv = layer.heads * layer.head_width, layer.kv_heads * layer.head_width
        total += _packed(recipe.body, q + 2 * kv + 2 * layer.ffn_width, spec.width)
        total += _packed(recipe.body, spec.width, q) + _packed(
            recipe.body, spec.width, layer.ffn_width
        )
    return total


def _packed(scheme: Scheme, rows: int, columns: int) -> int:
    """Floats are packed as float32; codes keep their size, and each scale gets a sum beside it."""
    if scheme.is_float:
        return rows * columns * _FLOAT
    return scheme.nbytes(rows, columns) + rows * scheme.groups(columns) * _FLOAT


def _activations(spec: DecoderSpec, chunk: int, tokens: int) -> int:
    """The widest layer's: stream and norm, q, k and v twice, the fused feed-forward twice, scores."""
    widest = 0
    for layer in spec.layers:
        qkv = (layer.heads + 2 * layer.kv_heads) * layer.head_width
        wide = 3 * spec.width + 2 * qkv + 5 * layer.ffn_width
        widest = max(widest, chunk * (wide + layer.heads * min(tokens, 2 * CHUNK)))
    return _FLOAT * widest
