"""Requests of benchmarks, beside plain loops that share nothing, over decoders whose every logit depends on all that
came before.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ROOT

from edge.decode.sampling import Sampling
from edge.errors import Damaged, EdgeError
from edge.measure import answering
from edge.measure.answering import Answering, How, Pair
from edge.text.tokenizer import Tokenizer

VOCAB = 7
STORIES = ROOT / "edge" / "models" / "edge-stories"
TOKENIZER = Tokenizer.load(STORIES)


def said(tokens: Sequence[int]) -> np.ndarray:
    """What a model says after these: [V]."""
    return np.random.default_rng([1, *tokens]).normal(size=VOCAB).astype(np.float32) * 3


class Remembering:
    """`edge.protocols.Decoder`. `back`: how far it can go back, before it begins anew."""

    def __init__(self, capacity: int = 1 << 20, back: int = 1 << 20) -> None:
        self.tokens: list[int] = []
        self.capacity, self._back, self.read = capacity, back, 0

    @property
    def length(self) -> int:
        return len(self.tokens)

    def rewind(self, length: int) -> None:
        if length < len(self.tokens):
            self.tokens = self.tokens[:length] if len(self.tokens) - length <= self._back else []

    def score(self, tokens: Sequence[int]) -> np.ndarray:
        return np.stack([self.step(token) for token in tokens])

    def prefill(self, tokens: Sequence[int]) -> np.ndarray:
        return self.score(tokens)[-1]

    def step(self, token: int) -> np.ndarray:
        self.tokens.append(token)
        self.read += 1
        assert len(self.tokens) <= self.capacity
        return said(self.tokens)


class Scripted(Remembering):
    """Chooses these tokens, whatever came before, and then the last of them for ever."""

    def __init__(self, script: Sequence[int], prompt: int, capacity: int = 1 << 20) -> None:
        super().__init__(capacity)
        self._script, self._prompt = list(script), prompt

    def step(self, token: int) -> np.ndarray:
        self.tokens.append(token)
        out = np.zeros(1408, np.float32)
        out[self._script[min(max(self.length - self._prompt, 0), len(self._script) - 1)]] = 5
        return out


def one_by_one(pair: Pair, capacity: int) -> tuple[float, bool]:
    """A pair alone, a token at a time."""
    tokens = [*pair.context, *pair.continuation]
    nats, greedy = 0.0, True
    for at in range(len(pair.context), len(tokens)):
        start = max(0, len(tokens) - 1 - capacity)
        logits = said(tokens[start:at]).astype(np.float64)
        nats += logits[tokens[at]] - np.log(np.exp(logits).sum())
        greedy &= int(logits.argmax()) == tokens[at]
    return nats, greedy


def model(decoder: Remembering) -> Answering:
    return Answering(TOKENIZER, decoder)  # type: ignore[arg-type]


tokens = st.lists(st.integers(0, 2), min_size=1, max_size=9)
pairs = st.lists(st.builds(Pair, tokens, st.lists(st.integers(0, 2), max_size=6)), max_size=8)


@given(
    pairs, st.sampled_from([6, 8, 1000]), st.sampled_from([0, 2, 1000]), st.sampled_from([2, 256])
)
def test_shared_beginnings_change_nothing(
    asked: list[Pair], capacity: int, back: int, rows: int
) -> None:
    decoder = Remembering(capacity, back)
    it = model(decoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answering, "_ROWS", rows)
        found = it._scored(asked)
    for pair, (nats, greedy) in zip(asked, found, strict=True):
        assert (nats, greedy) == (pytest.approx(one_by_one(pair, capacity)[0], abs=1e-4), greedy)
        assert greedy == one_by_one(pair, capacity)[1]
    assert it.counts.tokens == decoder.read
    assert it.counts.empty == sum(not pair.continuation for pair in asked)
    longer = [len(p.context) + len(p.continuation) > capacity + 1 for p in asked]
    assert it.counts.cut == sum(longer)


def test_options_of_a_question_read_it_once() -> None:
    """mlx-lm#1609, and Model-Optimizer#1577, where logits of what was read before were missing."""
    decoder, context = Remembering(), list(range(7)) * 20
    it = model(decoder)
    found = it._scored([Pair(context, [option, 3, 1]) for option in range(4)])
    assert decoder.read == len(context) + 2 + 3 * 3  # the last token of the question once an option
    assert [row.nats for row in found] == pytest.approx(
        [one_by_one(Pair(context, [option, 3, 1]), 1 << 20)[0] for option in range(4)], abs=1e-4
    )
    it._scored([Pair(context, [option]) for option in range(4)])
    assert decoder.read == 2 * len(context) + 2 + 9, "letters as options are all in one answer"


