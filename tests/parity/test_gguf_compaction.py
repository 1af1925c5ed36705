"""Compacted caches on llama.cpp beyond the laws of `test_compaction.py`: votes, the state's layout, room."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import VOCAB, config_of, converted, spec_of, tiny

from edge import targets
from edge.artifact.manifest import Artifact
from edge.decode.snapkv import CompactingDecoder, SnapKV
from edge.errors import EdgeError, Unsupported
from edge.protocols import Evictable
from edge.quant import recipe as recipes
from edge.run import opening
from edge.source.checkpoint import Checkpoint
from edge.typing import F32, U8

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

from edge_runtimes.gguf import flexible
from edge_runtimes.gguf.flexible import FlexibleGgufDecoder
from edge_runtimes.gguf.library import Context
from edge_runtimes.gguf.queries import Queries
from edge_runtimes.gguf.state import State, prove

IDS = [int(i) for i in np.random.default_rng(3).integers(0, VOCAB, 900)]
SPEC = spec_of(config_of("llama"))
ANOTHER = r"keeps its cache in another layout\n  fix: pip install llama-cpp-python==0\.3\.36"


def opened(folder: Path) -> FlexibleGgufDecoder:
    decoder = opening.open_evictable(Artifact.open(folder), threads=1)
    assert isinstance(decoder, FlexibleGgufDecoder)
    return decoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of a context that no first cache holds."""
    at = tmp_path_factory.mktemp("long")
    source = tiny(at / "source", "llama", max_position_embeddings=1500)
    return converted(at / "out", source, "fp32", target="gguf")


def near(got: F32, want: F32, tolerance: float = 1e-2) -> bool:
    return bool(np.abs(got - want).max() <= tolerance * np.abs(want).max())


@pytest.mark.parametrize("family", ["llama", "openelm", "internlm2", "phi3", "qwen2", "qwen3"])
def test_votes_are_the_oracles(family: str, tmp_path: Path) -> None:
    """Also where a graph calls its queries otherwise, or scales them before attention."""
    changes = {"sliding_window": None} if family == "phi3" else {}
    source = tiny(tmp_path / "source", family, **changes)
    decoder = opened(converted(tmp_path / "out", source, "fp32", target="gguf"))
    oracle = targets.oracle().oracle(Checkpoint.open(source), recipes.parse("fp32"))
    assert isinstance(oracle, Evictable)
    decoder.prefill(IDS[:30])
    oracle.prefill(IDS[:30])
    logits, votes = decoder.observe(IDS[30:38])
    want, wanted = oracle.observe(IDS[30:38])
    assert near(logits, want)
    assert len(votes) == len(wanted)
    for got, right in zip(votes, wanted, strict=True):
        assert got.shape == right.shape
        np.testing.assert_allclose(got, right, atol=5e-3)


