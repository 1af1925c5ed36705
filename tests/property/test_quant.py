"""Laws of rounding to nearest, of packing and of recipes, on weights of every size."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge.errors import EdgeError
from edge.quant import ggml
from edge.quant import recipe as recipes
from edge.quant.rtn import quantize
from edge.quant.stream import packed as pack
from edge.quant.tensor import BF16, FP16, FP32, QTensor, Scheme, rounded
from edge_converters.onnx.store import Store

SCHEMES = [Scheme(bits, group) for bits in (4, 8) for group in (32, 64, 128)]
SPANNED = [
    Scheme(bits, group, zero, number)
    for bits in (2, 3, 4, 5, 6, 8)
    for group in (32, 128)
    for zero in ("integer", "minimum")
    for number in ("fp32", "fp16", "bf16")
]
TINY = np.float32(np.finfo(np.float32).tiny)
floats = st.floats(-1e3, 1e3, width=32, allow_subnormal=True)


@st.composite
def weights(draw: st.DrawFn) -> np.ndarray:
    """Rows that need not fill their last group, with runs of equal values and of zeros."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 140)))
    if draw(st.booleans()):
        return draw(arrays.arrays(np.float32, shape, elements=floats))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    size = np.float32(10.0 ** draw(st.integers(-30, 30)))
    return rng.standard_normal(shape, dtype=np.float32) * size


schemes = st.sampled_from(SCHEMES)


@given(weights(), schemes)
def test_an_error_is_half_a_step_or_one_at_the_clipped_end(w: np.ndarray, scheme: Scheme) -> None:
    made = quantize(w, scheme)
    assert scheme.group is not None
    step = np.repeat(np.abs(made.scales), scheme.group, axis=1)[:, : w.shape[1]].astype(np.float64)
    codes = made.codes[:, : w.shape[1]]
    error = np.abs(made.dequantize().astype(np.float64) - w)
    bound = np.where(codes == (1 << scheme.bits) - 1, step, step / 2)
    zeroed = np.abs(w) < TINY * (1 << scheme.bits)  # a group of denormals is a group of zeros
    assert (zeroed | (error <= bound * (1 + 1e-4))).all()


@given(weights(), schemes)
def test_the_largest_of_a_group_is_kept(w: np.ndarray, scheme: Scheme) -> None:
    """The value of largest magnitude gets the lowest code: no code is wasted on its side."""
    assert scheme.group is not None
    made, groups = quantize(w, scheme), scheme.groups(w.shape[1])
    padded = np.pad(w, ((0, 0), (0, groups * scheme.group - w.shape[1])))
    grouped = padded.reshape(len(w), groups, -1)
    largest = np.abs(grouped).max(axis=2)
    got = np.abs(np.pad(made.dequantize(), ((0, 0), (0, padded.shape[1] - w.shape[1]))))
    kept = got.reshape(grouped.shape).max(axis=2)
    normal = largest > TINY * (1 << scheme.bits)
    np.testing.assert_allclose(kept[normal], largest[normal], rtol=1e-6)


@given(weights(), schemes)
def test_what_codes_mean_quantizes_to_the_same_meaning(w: np.ndarray, scheme: Scheme) -> None:
    once = quantize(w, scheme).dequantize()
    twice = quantize(once, scheme).dequantize()
    np.testing.assert_allclose(twice, once, rtol=1e-6, atol=float(TINY) * 256)


@given(weights(), st.sampled_from(SPANNED))
def test_a_spanned_group_errs_by_half_a_step(w: np.ndarray, scheme: Scheme) -> None:
    """Codes reach from the smallest to the largest value; scales, minimums and the place of zero are
    rounded, too: each adds at most what it is rounded by.
    """
    w = np.clip(w, -1e4, 1e4)  # fp16 holds no more
    made = quantize(w, scheme)
    assert scheme.group is not None
    assert made.zeros is not None
    most = (1 << scheme.bits) - 1
    padded = np.pad(w, ((0, 0), (0, -w.shape[1] % scheme.group)), mode="edge").astype(np.float64)
    grouped = padded.reshape(len(w), -1, scheme.group)
    low, high = grouped.min(axis=2), grouped.max(axis=2)
    if scheme.zero == "integer":
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    ulp = {"fp32": 2.0**-23, "fp16": 2.0**-10, "bf16": 2.0**-7}[scheme.number]
    small = 2.0**-23 if scheme.number == "fp16" else 1e-36  # steps of denormals
    step = (high - low) / most
    half = step * (0.5 if scheme.zero == "minimum" else 1.0)  # and half for the place of zero
    slack = ulp * ((high - low) + np.abs(low)) + most * small
    bound = np.repeat(half * (1 + ulp) + slack, scheme.group, axis=1)[:, : w.shape[1]]
    error = np.abs(made.dequantize().astype(np.float64) - w)
    assert (error <= bound * (1 + 1e-5)).all(), (error - bound).max()


