"""`edge.quant.arithmetic` by torch on a device, in float32: what it adds up stays there until all of it is.

N rows of weights, K inputs, T rows of a text.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from edge.quant.arithmetic import Costs
from edge.quant.inputs import PANEL, Inputs, Run, in_turn, panels
from edge.typing import F32
from edge_runtimes.torch.decoder import array
from edge_runtimes.torch.threads import alone


class Sums:
    """`edge.quant.inputs.Sums` on a device."""

    def __init__(self, columns: int, device: torch.device) -> None:
        self._products = torch.zeros(columns, columns, device=device)
        self._sizes, self._largest = torch.zeros(2, columns, device=device)
        self._rows = 0

    @property
    def panels(self) -> int:
        return panels(len(self._products))

    def panel(self, number: int) -> F32:
        return array(self._part(number))

    def add(self, x: F32, own: Sequence[int] | None = None, run: Run = in_turn) -> None:
        rows = there(x, self._products.device)

        def one(number: int) -> None:
            alone()
            at = number * PANEL
            self._part(number).addmm_(rows[:, at : at + PANEL].T, rows)

        run(one, range(self.panels) if own is None else own)
        alone()
        size = rows.abs()
        self._sizes += size.sum(dim=0)
        torch.maximum(self._largest, size.amax(dim=0), out=self._largest)
        self._rows += len(rows)

    def means(self, every: Iterable[F32]) -> Inputs:
        products = np.empty(tuple(self._products.shape), np.float32)
        for number, panel in enumerate(every):
            products[number * PANEL : (number + 1) * PANEL] = panel
        sizes, largest = array(self._sizes), array(self._largest)
        del self._products  # the device needs the room
        return Inputs(products, sizes, largest, self._rows).mean()

    def _part(self, number: int) -> torch.Tensor:
        return self._products[number * PANEL : (number + 1) * PANEL]


class Arithmetic:
    """`edge.quant.arithmetic.Arithmetic`."""

    def __init__(self, where: torch.device) -> None:
        self.where = where

    def sums(self, columns: int) -> Sums:
        return Sums(columns, self.where)

    def factor(self, matrix: F32) -> None:
        alone()
        # The lower factor of all of it turned round is the upper one of it as it is; in the order of LAPACK, which
        # then writes where it reads.
        turned = there(matrix, self.where).flip(0, 1).mT
        lower, wrong = torch.linalg.cholesky_ex(
            turned, out=(turned, turned.new_empty(0, dtype=torch.int32))
        )
        if int(wrong) or not bool(torch.isfinite(lower.diagonal()).all()):
            raise np.linalg.LinAlgError("the matrix is not positive definite")
        rows = len(matrix)
        for at in range(0, rows, PANEL):
            end = min(at + PANEL, rows)
            matrix[at:end] = array(lower[rows - end : rows - at].flip(0, 1))

    def costs(self, products: F32) -> Costs:
        known = there(products, self.where)

        def of(off: F32) -> F32:
            alone()
            rows = there(off, self.where)
            return array(((rows @ known) * rows).sum(dim=1))

        return of


def there(x: F32, device: torch.device) -> torch.Tensor:
    """On the device; on a CPU where it is, unless it is only to be read, of which torch would warn."""
    own = np.require(x, requirements=("C", "W"))
    return torch.from_numpy(own).to(device)
