"""How well a model predicts a text: nats per token, with its standard error, and perplexity."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from edge.errors import EdgeError
from edge.protocols import Decoder
from edge.system.progress import Progress, silent
from edge.typing import F32

_ROWS = 256  # positions whose logits are in memory at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Loss over every scored token; `stderr` takes tokens as independent."""

    nats_per_token: float
    stderr: float
    perplexity: float
    tokens: int
    window: int

    def json(self) -> dict[str, object]:
        return asdict(self)


def evaluate(
    decoder: Decoder,
    ids: Sequence[int],
    *,
    bos: int | None,
    window: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score ids [T] in windows that do not overlap, each led by BOS, which is not scored."""
    size = min(window or decoder.capacity, decoder.capacity)
    lead = [] if bos is None else [bos]
    if size < 2 or not ids:
        raise EdgeError(
            "there is nothing to score", fix="give a longer text, and a window of 2 tokens or more"
        )
    losses = []
    with (progress or silent)("tokens", len(ids)) as advance:
        for at in range(0, len(ids), size - len(lead)):
            part = [*lead, *ids[at : at + size - len(lead)]]
            decoder.rewind(0)
            losses.append(token_losses(decoder, part))
            advance(len(part) - len(lead))
    every = np.concatenate(losses)
    if not len(every):
        raise EdgeError("the text has one token and the model no BOS", fix="give a longer text")
    mean = float(every.mean())
    return Evaluation(
        nats_per_token=mean,
        stderr=float(every.std()) / math.sqrt(len(every)),
        perplexity=math.exp(mean),
        tokens=len(every),
        window=size,
    )


def token_losses(decoder: Decoder, part: Sequence[int]) -> F32:
    """Nats of each token but the first, given those before it: [T - 1]."""
    out = [np.empty(0, np.float32)]
    for at in range(0, len(part) - 1, _ROWS):
        rows = part[at : min(at + _ROWS, len(part) - 1)]
        logits = decoder.score(rows)  # [rows, V]
        logits -= logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits).sum(axis=1))
        target = np.asarray(part[at + 1 : at + 1 + len(rows)])
        out.append(total - logits[np.arange(len(rows)), target])
    return np.concatenate(out)
