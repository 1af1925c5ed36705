"""Both spellings of rotary settings: transformers 4 (rope_theta, rope_scaling) and 5
(rope_parameters).
"""

import math

from edge.config import Config
from edge.errors import Damaged, Unsupported
from edge.spec import DynamicNtk, Llama3Scaling, LongRope, Rope


def rope(config: Config, head_width: int) -> Rope:
    """The rotary settings of a config; reads the newer spelling first, for it may be the only one."""
    table = _table(config)
    theta = table.number("rope_theta", config.number("rope_theta", 10000.0))
    partial = table.number("partial_rotary_factor", config.number("partial_rotary_factor", 1.0))
    width = int(head_width * partial)
    if width % 2 or not 0 < width <= head_width:
        raise Unsupported(
            f"{config.where}: {width} rotated of {head_width} dimensions",
            fix="correct partial_rotary_factor: an even number of at most the head's width is rotated",
        )
    return Rope(theta=theta, width=width, scaling=scaling(config, width // 2))


def scaling(config: Config, pairs: int) -> Llama3Scaling | LongRope | DynamicNtk | None:
    """How a config stretches the rotary frequencies of this many rotated pairs."""
    table = _table(config)
    kind = table.text("rope_type", table.text("type", "default"))
    if kind == "default":
        return None
    if kind == "dynamic":
        return _dynamic(table, config, pairs)
    if kind == "llama3":
        return _llama3(table, config)
    # Early Phi-3 uploads say su, later ones longrope; yarn with factor lists means the same.
    if kind in ("longrope", "su") or (kind == "yarn" and table.has("long_factor")):
        return _longrope(table, config, pairs)
    raise Unsupported(
        f"{table.where}: rope type {kind!r} is not supported",
        fix="use a checkpoint of rope type default, llama3, longrope or dynamic",
    )


def _table(config: Config) -> Config:
    found = config.table("rope_parameters") or config.table("rope_scaling")
    return found or Config({}, config.where)


def _longrope(table: Config, config: Config, pairs: int) -> LongRope:
    lists = [table.numbers(f"{name}_factor") for name in ("short", "long")]
    for name, values in zip(("short", "long"), lists, strict=True):
        if len(values) != pairs:
            raise Damaged(
                f"{table.where}: {name}_factor has {len(values)} values for {pairs} rotated pairs",
                fix="get the config of the model again",
            )
    longest = config.integer("max_position_embeddings", high=1 << 20)
    inside = table.integer("original_max_position_embeddings", longest)
    original = config.integer("original_max_position_embeddings", inside, low=2)
    factor = table.number("factor", longest / original)
    stretched = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    attention = table.number("attention_factor", stretched)
    return LongRope(
        short=lists[0],
        long=lists[1],
        short_attention=table.number("short_mscale", attention),
        long_attention=table.number("long_mscale", attention),
        original_context=original,
    )


def _dynamic(table: Config, config: Config, pairs: int) -> DynamicNtk:
    """Changes nothing up to the published context."""
    if pairs < 2:
        raise Unsupported(
            f"{table.where}: a dynamic rotary base needs more than one rotated pair",
            fix="correct the number of heads or their width",
        )
    published = config.integer("max_position_embeddings", 2048, high=1 << 20)
    return DynamicNtk(factor=table.number("factor"), original_context=published)


def _llama3(table: Config, config: Config) -> Llama3Scaling:
    original = config.integer("original_max_position_embeddings", 8192)
    return Llama3Scaling(
        factor=table.number("factor"),
        low_freq_factor=table.number("low_freq_factor"),
        high_freq_factor=table.number("high_freq_factor"),
        original_context=table.integer("original_max_position_embeddings", original),
    )
