"""Laws of tables of values, on weights of every size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support import checkpoint, config_of, weights_of

from edge.errors import EdgeError
from edge.quant import kmeans
from edge.quant import recipe as recipes
from edge.quant.kmeans import quantize
from edge.quant.tensor import QTensor, Scheme, rounded
from edge.quant.unfit import Unfit
from edge.source.checkpoint import Checkpoint
from edge_runtimes.reference.decoder import checkpoint_weights

SCHEMES = [
    Scheme(bits, rows, "table", number, "kmeans")
    for bits in (1, 2, 3, 4, 6, 8)
    for rows in (1, 8, 32)
    for number in ("fp32", "fp16")
]
floats = st.floats(-1e3, 1e3, width=32, allow_subnormal=True)


@st.composite
def weights(draw: st.DrawFn) -> np.ndarray:
    """A few rows, which need not fill their last table, of noise or of values that repeat."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 70)))
    if draw(st.booleans()):
        return draw(arrays.arrays(np.float32, shape, elements=floats, fill=floats))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(draw(st.floats(1e-3, 1e3)))


schemes = st.sampled_from(SCHEMES)


def table_of(made: QTensor, row: int) -> np.ndarray:
    assert made.scheme.group is not None
    entries: np.ndarray = made.scales[row // made.scheme.group]
    return entries


@given(weights(), schemes)
def test_each_value_becomes_its_nearest_entry(w: np.ndarray, scheme: Scheme) -> None:
    made = quantize(w, scheme)
    assert made.codes.max() < 1 << scheme.bits
    got = made.dequantize().astype(np.float64)
    for row in range(len(w)):
        entries = table_of(made, row).astype(np.float64)
        best = np.abs(w[row].astype(np.float64)[:, None] - entries).min(axis=1)
        # Between the two smallest numbers there is no middle to tell them apart by.
        slack = 1e-6 * np.abs(entries).max() + np.finfo(np.float32).smallest_subnormal
        assert (np.abs(got[row] - w[row]) <= best + slack).all()


@given(weights(), schemes)
def test_entries_are_sorted_within_the_values_and_of_their_type(
    w: np.ndarray, scheme: Scheme
) -> None:
    made = quantize(w, scheme)
    np.testing.assert_array_equal(rounded(made.scales, scheme.number), made.scales)
    for row in range(0, len(w), scheme.group or 1):
        entries, values = table_of(made, row), w[row : row + (scheme.group or 1)]
        assert (np.diff(entries) >= 0).all()
        low, high = (rounded(np.array(v), scheme.number) for v in (values.min(), values.max()))
        assert low <= entries[0]
        assert entries[-1] <= high


@given(st.integers(0, 1000), schemes)
def test_few_values_are_kept_exactly(seed: int, scheme: Scheme) -> None:
    rng = np.random.default_rng(seed)
    few = rounded(rng.standard_normal(1 << scheme.bits, dtype=np.float32), scheme.number)
    w = few[rng.integers(0, len(few), (9, 30))]
    np.testing.assert_array_equal(quantize(w, scheme).dequantize(), w)


@given(weights(), st.sampled_from([2, 4, 16]))
def test_no_step_makes_it_worse(w: np.ndarray, count: int) -> None:
    """Lloyd's law: the squared error never grows."""
    values = np.sort(w.ravel())
    sums = np.concatenate(([0], np.cumsum(values, dtype=np.float64)))
    entries = kmeans.start(values, count)

    def error(entries: np.ndarray) -> float:
        near = entries[kmeans.nearest(values, entries)].astype(np.float64)
        return float(((values - near) ** 2).sum())

    for _ in range(6):
        moved = kmeans.step(values, sums, entries)
        assert error(moved) <= error(entries) * (1 + 1e-5) + 1e-30
        entries = moved


@given(weights(), schemes)
def test_rows_of_other_tables_do_not_matter(w: np.ndarray, scheme: Scheme) -> None:
    rows = scheme.group or 1
    apart = [quantize(w[at : at + rows], scheme).dequantize() for at in range(0, len(w), rows)]
    np.testing.assert_array_equal(np.concatenate(apart), quantize(w, scheme).dequantize())


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6])
def test_on_noise_it_is_nearly_the_best_there_is(bits: int) -> None:
    """Errors of the optimal quantizers of a normal distribution (Max 1960, Lloyd 1982)."""
    best = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497, 6: 0.00076}[bits]
    w = np.random.default_rng(0).standard_normal((64, 2048), dtype=np.float32)
    made = quantize(w, Scheme(bits, 32, "table", "fp32", "kmeans"))
    error = float(((made.dequantize() - w) ** 2).mean())
    assert error < 1.15 * best


def test_the_size_is_codes_and_tables() -> None:
    scheme = recipes.parse("lut3-g32-fp16").body
    assert scheme.nbytes(100, 172) == 100 * 65 + 4 * 8 * 2


@pytest.mark.parametrize("text", ["lut4", "lut1-g8", "lut6-g64-fp16", "kmeans-lut8-g1-bf16"])
def test_a_recipe_reads_back(text: str) -> None:
    scheme = recipes.parse(text).body
    assert scheme.zero == "table"
    assert recipes.parse(recipes.word(scheme)).body == scheme
    assert recipes.word(scheme).startswith("kmeans-lut")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lut5", "5 bits, a table for 32 rows"),
        ("lut4-g7", "4 bits, a table for 7 rows"),
        ("rtn-lut4", "no method 'rtn' makes lut"),
        ("kmeans-int4", "no method 'kmeans' makes int"),
        ("lut4-asym", "is no recipe"),
    ],
)
def test_a_wrong_recipe_is_refused(text: str, message: str) -> None:
    with pytest.raises(EdgeError, match=message):
        recipes.parse(text)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_none_is_refused(value: float) -> None:
    w = np.ones((8, 8), np.float32)
    w[3, 3] = value
    recipe = recipes.parse("lut4-g8")
    with pytest.raises(Unfit, match=r"layers\.0\.attn\.q holds in row 0 a number"):
        recipe.stored("layers.0.attn.q", w, recipe.body)


def test_the_oracle_takes_rows_out_of_whole_tables(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config = config_of("llama", vocab_size=75)
    source = tmp_path_factory.mktemp("it") / "it"
    with Checkpoint.open(checkpoint(source, config, weights_of(config))) as found:
        weight = checkpoint_weights(found, recipes.parse("lut2-g32"))
        rows = np.array([74, 3, 40, 3, 64])
        np.testing.assert_array_equal(weight("embed", rows), weight("embed", None)[rows])
