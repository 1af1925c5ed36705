"""Laws of what an adapter does beside a product: of several, stacked, of the lengths of rows, of balanced ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.adapters.branches import Branch, Branches, beside
from edge.adapters.value import Delta, merged
from edge.typing import F32

SIZES = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=4)
COLUMNS = 5


def numbers(rng: np.random.Generator, *shape: int) -> F32:
    return rng.standard_normal(shape, np.float32)


@given(SIZES, st.integers(0, 99), st.booleans())
def test_stacked_is_each_by_itself(sizes: list[tuple[int, int]], seed: int, shared: bool) -> None:
    """A rank of 0: a weight without an adapter. `shared`: those of one rank have one `down`, as in a fused tensor."""
    rng = np.random.default_rng(seed)
    downs = {rank: numbers(rng, rank, COLUMNS) for _, rank in sizes}
    of: dict[str, Branch] = {}
    for i, (rows, rank) in enumerate(sizes):
        if rank:
            down = downs[rank] if shared else numbers(rng, rank, COLUMNS)
            gain = None if rng.random() < 0.5 else numbers(rng, rows)
            of[f"w{i}"] = Branch(down, numbers(rng, rows, rank), gain)
    branches = Branches("key", of)
    names, heights = [f"w{i}" for i in range(len(sizes))], [rows for rows, _ in sizes]
    whole = branches.stacked(names, heights)
    x = numbers(rng, 3, COLUMNS)
    outs = [numbers(rng, 3, rows) for rows in heights]
    want = [
        of[name].beside(x, out) if name in of else out
        for name, out in zip(names, outs, strict=True)
    ]
    if whole is None:
        assert not of
        return
    got = whole.beside(x, np.concatenate(outs, axis=1))
    np.testing.assert_allclose(got, np.concatenate(want, axis=1), rtol=1e-5, atol=1e-5)
    most = sum({rank for _, rank in sizes} if shared else [rank for _, rank in sizes])
    assert len(whole.down) <= most
    some = whole.first(1).beside(x, np.concatenate(outs, axis=1)[:, :1])
    np.testing.assert_allclose(some, got[:, :1], rtol=1e-5, atol=1e-5)


@given(st.integers(1, 8), st.integers(0, 99), st.booleans(), st.booleans())
def test_beside_is_the_merged_weight(rows: int, seed: int, dora: bool, balanced: bool) -> None:
    """Also of an artifact whose rows and columns were multiplied before they were stored."""
    rng = np.random.default_rng(seed)
    weight = numbers(rng, rows, COLUMNS)
    length = np.abs(numbers(rng, rows)) if dora else None
    delta = Delta(numbers(rng, 2, COLUMNS), numbers(rng, rows, 2), 0.7, length)
    by = (None, None)
    stored = weight
    if balanced:
        by = np.exp(numbers(rng, rows)), np.exp(numbers(rng, COLUMNS))
        stored = weight * by[0][:, None] * by[1]
    branch = beside("key", {"w": delta}, lambda _: iter((stored[:2], stored[2:])), {"w": by}).of[
        "w"
    ]
    x = numbers(rng, 3, COLUMNS)
    want = x @ merged(weight, delta).T
    seen = x if by[1] is None else x / by[1]  # what comes in is divided
    got = branch.beside(seen, seen @ stored.T)
    got = got if by[0] is None else got / by[0]  # and what comes out is multiplied
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_a_row_of_zeros_stays_one() -> None:
    delta = Delta(
        np.zeros((1, 3), np.float32), np.ones((2, 1), np.float32), 1.0, np.ones(2, np.float32)
    )
    branch = beside(
        "key", {"w": delta}, lambda _: iter((np.eye(2, 3, dtype=np.float32)[[0, 0]] * [[1], [0]],))
    )
    got = branch.of["w"].beside(np.ones((1, 3), np.float32), np.array([[1.0, 0.0]], np.float32))
    assert np.array_equal(got, [[1.0, 0.0]])


@pytest.mark.parametrize("layers", [range(0), range(1), range(1, 3)])
def test_a_part_of_a_model_has_its_own_and_the_heads(layers: range) -> None:
    branch = Branch(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    names = ["layers.0.attn.q", "layers.1.attn.q", "layers.2.mlp.up", "layers.10.mlp.up", "head"]
    found = Branches("key", dict.fromkeys(names, branch)).within(layers).of
    assert set(found) == {
        "head",
        *(n for n in names if n[:7] == "layers." and int(n.split(".")[1]) in layers),
    }
