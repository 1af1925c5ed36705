"""Ops on MLX: lazy arrays, with MLX's fused attention, rotation and norms. Of one sequence, or of several at once,
where rows are of no cache.

B sequences, T new positions, S rows of the cache, H query heads, G kv heads, R = H / G, W head width.
"""

from dataclasses import dataclass

import mlx.core as mx

from edge.nn.rope import attention_factor, frequencies
from edge.spec import LayerSpec, Rope
from edge_runtimes.mlx.cache import Rows
from edge_runtimes.mlx.shared import SharedMlxOps


@dataclass(frozen=True, slots=True)
class Rotation:
    """Wavelengths of the rotated pairs over 2 pi, and what q and k are multiplied by first."""

    width: int
    lengths: mx.array  # [width / 2]
    factor: float

    def __call__(self, x: mx.array, offset: int | mx.array) -> mx.array:
        """x [1, H, T, W], turned to its positions."""
        if self.factor != 1:
            x = mx.concatenate([x[..., : self.width] * self.factor, x[..., self.width :]], axis=-1)
        return mx.fast.rope(
            x,
            self.width,
            traditional=False,
            base=None,
            scale=1.0,
            offset=offset,
            freqs=self.lengths,
        )


@dataclass(slots=True)
class MlxOps(SharedMlxOps):
    """`votes`: by layer, where they are asked for, what attention each row of the cache gets from each head:
    [H, S].
    """

    rows: Rows
    last_only: bool
    votes: dict[int, mx.array] | None = None

    def rope(self, rope: Rope, context: int) -> Rotation:
        lengths = mx.array(1 / frequencies(rope, context))
        return Rotation(rope.width, lengths, attention_factor(rope, context))

    def attend(
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        *,
        layer: LayerSpec,
        index: int,
        rope: Rotation,
    ) -> mx.array:
        like = q.shape
        q, k, v = (_heads(a, layer.head_width) for a in (q, k, v))
        if layer.qk_norm is not None:
            at = f"layers.{index}.attn."
            q = mx.fast.rms_norm(q, self.weights.value(at + "q_norm"), layer.qk_norm)
            k = mx.fast.rms_norm(k, self.weights.value(at + "k_norm"), layer.qk_norm)
        q, k = rope(q, self.rows.offset), rope(k, self.rows.offset)
        k, v, mask = self.rows.append(index, k, v, layer)
        if self.votes is not None:
            self.votes[index] = vote(q, k, layer)
        out = mx.fast.scaled_dot_product_attention(q, k, v, scale=layer.scale, mask=mask)
        return out.transpose(0, 2, 1, 3).reshape(like)  # [T, H W], or [B, T, H W]

    def gate(self, g: mx.array, u: mx.array, layer: LayerSpec) -> mx.array:
        if layer.gate == "gegelu":
            return _gegelu(g, u, layer.gate_limit)
        return g * mx.sigmoid(g) * u

    def scale(self, x: mx.array, by: float) -> mx.array:
        return x * by

    def forbid(self, logits: mx.array, ids: tuple[int, ...]) -> mx.array:
        logits[..., mx.array(ids)] = float("-inf")
        return logits

    def wanted(self, x: mx.array) -> mx.array:
        return x[..., -1:, :] if self.last_only else x


def _heads(x: mx.array, width: int) -> mx.array:
    """[T, H W] -> [1, H, T, W]; [B, T, H W] -> [B, H, T, W]."""
    count = 1 if x.ndim == 2 else len(x)
    return x.reshape(count, x.shape[-2], -1, width).transpose(0, 2, 1, 3)


def vote(q: mx.array, k: mx.array, layer: LayerSpec) -> mx.array:
    """What attention the last T positions give each of S, summed over them: q [1, H, T, W], k [1, G, S, W]
    -> [H, S]. In float32, a kv head at a time: no full matrix.
    """
    t, s = q.shape[2], k.shape[2]
    hidden = mx.arange(s) > mx.arange(s - t, s)[:, None]
    q, k = q[0].astype(mx.float32) * layer.scale, k[0].astype(mx.float32)
    out = []
    for queries, keys in zip(mx.split(q, layer.kv_heads), k, strict=True):
        scores = mx.where(hidden, float("-inf"), queries @ keys.T)  # [R, T, S]
        out.append(mx.softmax(scores, axis=-1).sum(axis=1))
    return mx.concatenate(out)


def _gegelu(g: mx.array, u: mx.array, limit: float | None) -> mx.array:
    """Phi-3-small's gate (arXiv 2404.14219): a fast GELU of g, times u + 1, both within a limit."""
    if limit is not None:
        g, u = mx.minimum(g, limit), mx.clip(u, -limit, limit)
    return g * mx.sigmoid(1.702 * g) * (u + 1)
