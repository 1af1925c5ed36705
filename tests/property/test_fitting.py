"""Short names give each matrix what it can have."""

from hypothesis import given
from hypothesis import strategies as st

from edge.quant.fitting import fitted, in_whole_groups
from edge.quant.recipe import parse
from edge.quant.tensor import FLOATS, ROW

WIDTHS = st.lists(st.integers(1, 700), min_size=1, max_size=12)


def by_name(widths: list[int]) -> dict[str, int]:
    return {f"layers.{i}.mlp.{'up' if i % 2 else 'down'}": w for i, w in enumerate(widths)}


@given(WIDTHS, st.sampled_from((32, 64, 128)))
def test_groups_are_the_widest_that_divide(widths: list[int], most: int) -> None:
    recipe = parse("int4", aliases={"int4": "rtn-int4-g32"}, bodies={"int4": f"gptq-int4-g{most}"})
    each = by_name(widths)
    made = fitted(recipe, each, width=widths[0], tied=True)
    assert (made.head, made.embed) == (made.scheme("layers.0.mlp.down"),) * 2
    untied = fitted(recipe, each, width=widths[0], tied=False)
    assert (untied.head, untied.embed) == (made.head, recipe.embed)
    for name, width in each.items():
        fits = [g for g in (128, 64, 32) if g <= most and width % g == 0]
        assert made.scheme(name).group == (fits or [32])[0]
    full = parse(f"gptq-int4-g{most}")
    assert fitted(full, each, width=widths[0], tied=True) == full


@given(WIDTHS, st.sampled_from((32, 64, 128)), st.booleans())
def test_rows_that_no_group_divides_are_floats(widths: list[int], most: int, by_text: bool) -> None:
    """Of a target whose rows have no shorter last group: what stopped mlx#1033 and mlx#328; narrower groups come first,
    unlike in mlx-vlm#2066.
    """
    alias, each = f"rtn-int4-g{most}-min-fp16", by_name(widths)
    bodies = {"int4": alias.replace("rtn", "gptq")} if by_text else None
    recipe = parse("int4", aliases={"int4": alias}, bodies=bodies)
    made = fitted(recipe, each, width=widths[0], tied=True, whole=True)
    assert made.embed.group == made.head.group == made.scheme("layers.0.mlp.down").group
    for name, width in each.items():
        fits = [g for g in (128, 64, 32) if g <= most and width % g == 0]
        scheme = made.scheme(name)
        assert scheme.group == fits[0] if fits else scheme == FLOATS["fp16"]
    if not by_text:
        ends = {"embed": widths[0], "head": widths[0]}
        assert in_whole_groups(recipe, {**each, **ends}) == made


def test_only_what_a_short_name_asked_for_changes() -> None:
    """Groups asked for by number, a pattern's own precision, scales a row, and tables stay."""
    widths = {"layers.0.mlp.down": 172, "layers.0.mlp.up": 64, "head": 172}
    full = parse("rtn-int8-g64-min-fp16")
    assert in_whole_groups(full, widths) == full
    aliases = {"int8": "rtn-int8-g64-min-fp16", "lut4": "lut4-g32-fp16", "rows": "rtn-int8-row"}
    some = parse("int8", head="rtn-int8-g64", aliases=aliases, overrides={"*.down": "int8"})
    assert in_whole_groups(some, widths) == some
    tables = parse("lut4", aliases=aliases)
    assert in_whole_groups(tables, widths) == tables
    rows = parse("rows", aliases=aliases)
    assert rows.body.group == ROW
    assert in_whole_groups(rows, widths) == rows
