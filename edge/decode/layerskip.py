"""Self-speculation (LayerSkip, arXiv 2404.16710): the model's first layers draft, its others verify.

The exit's hidden states and caches are kept, so that a drafted token's first layers run once. Written
from the paper. V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge.decode.speculate import Draft
from edge.protocols import EarlyExit
from edge.spec import DecoderSpec
from edge.typing import F32


class SelfDrafter:
    """`edge.decode.speculate.Drafter` of a model that can stop early."""

    def __init__(self, decoder: EarlyExit) -> None:
        self._decoder = decoder

    def propose(self, history: Sequence[int], draft: Draft) -> None:
        last = history[-1]
        while draft.open:
            last = draft.draw(self._decoder.draft(last))

    def verify(self, run: Sequence[int]) -> F32:
        """All but the last of the run have been drafted."""
        return self._decoder.finish(run[-1])

    def rewind(self, length: int) -> None:
        self._decoder.rewind(length)


def draft_spec(spec: DecoderSpec) -> DecoderSpec:
    """What a draft's head is of: the same model, whose vocabulary is the first ids only."""
    count = spec.draft_vocab or spec.vocab
    forbidden = tuple(token for token in spec.forbidden if token < count)
    return replace(spec, vocab=count, draft_vocab=None, forbidden=forbidden)


def widened(logits: F32, vocab: int) -> F32:
    """Logits of the first ids -> [V]: the others are never drafted."""
    if len(logits) == vocab:
        return logits
    out = np.full(vocab, -np.inf, np.float32)
    out[: len(logits)] = logits
    return out
