"""What a model is, in numbers. All that a target may know of a family.

A family turns a checkpoint's `config.json` into one of these; `edge.nn` turns it into maths over
`edge.ops`. If a target needs to ask which family it has, a field is missing here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from edge.errors import Damaged

NormKind = Literal["rms", "layer"]
GateKind = Literal["silu", "gegelu"]
# The matrices of a layer, in the order of use.
MatrixName = Literal[
    "attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down"
]  # fmt: skip
MATRICES: tuple[MatrixName, ...] = get_args(MatrixName)


@dataclass(frozen=True, kw_only=True, slots=True)
class Norm:
    """A normalization over the last axis, with a learned weight; a layer norm has a bias, too."""

    eps: float
    kind: NormKind = "rms"


@dataclass(frozen=True, kw_only=True, slots=True)
class Llama3Scaling:
    """Llama 3.1's rescaling of low rotary frequencies; wavelengths are in tokens."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LongRope:
    """LongRoPE's factors a rotated pair (arXiv 2402.13753): one set up to the original context, one
    for all positions of a sequence that is longer. Cosines and sines are times the attention factor.
    """

    short: tuple[float, ...]
    long: tuple[float, ...]
    short_attention: float
    long_attention: float
    original_context: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicNtk:
    """A base that grows with the context that was asked for, past the original one."""

    factor: float
    original_context: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rope:
    """Rotary positions (arXiv 2104.09864) in the rotate-half pairing: i with i + width / 2."""

    theta: float
    width: int  # how many of a head's dimensions are rotated
    scaling: Llama3Scaling | LongRope | DynamicNtk | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSparse:
    """Attention by blocks of positions (arXiv 2404.14219): a query's block sees the `local` last
    blocks, its own included, and of those before them each `stride`-th, which ones depends on the head.
    """

    block: int = 64
    local: int = 16
    stride: int = 8

    @property
    def reach(self) -> int:
        """Tokens up to which nothing is hidden."""
        return self.block * self.local

    def shift(self, heads: int) -> int:
        """Blocks by which the columns that one head sees lie before those of the head before."""
        return max(1, self.stride // heads)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerSpec:
    """One decoder layer: layers of one model may differ in every number."""

    heads: int
    kv_heads: int
    head_width: int
    ffn_width: int
    gate: GateKind = "silu"
    gate_limit: float | None = None  # gegelu: g at most this, u within plus and minus this
    biases: tuple[MatrixName, ...] = ()  # the matrices that have one each, in the order of use
    score_scale: float | None = None  # None: one over the root of the head's width
    sparse: BlockSparse | None = None  # None: dense
    window: int | None = None  # keys that a query sees, itself included; None: all before it
    qk_norm: float | None = None  # eps of the RMS norm over each head of q and k, before rotation

    @property
    def scale(self) -> float:
        """What scores are multiplied by before the softmax."""
        return 1 / math.sqrt(self.head_width) if self.score_scale is None else self.score_scale

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            problem = f"{self.heads} query heads do not divide into {self.kv_heads} kv heads"
            raise Damaged(problem, fix="correct the numbers of heads in config.json")
        if self.biases != tuple(name for name in MATRICES if name in self.biases):
            problem = f"biases of {', '.join(self.biases)}"
            raise Damaged(problem, fix=f"name each once, in this order: {', '.join(MATRICES)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderSpec:
    """A pre-norm decoder with rotary positions."""

    vocab: int  # rows of the embedding, padding rows included
    width: int
    layers: tuple[LayerSpec, ...]
    norm: Norm
    rope: Rope
    context: int  # longest sequence, in tokens; it fixes the rope table
    tied: bool  # the head is the embedding
    embed_scale: float = 1.0  # times the embedding
    logit_scale: float = 1.0  # times the logits
    forbidden: tuple[int, ...] = ()  # ids that are never predicted: their logits are minus infinity
    exits: tuple[
        int, ...
    ] = ()  # numbers of layers after which a draft may stop, rising (LayerSkip)
    draft_vocab: int | None = None  # the first ids, which alone a draft at an exit is of; None: all
    snapkv_rows: tuple[
        int, ...
    ] = ()  # of caches beside the whole one, rising, for what SnapKV keeps
    spliced: bool = False  # it takes rows for tokens, beside another network

    def __post_init__(self) -> None:
        if not self.layers:
            raise Damaged("a model without layers", fix="correct the number of layers")
        if self.exits != tuple(sorted({e for e in self.exits if 0 < e < len(self.layers)})):
            problem = f"exits after {self.exits} of {len(self.layers)} layers"
            raise Damaged(problem, fix=f"name numbers from 1 to {len(self.layers) - 1}, rising")
        if self.draft_vocab is not None and not 0 < self.draft_vocab <= self.vocab:
            problem = f"drafts of {self.draft_vocab} of {self.vocab} ids"
            raise Damaged(problem, fix=f"give 1 to {self.vocab}")
        if self.snapkv_rows != tuple(sorted({n for n in self.snapkv_rows if n > 0})):
            problem = f"caches of {self.snapkv_rows} rows"
            raise Damaged(problem, fix="name numbers above 0, rising")
        if any(token >= self.vocab for token in self.forbidden):
            problem = f"forbidden id {max(self.forbidden)} of a vocabulary of {self.vocab}"
            raise Damaged(problem, fix="correct the dummy ids in config.json")


def longest(spec: DecoderSpec) -> int:
    """The longest context that this model may be given: its own, unless its rotary base grows."""
    scaling = spec.rope.scaling
    if not isinstance(scaling, DynamicNtk):
        return spec.context
    return max(spec.context, int(scaling.factor * scaling.original_context))


def parts(spec: DecoderSpec) -> Mapping[str, DecoderSpec]:
    """The specs that a model is, by what their entry points are called: two where a longer sequence
    has other rotary tables, else one. The last is the whole.
    """
    scaling = spec.rope.scaling
    if isinstance(scaling, LongRope | DynamicNtk) and spec.context > scaling.original_context:
        return {"short-": replace(spec, context=scaling.original_context), "": spec}
    return {"": spec}


def sees_all(spec: DecoderSpec) -> bool:
    """Whether every query sees every row before it: then rows need not be positions."""
    return all(layer.window is None and layer.sparse is None for layer in spec.layers)


def cache_bytes(spec: DecoderSpec, rows: int | Sequence[int], *, number: int = 4) -> int:
    """A cache of this many rows, or so many for each layer, in numbers of so many bytes; a layer with a
    window reads no more than that.
    """
    counts = [rows] * len(spec.layers) if isinstance(rows, int) else rows
    return sum(
        2 * number * layer.kv_heads * layer.head_width * min(count, layer.window or count)
        for layer, count in zip(spec.layers, counts, strict=True)
    )
