"""`edge.contracts.Calibrator` by torch: on a CPU; or on CUDA, which was written and not run.

In float32 alone, products in all of its bits (no TF32), by kernels that give the same every time.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from edge import targets
from edge.errors import EdgeError
from edge.names import shapes
from edge.quant.recipe import Recipe
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec
from edge.system.team import one_thread_each
from edge_runtimes.torch import arithmetic
from edge_runtimes.torch.decoder import device as best
from edge_runtimes.torch.decoder import device_on
from edge_runtimes.torch.ranks import own
from edge_runtimes.torch.walk import Walk, Weights

_LOADED = 1 << 28  # bytes of torch itself
# cuBLAS gives the same sums every time only where its room is fixed before it is begun.
_CUBLAS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


class Calibrator(arithmetic.Arithmetic):
    """Of several processes on one machine, each has the GPU of its number."""

    def __init__(self, device: str) -> None:
        found = device_on(device, instead="give --calibrate-on cpu")
        local = os.environ.get("LOCAL_RANK")
        super().__init__(own(found, None if local is None else int(local)))
        self.device = device

    @property
    def told(self) -> str:
        chip = torch.cuda.get_device_name(self.where) if self.where.type == "cuda" else "a CPU"
        return f"torch {torch.__version__} on {chip}"

    def walk(
        self,
        checkpoint: Checkpoint,
        windows: Sequence[Sequence[int]],
        recipe: Recipe | None = None,
    ) -> Walk:
        """Rows of the embedding are numpy's, few of a large table."""
        begun = targets.oracle().walk(checkpoint, windows, recipe)
        return Walk(Weights(checkpoint, self.where), begun.streams)

    @contextmanager
    def steadily(self) -> Iterator[None]:
        precision, exact = (
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
        )
        for name, value in _CUBLAS.items():
            os.environ.setdefault(name, value)
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(True)
        try:
            with one_thread_each():
                yield
        except torch.OutOfMemoryError:
            raise EdgeError(
                f"{self.told.rpartition(' on ')[2]} has too little free memory for one layer",
                fix="end what else computes there, or give --calibrate-on numpy",
            ) from None
        finally:
            torch.use_deterministic_algorithms(exact)
            torch.set_float32_matmul_precision(precision)

    def memory(self, spec: DecoderSpec) -> int:
        """torch, and a second place of the largest factor; weights that lie on another device count here all the same,
        for they are read here.
        """
        inputs = [s[1] for s in shapes(spec).values() if len(s) == 2]
        return _LOADED + 4 * max(inputs) ** 2


calibrator = Calibrator


def preferred() -> bool:
    """Whether torch itself would compute on CUDA here."""
    return best().type == "cuda"
