"""What llama.cpp computes under each name that it knows, applied to a spec.

llama.cpp holds a model's graph itself; a file names it and brings tensors and numbers. A row, which
lies in the file of its family, says how that graph wants them: which weights are stacked, in which
order a head's rows lie, and what of a spec it can compute at all.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edge.errors import Unsupported
from edge.families import Architecture as Architecture  # the row, which converters may know
from edge.families import architectures
from edge.names import shapes
from edge.spec import DecoderSpec, DynamicNtk, LayerSpec, LongRope
from edge.typing import I64, Shape

_NAMES = {
    "embed": "token_embd", "norm": "output_norm", "head": "output", "attn.norm": "attn_norm",
    "attn.q": "attn_q", "attn.k": "attn_k", "attn.v": "attn_v", "attn.o": "attn_output",
    "attn.q_norm": "attn_q_norm", "attn.k_norm": "attn_k_norm", "mlp.norm": "ffn_norm",
    "mlp.gate": "ffn_gate", "mlp.up": "ffn_up", "mlp.down": "ffn_down",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorRows:
    """Where a weight lies: rows of a tensor from `first` on; `order`: row i is its `order[i]`th."""

    tensor: str
    first: int
    order: I64 | None = None


@dataclass(frozen=True, slots=True)
class Stacked:
    """A tensor of a file: the weights whose rows it stacks, and its shape."""

    weights: tuple[str, ...]
    shape: Shape


def architecture(name: str) -> Architecture:
    known = architectures()
    if name not in known:
        raise Unsupported(
            f"llama.cpp's architecture {name!r:.60} is none that edge knows",
            fix=f"use a model of: {', '.join(sorted(known))}; or give a family in edge/families its row",
        )
    return known[name]


def stacks(spec: DecoderSpec, arch: Architecture, *, head: bool) -> dict[str, Stacked]:
    """Every tensor of a file; `head`: also where the embedding could serve as one."""
    known = shapes(spec)
    groups: dict[str, list[str]] = {}
    for name in known:
        groups.setdefault(tensor_of(name, arch), []).append(name)
    if head and spec.tied:
        groups["output.weight"] = ["embed"]
    return {
        tensor: Stacked(tuple(names), (sum(known[name][0] for name in names), *known[names[0]][1:]))
        for tensor, names in groups.items()
    }


def places(
    spec: DecoderSpec, arch: Architecture, *, head: bool
) -> dict[str, tuple[TensorRows, ...]]:
    """Every weight -> where it lies in a file: an embedding that is also the head may lie twice."""
    known, out = shapes(spec), dict[str, tuple[TensorRows, ...]]()
    for tensor, stacked in stacks(spec, arch, head=head).items():
        first = 0
        for name in stacked.weights:
            place = TensorRows(tensor, first, _order(name, spec, arch))
            out[name] = (*out.get(name, ()), place)
            first += known[name][0]
    return out


def longest(spec: DecoderSpec) -> int:
    """Tokens up to which llama.cpp computes what the spec says: it ignores windows, block-sparse
    attention, and a base that grows.
    """
    ends = [spec.context]
    if isinstance(spec.rope.scaling, DynamicNtk):
        ends.append(spec.rope.scaling.original_context)
    for layer in spec.layers:
        ends += [] if layer.window is None else [layer.window]
        ends += [] if layer.sparse is None else [layer.sparse.reach]
    return min(ends)


def check(spec: DecoderSpec, arch: Architecture) -> None:
    """Refuse a spec that llama.cpp's graph of this name does not compute, by what it lacks."""
    lacking = [*_lacking(spec, arch), *(w for layer in spec.layers for w in _unlike(layer, arch))]
    if lacking:
        raise Unsupported(
            f"llama.cpp's architecture {arch.name!r} has no {', '.join(dict.fromkeys(lacking))}",
            fix="convert to another target, such as onnx or mlx",
        )


def _lacking(spec: DecoderSpec, arch: Architecture) -> Iterator[str]:
    scaling = spec.rope.scaling
    wrong = {
        "layer norm": spec.norm.kind != "rms",
        "scaled embedding": spec.embed_scale != 1,
        "scaled logits": spec.logit_scale != 1,
        "forbidden ids": bool(spec.forbidden),
        "head of its own": arch.head == "embed" and not spec.tied,
        "rotation of a part of a head": not arch.partial_rotary
        and any(layer.head_width != spec.rope.width for layer in spec.layers),
        "heads that are together not as wide as the model": arch.square
        and any(layer.heads * layer.head_width != spec.width for layer in spec.layers),
        "epsilon of their own in norms of queries and keys": any(
            layer.qk_norm not in (None, spec.norm.eps) for layer in spec.layers
        ),
        "heads of several widths": len({layer.head_width for layer in spec.layers}) > 1,
        f"rotary scaling of the kind {type(scaling).__name__}": not (
            scaling is None or isinstance(scaling, (DynamicNtk, *arch.scaling))
        ),
        "attention factors that differ with the length": isinstance(scaling, LongRope)
        and scaling.short_attention != scaling.long_attention,
    }
    yield from (what for what, is_so in wrong.items() if is_so)


def _unlike(layer: LayerSpec, arch: Architecture) -> Iterator[str]:
    wrong = {
        f"gate of the kind {layer.gate}": layer.gate != "silu" or layer.gate_limit is not None,
        **{f"bias of {name}": name not in arch.biases for name in layer.biases},
        **{
            f"{stack} of which some have biases": _partly(layer, parts)
            for stack, parts in arch.fused.items()
        },
        "scale of scores": layer.score_scale is not None,
        "norm of queries and keys": layer.qk_norm is not None and not arch.qk_norm,
        "queries and keys without a norm": layer.qk_norm is None and arch.qk_norm,
    }
    yield from (what for what, is_so in wrong.items() if is_so)


def _partly(layer: LayerSpec, parts: tuple[str, ...]) -> bool:
    return 0 < len(set(parts) & set(layer.biases)) < len(parts)


def tensor_of(name: str, arch: Architecture) -> str:
    """The tensor that a weight lies in, alone or stacked."""
    kind = "bias" if name.endswith(".bias") else "weight"
    match = re.match(r"layers\.(\d+)\.(.*)", name.removesuffix(".bias"))
    if match is None:
        return f"{_NAMES[name.removesuffix('.bias')]}.{kind}"
    stack = next((stack for stack, parts in arch.fused.items() if match[2] in parts), None)
    return f"blk.{match[1]}.{stack or _NAMES[match[2]]}.{kind}"


def _order(name: str, spec: DecoderSpec, arch: Architecture) -> I64 | None:
    """Heads whose halves rotate -> heads whose neighbours do: row i of the first half becomes row
    2i, row i of the second 2i + 1.
    """
    match = re.fullmatch(r"layers\.(\d+)\.attn\.([qk])(?:\.bias)?", name)
    if match is None or not arch.pairs:
        return None
    layer = spec.layers[int(match[1])]
    heads = layer.heads if match[2] == "q" else layer.kv_heads
    half = layer.head_width // 2
    inside = np.arange(layer.head_width).reshape(half, 2).T.reshape(-1)  # [W]
    return (np.arange(heads)[:, None] * layer.head_width + inside).reshape(-1)