@given(weights(), st.sampled_from([s for s in SPANNED if s.zero == "integer"]))
def test_zero_stays_zero(w: np.ndarray, scheme: Scheme) -> None:
    w[:, ::3] = 0
    assert (quantize(np.clip(w, -1e4, 1e4), scheme).dequantize()[:, ::3] == 0).all()


@given(weights(), st.sampled_from([*SCHEMES, *SPANNED]))
def test_scales_are_of_their_type(w: np.ndarray, scheme: Scheme) -> None:
    made = quantize(np.clip(w, -1e4, 1e4), scheme)
    np.testing.assert_array_equal(rounded(made.scales, scheme.number), made.scales)
    if scheme.zero == "minimum":
        assert made.zeros is not None
        minimums = made.zeros.astype(np.float32)
        np.testing.assert_array_equal(rounded(minimums, scheme.number), minimums)


@pytest.mark.parametrize("name", sorted(ggml.FORMATS))
@given(w=weights())
def test_formats_of_ggml_are_those_of_its_own_package(name: str, w: np.ndarray) -> None:
    """Codes and scales taken out of ggml's blocks; the oracle is its reference quantizer."""
    quants = pytest.importorskip("gguf.quants")
    gguf = pytest.importorskip("gguf")
    w = np.clip(np.pad(w, ((0, 0), (0, -w.shape[1] % 32))), -1e4, 1e4)
    scheme = ggml.FORMATS[name]
    kind = gguf.GGMLQuantizationType[name.upper()]
    with np.errstate(all="ignore"):
        want = quants.dequantize(quants.quantize(w, kind), kind)
    got = ggml.quantize(w, scheme).dequantize()
    np.testing.assert_array_equal(got, want)


@given(arrays.arrays(np.float32, 40, elements=st.floats(width=32)))
def test_bfloat16_is_that_of_ml_dtypes(values: np.ndarray) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with np.errstate(all="ignore"):
        want = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(rounded(values, "bf16"), want)


@given(weights(), schemes)
def test_codes_and_padding_are_in_range(w: np.ndarray, scheme: Scheme) -> None:
    made = quantize(w, scheme)
    assert made.codes.dtype == np.uint8
    assert made.codes.max() < 1 << scheme.bits
    assert (made.codes[:, w.shape[1] :] == 1 << (scheme.bits - 1)).all(), "padding means zero"
    assert np.isfinite(made.scales).all()
    assert made.dequantize().shape == w.shape


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, -1e-45, 1e-40])
def test_groups_of_nothing_are_zeros(scheme: Scheme, value: float) -> None:
    made = quantize(np.full((2, 70), value, np.float32), scheme)
    assert np.isfinite(made.dequantize()).all()
    assert np.abs(made.dequantize()).max() < 1e-38
    assert (made.codes[:, :70] == 1 << (scheme.bits - 1)).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_sign_of_the_largest_decides_the_side(sign: int) -> None:
    w = np.zeros((1, 32), np.float32)
    w[0, :3] = sign * np.array([8.0, -7.0, 1.0])
    made = quantize(w, Scheme(4, 32))
    assert made.scales[0, 0] == -sign
    assert list(made.codes[0, :4]) == [0, 15, 7, 8]
    np.testing.assert_array_equal(made.dequantize(), w)


@given(weights(), schemes, st.integers(1, 3))
def test_rows_are_quantized_each_for_itself(w: np.ndarray, scheme: Scheme, cut: int) -> None:
    """A block of rows gives what the whole matrix gives: weights are converted in blocks."""
    whole, part = quantize(w, scheme), quantize(w[:cut], scheme)
    np.testing.assert_array_equal(whole.codes[:cut], part.codes)
    np.testing.assert_array_equal(whole.scales[:cut], part.scales)


nibbles = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 5), st.sampled_from([32, 64, 128])),
    elements=st.integers(0, 15),
)