def test_requests_that_read_the_same_may_score_more_or_less_of_it() -> None:
    asked = [Pair([1, 2, 0], [1]), Pair([1], [2, 0, 1]), Pair([1, 2], [0, 2]), Pair([1, 2, 0], [])]
    decoder = Remembering()
    found = model(decoder)._scored(asked)
    assert [row.nats for row in found] == pytest.approx(
        [one_by_one(pair, 1 << 20)[0] for pair in asked], abs=1e-4
    )
    assert decoder.read == 3, "and nothing for one that scores nothing"


def test_numbers_that_are_none_are_no_answer() -> None:
    """They would be as good as any: what is not a number is neither right nor wrong."""

    class Broken(Remembering):
        def step(self, token: int) -> np.ndarray:
            return super().step(token) * np.float32("nan")

    with pytest.raises(Damaged, match="after 3 tokens a likelihood is not a number"):
        model(Broken())._scored([Pair([1, 2], [0, 1])])


def test_a_continuation_longer_than_the_context_is_refused_before_any_is_read() -> None:
    decoder = Remembering(capacity=4)
    with pytest.raises(
        EdgeError, match="a continuation has 5 tokens, and the model's context is 4"
    ):
        model(decoder)._scored([Pair([1], [2]), Pair([1], [2] * 5)])
    assert decoder.read == 0


@given(st.text("ab cd\n", max_size=60), st.integers(2, 12))
def test_windows_score_every_token_once_after_as_many_as_fit(text: str, capacity: int) -> None:
    windows = list(model(Remembering(capacity)).windows(text))
    ids = TOKENIZER.encode(text, special=False)
    assert [token for window in windows for token in window.continuation] == ids
    for number, window in enumerate(windows):
        whole = [*window.context, *window.continuation]
        assert len(whole) <= capacity + 1
        if number:
            assert len(whole) == capacity + 1, "a later window is a whole context"
        else:
            assert window.context == [TOKENIZER.prefix_id]


def test_blanks_at_the_end_of_a_context_are_of_the_continuation() -> None:
    it = model(Remembering())
    assert it.pair("Once upon  ", "a time") == it.pair("Once upon", "  a time")
    context, continuation = it.pair("Once upon a time", " Tom had a kite")
    assert context == it.encode("Once upon a time")
    assert [*context, *continuation] == it.encode("Once upon a time Tom had a kite")


@pytest.mark.parametrize("context", ["", "  \n"])
def test_without_a_context_the_token_that_begins_a_text_stands_before(context: str) -> None:
    """lm-evaluation-harness#1588."""
    it = model(Remembering())
    assert it.pair(context, "Tom") == ([1], TOKENIZER.encode(context + "Tom", special=False))
    assert it.pair("", "<s>Tom") == ([1], TOKENIZER.encode("Tom", special=False)), "it is there"


def test_a_token_that_holds_the_end_of_the_context_and_all_of_the_continuation() -> None:
    """lm-evaluation-harness#1297, #1053, #3336: an AssertionError there."""
    it = model(Remembering())
    words = (TOKENIZER.decode([token]) for token in range(300, 1380))
    word = next(w for w in words if len(w) > 2 and len(it.encode(w)) == len(it.encode(w[:-1])) == 1)
    pair = it.pair(word[:-1], word[-1])
    assert pair == (it.encode(word[:-1]), TOKENIZER.encode(word[-1], special=False))
    assert pair.continuation
    assert it.counts.joined == 1


