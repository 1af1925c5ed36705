"""Laws of codes that are trained: what is trained is what is stored, beside slow ways to say both."""

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.quant import rtn
from edge.quant.methods import Training
from edge.quant.recipe import parse
from edge.quant.tensor import QTensor, Scheme
from edge.typing import F32

torch = pytest.importorskip("torch")

from edge_runtimes.torch import tuning  # noqa: E402 - where there is torch
from edge_runtimes.torch.tuning import Rounded, _descend, _scaled  # noqa: E402

KINDS = (
    "int2-g32",
    "int2-g64-min",
    "int3-g32-asym",
    "int4-g32-min-fp16",
    "int3-g32-bf16",
    "int8-g32-asym-fp16",
)
CASES = st.tuples(
    st.integers(1, 6), st.integers(1, 140), st.integers(0, 2**31), st.sampled_from(KINDS)
)
CPU = torch.device("cpu")


def scheme_of(text: str) -> Scheme:
    return parse(f"efficientqat-{text}").body


def made_up(rows: int, columns: int, seed: int, scheme: Scheme) -> tuple[F32, QTensor]:
    """Weights, one group of them zeros, and codes that lie a step off here and there, as those of a text do."""
    rng = np.random.default_rng(seed)
    weights = (
        rng.standard_normal((rows, columns)) * np.exp(rng.standard_normal((rows, 1)))
    ).astype(np.float32)
    weights[0, : scheme.width(columns)] = 0
    made = rtn.quantize(weights, scheme)
    made.codes[:] = np.clip(
        made.codes.astype(int) + rng.integers(-1, 2, made.codes.shape) * (rng.random(made.codes.shape) < 0.1),
        0, 2**scheme.bits - 1,
    )  # fmt: skip
    return weights, made


