"""What a target does not say that it holds, it refuses by name: also what nobody has thought of yet."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from support import config_of, dividing, nothing_left, spec_of, tiny

from edge import targets
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import Unsupported
from edge.quant import recipe as recipes
from edge.quant.held import Held, exactly, nearest, refuse_unheld
from edge.quant.methods import methods
from edge.quant.recipe import Recipe
from edge.quant.tensor import FP16, FP32, QTensor, Scheme

TARGETS = targets.names("converters")
NEW = cast(Any, "new")
# What a newcomer may bring: each field at a value that no target knows, and a method of its own.
NEWCOMERS = {
    "a method": Scheme(4, 32, method="new"),
    "a method with zeros": Scheme(8, 64, "integer", method="new"),
    "a method with minimums": Scheme(4, 32, "minimum", "fp16", "new"),
    "a method of tables": Scheme(4, 32, "table", method="new"),
    "a method of levels": Scheme(4, 32, "levels", method="new"),
    "a method of floats": Scheme(16, number="fp16", method="new"),
    "a format of its own": Scheme(4, 32, number="fp16", method="new", block_bytes=18),
    "a meaning of zero": Scheme(4, 32, NEW),
    "a type of scales": Scheme(4, 32, "middle", NEW),
    "a float": Scheme(8, number=NEW),
    "bits": Scheme(7, 32),
    "a group": Scheme(4, 48),
    "inputs of few bits": Scheme(4, 32, inputs=5),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("scheme", NEWCOMERS.values(), ids=NEWCOMERS.keys())
@pytest.mark.parametrize("where", ["body", "embed", "head"])
def test_a_newcomer_is_refused_by_name(where: str, scheme: Scheme, target: str) -> None:
    every = {"body": FP32, "embed": FP32, "head": FP32, where: scheme}
    spec = spec_of(config_of("llama", **dividing("llama")))
    with pytest.raises(Unsupported, match=f"{target} cannot hold ") as caught:
        targets.converter(target).layout(spec, Recipe(**every))
    assert recipes.word(scheme) in caught.value.problem
    words = caught.value.fix.removeprefix("use ").split(" or the like")[0].split(", ")
    assert all(recipes.parse(word).body != scheme for word in words)


def wrong(weights: np.ndarray, scheme: Scheme) -> QTensor:
    """Codes that mean something else than any `Scheme.zero` that targets know."""
    return QTensor(np.full(weights.shape, 7, np.uint8), np.ones((len(weights), 2)), scheme, 64)


@pytest.mark.parametrize("target", TARGETS)
def test_a_method_that_somebody_adds_is_not_converted_to_garbage(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = Scheme(4, 32, NEW, "fp16", "new")
    method = replace(methods()["rtn"], name="new", schemes=(scheme,), quantize=wrong)
    words = replace(method, names={"new4": scheme})
    monkeypatch.setitem(cast("dict[str, Any]", methods()), "new", words)
    options = Options(target=target, quant="new4")
    with pytest.raises(Unsupported, match=f"{target} cannot hold .* as new4"):
        convert(tiny(tmp_path / "source"), tmp_path / "out", options)
    assert nothing_left(tmp_path / "out")


def test_every_field_is_asked_for() -> None:
    assert {field.name for field in fields(Held)} == {
        "what",
        *(field.name for field in fields(Scheme)),
    }


@pytest.mark.parametrize(
    ("scheme", "held", "words"),
    [
        (Scheme(3, 64), [exactly(FP32), exactly(Scheme(4, 64))], ["rtn-int4-g64", "fp32"]),
        (Scheme(4, 32, method="new"), [exactly(FP16)], ["fp16"]),
    ],
)
def test_the_nearest_come_first(scheme: Scheme, held: Sequence[Held], words: list[str]) -> None:
    assert nearest(scheme, held) == words
    with pytest.raises(Unsupported, match="it holds"):
        refuse_unheld("x", "embed", scheme, held)
    refuse_unheld("x", "embed", FP32, [*held, exactly(FP32)])
