"""Layer dropout and exit weights against the closed formulas of LayerSkip (arXiv 2404.16710)."""

import dataclasses
import math
from pathlib import Path

import pytest
from training import EXAMPLE

from edge.errors import EdgeError
from edge.train import fields
from edge.train import recipe as recipes
from edge.train.curriculum import dropout, exit_weights
from edge.train.recipe import Skip

GROWING = Skip(dropout=0.2, exit_scale=0.2, exit_every=3)
CONSTANT = dataclasses.replace(GROWING, dropout_growth="constant", exit_growth="constant")


@pytest.mark.parametrize("count", [2, 8, 32])
def test_dropout_grows_with_depth_and_time(count: int) -> None:
    assert dropout(GROWING, 0, count, 1.0) == 0
    assert dropout(GROWING, count - 1, count, 0.0) == 0
    assert dropout(GROWING, count - 1, count, 1.0) == pytest.approx(0.2)
    assert dropout(GROWING, count - 1, count, 0.5) == pytest.approx((2**0.5 - 1) * 0.2)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_dropout_is_constant_where_training_goes_on(progress: float) -> None:
    for layer in range(8):
        want = (math.exp(layer * math.log(2) / 7) - 1) * 0.2
        assert dropout(CONSTANT, layer, 8, progress) == pytest.approx(want)


def e(layer: int, count: int, scale: float) -> float:
    """The paper's sum, term by term."""
    if layer < count - 1:
        return scale * sum(range(layer + 1))
    return count - 1 + scale * sum(range(count - 1))


def weighed(layers: list[int], count: int, scale: float) -> dict[int, float]:
    total = sum(e(layer, count, scale) for layer in layers)
    return {n: e(n, count, scale) / total for n in layers if e(n, count, scale)}


@pytest.mark.parametrize("every", [1, 3, 8, 39])
def test_a_rotation_moves_by_one_layer_a_step(every: int) -> None:
    skip = dataclasses.replace(CONSTANT, exit_every=every)
    for step in range(2 * every):
        on = [layer for layer in range(8) if (layer + step) % every == 0 or layer == 7]
        got = exit_weights(skip, 8, step=step, progress=0.3)
        assert got == pytest.approx(weighed(on, 8, 0.2))
        assert len(got) <= math.ceil(8 / every) + 1


def test_a_rotation_reaches_every_exit() -> None:
    skip = dataclasses.replace(CONSTANT, exit_every=8)
    seen = {layer for step in range(8) for layer in exit_weights(skip, 8, step=step, progress=1.0)}
    assert seen == set(range(1, 8))  # e(0) is zero


def test_all_is_every_layer() -> None:
    skip = dataclasses.replace(CONSTANT, curriculum="all", exit_every=None)
    got = exit_weights(skip, 8, step=5, progress=0.0)
    assert got == pytest.approx(weighed(list(range(8)), 8, 0.2))


def test_gradual_opens_from_the_last_layer_down() -> None:
    """One each T / (2 L) steps, whatever the number of the step."""
    skip = dataclasses.replace(CONSTANT, curriculum="gradual", exit_every=None)
    count, steps = 8, 160  # one each ten steps
    for step in range(steps):
        on = [layer for layer in range(count) if step >= (count - 1 - layer) * 10]
        got = exit_weights(skip, count, step=step, progress=step / steps)
        assert got == pytest.approx(weighed(on, count, 0.2)), step


def test_the_scale_of_exits_may_grow_from_nothing() -> None:
    assert exit_weights(GROWING, 8, step=0, progress=0.0) == {7: 1.0}
    half = exit_weights(GROWING, 8, step=0, progress=0.5)
    assert half == pytest.approx(weighed([0, 3, 6, 7], 8, 0.1))


def test_a_single_layer_is_the_last() -> None:
    assert exit_weights(CONSTANT, 1, step=0, progress=0.5) == {0: 1.0}
    assert dropout(CONSTANT, 0, 1, 0.5) == 0


def test_the_stories_mean_what_they_meant() -> None:
    """Numbers of the recipe that trained the packaged model, recorded before recipes knew more."""
    recorded = {
        (0, 0): {7: 1.0},
        (1, 3072): {3: 0.00011962388257586771, 7: 0.9998803761174242},
        (1000, 3_300_000): {4: 0.12875536480686695, 7: 0.871244635193133},
        (4001, 15_000_000): {3: 0.16100178890876565, 7: 0.8389982110912344},
        (6000, 20_000_000): {4: 0.25839793281653745, 7: 0.7416020671834626},
    }
    for (step, tokens), exits in recorded.items():
        progress = tokens / EXAMPLE.tokens
        assert exit_weights(EXAMPLE.skip, 8, step=step, progress=progress) == exits
        for layer in range(8):
            want = (2**progress - 1) * (2 ** (layer / 7) - 1) * 0.1
            assert dropout(EXAMPLE.skip, layer, 8, progress) == pytest.approx(want)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{dropout: 1.5, exit_scale: 1.0, exit_every: 4}", "dropout is 1.5"),
        ("{dropout: 0.1, exit_scale: 1.0}", "exit_every belongs"),
        ("{dropout: 0.1, exit_scale: 1.0, exit_every: 4, curriculum: gradual}", "exit_every"),
        ("{dropout: 0.1, exit_scale: 1.0, curriculum: fast}", "none of rotational, gradual, all"),
        ("{dropout: 0.1, exit_scale: 1.0, exit_every: 4, dropout_growth: 1}", "exponential"),
        ("{dropout: 0.1, exit_scale: 1.0, exit_every: 4, exit_growth: no}", "linear, constant"),
        ("{dropout: 0.1, exit_scale: 1.0, exit_every: 0}", "exit_every is 0"),
    ],
)
def test_a_skip_that_contradicts_itself_is_refused(tmp_path: Path, line: str, what: str) -> None:
    whole = fields.EXAMPLE.read_text()
    given = next(row for row in whole.splitlines() if row.startswith("skip: "))
    (tmp_path / "recipe.yaml").write_text(whole.replace(given, f"skip: {line}"))
    with pytest.raises(EdgeError, match=what):
        recipes.read(tmp_path / "recipe.yaml")
