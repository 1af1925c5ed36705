"""NF4 as its paper builds it, with the standard library's own normal distribution, a value at a time."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError
from edge.quant import recipe as recipes
from edge.quant.methods import methods
from edge.quant.nf4 import LEVELS
from edge.quant.tensor import Scheme

NF4 = methods()["nf4"]


def built() -> list[float]:
    """QLoRA's equation 4: quantiles at equal steps of probability, eight below zero and nine from it on,
    between ends that leave out the mean of a 32nd and a 30th; then divided by the largest.
    """
    end, quantile = 1 - (1 / 32 + 1 / 30) / 2, NormalDist().inv_cdf
    below = [-quantile(end - i * (end - 0.5) / 7) for i in range(7)]
    above = [quantile(0.5 + i * (end - 0.5) / 8) for i in range(1, 9)]
    return [level / quantile(end) for level in (*below, 0.0, *above)]


def test_levels_are_the_papers() -> None:
    assert pytest.approx(built(), abs=1e-6) == LEVELS
    assert len(set(LEVELS)) == 16


@given(st.integers(0, 1 << 32), st.sampled_from([32, 64, 128]), st.integers(1, 200))
def test_a_value_becomes_its_nearest_level(seed: int, group: int, columns: int) -> None:
    w = np.random.default_rng(seed).standard_normal((2, columns), dtype=np.float32)
    scheme = Scheme(4, group, "levels", "fp32", "nf4")
    got = NF4.quantize(w, scheme).dequantize()
    for row, column in np.ndindex(w.shape):
        start = column // group * group
        largest = max(abs(float(v)) for v in w[row, start : start + group])
        far = [abs(float(w[row, column]) - level * largest) for level in built()]
        # Another level may be as near, to what float32 says of it.
        assert abs(float(got[row, column]) - float(w[row, column])) <= min(far) + 1e-5 * largest


def test_the_largest_and_zero_are_kept() -> None:
    w = np.zeros((1, 64), np.float32)
    w[0, 3], w[0, 9] = -5.5, 2.0
    got = NF4.quantize(w, recipes.parse("nf4").body).dequantize()[0]
    assert got[3] == -5.5
    assert set(got[[0, 1, 63]]) == {0.0}


def test_on_noise_it_is_nearer_than_whole_steps() -> None:
    """The paper's claim, with as many bits and scales: levels where a normal distribution has its values
    lose less than equal steps.
    """
    w = np.random.default_rng(0).standard_normal((64, 4096), dtype=np.float32)

    def lost(recipe: str) -> float:
        scheme = recipes.parse(recipe).body
        made = methods()[scheme.method].quantize(w, scheme)
        return float(((made.dequantize() - w) ** 2).mean())

    assert lost("nf4-g64-fp16") < 0.96 * lost("rtn-int4-g64-fp16")


@pytest.mark.parametrize("text", ["nf4", "nf4-g32", "nf4-g128-bf16"])
def test_a_recipe_reads_back(text: str) -> None:
    recipe = recipes.parse(text)
    assert recipes.parse(recipe.name) == recipe
    assert recipe.body.group == int(recipe.name.split("-")[1][1:])


def test_the_size_is_codes_scales_and_levels() -> None:
    assert recipes.parse("nf4-g64-fp16").body.nbytes(10, 100) == 10 * 2 * (32 + 2) + 16 * 2


@pytest.mark.parametrize(
    ("text", "codes"), [("qlora", "nf4-g64-fp16"), ("irqlora-int4", "icq-g64-fp16")]
)
def test_what_trains_is_no_recipe_of_a_conversion(text: str, codes: str) -> None:
    with pytest.raises(EdgeError, match=f"(?s)edge train lora.*{codes}"):
        recipes.parse(text)
    assert str(recipes.parse(codes)) == codes