def test_there_is_one_bos_where_the_checkpoint_wants_one(assets: Path) -> None:
    """lm-evaluation-harness#3295, open-r1#462: a chat template writes it, and the tokenizer wrote it again."""
    it = Answering(Tokenizer.load(assets / "tokenizers" / "llama-3"), Remembering())  # type: ignore[arg-type]
    bos = it.tokenizer.bos_id
    assert it.encode("Hi").count(bos) == it.encode("<|begin_of_text|>Hi").count(bos) == 1
    assert it.encode("Hi") == it.encode("<|begin_of_text|>Hi")
    assert it.pair("<|begin_of_text|>Hi", " there").context == it.encode("Hi")


def ids(text: str) -> list[int]:
    return TOKENIZER.encode(text, special=False)


END, TURN, OTHER = ids("<|endoftext|>"), ids("<|user|>"), ids("<|placeholder1|>")


@pytest.mark.parametrize(
    ("script", "until", "answer"),
    [
        (ids("a red kite. And more") + END, ["."], "a red kite"),
        (ids("a red kite") + END, ["."], "a red kite"),
        (ids("a red kite") + END, [""], "a red kite"),  # an empty one ends nothing
        (ids("a red kite") + OTHER + ids(" more"), ["<|placeholder1|>"], "a red kite"),
        (ids("a red") + TURN + ids("kite"), ["\n", "<|user|>"], "a red"),
        (ids("a red") + OTHER + ids("kite it"), ["<|placeholder1|> kite"], "a red"),
        (ids("a\nb\n\nc") + END, ["\n\n"], "a\nb"),
        (ids("a red kite and a blue one") + END, ["blue", "kite and"], "a red "),
        (END, ["x"], ""),
    ],
)
def test_an_answer_ends_before_what_ends_it(
    script: list[int], until: list[str], answer: str
) -> None:
    """lm-evaluation-harness#2723, lighteval#109: a stop that is a special token is no text."""
    prompt = len(ids("Tom has"))
    it = Answering(TOKENIZER, Scripted(script, prompt))  # type: ignore[arg-type]
    for _ in range(2):  # the second time from a cache that holds all of it
        assert it.continued("Tom has", How(until=until, max_tokens=40)) == answer


def test_an_answer_stops_being_made_where_it_ends() -> None:
    decoder = Scripted(ids("a kite. ") * 9, len(ids("Tom has")))
    it = Answering(TOKENIZER, decoder)  # type: ignore[arg-type]
    it.continued("Tom has", How(until=["."], max_tokens=60))
    assert decoder.length < len(ids("Tom has a kite. a"))


def test_an_answer_has_room_after_a_prompt_that_is_cut_from_the_left() -> None:
    """lm-evaluation-harness#2553."""
    decoder = Scripted(ids("kite"), 0, capacity=20)
    it = Answering(TOKENIZER, decoder)  # type: ignore[arg-type]
    it.continued("Tom has a red ball. " * 9, How(max_tokens=12))
    assert it.counts.cut == 1
    assert decoder.tokens[:8] == ids("Tom has a red ball. " * 9)[-8:]
    with pytest.raises(EdgeError, match="context is 20 tokens, an answer here may take 20"):
        it.continued("Tom", How(max_tokens=20))


def test_drawn_answers_are_those_of_the_seed() -> None:
    class Even(Scripted):
        def step(self, token: int) -> np.ndarray:
            self.tokens.append(token)
            return np.zeros(1380, np.float32)

    def drawn(seed: int) -> str:
        it = Answering(TOKENIZER, Even([0], 0))  # type: ignore[arg-type]
        how = How(max_tokens=8, sampling=Sampling(temperature=1, seed=seed))
        return it.continued("Tom", how)

    assert drawn(1) == drawn(1) != drawn(2)
