"""The rotation that QuIP rounds behind, as one large matrix."""

import numpy as np

from edge.quant import rotation


def rotation_of(columns: int) -> np.ndarray:
    """Slowly: signs, then the Kronecker product of its factors."""
    made = np.ones((1, 1))
    for matrix in rotation.matrices(columns):
        made = np.kron(made, matrix.astype(np.float64))
    return np.diag(rotation.signs(columns).astype(np.float64)) @ made.T