@given(nibbles)
def test_packed_codes_come_back(codes: np.ndarray) -> None:
    packed = pack(np.ascontiguousarray(codes), 4)
    assert packed.shape == (codes.shape[0], codes.shape[1] // 2)
    for row, column in np.ndindex(codes.shape):  # slow and obvious on purpose
        byte = int(packed[row, column // 2])
        assert (byte >> 4 if column % 2 else byte & 15) == codes[row, column]


@given(schemes, st.integers(1, 9), st.integers(1, 300))
def test_sizes_are_those_of_what_is_stored(scheme: Scheme, rows: int, columns: int) -> None:
    made = quantize(np.ones((rows, columns), np.float32), scheme)
    stored = pack(np.ascontiguousarray(made.codes), scheme.bits).nbytes + made.scales.nbytes
    assert scheme.nbytes(rows, columns) == stored
    matrix = Store({"w": (rows, columns)}).matrix(("w",), scheme)
    assert matrix.scales is not None
    assert matrix.scales.nbytes == made.scales.nbytes


def test_a_store_gives_the_same_weights_the_same_bytes() -> None:
    store = Store({"a": (3, 64), "b": (2, 64)})
    first = store.matrix(("a", "b"), FP32)
    assert store.matrix(("a", "b"), FP32) is first
    other = store.matrix(("a", "b"), FP16)
    ends = [(m.values.offset, m.values.offset + m.values.nbytes) for m in (first, other)]
    assert ends[0][1] <= ends[1][0], "regions do not overlap"


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("fp32", FP32),
        ("fp16", FP16),
        ("int8", Scheme(8, 32)),
        ("int4", Scheme(4, 32)),
        ("int4-g64", Scheme(4, 64)),
        ("rtn-int4-g128", Scheme(4, 128)),
        ("rtn-int8", Scheme(8, 32)),
    ],
)
def test_recipes_of_one_name(text: str, body: Scheme) -> None:
    recipe = recipes.parse(text)
    assert (recipe.body, recipe.embed, recipe.head) == (body, body, body)


ALL = [FP32, FP16, BF16, *SCHEMES, *SPANNED, *ggml.FORMATS.values()]


@given(st.sampled_from(ALL), st.sampled_from([None, *ALL]), st.sampled_from(ALL))
def test_a_recipe_reads_back_from_its_own_words(
    body: Scheme, head: Scheme | None, down: Scheme
) -> None:
    recipe = recipes.parse(
        recipes.word(body),
        head=None if head is None else recipes.word(head),
        overrides={"layers.*.mlp.down": recipes.word(down)},
    )
    first, *parts = str(recipe).split()
    named = dict(part.split("=") for part in parts)
    own = {key: value for key, value in named.items() if key in ("embed", "head")}
    some = {key: value for key, value in named.items() if key not in own}
    assert recipes.parse(first, **own, overrides=some) == recipe


def test_the_first_pattern_that_fits_holds() -> None:
    recipe = recipes.parse("int4", overrides={"layers.0.*": "int8", "layers.*.attn.q": "fp16"})
    assert recipe.scheme("layers.0.attn.q") == Scheme(8, 32)
    assert recipe.scheme("layers.1.attn.q") == FP16
    assert recipe.scheme("layers.1.attn.k") == Scheme(4, 32)
    with pytest.raises(EdgeError, match="no weight is named"):
        recipe.check({"layers.1.attn.q": None})


def test_a_short_name_is_what_the_target_says() -> None:
    aliases = {"int4": "q4_0"}
    recipe = recipes.parse("int4", head="int8", overrides={"norm": "int4"}, aliases=aliases)
    assert str(recipe) == "q4_0 head=rtn-int8-g32 norm=q4_0"


WRONG = (
    "",
    "int",
    "int7",
    "int4-g31",
    "int4-g",
    "quack-int4",
    "fp8",
    "INT4",
    "int4-g32 ",
    "int4\n",
)
WRONG += ("-int4", "int4-g32-g64", "int²", "int٤", "int" + "9" * 5000)


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("where", ["body", "embed", "head"])
def test_what_is_no_recipe_is_refused_by_name(text: str, where: str) -> None:
    body, parts = (text, {}) if where == "body" else ("int4", {where: text})
    with pytest.raises(EdgeError) as caught:
        recipes.parse(body, **parts)
    assert repr(text)[:300] in caught.value.problem
    assert "int4" in caught.value.fix or "32" in caught.value.fix or "rtn" in caught.value.fix


def test_a_tied_table_has_two_precisions() -> None:
    recipe = recipes.parse("int4", embed="int8", head="fp16")
    assert recipe.scheme("embed", by_row=True) == Scheme(8, 32)
    assert recipe.scheme("embed") == recipe.scheme("head") == FP16
    assert recipe.scheme("layers.0.attn.q") == Scheme(4, 32)
    assert isinstance(recipe.stored("x", np.ones((1, 32), np.float32), Scheme(4, 32)), QTensor)


@given(st.text(alphabet="intrtn0123456789-gfpasymb_q", max_size=16))
@example("rtn-int4-g99999999999999999999")
def test_no_text_breaks_the_grammar(text: str) -> None:
    try:
        recipe = recipes.parse(text)
    except EdgeError:
        return
    assert recipes.parse(recipe.name) == recipe
