"""Self-speculation (LayerSkip, arXiv 2404.16710): the model's first layers draft, its others verify.

The exit's hidden states and caches are kept, so that a drafted token's first layers run once. Written
from the paper.
"""

from collections.abc import Sequence

from edge.decode.speculate import Draft, Draw
from edge.protocols import EarlyExit
from edge.typing import F32


class SelfDrafter:
    """`edge.decode.speculate.Drafter` of a model that can stop early."""

    def __init__(self, decoder: EarlyExit) -> None:
        self._decoder = decoder

    def propose(self, history: Sequence[int], most: int, draw: Draw) -> Draft:
        draft = Draft([])
        for _ in range(most):
            last = draft.tokens[-1] if draft.tokens else history[-1]
            draft.add(*draw(self._decoder.draft(last)))
        return draft

    def verify(self, run: Sequence[int]) -> F32:
        """All but the last of the run have been drafted."""
        return self._decoder.finish(run[-1])

    def rewind(self, length: int) -> None:
        self._decoder.rewind(length)
