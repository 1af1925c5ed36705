"""What a run of llama.cpp computes like, and how much memory it takes, from numbers alone.

Blocks of codes are read into memory in the order that its kernels want; floats stay mapped. Of a tied
table of codes there are two copies: rows are looked up in the one, and the head is the other.

While a cache is cut, it is there twice, in its context and as a state; then it is as small as what is
kept. The first layers as a drafter have a cache of their own, share mapped floats, and hold codes of
their layers, of the embedding and of the head once more.
"""

from dataclasses import replace

from edge.contracts import PLAINLY, Numerics, Rounding, Use
from edge.names import shapes
from edge.quant.recipe import Recipe
from edge.quant.tensor import Scheme
from edge.spec import DecoderSpec, cache_bytes
from edge_runtimes.gguf.decoder import ANSWER, FIRST_ROWS
from edge_runtimes.gguf.library import at_once

BASE = 110_000_000  # interpreter, numpy, the library and its buffers, a tokenizer
_TOKEN = 700  # bytes of a token in two tokenizers: ours and the library's
_FLOAT, _HALF = 4, 2
_SUPER = 256  # columns of its larger blocks, whose inputs have a scale in float32 for as many


def numerics(recipe: Recipe, *, exact: bool) -> Numerics:
    """Inputs are rounded to what each type of weights is multiplied with; there is no other kernel.

    The exact twin has attention and its cache in float32, and agrees up to ties. The fast one computes
    both in fp16, which moves inputs across the ties of their rounding to int8 everywhere.
    """
    if exact:
        return Numerics(tolerance=1e-4, inputs=_inputs)
    tolerance = 1e-2 if recipe.body.is_float else 4e-2
    return Numerics(tolerance=tolerance, cache="fp16", inputs=_inputs)


def memory(spec: DecoderSpec, recipe: Recipe, *, tokens: int, use: Use = PLAINLY) -> int:
    """Peak resident bytes of a run whose sequence reaches this many tokens."""
    rows = min(max(use.reads(tokens) + ANSWER, FIRST_ROWS), spec.context)
    layers = [2 * _HALF * layer.kv_heads * layer.head_width * rows for layer in spec.layers]
    weights = _weights(spec, recipe)
    if use.exit_ is not None:
        layers += layers[: use.exit_]
        weights += _first_codes(spec, recipe, use.exit_)
    cache = sum(layers) + use.cutting(spec, tokens, answer=ANSWER, number=_HALF)
    if use.cut(tokens):
        cache += cache_bytes(spec, use.reads(tokens), number=_HALF)
    return BASE + _TOKEN * spec.vocab + weights + cache + _activations(spec, rows)


def _first_codes(spec: DecoderSpec, recipe: Recipe, exit_: int) -> int:
    """Of the layers before an exit, the embedding and the head, where those that are read are codes."""
    total = _weights(replace(spec, layers=spec.layers[:exit_], exits=()), recipe)
    return 0 if recipe.body.is_float else total


def _inputs(scheme: Scheme) -> Rounding | None:
    if scheme.is_float:
        return None if scheme.number == "fp32" else scheme.number
    if scheme.block_bytes and scheme.group == _SUPER:
        return "int8"
    return "q8_1" if scheme.zero == "minimum" else "q8_0"


def _weights(spec: DecoderSpec, recipe: Recipe) -> int:
    same = spec.tied and recipe.embed == recipe.head and recipe.embed.is_float
    total = recipe.embed.nbytes(spec.vocab, spec.width)
    total += 0 if same else recipe.head.nbytes(spec.vocab, spec.width)
    layers = {name: shape for name, shape in shapes(spec).items() if name.startswith("layers.")}
    return total + sum(
        recipe.scheme(name).nbytes(*shape) for name, shape in layers.items() if len(shape) == 2
    )


def _activations(spec: DecoderSpec, rows: int) -> int:
    """The widest layer's: stream and norm, q, k and v, the gated feed-forward; a mask in fp16; scores."""
    new = at_once(rows)
    widest = max(
        3 * spec.width
        + 2 * (layer.heads + 2 * layer.kv_heads) * layer.head_width
        + 3 * layer.ffn_width
        for layer in spec.layers
    )
    heads = max(layer.heads for layer in spec.layers)
    return new * (_FLOAT * (widest + heads * rows) + _HALF * rows)
