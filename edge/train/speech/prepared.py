"""What recipes of speech learn from."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from edge.data.utterances import Utterance, Utterances
from edge.errors import EdgeError
from edge.typing import I64


class Prepared:
    """What several folders that `edge data speech` made have to learn from, one after another."""

    def __init__(self, folders: Sequence[str]) -> None:
        if not folders:
            raise EdgeError(
                "this recipe learns from prepared speech, and was given none",
                fix="give --data FOLDER, which `edge data speech` made",
            )
        self._parts = [Utterances(Path(folder)) for folder in folders]
        self._ends = list(accumulate(len(part) for part in self._parts))
        self.lengths: I64 = np.concatenate([part.lengths for part in self._parts])
        self.digest = "".join(part.digest for part in self._parts)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, i: int) -> Utterance:
        number = bisect_right(self._ends, i)
        return self._parts[number][i - (self._ends[number - 1] if number else 0)]
