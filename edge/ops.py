"""The operations a model is written in: `Ops` for decoders of text, `NetOps` for every other network. A
target is one implementation of each.

An operation is as large as the largest fused kernel that a target has, and no larger: `attend`
takes raw q, k and v because fused attention kernels norm, rotate and cache by themselves. None has
a shape argument, so that a target alone decides on batch, static or dynamic length, dtype, cache
and positions. Weights are referred to by canonical name (`edge.names`): how one is stored is the
target's business.

T rows (positions), D model width, H query heads, G kv heads, W head width, F feed-forward width, V
vocabulary.

A network that is no decoder keeps to four rules, by which its definition runs on every target. Channels
are the last axis: [B, T, C], [B, H, W, C]. An array has at most four axes. The first axis is a batch. And
no operation but `reshape` is told a size: what a call may choose is carried by 0 and -1 there.
"""

from collections.abc import Callable, Collection
from typing import Literal, Protocol, TypeVar

from edge.spec import LayerSpec, Norm, Rope
from edge.typing import F32

Array = TypeVar("Array")
Rotation = TypeVar("Rotation")
Act = Literal[
    "gelu", "gelu_tanh", "relu", "silu", "mish", "tanh", "sigmoid", "softplus",
    "exp", "log", "sqrt", "sin", "cos", "abs",
]  # fmt: skip
Pair = Literal["add", "sub", "mul", "div", "max", "min", "at_least"]
Fold = Literal["sum", "mean", "max"]


class SharedOps(Protocol[Array]):
    """What decoders and other networks both are made of."""

    def embed(self, name: str, tokens: Array) -> Array:
        """Rows of a table: tokens [T] -> [T, D]."""
        ...

    def add_norm(self, x: Array, d: Array | None, name: str, norm: Norm) -> tuple[Array, Array]:
        """(x + d, its norm): one kernel wherever a target has one; without d, (x, its norm).

        A layer norm's bias is `name`.bias.
        """
        ...

    def add(self, x: Array, d: Array) -> Array:
        """A finished residual stream, where a graph is cut."""
        ...

    def linear(self, x: Array, *names: str, biased: Collection[str] = ()) -> tuple[Array, ...]:
        """x times each weight, transposed: one input, so that a target may fuse their rows.

        Those that are `biased`, of these names or of others, have a bias under their name and .bias.
        """
        ...


class Ops(SharedOps[Array], Protocol[Array, Rotation]):
    """What a decoder is made of."""

    def rope(self, rope: Rope, context: int) -> Rotation:
        """Whatever the target wants `attend` to have: tables, positions. Called once, before the
        layers.
        """
        ...

    def attend(
        self, q: Array, k: Array, v: Array, *, layer: LayerSpec, index: int, rope: Rotation
    ) -> Array:
        """Causal attention of raw q [T, H W], k, v [T, G W] -> [T, H W].

        Owns qk norm, rotation, cache, window, sparsity and scale. `index` is the layer's number in the whole
        model, also in a cut graph, so that names of caches agree.
        """
        ...

    def gate(self, g: Array, u: Array, layer: LayerSpec) -> Array:
        """The gated unit, [T, F]: silu(g) * u, or gegelu's g sigmoid(1.702 g) * (u + 1), of g and u
        within the layer's limit.
        """
        ...

    def scale(self, x: Array, by: float) -> Array:
        """x * by; asked for only where by is not 1."""
        ...

    def forbid(self, logits: Array, ids: tuple[int, ...]) -> Array:
        """Logits [T, V], minus infinity in these columns; asked for only where there are any."""
        ...

    def wanted(self, x: Array) -> Array:
        """The rows whose logits this call was asked for: all, or the last."""
        ...


class NetOps(SharedOps[Array], Protocol[Array]):
    """What any other network is made of; `edge.nn.composed` makes more of these.

    B batch, T rows, S keys, C channels, k kernel.
    """

    def param(self, name: str) -> Array:
        """A weight as it is, in float: tables, vectors of scales."""
        ...

    def const(self, key: str, shape: tuple[int, ...], make: Callable[[], F32]) -> Array:
        """An array of this shape that no checkpoint holds; one `key` is one array."""
        ...

    def conv(
        self,
        x: Array,
        name: str,
        *,
        stride: int = 1,
        pad: tuple[int, int] = (0, 0),
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> Array:
        """x [B, T, C] with a weight [O, C / groups, k], or x [B, H, W, C] with [O, C / groups, k, k'] ->
        channels O; a bias is `name`.bias. `pad`: zeros before and after, along each axis that is not
        batch or channels.
        """
        ...

    def matmul(self, a: Array, b: Array) -> Array:
        """[..., N, K] times [..., K, M]; axes before these broadcast."""
        ...

    def attention(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        heads: int,
        scale: float | None = None,
        keep: Array | None = None,
        bias: Array | None = None,
    ) -> Array:
        """Every query sees every key: q [B, T, H W], k, v [B, S, H W] -> [B, T, H W].

        `scale`: one over the root of W if not given. `keep` [B, S]: 1 where a key counts, else 0. `bias`
        [1 or B, 1 or H, T, S] is added to scores.
        """
        ...

    def lstm(self, x: Array, name: str) -> Array:
        """A long short-term memory from nothing (torch's): x [B, T, C] -> [B, T, D], each row knowing those
        before it. Weights `name`.in [4 D, C], `name`.state [4 D, D] and a bias, rows of the input's gate,
        the forget gate, the output's and the cell's.
        """
        ...

    def act(self, x: Array, kind: Act) -> Array:
        """Element by element. `gelu` is the exact one, by the error function."""
        ...

    def pair(self, kind: Pair, x: Array, y: Array | float) -> Array:
        """Element by element, y broadcast to x or x to y; `at_least`: 1.0 where x >= y, else 0.0."""
        ...

    def norm(self, x: Array, name: str | None, norm: Norm) -> Array:
        """Over the last axis; without a name nothing is learned."""
        ...

    def softmax(self, x: Array) -> Array:
        """Along the last axis."""
        ...

    def fold(self, x: Array, kind: Fold, axis: int) -> Array:
        """Along one axis, which stays, as 1."""
        ...

    def reshape(self, x: Array, *sizes: int) -> Array:
        """A number; 0: the size at that place of x; once -1: whatever is left."""
        ...

    def transpose(self, x: Array, *order: int) -> Array: ...

    def concat(self, *xs: Array, axis: int = -1) -> Array: ...

    def split(self, x: Array, *sizes: int, axis: int = -1) -> tuple[Array, ...]:
        """Parts of these sizes, which add up to the axis."""
        ...

    def pad(self, x: Array, axis: int, before: int, after: int) -> Array:
        """Zeros along an axis; a negative number cuts so many away."""
        ...

    def spread(self, x: Array, like: Array) -> Array:
        """A table [N, D] for each of the batch: [B, N, D], B as of `like`."""
        ...

    def as_many(self, x: Array, like: Array) -> Array:
        """Of a table [N, D] as many rows as `like` [B, T, C] has: [T, D]."""
        ...

    def take(self, x: Array, rows: Array) -> Array:
        """Rows by number: x [B, N, D], rows [B, K] of integers -> [B, K, D]."""
        ...

    def top_k(self, x: Array, k: int) -> tuple[Array, Array]:
        """The k largest along the last axis, the largest first, and their numbers. Which of equals comes
        first is the target's choice: no number that comes of a tie may leave a network.
        """
        ...

    def cumsum(self, x: Array) -> Array:
        """Along the last axis."""
        ...
