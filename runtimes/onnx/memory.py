"""What a run of ONNX Runtime computes like, and how much memory it takes, from numbers alone.

What its CPU provider does, seen at two real shapes, seven recipes and five lengths (docs/plan.json):
a matrix is packed anew when its session opens, floats as float32, codes with a block sum beside each
scale. Of the mapped original the scales and zeros stay. The largest matrix is there twice while it is
packed. An embedding is not packed: a row that is looked up brings its surroundings. What a layer
makes of a chunk of the prompt is not used again within the layer.
"""

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from edge.contracts import PLAINLY, Numerics, Rounding, Use
from edge.names import shapes
from edge.net import NetSpec
from edge.nn.decoder import head_name
from edge.quant.recipe import Recipe
from edge.quant.tensor import FP32, ROW, Scheme
from edge.spec import DecoderSpec
from edge_runtimes.onnx.decoder import ANSWER, CHUNK, FIRST_ROWS, biased, chunk

BASE = 93_000_000  # interpreter, numpy, edge, and what a run uses of the libraries
_FLOAT = 4
_AROUND = 1 << 16  # bytes that Linux maps around one that is read
_FUSED = {"q": "qkv", "k": "qkv", "v": "qkv", "gate": "in", "up": "in"}


def numerics(recipe: Recipe, *, exact: bool) -> Numerics:
    tolerance = 1e-4 if recipe.body == FP32 else 1e-3
    return Numerics(tolerance=tolerance) if exact else Numerics(tolerance=tolerance, inputs=_inputs)


def _inputs(scheme: Scheme) -> Rounding | None:
    """The fast kernels round to int8, but where zeros are floats: there weights are unpacked. With a scale
    a row, to unsigned codes of one scale.
    """
    if scheme.group == ROW:
        return "u8"
    return None if scheme.is_float or scheme.zero == "minimum" else "int8"


def memory(spec: DecoderSpec, recipe: Recipe, *, tokens: int, use: Use = PLAINLY) -> int:
    """Peak resident bytes of a run whose sequence reaches this many tokens.

    Two graphs of an exit each pack the head, the first one as much of it as drafts are of. A cache is
    rounded once the prompt is read, layer by layer: before, it is as large as ever.
    """
    matrices = _matrices(spec, recipe)
    if use.exit_ is not None:
        matrices.append(_Matrix(recipe.scheme(head_name(spec)), *_draft_head(spec)))
    loading = max(matrix.while_packed for matrix in matrices)
    running = max(matrix.while_used for matrix in matrices)
    running += _embedding(spec, recipe, tokens) + _activations(spec, tokens)
    running += _cache(spec, use.reads(tokens)) + _beside(spec, tokens, use)
    return BASE + sum(matrix.kept for matrix in matrices) + max(loading, running)


def _draft_head(spec: DecoderSpec) -> tuple[int, int]:
    return spec.draft_vocab or spec.vocab, spec.width


def _beside(spec: DecoderSpec, tokens: int, use: Use) -> int:
    """What other means than plain decoding take beside a cache: a cut one; streams after an exit; a
    layer in int8 before its floats go.
    """
    out = use.cutting(spec, tokens, answer=ANSWER, number=_FLOAT)
    if use.exit_ is not None:
        out += _FLOAT * spec.width * min(tokens, CHUNK)
    if use.rounded:
        rows = use.cut(tokens) or tokens
        out += max(layer.kv_heads * layer.head_width * rows for layer in spec.layers)
    return out


