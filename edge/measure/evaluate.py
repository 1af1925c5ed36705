"""How well a model predicts a text: nats per token and perplexity; and how far it is from another, of which it was
made: the divergence of its distributions, and how often both would choose the same.

T positions, V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from edge.errors import EdgeError
from edge.protocols import Decoder
from edge.system.progress import Progress, silent
from edge.typing import F32, AnyArray

_ROWS = 256  # positions whose logits are in memory at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Loss over every scored token. `…_se`: standard errors, which take tokens as independent. Beside another
    model: `kl`, nats by which its distributions say more than these, and `top1`, the share of positions where the
    likeliest token of both is one.
    """

    nats_per_token: float
    nats_per_token_se: float
    perplexity: float
    tokens: int
    window: int
    kl: float | None = None
    kl_se: float | None = None
    top1: float | None = None
    top1_se: float | None = None

    def json(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def evaluate(
    decoder: Decoder,
    ids: Sequence[int],
    *,
    bos: int | None,
    window: int | None = None,
    against: Decoder | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score ids [T] in windows that do not overlap, each led by BOS, which is not scored. `against`: a model of
    the same tokens.
    """
    most = min(one.capacity for one in (decoder, against) if one is not None)
    size = min(window or most, most)
    lead = [] if bos is None else [bos]
    if size < 2 or not ids:
        raise EdgeError(
            "there is nothing to score", fix="give a longer text, and a window of 2 tokens or more"
        )
    found = []
    with (progress or silent)("tokens", len(ids)) as advance:
        for at in range(0, len(ids), size - len(lead)):
            part = [*lead, *ids[at : at + size - len(lead)]]
            decoder.rewind(0)
            if against is not None:
                against.rewind(0)
            found += list(_scored(decoder, against, part))
            advance(len(part) - len(lead))
    every = np.concatenate(found, axis=1) if found else np.empty((3, 0))
    if not every.size:
        raise EdgeError("the text has one token and the model no BOS", fix="give a longer text")
    means = every.mean(axis=1)
    errors = every.std(axis=1) / math.sqrt(every.shape[1])
    beside: dict[str, float] = {}
    if against is not None:
        for i, name in enumerate(("kl", "top1"), start=1):
            beside |= {name: float(means[i]), f"{name}_se": float(errors[i])}
    return Evaluation(
        nats_per_token=float(means[0]),
        nats_per_token_se=float(errors[0]),
        perplexity=math.exp(means[0]),
        tokens=every.shape[1],
        window=size,
        **beside,
    )


def token_losses(decoder: Decoder, part: Sequence[int]) -> AnyArray:
    """Nats of each token but the first, given those before it: [T - 1]."""
    return np.concatenate([np.empty(0), *(rows[0] for rows in _scored(decoder, None, part))])


def _scored(decoder: Decoder, against: Decoder | None, part: Sequence[int]) -> Iterator[AnyArray]:
    """Of each token but the first, some at a time: its nats; and beside another model the divergence, and
    whether both would choose the same, [3, T].
    """
    for at in range(0, len(part) - 1, _ROWS):
        rows = part[at : min(at + _ROWS, len(part) - 1)]
        said = logarithms(decoder.score(rows))
        target = np.asarray(part[at + 1 : at + 1 + len(rows)])
        out = np.zeros((3, len(rows)))
        out[0] = -said[np.arange(len(rows)), target]
        if against is not None:
            wanted = logarithms(against.score(rows))
            likely = np.exp(wanted)
            # What neither ever says counts nothing.
            apart = np.where(likely > 0, wanted, 0) - np.where(likely > 0, said, 0)
            out[1] = (likely * apart).sum(axis=1, dtype=np.float64)
            out[2] = said.argmax(axis=1) == wanted.argmax(axis=1)
        yield out


def logarithms(logits: F32) -> F32:
    """Logits [T, V] as logarithms of what is likely."""
    logits = logits - logits.max(axis=1, keepdims=True)
    total: F32 = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return total
