"""Laws of reading in pieces and of layers that keep different numbers of rows, on a decoder that only
counts. What decoding then sees: tests/parity/test_compaction.py.
"""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import config_of, spec_of

from edge.decode.compact import CompactDrafter
from edge.decode.kvzip import LEAD, PIECE, ROOM, repeated
from edge.decode.pyramid import pyramid
from edge.decode.snapkv import CompactingDecoder, SnapKV, budgets, choose
from edge.decode.switching import switching_evictable
from edge.errors import EdgeError
from edge.protocols import Evictable
from edge.run.strategy import Strategy
from edge.spec import DecoderSpec
from edge.typing import F32, I64

SPEC = spec_of(config_of("llama", num_hidden_layers=3, max_position_embeddings=400))
PLAIN = SnapKV(capacity=20, window=4, kernel=1)


class Rows:
    """Caches of true positions, [G] lists of each layer; votes are drawn, logits are one buffer."""

    def __init__(self, spec: DecoderSpec = SPEC, seed: int = 0) -> None:
        self.spec, self.capacity, self.length = spec, spec.context, 0
        self.held = [np.zeros((layer.kv_heads, 0), np.int64) for layer in spec.layers]
        self.read: list[int] = []
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        self.peak = 0.0  # rows of a layer, on average
        self._rng = np.random.default_rng(seed)
        self._logits = np.zeros(1, np.float32)

    @property
    def rows(self) -> tuple[int, ...]:
        return tuple(held.shape[1] for held in self.held)

    def prefill(self, tokens: Sequence[int]) -> F32:
        self.calls.append(("prefill", tuple(tokens)))
        return self._append(tokens)

    def step(self, token: int) -> F32:
        return self._append([token])

    def score(self, tokens: Sequence[int]) -> F32:
        return self._append(tokens)[None]

    def observe(self, tokens: Sequence[int]) -> tuple[F32, list[F32]]:
        self.calls.append(("observe", tuple(tokens)))
        logits = self._append(tokens)
        return logits, [
            self._rng.random((layer.heads, count), np.float32)
            for layer, count in zip(self.spec.layers, self.rows, strict=True)
        ]

    def keep(self, rows: Sequence[I64]) -> None:
        self.held = [
            np.take_along_axis(held, kept, axis=1)
            for held, kept in zip(self.held, rows, strict=True)
        ]

    def fork(self, rows: Sequence[I64]) -> Evictable:
        raise NotImplementedError

    def rewind(self, length: int) -> None:
        gone = self.length - length
        assert length == 0 or 0 <= gone <= min(self.rows)
        self.held = [held[:, : 0 if length == 0 else held.shape[1] - gone] for held in self.held]
        del self.read[length:]
        self.length = length

    def _append(self, tokens: Sequence[int]) -> F32:
        assert self.length + len(tokens) <= self.capacity
        new = np.arange(self.length, self.length + len(tokens))
        self.held = [
            np.concatenate((held, np.broadcast_to(new, (len(held), len(new)))), axis=1)
            for held in self.held
        ]
        self.read += tokens
        self.length += len(tokens)
        self.peak = max(self.peak, sum(self.rows) / len(self.rows))
        self._logits[0] = tokens[-1]
        return self._logits


@st.composite
def options(draw: st.DrawFn) -> SnapKV:
    window, sinks = draw(st.integers(1, 6)), draw(st.integers(0, 3))
    return SnapKV(
        capacity=window + sinks + draw(st.integers(1, 40)),
        window=window,
        kernel=draw(st.sampled_from([1, 3])),
        sinks=sinks,
        layers=draw(st.sampled_from(["even", "pyramid"])),
        chunk=draw(st.none() | st.integers(2 * window, 60)),
        purpose=draw(st.sampled_from(["question", "reuse"])),
    )


@given(options(), st.lists(st.integers(1, 100), min_size=1, max_size=3), st.integers(0, 99))
def test_what_is_kept_is_a_rising_set_with_the_window_and_the_sinks(
    given_: SnapKV, turns: list[int], seed: int
) -> None:
    inner = Rows(seed=seed)
    compact = CompactingDecoder(inner, given_)
    for count in turns:
        before = compact.compacted
        start, tokens = compact.length, [seed + n for n in range(count)]
        assert compact.prefill(tokens)[0] == tokens[-1], "logits of the prompt's last token"
        assert (compact.length, inner.read[start:]) == (start + count, tokens)
        for held in inner.held:
            assert (np.diff(held, axis=1) > 0).all()
            assert (held[:, : given_.sinks] == np.arange(compact.length)[: given_.sinks]).all()
            assert (held[:, -given_.window :] == np.arange(compact.length)[-given_.window :]).all()
        if compact.compacted == compact.length != before:
            assert sum(inner.rows) <= len(inner.rows) * given_.capacity


