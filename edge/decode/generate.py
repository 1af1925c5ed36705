"""The one loop that turns a decoder into tokens, and tokens into text that can be shown."""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal, Protocol

from edge.decode.sampling import F64, Sampling, distribution, pick
from edge.decode.speculate import Speculation, accept
from edge.decode.stops import StopStrings
from edge.errors import EdgeError
from edge.protocols import Decoder
from edge.typing import F32

Ending = Literal["stop", "length", "context"]


class Detokenizer(Protocol):
    """Text of tokens, given out as soon as it is certain."""

    def feed(self, token: int) -> str: ...

    def finish(self) -> str: ...


class Constraint(Protocol):
    """What the answer may be: tokens that it forbids are never chosen."""

    def mask(self, logits: F32) -> F32:
        """Logits [V] with -inf where a token would break the answer's form."""
        ...

    def accept(self, token: int) -> None:
        """This token was chosen."""
        ...

    def forced(self) -> list[int]:
        """Tokens that alone can follow: they are taken at once, without asking the model."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        ...


class Free:
    """Any answer."""

    ended = False

    def mask(self, logits: F32) -> F32:
        return logits

    def accept(self, token: int) -> None:
        """Every token is right."""

    def forced(self) -> list[int]:
        return []


class Generation(Iterator[int]):
    """Tokens as they are chosen, and afterwards how many, how fast and why they ended.

    A stop token ends the answer and is not given out.
    """

    def __init__(
        self,
        source: Decoder | Speculation,
        prompt: Sequence[int],
        chooser: "Chooser",
        rules: "Rules",
    ) -> None:
        self.prompt = tuple(prompt)
        self.tokens: list[int] = []  # given out so far
        self.fed = 0  # how many of `tokens` the decoder's cache holds
        self.ending: Ending | None = None  # None while it goes on
        self.prefill_seconds = 0.0
        self.decode_seconds = 0.0
        self.speculation = source if isinstance(source, Speculation) else None
        decoder = source.decoder if isinstance(source, Speculation) else source
        self._loop = self._run(decoder, chooser, rules)

    def __next__(self) -> int:
        return next(self._loop)

    def stop(self) -> None:
        """End here, as if a stop token had come."""
        self.ending = "stop"
        self._loop = iter(())

    @property
    def cached(self) -> tuple[int, ...]:
        """What went into the decoder's cache: the prompt and the tokens that were fed back."""
        return (*self.prompt, *self.tokens[: self.fed])

    @property
    def prefill_tps(self) -> float:
        """Prompt tokens a second."""
        return len(self.prompt) / self.prefill_seconds if self.prefill_seconds else 0.0

    @property
    def decode_tps(self) -> float:
        """Tokens fed back a second; time between them that the caller spends does not count."""
        return self.fed / self.decode_seconds if self.decode_seconds else 0.0

    def _run(self, decoder: Decoder, chooser: "Chooser", rules: "Rules") -> Iterator[int]:
        start = rules.clock()
        before = decoder.length + len(self.prompt)
        tokens = [chooser.choose(decoder.prefill([*self.prompt, *rules.lead]))]
        self.fed = len(rules.lead)
        self.prefill_seconds = rules.clock() - start
        yield from self._give(rules.lead)
        while True:  # all of `tokens` are chosen, all but the last are in the cache
            stopped = tokens[-1] in rules.stop_ids
            forced = [] if stopped else chooser.forced()
            run = [*(tokens[:-1] if stopped else tokens), *forced]
            yield from self._give(run[: rules.max_tokens - len(self.tokens)])
            if not stopped and len(self.tokens) >= rules.max_tokens:
                self.ending = "length"
                return
            if stopped or rules.constraint.ended:
                self.ending = "stop"
                return
            new = [tokens[-1], *forced]
            if decoder.length + len(new) > decoder.capacity:
                self.ending = "context"
                return
            start = rules.clock()
            tokens = self._advance(decoder, new, chooser, rules)
            self.decode_seconds += rules.clock() - start
            self.fed = decoder.length - before

    def _advance(
        self, decoder: Decoder, new: list[int], chooser: "Chooser", rules: "Rules"
    ) -> list[int]:
        """Feed what is new -> the tokens that follow: one, or as many as a draft got right."""
        if self.speculation is None:
            logits = decoder.step(new[0]) if len(new) == 1 else decoder.prefill(new)
            return [chooser.choose(logits)]
        if len(new) > 1:
            decoder.prefill(new[:-1])
        room = rules.max_tokens - len(self.tokens)
        return self.speculation.advance(chooser.history, room, chooser)

    def _give(self, tokens: Sequence[int]) -> Iterator[int]:
        for token in tokens:
            self.tokens.append(token)
            yield token


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """When an answer ends, and the clock that times it."""

    max_tokens: int
    stop_ids: AbstractSet[int] = frozenset()
    constraint: Constraint = field(default_factory=Free)
    lead: tuple[int, ...] = ()  # what the answer can only begin with: read together with the prompt
    clock: Callable[[], float] = perf_counter

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            problem = f"max_tokens is {self.max_tokens}, but must be 1 or more"
            raise EdgeError(problem, fix="ask for at least one token")


