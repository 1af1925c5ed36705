"""Recipes that mix types which only the library of a target's ecosystem makes."""

from collections.abc import Collection, Mapping

from edge import targets
from edge.contracts import Converter
from edge.errors import EdgeError, Unsupported
from edge.names import shapes
from edge.quant.fitting import fitted
from edge.quant.ggml import MIXTURES
from edge.quant.recipe import Recipe, mixed, word
from edge.spec import DecoderSpec


def resolved(
    recipe: Recipe,
    target: str,
    spec: DecoderSpec,
    known_as: Mapping[str, str],
    *,
    calibrated: bool | None,
    own: Collection[str] = (),
) -> Recipe:
    """A recipe with each weight's type where it is a mixture, and with groups that fit where a short name asked
    for it; refuses types that only the library of another target makes. `own`: of embed and head, what was
    given a precision. `calibrated`: with an importance matrix; None: if it needs one.
    """
    if not recipe.foreign:
        how = {"tied": spec.tied, "whole": whole_groups(target)}
        return fitted(recipe, _widths(spec), width=spec.width, **how)
    mix = vars(targets.converter(target)).get("mixed")
    if mix is None:
        every = (recipe.body, recipe.embed, recipe.head, *(s for _, s in recipe.overrides))
        what = recipe.mixture or next(word(scheme) for scheme in every if scheme.block_bytes)
        able = targets.offering("converters", "mixed")
        raise Unsupported(
            f"{target} cannot hold {what}, which only the library of {', '.join(able)} makes",
            fix=f"give --to {able[0]}, or another recipe such as int4",
        )
    if recipe.mixture is None:
        _no_single(recipe)
        return recipe
    words = mix(recipe.mixture, spec, known_as, calibrated=calibrated)
    return mixed(recipe, words, own=own)


def whole_groups(target: str) -> bool:
    """Whether groups must divide its rows."""
    return bool(vars(targets.converter(target)).get("WHOLE_GROUPS", False))


def _widths(spec: DecoderSpec) -> dict[str, int]:
    """Inputs of each matrix of the layers."""
    every = shapes(spec).items()
    return {name: s[1] for name, s in every if name.startswith("layers.") and len(s) == 2}


def _no_single(recipe: Recipe) -> None:
    """A body of one such type is no recipe of its library: that mixes it with others."""
    if recipe.body.block_bytes:
        body = word(recipe.body)
        mixtures = [name for name, most in MIXTURES.items() if most == body]
        raise EdgeError(
            f"{body} is a type of single weights, no recipe",
            fix=f"use {' or '.join(mixtures) or 'another recipe'}; or give it to --override",
        )


def tools(converter: Converter, recipe: Recipe) -> tuple[str, ...]:
    """Packages that an artifact's bytes depend on."""
    library = vars(converter).get("LIBRARY", ()) if recipe.foreign else ()
    return (*converter.TOOLS, *library)