@given(options(), st.integers(61, 200), st.integers(1, 100), st.integers(0, 9))
def test_a_prompt_in_pieces_never_holds_more_than_capacity_and_piece(
    given_: SnapKV, first: int, second: int, seed: int
) -> None:
    inner = Rows(seed=seed)
    compact = CompactingDecoder(inner, given_)
    repeats = ROOM if given_.purpose == "reuse" else 0
    for count in (first, second):
        before, inner.peak = sum(inner.rows) / len(inner.rows), 0.0
        compact.prefill(range(count))
        piece = min(count, given_.chunk or count)
        assert inner.peak <= max(before, given_.capacity) + piece + repeats
        if count >= given_.window:
            assert sum(inner.rows) == len(inner.rows) * given_.capacity


def test_the_shortest_pieces_are_cut_each_time() -> None:
    inner = Rows()
    compact = CompactingDecoder(inner, SnapKV(capacity=20, window=4, chunk=8))
    compact.prefill(range(50))
    inner.peak = 0
    compact.prefill(range(9))  # of which the first piece is no longer than its window
    assert (inner.peak, set(inner.rows)) == (25, {20})


@given(st.integers(1, 40), st.integers(1, 500), st.integers(0, 4), st.integers(1, 2000))
def test_a_pyramid_falls_and_sums_to_even_budgets(
    layers: int, mean: int, least: int, most: int
) -> None:
    least = min(least, mean)
    sizes = pyramid(layers, mean, least=least, most=most)
    assert sum(sizes) == layers * mean
    assert min(sizes) >= least
    assert max(sizes) <= max(mean, most)
    line = np.linspace(sizes[0], sizes[-1], layers)
    assert np.abs(np.array(sizes) - line).max() < 2, "a straight line, but for rounding"
    assert sizes[0] >= sizes[-1]


def test_a_pyramid_has_the_budgets_of_the_authors() -> None:
    """Mean 100 before the window, 5 layers, steepness 20: 195, 147.5, 100, 52.5, 5."""
    assert pyramid(5, 100, least=0, most=10**6) == [195, 148, 100, 52, 5]
    assert pyramid(5, 100, least=0, most=150) == [150, 125, 100, 75, 50], "no more than there are"
    snap = SnapKV(capacity=132, window=32, layers="pyramid")
    assert budgets([1000] * 5, snap) == [227, 180, 132, 84, 37]
    assert budgets([1000] * 5, SnapKV(capacity=132)) == [132] * 5


def test_sinks_stay_without_a_vote() -> None:
    votes = [np.zeros((layer.heads, 50), np.float32) for layer in SPEC.layers]
    for part in votes:
        part[:, 10:30] = 1
    for kept in choose(votes, SPEC, SnapKV(capacity=12, window=4, kernel=1, sinks=3)):
        assert (kept == [0, 1, 2, 10, 11, 12, 13, 14, 46, 47, 48, 49]).all()


def test_a_repetition_leads_into_each_piece_and_leaves_nothing_behind() -> None:
    inner, tokens = Rows(), list(range(100, 140))
    inner.prefill(tokens)
    inner.calls.clear()
    held = [part.copy() for part in inner.held]
    worth = repeated(inner, tokens, 0)
    assert [part.shape for part in worth] == [(2, 40)] * 3
    assert inner.calls[:3] == [
        ("observe", tuple(tokens[:PIECE])),
        ("prefill", tuple(tokens[PIECE - LEAD : PIECE])),
        ("observe", tuple(tokens[PIECE : 2 * PIECE])),
    ]
    assert all((a == b).all() for a, b in zip(inner.held, held, strict=True))
    assert inner.read == tokens


def test_a_row_is_worth_the_most_that_any_piece_gives_it() -> None:
    """Slow and obvious: the largest of any piece and of the query heads that share its kv head."""
    inner, tokens = Rows(seed=3), list(range(40))
    inner.prefill(tokens)
    seen: list[list[F32]] = []
    observe = inner.observe
    inner.observe = lambda ids: (got := observe(ids), seen.append(got[1]))[0]  # type: ignore
    worth = repeated(inner, tokens, 0)
    for layer, part in enumerate(worth):
        for head in range(2):
            for row in range(40):
                want = max(votes[layer][2 * head + q, row] for votes in seen for q in range(2))
                assert part[head, row] == want


