"""What benchmarks ask of a model: how likely a text is after another, how likely a whole text is, and how one goes on.

Texts become tokens, and tokens are scored, as lm-evaluation-harness does it for transformers (`HFLM` of 0.4.13), so
that figures may be compared. What several requests begin with is read once: they are taken in the order of their
tokens, and the cache goes back to where two of them part.

T tokens, V vocabulary.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from edge.decode.generate import Generation, generate
from edge.decode.sampling import Sampling
from edge.decode.stops import StopStrings
from edge.errors import Damaged, EdgeError
from edge.measure.evaluate import logarithms
from edge.protocols import Decoder
from edge.system.progress import Advance
from edge.text.tokenizer import Tokenizer
from edge.typing import F32

_ROWS = 256  # positions whose logits are in memory at a time
_IDS = ">u4"  # a token among bytes that are sorted


class Pair(NamedTuple):
    """Tokens that are read, and those after them that are scored."""

    context: list[int]
    continuation: list[int]


class Likelihood(NamedTuple):
    """The logarithm of a text's probability, and whether a greedy choice would have written it."""

    nats: float
    greedy: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class How:
    """How a text is to go on: until one of these texts or a token that ends an answer, and no longer than this."""

    until: Sequence[str] = ()
    max_tokens: int = 256
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(kw_only=True, slots=True)
class Counts:
    """`requests` that were answered; `tokens` that the model computed for them, and `shared` ones that it had read
    already; `cut`: requests longer than its context, whose beginning was left out; `joined`: those where one token
    holds the end of a context and the beginning of what follows it; `empty`: those with nothing to score.
    """

    requests: int = 0
    tokens: int = 0
    shared: int = 0
    cut: int = 0
    joined: int = 0
    empty: int = 0

    def json(self) -> dict[str, int]:
        return asdict(self)


