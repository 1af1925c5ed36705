"""Bytes that are shared out among matrices: never too many, never worse for more, and next to the best there is, which
a slow search of every combination finds.
"""

from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from edge.quant.budget import Choice, hull, within
from edge.quant.recipe import parse

SCHEME = parse("rtn-int4-g32").body
choices = st.lists(
    st.builds(Choice, st.just(SCHEME), st.integers(1, 60), st.integers(0, 200).map(float)),
    min_size=1,
    max_size=5,
)
matrices = st.lists(choices, min_size=1, max_size=4).map(
    lambda some: {f"m{i}": each for i, each in enumerate(some)}
)


def lost(found: dict[str, Choice]) -> float:
    return sum(one.loss for one in found.values())


def best(every: dict[str, list[Choice]], nbytes: int) -> float | None:
    """The least loss of all combinations that fit."""
    fits = [some for some in product(*every.values()) if sum(one.nbytes for one in some) <= nbytes]
    return min((sum(one.loss for one in some) for some in fits), default=None)


@given(matrices, st.integers(0, 250))
def test_it_fits_and_is_as_good_as_any_up_to_one_step(
    every: dict[str, list[Choice]], nbytes: int
) -> None:
    found, least = within(every, nbytes), best(every, nbytes)
    assert (found is None) == (least is None)
    if found is None or least is None:
        return
    assert sum(one.nbytes for one in found.values()) <= nbytes
    assert all(one in every[name] for name, one in found.items())
    # What it leaves is less than one step along a hull: so many bytes fewer, and nobody does better.
    step = max(
        (b.nbytes - a.nbytes for each in every.values() for a, b in pairwise(hull(each))),
        default=0,
    )
    fewer = best(every, nbytes - step)
    assert least <= lost(found)
    assert fewer is None or lost(found) <= fewer


@given(matrices, st.integers(0, 250), st.integers(0, 60))
def test_more_bytes_never_lose_more(every: dict[str, list[Choice]], nbytes: int, more: int) -> None:
    few, many = within(every, nbytes), within(every, nbytes + more)
    if few is not None:
        assert many is not None
        assert lost(many) <= lost(few)


@given(choices)
def test_a_hull_rises_in_bytes_and_saves_less_and_less(some: list[Choice]) -> None:
    found = hull(some)
    steps = list(pairwise(found))
    assert all(b.nbytes > a.nbytes and b.loss < a.loss for a, b in steps)
    slopes = [(a.loss - b.loss) / (b.nbytes - a.nbytes) for a, b in steps]
    assert slopes == sorted(slopes, reverse=True)
    assert min(one.loss for one in some) == found[-1].loss
