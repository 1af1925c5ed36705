"""Prompts that are pieces of a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError
from edge.measure.bench import Text


@given(st.integers(2, 9), st.integers(1, 9), st.integers(0, 40), st.booleans())
def test_pieces_follow_each_other_and_begin_again(
    size: int, count: int, more: int, led: bool
) -> None:
    bos = 99 if led else None
    step = size - led
    ids = list(range(step + more))
    prompts = Text(ids, bos).prompts(size, count)
    assert [len(prompt) for prompt in prompts] == [size] * count
    whole = len(ids) // step
    for number, prompt in enumerate(prompts):
        at = number % whole * step
        assert prompt == [*([99] if led else []), *ids[at : at + step]]


@pytest.mark.parametrize(("tokens", "size"), [(0, 1), (4, 6), (4, 1)])
def test_a_text_that_is_too_short_is_refused(tokens: int, size: int) -> None:
    with pytest.raises(EdgeError, match=f"{tokens} tokens has no prompt of {size}"):
        Text(range(tokens), 1).prompts(size, 1)