def generate(
    source: Decoder | Speculation,
    prompt: Sequence[int],
    *,
    sampling: Sampling | None = None,
    max_tokens: int,
    stop_ids: AbstractSet[int] = frozenset(),
    seen: Sequence[int] = (),
    constraint: Constraint | None = None,
    clock: Callable[[], float] = perf_counter,
) -> Generation:
    """Feed the prompt [T] after what the decoder's cache holds; choose up to `max_tokens` tokens, one by
    one or in rounds of speculation.

    `seen`: tokens that are in the cache already, for the repetition penalty and for drafts.
    EdgeError, before anything is run, if the prompt is empty or does not fit.
    """
    form = constraint or Free()
    lead = tuple(form.forced()[:max_tokens])
    rules = Rules(max_tokens=max_tokens, stop_ids=stop_ids, constraint=form, lead=lead, clock=clock)
    if isinstance(source, Speculation):
        source.begin()
    _fits(source.decoder if isinstance(source, Speculation) else source, len(prompt) + len(lead))
    chooser = Chooser(sampling or Sampling(), [*seen, *prompt, *lead], rules)
    return Generation(source, prompt, chooser, rules)


def text_of(
    generation: Generation, detokenizer: Detokenizer, *, stops: Sequence[str] = ()
) -> Iterator[str]:
    """The answer in pieces, none of them empty, up to the first stop string."""
    filter_ = StopStrings(stops)
    for token in generation:
        text, stopped = filter_.feed(detokenizer.feed(token))
        if text:
            yield text
        if stopped:
            generation.stop()
            return
    text, stopped = filter_.feed(detokenizer.finish())
    if stopped:
        generation.stop()
    if rest := text + filter_.finish():
        yield rest


class Chooser:
    """Chooses tokens one after another, by the sampling and within the constraint, and remembers them."""

    def __init__(self, sampling: Sampling, history: list[int], rules: Rules) -> None:
        self.history = history
        self._sampling, self._rules = sampling, rules
        self._rng = sampling.rng()

    def choose(self, logits: F32) -> int:
        masked = self._rules.constraint.mask(logits)
        return self._take(pick(masked, self._sampling, self.history, self._rng))

    def draw(self, logits: F32) -> tuple[int, F64 | None]:
        """For a draft: nothing is remembered, and the constraint is for `judge` to hold."""
        if self._sampling.temperature == 0:
            return int(logits.argmax()), None
        chances = distribution(logits, self._sampling, self.history)
        return int(self._rng.choice(len(chances), p=chances)), chances

    def judge(self, logits: F32, drafted: int | None, chances: F64 | None) -> int:
        """The drafted token if it may stay, else another: see `edge.decode.speculate`."""
        if drafted is None or self._sampling.temperature == 0:
            return self.choose(logits)
        masked = self._rules.constraint.mask(logits)
        wanted = distribution(masked, self._sampling, self.history)
        return self._take(accept(wanted, drafted, chances, self._rng))

    def forced(self) -> list[int]:
        """Tokens that alone can follow, taken."""
        tokens = self._rules.constraint.forced()
        self.history += tokens
        return tokens

    def ends(self, token: int) -> bool:
        return token in self._rules.stop_ids or self._rules.constraint.ended

    def _take(self, token: int) -> int:
        self.history.append(token)
        if token not in self._rules.stop_ids:
            self._rules.constraint.accept(token)
        return token


def _fits(decoder: Decoder, tokens: int) -> None:
    room = decoder.capacity - decoder.length
    if not tokens:
        raise EdgeError("the prompt has no tokens", fix="pass a text that is not empty")
    if tokens > room:
        taken = f", {decoder.length} of {decoder.capacity} being taken" if decoder.length else ""
        raise EdgeError(
            f"the prompt has {tokens} tokens, and {room} fit{taken}",
            fix="shorten it, or run with a longer context if the model has one",
        )
