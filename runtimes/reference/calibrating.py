"""`edge.contracts.Calibrator` in numpy: a thread each for products, however many there are."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np

from edge.quant.arithmetic import Numpy
from edge.quant.recipe import Recipe
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec
from edge.system.team import one_thread_each
from edge_runtimes.reference.walk import Walk


class Calibrator(Numpy):
    told = f"numpy {np.__version__}"

    def __init__(self, device: str) -> None:
        self.device = device

    def walk(
        self,
        checkpoint: Checkpoint,
        windows: Sequence[Sequence[int]],
        recipe: Recipe | None = None,
    ) -> Walk:
        return Walk.begin(checkpoint, windows, recipe)

    def steadily(self) -> AbstractContextManager[None]:
        return one_thread_each()

    def memory(self, spec: DecoderSpec) -> int:
        return 0


calibrator = Calibrator
