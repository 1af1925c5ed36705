"""Recipes by short names, whose schemes fit each matrix; and recipes that are known a matrix at a time."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from edge.quant.recipe import Recipe
from edge.quant.tensor import FLOATS, Scheme

_LAYER = re.compile(r"^layers\.\d+\.")
_NARROWEST = 32  # columns of a group


def without_text(recipe: Recipe) -> Recipe:
    """What a short name means where no text says how to round: steps are searched by the weights alone."""
    if not recipe.chosen:
        return recipe
    chosen = recipe.chosen - {"head"}
    return replace(recipe, body=replace(recipe.body, method="search"), chosen=chosen)


def fitted(
    recipe: Recipe, widths: Mapping[str, int], *, width: int, tied: bool, whole: bool = False
) -> Recipe:
    """A recipe whose body a short name asked for, with the widest groups, up to the body's own, that divide the
    rows of each matrix of `widths`, and of the head, of rows of `width`; 32 where none does. A head that is
    the embedding is one matrix. `whole`: for a target whose rows have no shorter last group (`in_whole_groups`).
    """
    ends = {"embed": width, "head": width} if whole else {}
    if not recipe.chosen:
        return in_whole_groups(recipe, {**widths, **ends}) if whole else recipe
    made = _of_layers(recipe, widths, _whole if whole else _widest)
    if "head" in recipe.chosen:
        head = _widest(recipe.body, width)
        embed = head if tied and "embed" in recipe.chosen else made.embed
        made = replace(made, head=head, embed=embed)
    return in_whole_groups(made, ends)


def in_whole_groups(recipe: Recipe, widths: Mapping[str, int]) -> Recipe:
    """A recipe for a target whose rows have no shorter last group: where a short name asked for it, narrower groups
    that divide the rows of a matrix of `widths` (by name, `embed` and `head` among them), and floats where none does.
    """
    fits = {
        name: _whole(recipe.scheme(name, by_row=name == "embed"), width)
        for name, width in widths.items()
        if (name if name in ("embed", "head") else "body") in recipe.short
        and not _is_named(recipe, name)
    }
    embed, head = fits.pop("embed", recipe.embed), fits.pop("head", recipe.head)
    others = (*recipe.overrides, *_others(fits, recipe.body))
    return replace(recipe, embed=embed, head=head, overrides=others)


def each_by_name(recipe: Recipe, schemes: Mapping[str, Scheme]) -> Recipe:
    """A recipe by which each of these matrices of layers, all that no pattern names, has its scheme: the body is what
    most have, but that of a mixture stays; and one pattern names what is alike in all layers.
    """
    body = recipe.body if recipe.mixture else Counter(schemes.values()).most_common(1)[0][0]
    return replace(recipe, body=body, overrides=(*recipe.overrides, *_others(schemes, body)))


def _others(schemes: Mapping[str, Scheme], body: Scheme) -> tuple[tuple[str, Scheme], ...]:
    """Patterns for what is not the body's."""
    alike: dict[str, set[Scheme]] = {}
    for name, scheme in schemes.items():
        alike.setdefault(_LAYER.sub("layers.*.", name), set()).add(scheme)
    others = {}
    for name, scheme in schemes.items():
        pattern = _LAYER.sub("layers.*.", name)
        if scheme != body:
            others[pattern if len(alike[pattern]) == 1 else name] = scheme
    return tuple(others.items())


def _of_layers(
    recipe: Recipe, widths: Mapping[str, int], fit: Callable[[Scheme, int], Scheme]
) -> Recipe:
    free = {
        name: fit(recipe.body, width)
        for name, width in widths.items()
        if not _is_named(recipe, name)
    }
    return each_by_name(recipe, free) if free else recipe


def _is_named(recipe: Recipe, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern, _ in recipe.overrides)


def _widest(scheme: Scheme, width: int) -> Scheme:
    group = scheme.group or _NARROWEST
    while group > _NARROWEST and width % group:
        group //= 2
    return replace(scheme, group=group)


def _whole(scheme: Scheme, width: int) -> Scheme:
    """Groups of codes that divide rows; a table is of rows, and has none."""
    if not scheme.group or scheme.zero == "table":
        return scheme
    narrower = _widest(scheme, width)
    return FLOATS[scheme.number] if width % (narrower.group or 1) else narrower
