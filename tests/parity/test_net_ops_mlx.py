"""Networks on MLX against numpy: every operation at its edges, whole networks, packed matrices."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from net_cases import CASES, Case, random

from edge.net import NetSpec
from edge.nn.networks import define
from edge.nn.projector import ProjectorSpec
from edge.nn.vit import VitSpec
from edge.quant import recipe as recipes
from edge.spec import Norm
from edge_runtimes.reference.net import NumpyNetOps

mx = pytest.importorskip("mlx.core")

from mlx_stored import InMemory  # noqa: E402

from edge_runtimes.mlx.net import MlxNetOps  # noqa: E402
from edge_runtimes.mlx.weights import Weights  # noqa: E402

LAYER, RMS = Norm(eps=1e-6, kind="layer"), Norm(eps=1e-6)
PLAIN = VitSpec(grid=(4, 3), patch=2, width=32, layers=2, heads=4, ffn_width=64, norm=LAYER)
VITS = {
    "plain": PLAIN,
    "CatLIP's stem": replace(PLAIN, stem=((2, 8), (2, 16)), last=LAYER),
    "InternViT-6B": replace(PLAIN, norm=RMS, qk_norm=RMS, layer_scale=True, qkv_bias=False),
    "classes": replace(PLAIN, last=LAYER, classes=7),
}
NETWORKS = {name: NetSpec(kind="vit", config=spec) for name, spec in VITS.items()}
NETWORKS |= {
    f"projector {order}": NetSpec(
        kind="projector",
        config=ProjectorSpec(side=4, channels=8, width=32, norm=LAYER, order=order),
    )
    for order in ("v1", "v2")
}


def near(got: Mapping[str, Any], want: Mapping[str, np.ndarray], tolerance: float) -> None:
    assert got.keys() == want.keys()
    for name, expected in want.items():
        found = np.array(got[name])
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max(), name


def ops(weights: Mapping[str, np.ndarray]) -> MlxNetOps:
    return MlxNetOps(Weights(InMemory(weights, recipes.parse("fp32")), exact=True))


def weights_of(spec: NetSpec) -> dict[str, np.ndarray]:
    shapes = spec.config.shapes().items()
    return {name: random(*shape, seed=i) / 4 for i, (name, shape) in enumerate(shapes)}


def input_of(spec: NetSpec, batch: int) -> dict[str, np.ndarray]:
    (port,) = spec.config.inputs
    return {port.name: random(batch, *(size for size in port.shape if isinstance(size, int)))}


def on_mlx(inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: mx.array(values) for name, values in inputs.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operation_is_numpys(case: Case) -> None:
    want = case.define(NumpyNetOps(case.weights.__getitem__), **case.inputs)
    near(case.define(ops(case.weights), **on_mlx(case.inputs)), want, 2e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_numpys_at_every_batch(name: str) -> None:
    """One object serves all calls: it keeps constants and weights, and nothing of a call."""
    spec = NETWORKS[name]
    weights = weights_of(spec)
    mine = ops(weights)
    for batch in (3, 1):
        inputs = input_of(spec, batch)
        want = define(NumpyNetOps(weights.__getitem__), spec, **inputs)
        near(define(mine, spec, **on_mlx(inputs)), want, 3e-6)


@pytest.mark.parametrize("recipe", ["rtn-int4-g32", "rtn-int8-g32", "rtn-int4-g32-min"])
@pytest.mark.parametrize("name", NETWORKS)
def test_packed_matrices_mean_their_codes(name: str, recipe: str) -> None:
    """`position` is packed, too, where its rows are whole groups: a table that is no product."""
    spec = NETWORKS[name]
    stored = InMemory(weights_of(spec), recipes.parse(recipe))
    assert any(form.bits for form in stored.forms())
    inputs = input_of(spec, 2)
    want = define(NumpyNetOps(stored.meant.__getitem__), spec, **inputs)
    mine = MlxNetOps(Weights(stored, exact=True))
    near(define(mine, spec, **on_mlx(inputs)), want, 1e-5)


def test_a_packed_table_is_looked_up_by_ids_of_any_shape() -> None:
    stored = InMemory({"table": random(9, 64)}, recipes.parse("rtn-int4-g32"))
    ids = np.int32([[1, 0, 8], [2, 2, 3]])
    got = MlxNetOps(Weights(stored, exact=True)).embed("table", mx.array(ids))
    near({"rows": got}, {"rows": stored.meant["table"][ids]}, 1e-6)


def test_a_weight_serves_with_its_bias_and_without() -> None:
    """As a table that is also the last product, with a bias of its own."""
    weights, x = {"w": random(6, 8), "w.bias": random(6)}, random(2, 8)
    mine, want = ops(weights), NumpyNetOps(weights.__getitem__)
    for biased in ((), ("w",), ()):
        (got,), (expected,) = (
            mine.linear(mx.array(x), "w", biased=biased),
            want.linear(x, "w", biased=biased),
        )
        near({"out": got}, {"out": expected}, 1e-6)
