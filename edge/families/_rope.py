"""Both spellings of rotary settings: transformers 4 (rope_theta, rope_scaling) and 5
(rope_parameters).
"""

from edge.config import Config
from edge.errors import Unsupported
from edge.spec import Llama3Scaling, Rope


def rope(config: Config, head_width: int) -> Rope:
    """The rotary settings of a config; reads the newer spelling first, for it may be the only one."""
    table = (
        config.table("rope_parameters") or config.table("rope_scaling") or Config({}, config.where)
    )
    theta = table.number("rope_theta", config.number("rope_theta", 10000.0))
    partial = table.number("partial_rotary_factor", config.number("partial_rotary_factor", 1.0))
    width = int(head_width * partial)
    if width % 2 or not 0 < width <= head_width:
        raise Unsupported(
            f"{config.where}: {width} rotated of {head_width} dimensions",
            fix="correct partial_rotary_factor: an even number of at most the head's width is rotated",
        )
    return Rope(theta=theta, width=width, scaling=_scaling(table, config))


def _scaling(table: Config, config: Config) -> Llama3Scaling | None:
    kind = table.text("rope_type", table.text("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise Unsupported(
            f"{table.where}: rope type {kind!r} is not supported",
            fix="use a checkpoint of rope type default or llama3",
        )
    original = config.integer("original_max_position_embeddings", 8192)
    return Llama3Scaling(
        factor=table.number("factor"),
        low_freq_factor=table.number("low_freq_factor"),
        high_freq_factor=table.number("high_freq_factor"),
        original_context=table.integer("original_max_position_embeddings", original),
    )
