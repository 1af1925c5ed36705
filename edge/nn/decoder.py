"""The decoder that every family of language models here shares, written once.

The residual stream travels as a pair (x, d): d is what the last sub-layer adds to x, so that every
target may fuse the addition into the norm that follows. A range of layers is a slice of the model,
never a copy: exits and splits call `layers` on the part they need.
"""

from edge.ops import Array, Ops, Rotation
from edge.spec import DecoderSpec


def decoder(
    ops: Ops[Array, Rotation], spec: DecoderSpec, x: Array, *, embedded: bool = False
) -> Array:
    """tokens [T], or what they are before the first layer, [T, D] -> logits [wanted rows, V]."""
    count = len(spec.layers)
    return segment(ops, spec, x, start=0, stop=count, ends=True, embedded=embedded)


def segment(
    ops: Ops[Array, Rotation],
    spec: DecoderSpec,
    x: Array,
    *,
    start: int,
    stop: int,
    ends: bool,
    embedded: bool = False,
) -> Array:
    """The layers from `start` up to `stop`, where a graph is cut: tokens [T], or a finished residual
    stream [T, D] if it begins later or is `embedded` -> a finished residual stream, or logits if the head
    `ends` it.
    """
    if start == 0 and not embedded:
        x = embed(ops, spec, x)
    d: Array | None = None
    if start < stop:
        rope = ops.rope(spec.rope, spec.context)
        x, d = layers(ops, spec, x, None, rope, start=start, stop=stop)
    if ends:
        return head(ops, spec, x, d)
    return x if d is None else ops.add(x, d)


def embed(ops: Ops[Array, Rotation], spec: DecoderSpec, tokens: Array) -> Array:
    """tokens [T] -> the residual stream before the first layer, [T, D]."""
    x = ops.embed("embed", tokens)
    return x if spec.embed_scale == 1 else ops.scale(x, spec.embed_scale)


def layers(
    ops: Ops[Array, Rotation],
    spec: DecoderSpec,
    x: Array,
    d: Array | None,
    rope: Rotation,
    *,
    start: int,
    stop: int,
) -> tuple[Array, Array | None]:
    """The residual pair before layer `start` -> the pair after layer `stop` - 1."""
    for index in range(start, stop):
        x, d = block(ops, spec, index, x, d, rope)
    return x, d


def block(
    ops: Ops[Array, Rotation],
    spec: DecoderSpec,
    index: int,
    x: Array,
    d: Array | None,
    rope: Rotation,
) -> tuple[Array, Array]:
    """One layer: attention, then the gated feed-forward, each after a norm."""
    layer, at = spec.layers[index], f"layers.{index}."
    biased = {at + name for name in layer.biases}
    x, h = ops.add_norm(x, d, at + "attn.norm", spec.norm)
    q, k, v = ops.linear(h, at + "attn.q", at + "attn.k", at + "attn.v", biased=biased)
    h = ops.attend(q, k, v, layer=layer, index=index, rope=rope)
    if index == len(spec.layers) - 1:  # no later layer attends: rows that nobody asked for end here
        x, h = ops.wanted(x), ops.wanted(h)
    (h,) = ops.linear(h, at + "attn.o", biased=biased)
    x, h = ops.add_norm(x, h, at + "mlp.norm", spec.norm)
    g, u = ops.linear(h, at + "mlp.gate", at + "mlp.up", biased=biased)
    (d,) = ops.linear(ops.gate(g, u, layer), at + "mlp.down", biased=biased)
    return x, d


def head(ops: Ops[Array, Rotation], spec: DecoderSpec, x: Array, d: Array | None) -> Array:
    """The residual pair -> logits. The same norm and head serve every exit."""
    _, h = ops.add_norm(x, d, "norm", spec.norm)
    (logits,) = ops.linear(h, head_name(spec))
    if spec.logit_scale != 1:
        logits = ops.scale(logits, spec.logit_scale)
    return ops.forbid(logits, spec.forbidden) if spec.forbidden else logits


def head_name(spec: DecoderSpec) -> str:
    """A tied head is the embedding, under the embedding's name."""
    return "embed" if spec.tied else "head"
