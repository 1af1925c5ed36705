"""Answers of a given form: a JSON schema, a regular expression or a Lark grammar, through llguidance.

Before each step the grammar says which tokens may follow; where only one text can follow, its
tokens are taken without asking the model. V vocabulary.
"""

import json
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import llguidance
import numpy as np

from edge.errors import EdgeError
from edge.system.confined import Limits, ask
from edge.text.tokenizer import Tokenizer
from edge.typing import F32

LIMIT = 1 << 18  # letters of a schema, expression or grammar
LIMITS = Limits(
    seconds=3, patience=20.0, megabytes=2048
)  # to compile one, which takes a fifth of a second


@dataclass(frozen=True, slots=True)
class Grammar:
    """A form that was found valid; it knows no tokenizer yet."""

    source: str  # as llguidance takes it

    @classmethod
    def of_schema(cls, text: str) -> "Grammar":
        """A JSON schema; without blanks between tokens, of which a model may never stop making."""
        try:
            schema = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _invalid("JSON schema", f"it is not JSON: {error}") from None
        if not isinstance(schema, dict):
            raise _invalid("JSON schema", "it is no JSON object")
        return cls(_tried("JSON schema", text))

    @classmethod
    def of_regex(cls, text: str) -> "Grammar":
        """A regular expression that the whole answer matches."""
        return cls(_tried("regular expression", text))

    @classmethod
    def of_lark(cls, text: str) -> "Grammar":
        """A Lark grammar whose start rule is `start`."""
        return cls(_tried("Lark grammar", text))

    def constraint(self, vocabulary: "Vocabulary") -> "GrammarConstraint":
        """The form over a vocabulary, for one answer."""
        matcher = llguidance.LLMatcher(vocabulary.tokens, self.source)
        return GrammarConstraint(matcher, vocabulary.size)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens that a grammar chooses from."""

    tokens: llguidance.LLTokenizer
    size: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, stop_ids: AbstractSet[int]) -> "Vocabulary":
        if not stop_ids:
            raise EdgeError(
                "the model has no token that ends an answer, so no form can be complete",
                fix="use a model with an eos token",
            )
        size = tokenizer.vocab_size
        definition = tokenizer.definition()
        return cls(
            llguidance.LLTokenizer(definition, n_vocab=size, eos_token=sorted(stop_ids)), size
        )


class GrammarConstraint:
    """`edge.decode.generate.Constraint`: the state of one answer."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab: int) -> None:
        self._matcher = matcher
        self._vocab = vocab
        self._bits = np.zeros(-(-vocab // 32), np.int32)
        self._check()

    def mask(self, logits: F32) -> F32:
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._check()
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._vocab]
        out = np.full_like(logits, -np.inf)  # rows past the vocabulary are padding
        np.copyto(out[: self._vocab], logits[: self._vocab], where=allowed.view(bool))
        return out

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def forced(self) -> list[int]:
        tokens: list[int] = self._matcher.compute_ff_tokens()
        for token in tokens:
            self.accept(token)
        return tokens

    @property
    def ended(self) -> bool:
        return bool(self._matcher.is_stopped())

    @property
    def complete(self) -> bool:
        """Whether the answer so far has the form."""
        return bool(self._matcher.is_accepting())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise EdgeError(
                f"the grammar cannot go on: {self._matcher.get_error()[:300]}",
                fix="simplify the schema or grammar",
            )


@lru_cache(maxsize=64)
def _tried(kind: str, text: str) -> str:
    """The form as llguidance takes it, compiled and tried where it can do no harm."""
    if len(text) > LIMIT:
        raise _invalid(kind, f"it has more than {LIMIT:,} letters")
    try:
        text.encode()
    except UnicodeError:
        raise _invalid(kind, "it holds half of a surrogate pair") from None
    request = {"kind": kind, "text": text}
    answer = ask(Path(__file__).with_name("_trial.py"), request, LIMITS)
    if "error" in answer:
        raise _invalid(kind, answer["error"])
    return str(answer["source"])


def _invalid(kind: str, problem: str) -> EdgeError:
    return EdgeError(f"the {kind} is invalid: {problem.strip()[:300]}", fix="correct it")
