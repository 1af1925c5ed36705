"""Rotary settings in both spellings: transformers 4 (rope_theta, rope_scaling) and 5
(rope_parameters).

Where a config says a thing in several places, they must agree: of two that do not, each reader of such
files takes another one.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from edge.errors import Damaged, Unsupported
from edge.files.config import Config
from edge.spec import DynamicNtk, Llama3Scaling, LongRope, Rope

Scaling = Llama3Scaling | LongRope | DynamicNtk | None
T = TypeVar("T", bound=Hashable)

_FIELDS = {  # of a type of rope, beside what any may have
    "default": (),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "longrope": (
        *("short_factor", "long_factor", "factor", "attention_factor"),
        "original_max_position_embeddings",
    ),
}
_ANY = ("rope_type", "type", "rope_theta", "partial_rotary_factor")
_SCALED = ("short_mscale", "long_mscale")


def rope(config: Config, head_width: int, *, partial: bool = False) -> Rope:
    """The rotary settings of a config; `partial`: its family may rotate a part of a head."""
    found = (_rope(config, table, head_width, partial) for table in _tables(config))
    return _one(found, config, "rope_parameters and rope_scaling")


def scaling(config: Config, pairs: int, *, scaled: bool = False) -> Scaling:
    """How a config stretches the rotary frequencies of this many rotated pairs; `scaled`: its family
    reads what cosines and sines are multiplied by.
    """
    found = (_scaling(config, table, pairs, scaled) for table in _tables(config))
    return _one(found, config, "rope_parameters and rope_scaling")


def _tables(config: Config) -> Sequence[Config]:
    """Those that say anything; an empty one, if none does."""
    found = (config.table(key) for key in ("rope_parameters", "rope_scaling"))
    return [table for table in found if table and table.data] or [Config({}, config.where)]


def _one(found: Iterable[T], config: Config, what: str) -> T:
    values = set(found)
    if len(values) > 1:
        raise Unsupported(
            f"{config.where}: {what} contradict each other",
            fix="say what the model was trained with once, or the same in each place: of two tables "
            "transformers reads rope_scaling, llama.cpp rope_parameters; a field that is left out has the "
            "default of the family's own code",
        )
    return values.pop()


def _agreed(config: Config, table: Config, key: str, read: Callable[[Config], T], default: T) -> T:
    """A setting that may lie in the table, beside it, or in both."""
    given = [read(place) for place in (table, config) if place.has(key)]
    return _one(given or [default], config, f"{key} beside and in the rotary settings")


def _number(config: Config, table: Config, key: str, default: float) -> float:
    return _agreed(config, table, key, lambda place: place.number(key), default)


def _original(config: Config, table: Config, default: int) -> int:
    key = "original_max_position_embeddings"
    return _agreed(config, table, key, lambda place: place.integer(key, low=2), default)


def _rope(config: Config, table: Config, head_width: int, partial: bool) -> Rope:
    if not partial:
        table.only("partial_rotary_factor", 1.0)
    factor = _number(config, table, "partial_rotary_factor", 1.0) if partial else 1.0
    width = int(head_width * factor)
    if width % 2 or not 0 < width <= head_width:
        raise Unsupported(
            f"{config.where}: {width} rotated of {head_width} dimensions",
            fix="correct partial_rotary_factor: an even number of at most the head's width is rotated",
        )
    theta = _number(config, table, "rope_theta", 10000.0)
    return Rope(theta=theta, width=width, scaling=_scaling(config, table, width // 2, False))


def _scaling(config: Config, table: Config, pairs: int, scaled: bool) -> Scaling:
    kind = _kind(table)
    if kind not in _FIELDS:
        raise Unsupported(
            f"{table.where}: rope type {kind!r:.40} is not supported",
            fix="use a checkpoint of rope type default, llama3, longrope or dynamic",
        )
    known = {*_ANY, *_FIELDS[kind], *(_SCALED if scaled and kind == "longrope" else ())}
    for key in table.data.keys() - known:
        table.only(key)
    if kind == "dynamic":
        return _dynamic(table, config, pairs)
    if kind == "llama3":
        return _llama3(table, config)
    return _longrope(table, config, pairs) if kind == "longrope" else None


def _kind(table: Config) -> str:
    """Early Phi-3 uploads say su, later ones longrope; yarn with factor lists means the same."""
    names = [table.text(key) for key in ("rope_type", "type") if table.has(key)]
    same = ("su", "yarn") if table.has("long_factor") else ("su",)
    kinds = ("longrope" if name in same else name for name in names or ["default"])
    return _one(kinds, table, "type and rope_type")


def _longrope(table: Config, config: Config, pairs: int) -> LongRope:
    lists = [table.numbers(f"{name}_factor") for name in ("short", "long")]
    for name, values in zip(("short", "long"), lists, strict=True):
        if len(values) != pairs:
            raise Damaged(
                f"{table.where}: {name}_factor has {len(values)} values for {pairs} rotated pairs",
                fix="get the config of the model again",
            )
    longest = config.integer("max_position_embeddings")
    original = _original(config, table, longest)
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
    published = config.integer("max_position_embeddings")
    return DynamicNtk(factor=table.number("factor"), original_context=published)


def _llama3(table: Config, config: Config) -> Llama3Scaling:
    original = _original(config, table, config.integer("max_position_embeddings"))
    return Llama3Scaling(
        factor=table.number("factor"),
        low_freq_factor=table.number("low_freq_factor"),
        high_freq_factor=table.number("high_freq_factor"),
        original_context=original,
    )
