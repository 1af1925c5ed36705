"""Every method that a recipe may name, by itself: what its codes mean is near what it was given. A new
one is found by its file, and held by what its schemes' codes mean.

The bounds here are written from the formats alone, a value and a group at a time, and share no code with the
methods, with `QTensor.dequantize`, nor with `edge.quant.bounds`, which are all held against them.
"""

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rotations import rotation_of

from edge.quant import bounds
from edge.quant import recipe as recipes
from edge.quant.bounds import LIBRARY, by_levels, by_steps, by_tables, most, squares
from edge.quant.ggml import BLOCKS, MIXTURES
from edge.quant.methods import Bound, Method, grid, methods
from edge.quant.methods import checked as found
from edge.quant.tensor import FLOATS, QTensor, Scheme

BITS = {"fp32": 24, "fp16": 11, "bf16": 8}  # of a number, the first one included
LEAST = {"fp32": 2.0**-126, "fp16": 2.0**-24, "bf16": 2.0**-126}
SCHEMES = [scheme for method in methods().values() for scheme in method.schemes]
floats = st.floats(-1e3, 1e3, width=32, allow_subnormal=True)


def constant(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.repeat(rng.standard_normal((shape[0], 1)), shape[1], axis=1)


def outlier(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    w = rng.standard_normal(shape) * 1e-3
    w[rng.integers(shape[0]), rng.integers(shape[1])] = rng.choice([-1, 1]) * 50
    return w


def signs(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Both ends of a group, of which one has no code."""
    return rng.choice([-1.0, 1.0, 0.999], shape)


def zeros(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.9, 0.0, rng.standard_normal(shape))


def denormal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.standard_normal(shape) * 1e-40


def any_size(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 4)


def far_from_zero(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return 7 + rng.standard_normal(shape) * 1e-2


def short(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A range of a few numbers of float32 alone."""
    return 1 + rng.integers(0, 40, shape) * 2.0**-23


def long_tailed(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.clip(rng.standard_t(2, shape), -1e4, 1e4)


KINDS = (constant, outlier, signs, zeros, denormal, any_size, far_from_zero, short, long_tailed)


@st.composite
def weights(draw: st.DrawFn) -> np.ndarray:
    """Rows of every kind that has broken a quantizer, which need not fill their last group."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 140)))
    if draw(st.booleans()):
        return draw(arrays.arrays(np.float32, shape, elements=floats, fill=floats))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    return draw(st.sampled_from(KINDS))(rng, shape).astype(np.float32)


def meant(made: QTensor, row: int, column: int) -> float:
    """What one code means, as the format says it: slow and obvious on purpose."""
    if made.scheme.rotated:
        plain = replace(made, scheme=replace(made.scheme, rotated=False))
        turned = [meant(plain, row, k) for k in range(made.columns)]
        return float(np.array(turned) @ rotation_of(made.columns)[column])
    if made.added is not None:
        place = column if made.order is None else made.order.tolist().index(column)
        return sum(meant(term, row, place) for term in made.terms if place < term.columns)
    scheme, code = made.scheme, int(made.codes[row, column])
    assert scheme.group is not None
    if scheme.zero == "table":
        return float(made.scales[row // scheme.group, code])
    width = scheme.width(made.columns)
    scale = float(made.scales[row, column // width])
    zero = None if made.zeros is None else float(made.zeros[row, column // width])
    if scheme.leveled:
        return levels_of(scheme)[code] * scale + (zero or 0.0)
    if scheme.zero == "minimum":
        assert zero is not None
        return code * scale + zero
    return (code - (2 ** (scheme.bits - 1) if zero is None else zero)) * scale


def levels_of(scheme: Scheme) -> list[float]:
    """As numbers of the scheme's type: the nearest of all, by struct's or by numpy's own rounding."""
    levels = methods()[scheme.method].levels
    if scheme.number == "bf16":
        return [math.ldexp(round(math.ldexp(m, 8)), e - 8) for m, e in map(math.frexp, levels)]
    kind = "e" if scheme.number == "fp16" else "f"
    return [struct.unpack(kind, struct.pack(kind, level))[0] for level in levels]


def step(group: list[float], scheme: Scheme) -> float:
    """The distance of two codes of a group, as its range has it."""
    low, high = min(group), max(group)
    if scheme.zero == "middle":  # ggml's q8_0 leaves out one code more
        return max(high, -low) / (2 ** (scheme.bits - 1) - (scheme.bits == 8))
    if scheme.zero == "integer":
        low, high = min(low, 0.0), max(high, 0.0)
    return (high - low) / (2**scheme.bits - 1)


def slack(group: list[float], scheme: Scheme) -> float:
    """What rounding scales and minimums adds."""
    size = max(map(abs, group))
    return 4 * size * 2.0 ** -BITS[scheme.number] + 2**scheme.bits * LEAST[scheme.number]


def near_by_steps(w: np.ndarray, made: QTensor) -> Iterator[tuple[float, float]]:
    """Each error, and its bound: half a step, or one at an end that may have no code."""
    scheme = made.scheme
    assert scheme.group is not None
    for row in range(len(w)):
        for start in range(0, w.shape[1], scheme.width(w.shape[1])):
            group = [float(v) for v in w[row, start : start + scheme.width(w.shape[1])]]
            one = step(group, scheme)
            for i, value in enumerate(group):
                exact = scheme.zero == "minimum" or min(abs(value - e) for e in ends(group)) > one
                bound = one * (0.5 if exact else 1) * 1.001 + slack(group, scheme)
                yield abs(meant(made, row, start + i) - value), bound


def ends(group: list[float]) -> tuple[float, ...]:
    return min(group), max(group), -max(map(abs, group)), max(map(abs, group))


def near_by_tables(w: np.ndarray, made: QTensor) -> Iterator[tuple[float, float]]:
    """The root mean square of each table's errors, within twice what is best for a normal distribution or
    half of equal steps, a whole one among few values; and each value's error, within that of the best
    entry of its table.
    """
    scheme = made.scheme
    assert scheme.group is not None
    unit, least = 2.0 ** -BITS[scheme.number], LEAST[scheme.number]
    for start in range(0, len(w), scheme.group):
        rows = range(start, min(start + scheme.group, len(w)))
        values = w[start : rows.stop].astype(np.float64)
        got = np.array([[meant(made, r, c) for c in range(w.shape[1])] for r in rows])
        share = 2 * math.sqrt(math.sqrt(3) * math.pi / 2) / 2**scheme.bits + unit
        size, span = math.sqrt((values**2).mean()), float(np.ptp(values))
        equal = span / 2**scheme.bits * (1 if values.size < 16 * 2**scheme.bits else 0.5)
        yield math.sqrt(((got - values) ** 2).mean()), max(share * size, equal) + least
        entries = made.scales[start // scheme.group].astype(np.float64)
        best = np.abs(values[:, :, None] - entries).min(axis=2)
        yield (
            float((np.abs(got - values) - best).max()),
            1e-6 * float(np.abs(entries).max()) + least,
        )


def near_by_levels(w: np.ndarray, made: QTensor) -> Iterator[tuple[float, float]]:
    """Each error, and its bound: what the nearest level would have, were scales not rounded."""
    scheme = made.scheme
    assert scheme.group is not None
    levels = methods()[scheme.method].levels
    largest = max(map(abs, levels))
    for row in range(len(w)):
        for start in range(0, w.shape[1], scheme.width(w.shape[1])):
            group = [float(v) for v in w[row, start : start + scheme.width(w.shape[1])]]
            unit = max(map(abs, group)) / largest
            for i, value in enumerate(group):
                best = min(abs(value - level * unit) for level in levels)
                bound = best + slack(group, scheme) + largest * LEAST[scheme.number]
                yield abs(meant(made, row, start + i) - value), bound


# What holds each value by itself, where a method's bound is one that several have. A method with a bound
# of its own has its law in a file of its own.
Near = Callable[[np.ndarray, QTensor], Iterator[tuple[float, float]]]
NEAR: dict[Bound, Near] = {
    by_steps: near_by_steps,
    by_tables: near_by_tables,
    by_levels: near_by_levels,
}
METHODS = sorted(methods())
# Files of laws that are of several methods, or of what one of them does.
LAWS = {
    "billm": "sums", "dbllm": "sums", "pbllm": "sums", "quip": "rotation", "search": "gptq",
}  # fmt: skip


@pytest.mark.parametrize("method", [name for name in METHODS if methods()[name].bound in NEAR])
@given(data=st.data(), w=weights())
def test_what_a_method_stores_is_near_what_it_was_given(
    method: str, data: st.DataObject, w: np.ndarray
) -> None:
    scheme = data.draw(st.sampled_from(methods()[method].schemes))
    made = methods()[method].quantize(w[:9, :70], scheme)
    for error, bound in NEAR[methods()[method].bound](w[:9, :70], made):
        assert error <= bound, (scheme, error, bound)


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data(), w=weights())
def test_codes_mean_what_is_said_of_them(method: str, data: st.DataObject, w: np.ndarray) -> None:
    scheme = data.draw(st.sampled_from(methods()[method].schemes))
    made = methods()[method].quantize(w[:5, :70], scheme)
    got = made.dequantize()
    for row, column in np.ndindex(got.shape):
        want = meant(made, row, column)
        size = abs(want) + abs(float(np.abs(made.scales).max())) * 2**made.scheme.bits
        size += float(np.abs(got[row]).sum()) if made.scheme.rotated or made.added else 0.0
        assert abs(float(got[row, column]) - want) <= 1e-6 * size + 1e-38


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data(), w=weights())
def test_no_error_is_past_its_bound(method: str, data: st.DataObject, w: np.ndarray) -> None:
    """The bound that `edge verify` has of a recipe holds for each row, or rows of a table, by itself."""
    scheme = data.draw(st.sampled_from(methods()[method].schemes))
    rows = scheme.rows_of_scales
    for start in range(0, len(w), rows):
        part = w[start : start + rows]
        error = squares(methods()[method].quantize(part, scheme).dequantize() - part)
        assert error <= most(part, scheme) * 1.0001 + part.size * LEAST[scheme.number] ** 2


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_bound_is_no_wider_than_it_must_be(scheme: Scheme) -> None:
    """On noise a bound is less than three or four times the error, so that a wrong code of ten is seen."""
    w = np.random.default_rng(0).standard_normal((32, 512), dtype=np.float32)
    made = methods()[scheme.method].quantize(w, scheme)
    error = squares(made.dequantize() - w)
    unit = 8 * 2.0 ** -BITS[scheme.number]
    moved = methods()[scheme.method].calibrated is not None  # away from where it was
    wide = 6 if moved else 4 if scheme.zero == "table" or scheme.method != "rtn" else 3
    assert error <= most(w, scheme) <= wide**2 * error + unit**2 * squares(w)
    wrong = made.codes.copy()
    wrong[:, ::10] = (2**scheme.bits - 1) - wrong[:, ::10]
    misread = QTensor(wrong, made.scales, scheme, made.columns, made.zeros, made.levels)
    if scheme.bits > (3 if moved else 2):
        assert squares(misread.dequantize() - w) > most(w, scheme)


def test_every_method_is_there() -> None:
    """What it makes is what somebody holds; and a library's types have bounds as well."""
    assert {"rtn", "ggml", "kmeans", "nf4"} <= set(METHODS)
    for name, method in methods().items():
        own = (Path(__file__).parent / f"test_{LAWS.get(name, name)}.py").exists()
        assert method.bound in NEAR or own, f"{name} has no law in tests/property"
    assert set(LIBRARY) == set(BLOCKS)
    assert 0 < bounds.FULL < 1


@pytest.mark.parametrize("method", METHODS)
def test_a_name_is_cut_in_one_way(method: str) -> None:
    """Each scheme has a word that reads back, and no two have one."""
    made = methods()[method]
    words = [recipes.word(scheme) for scheme in made.schemes]
    assert len(set(words)) == len(words) == len(set(made.schemes))
    assert [recipes.parse(word).body for word in words] == list(made.schemes)
    assert recipes.parse(words[0]).name == words[0]
    assert not set(words) & (set(MIXTURES) | set(BLOCKS) | set(FLOATS))


def test_a_name_that_a_recipe_could_not_hold_is_found() -> None:
    """Of a file that somebody adds."""
    good = methods()["rtn"]
    for name in ("int4", "g64", "bf16", "asym", "min", "q4_0", "mxfp4", "4nf", "a-b", "lut4"):
        named = replace(good, name=name, schemes=())
        with pytest.raises(AssertionError, match="choose another name"):
            found({name: named, "ggml": methods()["ggml"]})
    with pytest.raises(AssertionError, match="holds the method"):
        found({"nf5": good})
    with pytest.raises(AssertionError, match="others' schemes"):
        found({"nf5": replace(good, name="nf5")})


def misread(weights: np.ndarray, scheme: Scheme) -> QTensor:
    """Codes of four-bit floats, which nobody reads as such."""
    table = np.array([-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6, 9], np.float32)
    assert scheme.group is not None
    grouped = weights.reshape(len(weights), -1, scheme.group)
    scales = np.abs(grouped).max(axis=2) / 6
    steps = grouped / np.where(scales, scales, 1)[:, :, None]
    codes = np.abs(steps[..., None] - table).argmin(axis=-1).astype(np.uint8)
    return QTensor(codes.reshape(len(weights), -1), scales, scheme, weights.shape[1])


def test_a_method_whose_codes_are_misread_is_far_off() -> None:
    w = np.random.default_rng(0).standard_normal((8, 64), dtype=np.float32)
    made = misread(w, Scheme(4, 32))
    assert any(error > bound for error, bound in near_by_steps(w, made))
    assert squares(made.dequantize() - w) > 4 * most(w, Scheme(4, 32))


@pytest.mark.parametrize("name", sorted(FLOATS))
def test_floats_are_within_half_a_unit(name: str) -> None:
    scheme = FLOATS[name]
    w = np.random.default_rng(0).standard_normal((8, 64), dtype=np.float32)
    assert math.sqrt(most(w, scheme) / squares(w)) == pytest.approx(
        {"fp32": 0, "fp16": 2.0**-11, "bf16": 2.0**-9}[scheme.number], abs=1e-9
    )


@pytest.mark.parametrize("levels", [(-1.0, 0.0, 1.0), (0.0, 1.0, -1.0, 2.0), ()], ids=str)
def test_levels_that_no_code_can_place_are_refused_when_a_method_is_read(
    levels: tuple[float, ...],
) -> None:
    """A code of two bits is the place of one of four, in order."""
    made = Method(
        name="four",
        schemes=grid("four", bits=(2,), zeros=("levels",)),
        quantize=methods()["nf4"].quantize,
        bound=methods()["nf4"].bound,
        levels=levels,
    )
    with pytest.raises(AssertionError, match="levels"):
        found({"four": made})
    found({"four": replace(made, levels=(-1.0, 0.0, 0.5, 1.0))})
