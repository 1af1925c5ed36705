"""Sampling against a slow, obvious version, and against transformers' own processors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.decode.sampling import Sampling, distribution, pick
from edge.errors import Damaged, EdgeError
from edge.typing import F32

RNG = np.random.default_rng


def distinct(seed: int, size: int = 50) -> F32:
    """Logits [size] without ties: where two are equal the order of a sort would decide."""
    logits = RNG(seed).permutation(np.linspace(-6, 6, size))
    return (logits + RNG(seed).uniform(0, 0.01, size)).astype(np.float32)


def obvious(logits: F32, sampling: Sampling, history: list[int]) -> list[float]:
    """The same distribution, by loops and full sorts."""
    scores = [float(value) for value in logits]
    for token in set(history):
        penalty = sampling.repetition_penalty
        scores[token] = scores[token] * penalty if scores[token] < 0 else scores[token] / penalty
    order = sorted(range(len(scores)), key=lambda token: -scores[token])
    if sampling.temperature == 0:
        return [float(token == order[0]) for token in range(len(scores))]
    weight = [math.exp((score - scores[order[0]]) / sampling.temperature) for score in scores]
    kept = order[: sampling.top_k]
    if sampling.top_p is not None:
        total, reached, nucleus = sum(weight[token] for token in kept), 0.0, []
        for token in kept:
            if reached >= sampling.top_p * total:
                break
            nucleus.append(token)
            reached += weight[token]
        kept = nucleus
    kept = [token for token in kept if weight[token] >= (sampling.min_p or 0)]
    total = sum(weight[token] for token in kept)
    return [weight[token] / total if token in kept else 0.0 for token in range(len(scores))]


OPTIONS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_k=st.none() | st.integers(1, 60),
    top_p=st.none() | st.floats(0.05, 0.99),
    min_p=st.none() | st.floats(0, 0.9),
    repetition_penalty=st.sampled_from([1.0, 1.2, 0.8]),
)


@given(seed=st.integers(0, 99), sampling=OPTIONS, history=st.lists(st.integers(0, 49), max_size=9))
def test_equals_the_obvious_version(seed: int, sampling: Sampling, history: list[int]) -> None:
    logits = distinct(seed)
    before = logits.copy()
    got = distribution(logits, sampling, history)
    np.testing.assert_allclose(got, obvious(logits, sampling, history), atol=1e-6)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.7},
        {"temperature": 1.3, "top_k": 7},
        {"temperature": 0.9, "top_p": 0.8},
        {"temperature": 1.0, "top_p": 0.999},
        {"temperature": 2.0, "min_p": 0.1},
        {"temperature": 0.8, "repetition_penalty": 1.3},
        {"temperature": 0.8, "top_k": 30, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.1},
    ],
)
def test_equals_transformers(options: dict[str, float]) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    makers = {
        "repetition_penalty": transformers.RepetitionPenaltyLogitsProcessor,
        "temperature": transformers.TemperatureLogitsWarper,
        "top_k": transformers.TopKLogitsWarper,
        "top_p": transformers.TopPLogitsWarper,
        "min_p": transformers.MinPLogitsWarper,
    }
    logits, history = distinct(5, 3000), [1, 2, 2, 2999]
    scores = torch.tensor(logits)[None]
    for name, make in makers.items():
        if name in options:
            scores = make(options[name])(torch.tensor([history]), scores)
    got = distribution(logits, Sampling(**options), history)
    np.testing.assert_allclose(got, scores.softmax(-1)[0].numpy(), atol=1e-6)


def test_greedy_takes_the_first_of_the_highest_and_copies_nothing() -> None:
    logits = np.array([0, 3, 1, 3], np.float32)
    logits.flags.writeable = False
    assert pick(logits, Sampling(), [1], RNG(0)) == 1
    assert pick(logits, Sampling(repetition_penalty=2), [1], RNG(0)) == 3
    assert pick(logits, Sampling(top_p=0.1, top_k=1), [], RNG(0)) == 1


def test_draws_follow_the_distribution() -> None:
    logits, sampling = distinct(3, 20), Sampling(temperature=1.5, top_k=6, seed=11)
    rng = sampling.rng()
    counts = np.bincount([pick(logits, sampling, [], rng) for _ in range(4000)], minlength=20)
    want = distribution(logits, sampling, [])
    assert not counts[want == 0].any()
    # Five standard deviations of a binomial count.
    assert (abs(counts - 4000 * want) <= 5 * np.sqrt(4000 * want * (1 - want))).all()


def test_a_seed_repeats() -> None:
    sampling = Sampling(temperature=1, seed=4)

    def draws() -> list[int]:
        rng = sampling.rng()
        return [pick(distinct(1), sampling, [], rng) for _ in range(20)]

    assert draws() == draws()
    assert len(set(draws())) > 1


def test_a_small_temperature_is_greedy_and_does_not_overflow() -> None:
    logits = distinct(8) * np.float32(1e30)
    with np.errstate(over="raise", invalid="raise"):
        got = distribution(logits, Sampling(temperature=1e-9), [])
    assert got[logits.argmax()] == 1


def test_masked_tokens_are_never_drawn() -> None:
    logits = np.full(9, -np.inf, np.float32)
    logits[[2, 5]] = 1
    sampling = Sampling(temperature=1, top_p=0.99, min_p=0.1, repetition_penalty=1.5)
    np.testing.assert_allclose(distribution(logits, sampling, [0, 5])[[2, 5]].sum(), 1)
    assert set(np.flatnonzero(distribution(logits, sampling, [0, 5]))) <= {2, 5}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_broken_logits_are_not_sampled(bad: float, temperature: float) -> None:
    logits = distinct(1)
    logits[17] = bad
    with pytest.raises(Damaged, match="at 17"):
        pick(logits, Sampling(temperature=temperature), [], RNG(0))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("temperature", -1), ("temperature", math.inf), ("temperature", math.nan), ("top_k", 0),
        ("top_p", 0), ("top_p", 1.01), ("min_p", -0.1), ("min_p", 1.5), ("repetition_penalty", 0),
        ("seed", -1),
    ],
)  # fmt: skip
def test_options_out_of_range_are_named(option: str, value: float) -> None:
    with pytest.raises(EdgeError, match=f"^{option} is {value}, but must be"):
        Sampling(**{option: value})
