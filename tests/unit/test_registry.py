"""Every entry of models.yaml is true to its family and to the facts; a typo finds its neighbour."""

import pytest

from edge import registry
from edge.api import split_prompt
from edge.errors import EdgeError
from edge.families import families
from edge.quant import recipe


@pytest.mark.parametrize("entry", registry.entries().values(), ids=lambda entry: entry.id)
def test_every_entry_is_valid(entry: registry.Entry) -> None:
    assert entry.family in {family.name for family in families()}
    assert (entry.package is None) != (entry.source is None)
    assert 0 < entry.context <= 1 << 20
    assert entry.licence
    assert entry.parameters is None or entry.parameters > 0
    assert " " not in entry.id
    recipe.parse(entry.quant)


def test_the_default_ships_with_the_package() -> None:
    entry = registry.find(registry.DEFAULT)
    assert entry is not None
    assert entry.package is not None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("phi-3-mini", "phi-3-mini-4k"),
        ("lama-3-8b", "llama-3-8b"),
        ("openelm270m", "openelm-270m"),
        ("Edge-Storys", "edge-stories"),
    ],
)
def test_a_typo_finds_its_neighbour(typed: str, meant: str) -> None:
    error = registry.nearest(typed)
    assert repr(typed) in error.problem
    assert meant in error.fix


def test_an_absent_checkpoint_says_where_it_is() -> None:
    entry = registry.find("phi-3-mini-4k")
    assert entry is not None
    with pytest.raises(EdgeError, match="edge pull phi-3-mini-4k"):
        entry.checkpoint()


@pytest.mark.parametrize(
    ("first", "second", "want"),
    [
        (None, None, (None, None)),
        ("phi-3-mini-4k", None, ("phi-3-mini-4k", None)),
        (".", None, (".", None)),
        ("-", None, (None, "-")),
        ("Once upon a time", None, (None, "Once upon a time")),
        ("phi-3-mini-4k", "Hi", ("phi-3-mini-4k", "Hi")),
        ("nonsense", "Hi", ("nonsense", "Hi")),  # refused where the model is opened
    ],
)
def test_positional_arguments_of_run(
    first: str | None, second: str | None, want: tuple[str | None, str | None]
) -> None:
    assert split_prompt(first, second) == want


def test_one_word_that_is_no_model_is_no_prompt() -> None:
    with pytest.raises(EdgeError, match="phi-3-mini-4k"):
        split_prompt("phi-3-mini-4", None)