@dataclass(frozen=True, slots=True)
class _Matrix:
    """What one matrix takes, by its precision: [N, K] in J groups."""

    scheme: Scheme
    rows: int
    columns: int

    @property
    def kept(self) -> int:
        """Packed codes, scales and sums, and the mapped scales and zeros; or floats. Where groups have
        minimums nothing is packed.
        """
        if self.scheme.is_float:
            return _FLOAT * self.rows * self.columns
        mapped = self._scales + self._zeros
        packed = self._scales + self._zeros + self._scales  # a sum is as large as a scale
        return self._codes + mapped + (0 if self.scheme.zero == "minimum" else packed)

    @property
    def stored(self) -> tuple[int, ...]:
        """Bytes in the file: floats, or codes, scales and zeros."""
        if self.scheme.is_float:
            return (self.scheme.nbytes(self.rows, self.columns),)
        return self._codes, self._scales, self._zeros

    @property
    def while_packed(self) -> int:
        """What packing it takes besides: its mapped codes, or its floats as float32."""
        return _FLOAT * self.rows * self.columns if self.scheme.is_float else self._codes

    @property
    def while_used(self) -> int:
        """What multiplying by it takes besides: with minimums, all of it as float32."""
        return _FLOAT * self.rows * self.columns if self.scheme.zero == "minimum" else 0

    @property
    def _codes(self) -> int:
        width = self.scheme.width(self.columns)
        return self.rows * self._groups * width * self.scheme.bits // 8

    @property
    def _scales(self) -> int:
        return _FLOAT * self.rows * self._groups

    @property
    def _zeros(self) -> int:
        integers = self.rows * -(-self._groups * self.scheme.bits // 8)
        return {"middle": 0, "integer": integers, "minimum": self._scales}.get(self.scheme.zero, 0)

    @property
    def _groups(self) -> int:
        return self.scheme.groups(self.columns)


def packed_bytes(spec: NetSpec, recipe: Recipe, names: Collection[str]) -> int:
    """What the matrices of a network that is no decoder take, and the largest besides while it is packed."""
    known = shapes(spec)
    matrices = [_Matrix(recipe.scheme(name), *known[name]) for name in names]
    return sum(matrix.kept for matrix in matrices) + max(m.while_packed for m in matrices)


def _matrices(spec: DecoderSpec, recipe: Recipe) -> list[_Matrix]:
    """Every matrix that is multiplied by, fused ones as one; a tied head is one of its own."""
    rows: Counter[tuple[str, Scheme, int]] = Counter()
    for name, shape in shapes(spec).items():
        if len(shape) == 2 and (name != "embed" or spec.tied):
            at, _, last = name.rpartition(".")
            rows[f"{at}.{_FUSED.get(last, last)}", recipe.scheme(name), shape[1]] += shape[0]
    return [_Matrix(scheme, count, columns) for (_, scheme, columns), count in rows.items()]


def _embedding(spec: DecoderSpec, recipe: Recipe, tokens: int) -> int:
    """Pages that rows of the table bring, if each token is another; those of a file whose pages were
    read in large pieces may bring more.
    """
    table = _Matrix(recipe.scheme("embed", by_row=True), spec.vocab, spec.width)
    return sum(int(-size * math.expm1(-tokens * _AROUND / size)) for size in table.stored if size)


def _cache(spec: DecoderSpec, tokens: int) -> int:
    """Keys and values of every row that there is room for."""
    rows = min(max(tokens + ANSWER, FIRST_ROWS), spec.context)
    return sum(2 * _FLOAT * layer.kv_heads * layer.head_width * rows for layer in spec.layers)


def _activations(spec: DecoderSpec, tokens: int) -> int:
    """Of a chunk of the prompt, in the widest layer: what goes through; q, k and v as they are made,
    by head, rotated and attended; gate and up together, apart, activated and multiplied. And a
    sparse layer's biases, twice: while a cache grows, the allocator holds those of the chunk before.
    """
    widest = max(
        spec.width + 4 * (layer.heads + 2 * layer.kv_heads) * layer.head_width + 6 * layer.ffn_width
        for layer in spec.layers
    )
    heads = biased(spec)
    biases = 2 * heads * tokens * min(tokens, chunk(tokens, heads)) if heads else 0
    return _FLOAT * (min(tokens, CHUNK) * widest + biases)
