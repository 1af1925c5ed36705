"""Lossless speed from a compacted cache: a copy of the cache that SnapKV has cut drafts, the whole one
verifies. Greedy answers are those of full attention, with any checkpoint.
"""

from collections.abc import Sequence

from edge.decode.snapkv import SnapKV, choose, refuse_cut
from edge.decode.speculate import Draft
from edge.protocols import Evictable
from edge.typing import F32


class CompactDrafter:
    """`edge.decode.speculate.Drafter`, and the decoder that it verifies with: prompts must come through
    it. A prompt that SnapKV would not cut is decoded plainly.
    """

    def __init__(self, whole: Evictable, options: SnapKV) -> None:
        refuse_cut(whole.spec)
        self.spec, self.capacity = whole.spec, whole.capacity
        self._whole, self._options = whole, options
        self._draft: Evictable | None = None
        self._cut = 0  # tokens that were read when the copy was made

    @property
    def length(self) -> int:
        return self._whole.length

    def prefill(self, tokens: Sequence[int]) -> F32:
        window = self._options.window
        if self.length + len(tokens) <= self._options.capacity or len(tokens) <= window:
            return self._whole.prefill(tokens)
        self._whole.prefill(tokens[:-window])
        logits, votes = self._whole.observe(tokens[-window:])
        rows = choose(votes, self.spec, self._options)
        self._draft, self._cut = self._whole.fork(rows), self.length
        return logits

    def step(self, token: int) -> F32:
        return self._whole.step(token)

    def score(self, tokens: Sequence[int]) -> F32:
        return self._whole.score(tokens)

    def propose(self, history: Sequence[int], draft: Draft) -> None:
        if self._draft is None or not draft.open:
            return
        behind = self.length + 1 - self._draft.length  # what the other cache has read meanwhile
        last = draft.draw(self._draft.prefill(history[-behind:]))
        while draft.open:
            last = draft.draw(self._draft.step(last))

    def verify(self, run: Sequence[int]) -> F32:
        return self._whole.score(run)

    def rewind(self, length: int) -> None:
        self._whole.rewind(length)
        if length < self._cut:
            self._draft, self._cut = None, 0  # it would have to give back rows that it forgot
        elif self._draft is not None and length < self._draft.length:
            self._draft.rewind(length)