@pytest.mark.parametrize("quant", ["q4_0", "q8_0", "fp16"])
def test_votes_of_low_precision_are_near(quant: str, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama")
    decoder = opened(converted(tmp_path / "out", source, quant, target="gguf"))
    oracle = targets.oracle().oracle(Checkpoint.open(source), recipes.parse(quant))
    assert isinstance(oracle, Evictable)
    decoder.prefill(IDS[:30])
    oracle.prefill(IDS[:30])
    for got, right in zip(
        decoder.observe(IDS[30:38])[1], oracle.observe(IDS[30:38])[1], strict=True
    ):
        np.testing.assert_allclose(got, right, atol=8e-2)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of llama.cpp's callback: whether it only asked."""
    seen: list[bool] = []
    watch = Queries.watch
    monkeypatch.setattr(
        Queries, "watch", lambda self, *given: (seen.append(given[1]), watch(self, *given))[1]
    )
    return seen


def test_operations_are_seen_only_while_a_window_votes(folder: Path, calls: list[bool]) -> None:
    decoder = opened(folder)
    compact = CompactingDecoder(decoder, SnapKV(capacity=64, window=8))
    decoder.prefill(IDS[:600])
    assert not calls
    compact.prefill(IDS[600:650])
    asked, given = calls.count(True), calls.count(False)
    assert given == len(decoder.spec.layers), "one read a layer"
    assert 20 * given < asked + given < 80 * given, "a call for each operation of one batch"
    decoder.step(7)
    decoder.prefill(IDS[650:700])
    assert len(calls) == asked + given


def test_a_cut_cache_lies_in_a_small_context(folder: Path) -> None:
    decoder = opened(folder)
    compact = CompactingDecoder(decoder, SnapKV(capacity=64, window=8))
    compact.prefill(IDS[:800])
    assert decoder._context.rows == 64 + 256
    for token in IDS[:300]:
        compact.step(token)
    assert decoder._context.rows == 2 * (64 + 256), "grown"
    assert (compact.length, compact.rows) == (1100, (364, 364))


def test_a_cut_cache_that_grows_loses_no_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, said = SnapKV(capacity=64, window=8), list[list[F32]]()
    for room in (256, 2):
        monkeypatch.setattr(flexible, "ANSWER", room)
        compact = CompactingDecoder(opened(folder), options)
        rows = [compact.prefill(IDS[:500]).copy()]
        said.append(rows + [compact.step(token).copy() for token in IDS[:100]])
    assert all(near(a, b, 1e-5) for a, b in zip(*said, strict=True))


def test_a_window_that_is_not_followed_by_a_cut_changes_nothing(
    folder: Path, calls: list[bool]
) -> None:
    plain, watched = opened(folder), opened(folder)
    plain.prefill(IDS[:300])
    watched.prefill(IDS[:290])
    watched.observe(IDS[290:300])
    count = len(calls)
    for token in IDS[300:310]:
        assert near(watched.step(token), plain.step(token))
    assert (watched.length, watched.rows, len(calls)) == (310, (310, 310), count)


def test_a_fork_outlives_the_whole(folder: Path) -> None:
    whole = opened(folder)
    whole.prefill(IDS[:40])
    rows = [np.array([[0, 5, 39]] * 2)] * 2
    kept, alone = whole.fork(rows), whole.fork(rows)
    want = kept.step(7).copy()
    whole.close()
    kept.close()
    kept.close()
    assert near(alone.step(7), want, 1e-6)
    alone.rewind(40)
    assert near(alone.step(7), want, 1e-6)


def test_a_rewind_into_what_was_forgotten_begins_anew(folder: Path) -> None:
    decoder, fresh = opened(folder), opened(folder)
    first = fresh.prefill(IDS[:20]).copy()
    decoder.prefill(IDS[:300])
    decoder.keep([np.array([[0, 5, 299]] * 2)] * 2)
    decoder.step(3)
    decoder.rewind(200)
    assert (decoder.length, decoder.rows) == (0, (0, 0))
    assert near(decoder.prefill(IDS[:20]), first, 1e-5)


def test_layers_that_keep_unlike_are_refused(folder: Path) -> None:
    decoder = opened(folder)
    decoder.prefill(IDS[:20])
    rows = [np.array([[0, 1, 2]] * 2), np.array([[0, 1]] * 2)]
    for cut in (decoder.keep, decoder.fork):
        with pytest.raises(Unsupported, match=r"one table of cells for all layers: .* 2 to 3 rows"):
            cut(rows)
    assert decoder.rows == (20, 20), "nothing is lost"


def test_too_wide_a_window_is_refused(folder: Path) -> None:
    with pytest.raises(EdgeError, match="window of 513 tokens; gguf observes at most 512"):
        opened(folder).observe([1] * 513)


def test_a_graph_that_rotates_no_queries_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Queries, "watch", lambda *_: False)
    decoder = opened(folder)
    decoder.prefill(IDS[:20])
    with pytest.raises(Unsupported, match=r"names queries otherwise"):
        decoder.observe(IDS[20:24])


# The state


def state_of(cells: int, seed: int = 0, first: int = 0, *, columns: bool = True) -> State:
    rng = np.random.default_rng(seed)

    def rows() -> list[np.ndarray]:
        shapes = [(cells, layer.kv_heads, layer.head_width) for layer in SPEC.layers]
        return [rng.normal(size=shape).astype(np.float16) for shape in shapes]

    return State(np.arange(first, first + cells, dtype=np.int32), rows(), rows(), columns)


@given(st.integers(1, 40), st.integers(0, 1 << 16), st.integers(0, 1 << 20), st.booleans())
def test_a_state_is_packed_as_it_was_read(cells: int, seed: int, first: int, columns: bool) -> None:
    """As a GPU's attention has it, by rows, and as a CPU's, values by columns."""
    state = state_of(cells, seed, first, columns=columns)
    raw = state.pack()
    prove(raw, SPEC)
    read = State.parse(raw, SPEC)
    np.testing.assert_array_equal(read.positions, state.positions)
    for got, want in zip((*read.keys, *read.values), (*state.keys, *state.values), strict=True):
        np.testing.assert_array_equal(got, want)


