"""A decoder whose prompt has rows of another network where a placeholder's ids stand."""

from collections.abc import Sequence

import numpy as np

from edge.errors import EdgeError
from edge.protocols import Spliced
from edge.spec import DecoderSpec
from edge.typing import F32


class SplicingDecoder:
    """`edge.protocols.Decoder` over one that takes rows. `placeholder`: its id stands once for each row that
    `show` gave, in their order.
    """

    def __init__(self, decoder: Spliced, placeholder: int) -> None:
        self._decoder, self._placeholder = decoder, placeholder
        self._rows = np.zeros((0, decoder.spec.width), np.float32)
        self._shown: list[bool] = []  # of each position: whether a row stands there

    @property
    def spec(self) -> DecoderSpec:
        return self._decoder.spec

    @property
    def length(self) -> int:
        return self._decoder.length

    @property
    def capacity(self) -> int:
        return self._decoder.capacity

    def show(self, rows: F32) -> None:
        """Rows [N, D] of the sequence from here on. What was read of others is forgotten, with all after it."""
        places = np.flatnonzero(self._shown)
        most = min(len(places), len(rows))
        differ = np.any(self._rows[:most] != rows[:most], axis=1)
        kept = int(differ.argmax()) if differ.any() else most
        if kept < len(places):
            self.rewind(int(places[kept]))
        self._rows = rows

    def prefill(self, tokens: Sequence[int]) -> F32:
        """Append tokens and rows -> logits of the last."""
        ids, first = np.asarray(tokens, np.int64), sum(self._shown)
        places = ids == self._placeholder
        last = first + int(places.sum())
        if last > len(self._rows):
            raise EdgeError(
                f"the prompt has {last} places for rows of pictures, and there are {len(self._rows)}",
                fix="leave the placeholder's token out of the prompt",
            )
        self._shown += places.tolist()
        if last == first:
            return self._decoder.prefill(tokens)
        rows = np.zeros((len(ids), self.spec.width), np.float32)
        if not places.all():
            rows[~places] = self._decoder.embed(ids[~places].tolist())
        rows[places] = self._rows[first:last]
        return self._decoder.prefill_rows(rows)

    def step(self, token: int) -> F32:
        self._shown.append(False)
        return self._decoder.step(token)

    def score(self, tokens: Sequence[int]) -> F32:
        self._shown += [False] * len(tokens)
        return self._decoder.score(tokens)

    def rewind(self, length: int) -> None:
        self._decoder.rewind(length)
        del self._shown[self._decoder.length :]