class Answering:
    """A model that answers a benchmark's requests. Its decoder is nobody else's meanwhile."""

    def __init__(self, tokenizer: Tokenizer, decoder: Decoder) -> None:
        self.tokenizer, self.decoder = tokenizer, decoder
        self.counts = Counts()
        self._held: list[int] = []  # what the decoder's cache holds

    def likelihoods(
        self, texts: Sequence[tuple[str, str]], advance: Advance = lambda _: None
    ) -> list[Likelihood]:
        """Of each continuation after its context."""
        self.counts.requests += len(texts)
        return self._scored((self.pair(*both) for both in texts), advance)

    def rolling(self, texts: Sequence[str], advance: Advance = lambda _: None) -> list[float]:
        """Nats of each text as a whole, every token of it after as many before it as the context holds."""
        self.counts.requests += len(texts)
        out = []
        for text in texts:
            out.append(sum(found.nats for found in self._scored(self.windows(text))))
            advance(1)
        return out

    def continued(self, text: str, how: How) -> str:
        """How a text goes on, without what ended it. EdgeError if the answer alone would fill the context."""
        room = self.room(how)
        ids = self.encode(text) or [self._prefix()]
        self.counts.requests += 1
        self.counts.cut += len(ids) > room
        ids = ids[-room:]
        keep = self._go_back(ids, len(ids) - 1)
        generation = generate(
            self.decoder,
            ids[keep:],
            sampling=how.sampling,
            max_tokens=how.max_tokens,
            stop_ids=self.tokenizer.stop_ids,
            seen=ids[:keep],
        )
        self._held = []
        answer = self._until(generation, [stop for stop in how.until if stop])
        self._held = ids
        self.counts.tokens += len(generation.cached)
        return answer

    def room(self, how: How) -> int:
        """How many tokens a text may have that goes on so."""
        room = self.decoder.capacity - how.max_tokens
        if room < 1:
            raise EdgeError(
                f"the model's context is {self.decoder.capacity} tokens, an answer here may take {how.max_tokens}",
                fix="leave the task out, or take a model with a longer context",
            )
        return room

    def encode(self, text: str) -> list[int]:
        """Ids of a text that begins a sequence: one BOS where the checkpoint wants one, also where the text, which
        a chat template may have written, has it.
        """
        ids, bos = self.tokenizer.encode(text, special=False), self.tokenizer.bos_id
        if self.tokenizer.adds_bos and bos is not None and ids[:1] != [bos]:
            return [bos, *ids]
        return ids

    def pair(self, context: str, continuation: str) -> Pair:
        """Both are encoded as one text, which is parted after as many tokens as the context has alone; blanks at its
        end belong to what follows. Without a context: after the token that begins a text.
        """
        bare = context.rstrip()
        continuation = context[len(bare) :] + continuation
        if not bare:
            ids = self.tokenizer.encode(continuation, special=False)
            prefix = self._prefix()
            return Pair(ids[:1], ids[1:]) if ids[:1] == [prefix] else Pair([prefix], ids)
        whole, ids = self.encode(bare + continuation), self.encode(bare)
        self.counts.joined += whole[: len(ids)] != ids
        # Nothing may be left, where one token holds the end of the one and all of the other.
        return Pair(ids, whole[len(ids) :] or self.tokenizer.encode(continuation, special=False))

    def windows(self, text: str) -> Iterator[Pair]:
        """A text as pairs, each of at most a context, which together score every token once."""
        ids, size = self.encode(text), self.decoder.capacity
        for start in range(0, len(ids), size):
            end = min(start + size, len(ids))
            before = [self._prefix()] if start == 0 else ids[end - size - 1 : start]
            yield Pair(before, ids[start:end])

    def _scored(self, pairs: Iterable[Pair], advance: Advance = lambda _: None) -> list[Likelihood]:
        """Every pair's, in their order. EdgeError, before any is, if what is to be scored exceeds the context."""
        self._held = []
        self.decoder.rewind(0)
        same: dict[bytes, dict[int, list[int]]] = defaultdict(dict)  # what is read -> whose it is
        number = -1
        for number, pair in enumerate(pairs):
            same[self._read(pair)][number] = pair.continuation
        out = [Likelihood(0.0, True)] * (number + 1)
        for key in sorted(same):
            for number, found in self._judged(np.frombuffer(key, _IDS).tolist(), same[key]):
                out[number] = found
            advance(len(same[key]))
        return out

    def _read(self, pair: Pair) -> bytes:
        """What the model reads of a pair, all but its last token: as bytes, whose order is that of the tokens."""
        most, tokens = self.decoder.capacity, len(pair.continuation)
        if tokens > most:
            raise EdgeError(
                f"a continuation has {tokens} tokens, and the model's context is {most}",
                fix="leave the task out, or take a model with a longer context",
            )
        self.counts.cut += len(pair.context) + tokens > most + 1
        self.counts.empty += not tokens
        return np.array([*pair.context, *pair.continuation][-most - 1 : -1], _IDS).tobytes()

    def _judged(
        self, ids: list[int], wanted: Mapping[int, list[int]]
    ) -> Iterator[tuple[int, Likelihood]]:
        """Continuations that end where these tokens [T] do, one further."""
        nats, greedy = dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, True)
        for at, rows in self._rows(ids, len(ids) - max(map(len, wanted.values()))):
            for number, continuation in wanted.items():
                begins = len(ids) - len(continuation)
                own = rows[max(begins - at, 0) :]
                next_ = continuation[max(at - begins, 0) :][: len(own)]
                nats[number] += float(own[range(len(own)), next_].sum(dtype=np.float64))
                greedy[number] &= own.argmax(axis=1).tolist() == next_
        if any(map(math.isnan, nats.values())):
            raise Damaged(
                f"after {len(ids)} tokens a likelihood is not a number: the model's numbers are broken",
                fix="see what edge verify says of it, or convert its source again",
            )
        for number in wanted:
            yield number, Likelihood(nats[number], greedy[number])

    def _rows(self, ids: list[int], first: int) -> Iterator[tuple[int, F32]]:
        """From position `first` on, some at a time: where they begin, and what is likely after each, [T, V]."""
        if first == len(ids):
            return  # nobody asks
        keep = self._go_back(ids, first)
        self._held = []
        if first > keep:
            self.decoder.prefill(ids[keep:first])
        for at in range(first, len(ids), _ROWS):
            yield at, logarithms(self.decoder.score(ids[at : at + _ROWS]))
        self._held = ids
        self.counts.tokens += len(ids) - keep

    def _go_back(self, ids: Sequence[int], most: int) -> int:
        """Forget what the cache holds beside the beginning of these tokens: how many it keeps."""
        alike = takewhile(lambda both: both[0] == both[1], zip(self._held, ids, strict=False))
        self.decoder.rewind(min(sum(1 for _ in alike), most))
        self.counts.shared += self.decoder.length
        return self.decoder.length

    def _until(self, generation: Generation, stops: Sequence[str]) -> str:
        """The text of an answer before the first of these, some of which only show where special tokens do."""
        watch, shown = StopStrings(stops), self.tokenizer.stream(skip_special=False, inside=True)
        tokens, stopped = list[int](), False
        for token in generation:
            tokens.append(token)
            _, stopped = watch.feed(shown.feed(token))
            if stopped:
                generation.stop()
                break
        if not stopped:
            watch.feed(shown.finish())
        text = self.tokenizer.decode(tokens)
        cut = min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)
        if cut is None and stopped:
            while any(s in self.tokenizer.decode(tokens, skip_special=False) for s in stops):
                tokens.pop()
            return self.tokenizer.decode(tokens)
        return text[:cut]

    def _prefix(self) -> int:
        prefix = self.tokenizer.prefix_id
        if prefix is None:
            raise EdgeError(
                "the model has no token that begins or ends a text, and a request has nothing before it",
                fix="leave the task out",
            )
        return prefix
