"""KVzip (arXiv 2505.23416): rows for questions that nobody has asked yet.

A row is worth the most attention that it gets while the model reads the text again, right after it:
what it needs to repeat the text it needs to answer anything about it. Piece by piece, each led by the
few tokens before it, which say where to go on, and forgotten at once. The paper takes the largest
attention of any query of any head of a kv head; here it is the largest of any piece, summed within
it, for that is what `observe` gives. No words ask for the repetition: there is no tokenizer here.
G kv heads, S cached rows, L layers.
"""

from collections.abc import Sequence

import numpy as np

from edge.protocols import Evictable
from edge.typing import F32

LEAD = 8  # tokens, as in the authors' code
PIECE = 16  # tokens; fewer are nearer to the paper and slower
ROOM = LEAD + PIECE  # tokens that a context must hold beside what is repeated


def repeated(decoder: Evictable, tokens: Sequence[int], start: int) -> list[F32]:
    """What each row is worth while the tokens from `start` on are repeated: L of [G, S].

    `tokens`: all that the decoder has read.
    """
    length = decoder.length
    worth = [
        np.zeros((layer.kv_heads, rows), np.float32)
        for layer, rows in zip(decoder.spec.layers, decoder.rows, strict=True)
    ]
    for at in range(start, length, PIECE):
        if at:
            decoder.prefill(tokens[max(0, at - LEAD) : at])
        _, votes = decoder.observe(tokens[at : min(at + PIECE, length)])
        decoder.rewind(length)
        for best, part in zip(worth, votes, strict=True):
            seen = part[:, : best.shape[1]].reshape(len(best), -1, best.shape[1])
            np.maximum(best, seen.max(axis=1), out=best)
    return worth
