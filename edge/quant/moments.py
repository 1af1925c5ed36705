"""What products of inputs tell a method that rounds column after column (`edge.quant.gptq`): which columns come first,
and how each makes good the errors of those before it. K inputs.
"""

from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from edge.quant.arithmetic import NUMPY, Arithmetic, Costs
from edge.quant.rotation import rotated
from edge.typing import F32, I64

DAMPING = 0.01  # of the mean square: inputs that a text left out count a little


@dataclass(slots=True)
class Moments:
    """`products` [K, K]: means of the products of two inputs. What follows from them is computed once, though many
    parts of matrices are rounded by them, and some at once; `by`: who does.
    """

    products: F32
    by: Arithmetic = NUMPY
    _costs: Costs | None = None
    _factors: dict[bool, tuple[I64, F32]] = field(default_factory=dict)
    _rotated: "Moments | None" = None
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, given: "F32 | Moments") -> "Moments":
        return given if isinstance(given, Moments) else cls(given)

    def feedback(self, *, by_size: bool) -> tuple[I64, F32]:
        """The order of columns, those of the largest inputs first or as they are: [K]; and `feedback` in it."""
        with self._lock:
            if by_size not in self._factors:
                order = np.arange(len(self.products))
                if by_size:
                    order = np.argsort(-np.diagonal(self.products), kind="stable")
                self._factors[by_size] = order, feedback(self.products, order, self.by)
            return self._factors[by_size]

    def rotated(self) -> "Moments":
        """Of inputs that `edge.quant.rotation` turned."""
        with self._lock:
            if self._rotated is None:
                turned = rotated(rotated(self.products).T)
                self._rotated = Moments((turned + turned.T) / np.float32(2), self.by)
            return self._rotated

    def cost(self, off: F32) -> F32:
        """The mean square of what each row's product is off by, of what its weights are, [N, K] -> [N]."""
        with self._lock:
            if self._costs is None:
                self._costs = self.by.costs(self.products)
        return self._costs(off)


def feedback(moments: F32, order: I64, by: Arithmetic = NUMPY) -> F32:
    """What an error in column j adds to a later column k, in units of it: [K, K] above the diagonal, columns in
    this order.
    """
    diagonal = np.diagonal(moments)[order]
    mean = max(float(np.mean(diagonal, dtype=np.float64)), float(np.finfo(np.float32).tiny))
    # A few inputs that are far larger than all others leave these less than float32 rounds those by: then more.
    for more in (1, 10, 100, 1000):
        factor = moments[np.ix_(order, order)]
        factor[np.diag_indices_from(factor)] = diagonal + np.float32(DAMPING * mean * more)
        try:
            by.factor(factor)
        except np.linalg.LinAlgError:
            continue
        factor /= np.diagonal(factor).copy()
        return factor
    return np.eye(len(moments), dtype=np.float32)  # no column makes good another's error
