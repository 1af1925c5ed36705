"""Beam search: the likeliest answer, as far as the likeliest beginnings lead to it."""

from collections.abc import Sequence

import numpy as np

from edge.protocols import Decoder
from edge.typing import F32, AnyArray

Answer = tuple[int, ...]


def search(decoder: Decoder, prompt: Sequence[int], *, beams: int, tokens: int) -> Answer:
    """An answer of so many tokens, of which `beams` beginnings are kept after each; one is greedy."""
    kept: list[tuple[float, Answer]] = [(0.0, ())]
    for _ in range(tokens):
        grown: list[tuple[float, Answer]] = []
        for total, answer in kept:
            decoder.rewind(0)  # the only place that every decoder can go back to
            scores = total + _log_softmax(decoder.prefill([*prompt, *answer]))  # [V]
            likeliest = np.argsort(-scores, kind="stable")[:beams]
            grown += [(float(scores[token]), (*answer, int(token))) for token in likeliest]
        kept = sorted(grown, key=lambda beam: -beam[0])[:beams]
    return kept[0][1]


def _log_softmax(logits: F32) -> AnyArray:
    """Logits [V] -> logarithms of probabilities, in float64."""
    shifted = logits.astype(np.float64) - logits.max()
    out: AnyArray = shifted - np.log(np.exp(shifted).sum())
    return out
