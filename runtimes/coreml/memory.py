"""How much memory a run of Core ML takes, from numbers alone: an estimate, not measured on a device.

A state has the rows of the whole context from the start, in fp16, and a small cache has its own. Low-bit
weights stay as they are where the unit that runs them expands them as it goes.
"""

from edge.contracts import PLAINLY, Use
from edge.quant.recipe import Recipe
from edge.quant.tensor import Scheme
from edge.spec import DecoderSpec

BASE = 150_000_000  # interpreter, numpy, coremltools, a tokenizer
_PROMPT = 512  # positions of the longest call


def memory(spec: DecoderSpec, recipe: Recipe, *, tokens: int, use: Use = PLAINLY) -> int:
    """Peak resident bytes of a run; the length of the sequence makes no difference, but that a longer one
    than is kept goes over to the smallest cache that holds what is. An exit takes no more.
    """
    rows = spec.context
    if cut := use.cut(tokens):
        rows += next((size for size in spec.snapkv_rows if size >= cut), 0)
    states = sum(4 * layer.kv_heads * layer.head_width * rows for layer in spec.layers)
    calls = min(_PROMPT, max(1, spec.context // 4))
    widest = max(
        layer.heads * (spec.context + layer.head_width) + 3 * layer.ffn_width + 4 * spec.width
        for layer in spec.layers
    )
    return BASE + _weights(spec, recipe) + states + 2 * calls * widest


def _weights(spec: DecoderSpec, recipe: Recipe) -> int:
    total = _size(recipe.embed, spec.vocab, spec.width)
    if not spec.tied or recipe.head != recipe.embed:
        total += _size(recipe.head, spec.vocab, spec.width)
    for layer in spec.layers:
        q, kv = layer.heads * layer.head_width, layer.kv_heads * layer.head_width
        total += _size(recipe.body, q + 2 * kv + 2 * layer.ffn_width, spec.width)
        total += _size(recipe.body, spec.width, q) + _size(recipe.body, spec.width, layer.ffn_width)
    return total


def _size(scheme: Scheme, rows: int, columns: int) -> int:
    return scheme.nbytes(rows, columns)
