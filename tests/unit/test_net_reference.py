"""The numpy operations of networks run at every case, and give finite numbers of float32."""

import numpy as np
import pytest
from net_cases import CASES, Case

from edge_runtimes.reference.net import NumpyNetOps


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operation_runs(case: Case) -> None:
    outputs = case.define(NumpyNetOps(lambda name: case.weights[name]), **case.inputs)
    for out in outputs.values():
        assert out.dtype == np.float32
        assert np.isfinite(out).all()
