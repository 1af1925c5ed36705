"""Rows of tokens as a source draws them, in numpy.

B sequences, T positions.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from edge.data.rows import Stage, Writer
from edge.typing import F32, I64


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """tokens and parts [B, T + 1]; or [B, R, T + 1], where R rows belong together and skip the same layers."""

    tokens: I64
    parts: I64

    def split(self, count: int) -> Sequence[Self]:
        """In equal parts, or nearly."""
        own = {f.name: np.array_split(getattr(self, f.name), count) for f in fields(self)}
        return [type(self)(**{name: made[i] for name, made in own.items()}) for i in range(count)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared(Batch):
    """tokens and parts [B, 2, T + 1]: the chosen answer, then the rejected one, to the same; reference [B, 2]: their
    log-probabilities by the weights that training starts from.
    """

    reference: F32


def make_batch(writer: Writer, rng: random.Random, stage: Stage) -> Batch:
    rows = [writer.row(rng, stage) for _ in range(stage.batch)]
    return Batch(
        tokens=np.array([row.ids for row in rows], np.int64),
        parts=np.array([row.parts for row in rows], np.int64),
    )
