"""How much memory a run of torch on a CPU takes, from numbers alone, fitted to what is seen.

Floats stay mapped as they are stored; codes for the 4-bit kernel are packed anew, and their table is
mapped for the rows that are looked up. Activations live for one chunk of the prompt.
"""

from edge.contracts import PLAINLY, Use
from edge.names import shapes
from edge.quant.recipe import Recipe
from edge.spec import DecoderSpec
from edge_runtimes.torch.cache import ANSWER
from edge_runtimes.torch.decoder import CHUNK, number
from edge_runtimes.torch.weights import DTYPES

BASE = 290_000_000  # interpreter, numpy, torch, a tokenizer
_FLOAT = 4


def memory(spec: DecoderSpec, recipe: Recipe, *, tokens: int, use: Use = PLAINLY) -> int:
    """Peak resident bytes of a run whose sequence reaches this many tokens; an exit takes no more."""
    size, rows = DTYPES[number(recipe, exact=False)].itemsize, use.reads(tokens)
    cache = sum(2 * size * layer.kv_heads * layer.head_width * rows for layer in spec.layers)
    cache += use.cutting(spec, tokens, answer=ANSWER, number=size)
    return BASE + _weights(spec, recipe) + cache + _activations(spec, min(tokens, CHUNK))


def _weights(spec: DecoderSpec, recipe: Recipe) -> int:
    total = 0
    for name, shape in shapes(spec).items():
        if len(shape) == 1:
            total += _FLOAT * shape[0]
        else:
            total += recipe.scheme(name).nbytes(*shape)
    return total


def _activations(spec: DecoderSpec, chunk: int) -> int:
    """The widest layer's: stream and norm, q, k and v twice, the feed-forward, in float32."""
    widest = 0
    for layer in spec.layers:
        qkv = (layer.heads + 2 * layer.kv_heads) * layer.head_width
        widest = max(widest, 3 * spec.width + 2 * qkv + 4 * layer.ffn_width)
    return _FLOAT * chunk * widest
