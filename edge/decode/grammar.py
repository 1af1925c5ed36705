"""Answers of a given form: a JSON schema, a regular expression or a Lark grammar, through llguidance.

Before each step the grammar says which tokens may follow; where only one text can follow, its
tokens are taken without asking the model. V vocabulary.
"""

import json
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import llguidance
import numpy as np

from edge.errors import EdgeError
from edge.text.tokenizer import Tokenizer
from edge.typing import F32


@dataclass(frozen=True, slots=True)
class Grammar:
    """A form that was found valid; it knows no tokenizer yet."""

    source: str  # as llguidance takes it

    @classmethod
    def of_schema(cls, text: str) -> "Grammar":
        """A JSON schema; without blanks between tokens, of which a model may never stop making."""
        try:
            json.loads(text)
        except ValueError as error:
            raise _invalid("JSON schema", f"it is not JSON: {error}") from None
        compiler = llguidance.JsonCompiler(whitespace_flexible=False)
        return cls._checked("JSON schema", compiler.compile, text)

    @classmethod
    def of_regex(cls, text: str) -> "Grammar":
        """A regular expression that the whole answer matches."""
        return cls._checked("regular expression", llguidance.LLMatcher.grammar_from_regex, text)

    @classmethod
    def of_lark(cls, text: str) -> "Grammar":
        """A Lark grammar whose start rule is `start`."""
        return cls._checked("Lark grammar", llguidance.LLMatcher.grammar_from_lark, text)

    @classmethod
    def _checked(cls, kind: str, make: Callable[[str], str], text: str) -> "Grammar":
        try:
            source = make(text)
            problem = llguidance.LLMatcher.validate_grammar(source)
        except ValueError as error:
            problem = str(error)
        if problem:
            raise _invalid(kind, problem)
        return cls(source)

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


def _invalid(kind: str, problem: str) -> EdgeError:
    return EdgeError(f"the {kind} is invalid: {problem.strip()[:300]}", fix="correct it")
