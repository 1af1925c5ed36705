"""Prompt lookup: what followed the last words where they stood before (github.com/apoorvumang/
prompt-lookup-decoding). A drafter that needs no model: good where an answer repeats its prompt.
"""

from collections.abc import Sequence

from edge.decode.speculate import Draft
from edge.protocols import Decoder
from edge.typing import F32

LONGEST = 3  # tokens of a match that is looked for first; shorter ones follow


class Lookup:
    """`edge.decode.speculate.Drafter` over any decoder."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def propose(self, history: Sequence[int], draft: Draft) -> None:
        tokens, size = continuation(history, draft.most)
        for token in tokens:
            if draft.open:
                draft.add(token, (size - 0.5) / LONGEST)

    def verify(self, run: Sequence[int]) -> F32:
        return self._decoder.score(run)

    def rewind(self, length: int) -> None:
        self._decoder.rewind(length)


def continuation(history: Sequence[int], most: int) -> tuple[list[int], int]:
    """At most `most` tokens that came after the latest earlier place where the history's last tokens
    stood, and how many of these are alike.
    """
    tokens = list(history)
    for size in range(min(LONGEST, len(tokens) - 1), 0, -1):
        last = tokens[-size:]
        for at in range(len(tokens) - size - 1, -1, -1):
            if tokens[at : at + size] == last:
                return tokens[at + size : at + size + most], size
    return [], 0
