"""What a size is shared out by: divergence, against all logits at once in double precision; and steps as long as all
fits, whatever files add.
"""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.convert.sensitivity import _diverged
from edge.convert.sized import _farthest
from edge.quant.budget import Choice, hull
from edge.quant.ggml import MIXTURES, NEEDY, kin
from edge.quant.recipe import parse
from edge.quant.rtn import quantize
from edge.typing import F32

SCHEMES = [parse(f"rtn-int{bits}-g32").body for bits in (2, 3, 4, 8)]


@given(
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(1, 60), max_size=3),
    forbidden=st.sets(st.integers(0, 60), max_size=4),
    large=st.sampled_from([0.1, 30.0]),
)
def test_divergence_is_that_of_all_logits_at_once(
    seed: int, cuts: list[int], forbidden: set[int], large: float
) -> None:
    rng = np.random.default_rng(seed)
    head = rng.standard_normal((61, 32), np.float32) * np.float32(large)
    plain, *others = rng.standard_normal((3, 5, 32), np.float32)
    spec = SimpleNamespace(tied=False, forbidden=tuple(forbidden), logit_scale=0.5)
    parts = np.split(head, sorted(set(cuts)))
    checkpoint: Any = SimpleNamespace(decoder=spec, blocks=lambda _: iter(parts))
    found = _diverged(checkpoint, plain, others, SCHEMES)
    few = quantize(head * np.float32(0.5), SCHEMES[0]).dequantize()
    kept = [row for row in range(61) if row not in forbidden]
    pairs = [*((x, head * np.float32(0.5)) for x in others), (plain, few)]
    for nats, (x, weights) in zip(found, pairs, strict=True):
        a, b = (logs(*some, kept) for some in ((plain, head * np.float32(0.5)), (x, weights)))
        want = (np.exp(a) * (a - b)).sum(axis=1).mean()
        np.testing.assert_allclose(nats, want, rtol=1e-4, atol=1e-5)


def logs(x: F32, weights: F32, kept: list[int]) -> Any:
    logits = (x.astype(np.float64) @ weights.astype(np.float64).T)[:, kept]
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


class Asked:
    """Matrices of so many bytes by scheme, and files that add a number of their own to each recipe."""

    def __init__(self, every: dict[tuple[str], list[Choice]], nbytes: int, seed: int) -> None:
        self.every, self.seed = every, seed
        self.budget = SimpleNamespace(nbytes=nbytes, whole=self.whole)

    def by(self, schemes: Any) -> Any:
        return dict(schemes)

    def whole(self, recipe: Any) -> int:
        own = {unit: {one.scheme: one.nbytes for one in some} for unit, some in self.every.items()}
        added = 3 * sum(scheme.bits for scheme in recipe.values()) * self.seed % 7
        return sum(own[unit][scheme] for unit, scheme in recipe.items()) + added


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 200)), min_size=4, max_size=4),
             min_size=1, max_size=5),
    st.integers(0, 1500),
    st.integers(0, 9),
)  # fmt: skip
def test_what_fits_is_taken_and_one_step_more_would_not_fit(
    some: list[list[tuple[int, int]]], room: int, seed: int
) -> None:
    every = {
        (f"m{i}",): [
            Choice(scheme, 10 * nbytes, float(loss))
            for scheme, (nbytes, loss) in zip(SCHEMES, each, strict=True)
        ]
        for i, each in enumerate(some)
    }
    asked = Asked(every, 0, seed)
    first = {unit: min(one, key=lambda c: (c.nbytes, c.loss)).scheme for unit, one in every.items()}
    asked.budget.nbytes = asked.whole(first) + room
    found = cast(Any, _farthest(cast(Any, asked), every, room))
    assert asked.whole(found) <= asked.budget.nbytes
    for unit, some in every.items():
        along = [one.scheme for one in hull(some)]
        for scheme in along[along.index(found[unit]) + 1 :][:1]:
            # But for what files add.
            assert asked.whole({**found, unit: scheme}) + 24 > asked.budget.nbytes


def test_a_mixture_s_kin_are_its_own_types_and_those_that_a_library_makes() -> None:
    for mixture, body in MIXTURES.items():
        every = {scheme.method for scheme in kin(mixture, weighed=True)}
        assert body in every
        assert {"q4_k", "q6_k"} <= every
        plain = {scheme.method for scheme in kin(mixture, weighed=False)}
        assert not plain & NEEDY
    assert not any(scheme.method.startswith("iq") for scheme in kin("q4_k_m", weighed=True))