@given(st.integers(2, 30), st.integers(0, 1 << 16), st.data())
def test_kept_cells_are_the_last_positions(cells: int, seed: int, data: st.DataObject) -> None:
    """Cell by cell, head by head, the slow way."""
    state = state_of(cells, seed)
    count = data.draw(st.integers(1, cells))
    rng = np.random.default_rng(seed)
    rows = [
        np.sort([rng.permutation(cells)[:count] for _ in range(layer.kv_heads)], axis=1)
        for layer in SPEC.layers
    ]
    cut = state.kept(rows)
    assert cut.positions.tolist() == list(range(cells - count, cells))
    for index, places in enumerate(rows):
        for head, row in np.ndindex(places.shape):
            place = places[head, row]
            assert (cut.keys[index][row, head] == state.keys[index][place, head]).all()
            assert (cut.values[index][row, head] == state.values[index][place, head]).all()


def test_cells_out_of_order_are_put_in_order() -> None:
    state = state_of(6)
    order = np.array([3, 0, 5, 1, 4, 2])
    mixed = State(
        state.positions[order],
        [k[order] for k in state.keys],
        [v[order] for v in state.values],
        state.columns,
    )
    read = State.parse(mixed.pack(), SPEC)
    np.testing.assert_array_equal(read.positions, state.positions)
    for got, want in zip((*read.keys, *read.values), (*state.keys, *state.values), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_state_of_fewer_layers_is_the_first_of_them() -> None:
    state = state_of(5)
    shallow = replace(SPEC, layers=SPEC.layers[:1])
    read = State.parse(state.first(1).pack(), shallow)
    assert len(read.keys) == len(read.values) == 1
    np.testing.assert_array_equal(read.values[0], state.values[0])


def _set(at: int, value: int) -> Callable[[U8], U8]:
    def changed(raw: U8) -> U8:
        raw = raw.copy()
        raw[at] = value
        return raw

    return changed


CELLS = 16 + 4 * 12  # bytes before the data of a state of four cells
LAYOUTS: dict[str, Callable[[U8], U8]] = {
    "another magic": _set(0, 0),
    "several streams": _set(8, 2),
    "no cells": _set(12, 0),
    "more cells than bytes": _set(15, 255),
    "one cell less": _set(12, 3),
    "a cell of two sequences": _set(16 + 4, 2),
    "a cell of another sequence": _set(16 + 8, 1),
    "values in a third way": _set(CELLS, 2),
    "another number of layers": _set(CELLS + 4, 3),
    "another type": _set(CELLS + 8, 0),
    "wider rows": _set(CELLS + 12, 128),
    "rows of everything": _set(CELLS + 19, 255),
    "cut off": lambda raw: raw[:-1],
    "nothing": lambda raw: raw[:0],
    "something behind": lambda raw: np.append(raw, np.uint8(0)),
}


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize("lie", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_another_layout_is_refused(lie: Callable[[U8], U8], columns: bool) -> None:
    raw = state_of(4, columns=columns).pack()
    prove(raw, SPEC)
    with pytest.raises(Unsupported, match=ANOTHER):
        State.parse(lie(raw), SPEC)


@pytest.mark.parametrize("columns", [True, False])
def test_values_that_lie_otherwise_than_they_say_are_refused(columns: bool) -> None:
    raw = _set(CELLS, not columns)(state_of(4, columns=columns).pack())
    with pytest.raises(Unsupported, match=ANOTHER):
        State.parse(raw, SPEC)


@given(st.integers(0, 16 + 4 * 12 + 32), st.integers(0, 255), st.integers(0, 2000), st.booleans())
def test_any_damage_is_refused_or_read(at: int, value: int, length: int, columns: bool) -> None:
    """Nothing but a refusal, and no memory that the bytes do not have."""
    raw = _set(at, value)(state_of(4, columns=columns).pack())[:length]
    try:
        State.parse(raw, SPEC)
    except Unsupported:
        return


def test_another_layout_is_found_when_a_model_is_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tokens' state with values as another version may keep them."""
    state = Context.state
    monkeypatch.setattr(Context, "state", lambda self: _set(16 + 2 * 12, 2)(state(self)))
    with pytest.raises(Unsupported, match=ANOTHER):
        opened(folder)
    monkeypatch.undo()
    opened(folder)
