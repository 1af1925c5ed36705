"""The operations a model is written in. A target is one implementation of this protocol.

An operation is as large as the largest fused kernel that a target has, and no larger: `attend`
takes raw q, k and v because fused attention kernels norm, rotate and cache by themselves. None has
a shape argument, so that a target alone decides on batch, static or dynamic length, dtype, cache
and positions. Weights are referred to by canonical name (`edge.names`): how one is stored is the
target's business.

T rows (positions), D model width, H query heads, G kv heads, W head width, F feed-forward width, V
vocabulary.
"""

from collections.abc import Collection
from typing import Protocol, TypeVar

from edge.spec import LayerSpec, Norm, Rope

Array = TypeVar("Array")
Rotation = TypeVar("Rotation")


class Ops(Protocol[Array, Rotation]):
    """What a decoder is made of."""

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