def test_what_was_worth_much_stays_though_later_turns_do_not_look_at_it() -> None:
    """A later repetition gives old rows little; for any question they are worth what they were."""
    inner = Rows()
    compact = CompactingDecoder(inner, SnapKV(capacity=30, window=4, kernel=1, purpose="reuse"))
    high = {3, 11, 12, 17}
    inner.observe = lambda ids: (  # type: ignore[method-assign]
        inner._append(ids),
        [
            np.array([[2.0 if p in high else 0.5 for p in held[0]]] * 4, np.float32)
            if inner.length < 100
            else np.tile(0.1 + held[0].astype(np.float32) / 1000, (4, 1))
            for held in inner.held
        ],
    )
    compact.prefill(range(40))
    compact.prefill(range(40, 100))
    for held in inner.held:
        assert all(high <= set(row.tolist()) for row in held)


def test_only_what_is_new_is_repeated() -> None:
    inner = Rows()
    compact = CompactingDecoder(inner, SnapKV(capacity=30, window=4, purpose="reuse"))
    compact.prefill(range(40))
    compact.step(77)
    inner.calls.clear()
    compact.prefill(range(40, 50))
    said = [call for kind, call in inner.calls if kind == "observe"]
    assert sum(map(len, said)) == 11, "the answer's token and the new turn"
    assert said[0][0] == 77


def test_a_rewind_into_what_is_gone_forgets_what_it_was_worth() -> None:
    inner = Rows()
    compact = CompactingDecoder(inner, SnapKV(capacity=30, window=4, purpose="reuse"))
    compact.prefill(range(60))
    compact.rewind(50)
    assert (compact.length, compact.compacted) == (0, 0)
    inner.calls.clear()
    compact.prefill(range(60, 120))
    assert ("observe", tuple(range(60, 60 + PIECE))) in inner.calls


def test_a_repetition_that_does_not_fit_is_refused_before_anything_is_read() -> None:
    inner = Rows()
    compact = CompactingDecoder(inner, SnapKV(capacity=30, window=4, purpose="reuse"))
    with pytest.raises(EdgeError, match="--snapkv-for question"):
        compact.prefill(range(400 - ROOM + 1))
    assert inner.length == 0
    compact.prefill(range(400 - ROOM))
    assert compact.length == 400 - ROOM


ROPE = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
TWO = spec_of(
    config_of("phi3", rope_scaling=ROPE, original_max_position_embeddings=32, sliding_window=None)
)


def test_a_prompt_in_pieces_is_rotated_by_what_serves_all_of_it() -> None:
    opened: list[str] = []

    def part(label: str, spec: DecoderSpec) -> Evictable:
        opened.append(label)
        return Rows(spec)

    compact = CompactingDecoder(
        switching_evictable(TWO, part), SnapKV(capacity=10, window=4, kernel=1, chunk=8)
    )
    compact.prefill(range(40))
    assert opened == ["short-", ""], "the short part would be wrong from the first piece on"
    assert compact.rows == (10, 10)
    compact.step(40)
    compact.rewind(0)
    compact.prefill(range(20))
    assert opened == ["short-", "", "short-"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sinks": -1}, "sinks"),
        ({"window": 32, "sinks": 992}, "above the window and the sinks"),
        ({"layers": "odd"}, "even or pyramid"),
        ({"purpose": "fun"}, "question or reuse"),
        ({"window": 32, "chunk": 63}, "64 tokens or more"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(EdgeError, match=words):
        SnapKV(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "words"),
    [({"chunk": 64}, "--snapkv-prefill"), ({"purpose": "reuse"}, "--snapkv-for")],
    ids=str,
)
def test_drafts_from_a_cut_copy_refuse_what_they_would_ignore(
    more: dict[str, object], words: str
) -> None:
    with pytest.raises(EdgeError, match=words):
        Strategy(drafting="snapkv", snapkv=SnapKV(**more))  # type: ignore[arg-type]


def test_a_drafter_copies_by_the_same_choice() -> None:
    inner = Rows()
    forked: list[list[I64]] = []
    inner.fork = lambda rows: forked.append(list(rows)) or inner  # type: ignore
    drafter = CompactDrafter(inner, SnapKV(capacity=20, window=4, sinks=2, layers="pyramid"))
    drafter.prefill(range(60))
    assert [kept.shape[1] for kept in forked[0]] == budgets([60] * 3, drafter._options)