@settings(deadline=None, max_examples=60)
@given(CASES)
@example((3, 70, 0, "int2-g64-min"))
def test_training_begins_with_the_codes_that_a_text_made(case: tuple[int, int, int, str]) -> None:
    """And ends with them, where nothing moved (EfficientQAT#29: between two stages they were not read)."""
    rows, columns, seed, kind = case
    weights, made = made_up(rows, columns, seed, scheme_of(kind))
    one = Rounded(weights, made, CPU)
    np.testing.assert_allclose(
        one.weights().detach().numpy(), made.dequantize(), rtol=2e-5, atol=2e-6
    )
    again = one.codes()
    np.testing.assert_array_equal(again.codes, made.codes)
    np.testing.assert_allclose(again.scales, made.scales, rtol=1e-6)
    np.testing.assert_allclose(again.dequantize(), made.dequantize(), rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(CASES)
@example((3, 1, 1608, "int8-g32-asym-fp16"))
def test_what_is_trained_is_what_is_stored(case: tuple[int, int, int, str]) -> None:
    """Wherever weights, steps and zeros went; between two codes a weight takes the other if numbers are rounded."""
    rows, columns, seed, kind = case
    weights, made = made_up(rows, columns, seed, scheme_of(kind))
    one, rng = Rounded(weights, made, CPU), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part, most in ((one.place, 1.5), (one.wider, 0.2), (one.shift, 0.7)):
            part += most * (2 * torch.rand(part.shape, generator=rng) - 1)
    told, stored = one.weights().detach().numpy(), one.codes()
    assert stored.scheme == made.scheme
    assert stored.codes.max(initial=0) < 2**made.scheme.bits
    unit = {"fp32": 2.0**-20, "fp16": 2.0**-10, "bf16": 2.0**-7}[made.scheme.number]
    wide = np.repeat(np.abs(stored.scales), made.scheme.width(columns), axis=1)[:, :columns]
    off = np.abs(stored.dequantize() - told)
    slack = unit * (np.abs(told) + 2**made.scheme.bits * wide) + 1e-6
    assert (off <= wide + slack).all()
    share = (
        0.001 if made.scheme.number == "fp32" else 0.3
    )  # of 255 steps, half of one is 2**-9 of the scale
    assert (off > slack).sum() <= share * off.size + 3 * (share * off.size) ** 0.5 + 1


@pytest.mark.parametrize("kind", ["int2-g32-min", "int3-g32", "int3-g32-asym"])
def test_gradients_pass_a_rounding_and_stop_past_the_last_code(kind: str) -> None:
    """Beside what is said of each weight by itself: of v = (w - begin) / step, round(v) is v where it is a code, and
    the last one past it.
    """
    weights, made = made_up(2, 64, 3, scheme_of(kind))
    one = Rounded(weights, made, CPU)
    with torch.no_grad():
        one.place += 2 * torch.randn(one.place.shape, generator=torch.Generator().manual_seed(0))
        one.wider += 0.1
    out = torch.randn(2, 64, generator=torch.Generator().manual_seed(1))
    (one.weights() * out).sum().backward()
    half, most = 2 ** (made.scheme.bits - 1), 2**made.scheme.bits - 1
    for row, group in np.ndindex(2, 2):
        unit, size = float(one._unit[row, group]), float(one._size[row, group])
        place, step = one.place[row, group].detach().double(), 1.1
        first = float(one._first[row, group]) / unit  # of code 0, from zero
        zero = {"minimum": None, "middle": half, "integer": round(-first)}[made.scheme.zero]
        begin = 0.0 if zero is None else -zero * step - first
        wider, shift = 0.0, 0.0
        for column in range(32):
            v, g = (float(place[column]) - begin) / step, float(out[row, group * 32 + column])
            code = min(max(round(v), 0), most)
            inside = 0 <= round(v) <= most
            assert float(one.place.grad[row, group, column]) == pytest.approx(
                g * size * inside, abs=1e-5
            )
            free = code if zero is None else code - zero  # what multiplies the step
            lies = v if zero is None else v - zero
            wider += g * size * (free - (lies if inside else 0))
            shift += g * size * ((not inside) if zero is None else -step * (not inside))
        assert float(one.wider.grad[row, group]) == pytest.approx(wider, rel=1e-3, abs=1e-4)
        if made.scheme.zero != "middle":
            assert float(one.shift.grad[row, group]) == pytest.approx(shift, rel=1e-3, abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(CASES, st.floats(0.7, 1.3))
def test_a_scale_alone_moves_all_of_its_group(
    case: tuple[int, int, int, str], share: float
) -> None:
    """By one factor, and what is zero stays zero."""
    rows, columns, seed, kind = case
    _, made = made_up(rows, columns, seed, scheme_of(kind))
    scaled = _scaled(made, torch.full((*made.scales.shape, 1), share))
    np.testing.assert_array_equal(scaled.codes, made.codes)
    unit = {"fp32": 1e-6, "fp16": 2e-3, "bf16": 2e-2}[made.scheme.number]
    size = np.abs(made.scales).max(initial=0) * 2**made.scheme.bits
    np.testing.assert_allclose(
        scaled.dequantize(), share * made.dequantize(), rtol=unit, atol=unit * size + 1e-7
    )


def course(seed: int = 0, **changes: float) -> Training:
    values = {
        "passes": 2,
        "weights": 0.01,
        "steps": 0.001,
        "zeros": 0.002,
        "rounds": 1,
        "scales": 1e-3,
    }
    return Training(**(values | changes))  # type: ignore[arg-type]


def test_a_loss_that_is_no_number_is_said() -> None:
    """EfficientQAT#6, AffineQuant#2: training went on."""
    x = torch.zeros(3, requires_grad=True)
    pairs = [(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))]
    with pytest.raises(tuning.EdgeError, match="loss is no number"):
        _descend([(0.1, [x])], lambda a, b: (x / a.sum()).sum(), pairs, 1, lambda _: None)


def test_nobody_elses_chance_is_touched() -> None:
    """GPTQModel#2602: a library that seeds every generator made another's run another. All windows are read, the last,
    which is shorter, too (auto-round#138, GPTQModel#289 left it out).
    """

    def seed() -> None:
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)

    def drawn() -> tuple[float, ...]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    seed()
    want = drawn()
    seed()
    threads, x = torch.get_num_threads(), torch.zeros(3, requires_grad=True)
    pairs = [
        (np.ones((length, 3), np.float32),) * 2 for length in (4, 4, 2)
    ]  # the last window is shorter
    heard: list[int] = []
    _descend([(0.1, [x])], lambda a, b: ((x * a - b) ** 2).sum(), pairs, 5, heard.append)
    assert drawn() == want
    assert torch.get_num_threads() == threads
    assert sum(heard) == 50
    assert (x > 0).all()
