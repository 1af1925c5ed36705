"""Padded equals unpadded: a network of the test's own, whose rows are multiplied by their mask before every
convolution and whose keys are kept by it, gives of a padded batch what each of it gives alone.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from net_cases import random

from edge.files.datafile import DataFile
from edge.net import Port
from edge.nn.composed import Composed
from edge.ops import Array
from edge.quant import recipe as recipes
from edge.spec import Norm
from edge_runtimes.reference.net import NumpyNetOps

Run = Callable[..., np.ndarray]  # x [B, T, 8], mask [B, T] -> [B, 2 T, 4]
LENGTHS = (7, 3, 1)
NORM = Norm(eps=1e-5, kind="layer")
WEIGHTS = {
    "in": random(8, 8, 3), "in.bias": random(8, seed=1) / 2,
    "deep": random(8, 4, 3, seed=2), "deep.bias": random(8, seed=3),
    "norm": random(8, seed=4), "norm.bias": random(8, seed=5),
    "up": random(16, 8, seed=6), "up.bias": random(4, seed=7),
}  # fmt: skip


def network(
    ops: Composed[Array], x: Array, mask: Array, *, masked: bool = True
) -> dict[str, Array]:
    """Convolutions, attention, a transposed convolution: whatever looks beside itself. `masked`: whether
    rows are before the inner ones, too.
    """
    rows = ops.reshape(mask, 0, -1, 1)

    def kept(x: Array) -> Array:
        return ops.mul(x, rows) if masked else x

    x = ops.act(ops.conv(ops.mul(x, rows), "in", pad=(1, 1)), "gelu")
    x = ops.norm(ops.add(x, ops.attention(x, x, x, heads=2, keep=mask)), "norm", NORM)
    x = ops.act(ops.conv(kept(x), "deep", pad=(4, 0), dilation=2, groups=2), "silu")
    return {"out": ops.conv_transpose(kept(x), "up", kernel=4, stride=2, width=4, cut=(1, 1))}


def on_numpy(_: Path, **more: bool) -> Run:
    ops = NumpyNetOps(WEIGHTS.__getitem__)
    return lambda **inputs: network(ops, **inputs, **more)["out"]


def on_torch(_: Path, **more: bool) -> Run:
    torch = pytest.importorskip("torch")
    from edge_runtimes.torch.net import TorchNetOps

    ops = TorchNetOps({name: torch.from_numpy(w) for name, w in WEIGHTS.items()})

    def run(**inputs: np.ndarray) -> np.ndarray:
        given = {name: torch.from_numpy(x) for name, x in inputs.items()}
        return np.asarray(network(ops, **given, **more)["out"])

    return run


def on_mlx(_: Path, **more: bool) -> Run:
    mx = pytest.importorskip("mlx.core")
    from mlx_stored import InMemory

    from edge_runtimes.mlx.net import MlxNetOps
    from edge_runtimes.mlx.weights import Weights

    ops = MlxNetOps(Weights(InMemory(WEIGHTS, recipes.parse("fp32")), exact=True))
    return lambda **inputs: np.array(
        network(ops, **{n: mx.array(x) for n, x in inputs.items()}, **more)["out"]
    )


def on_onnx(folder: Path, **more: bool) -> Run:
    """One graph for every batch and length."""
    ort, ir = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx_ir")
    from edge_converters.onnx.net_graph import emit
    from edge_converters.onnx.store import DATA, Store

    store, recipe = Store({n: w.shape for n, w in WEIGHTS.items()}), recipes.parse("fp32")
    x, mask = Port(name="x", shape=("b", "t", 8)), Port(name="mask", shape=("b", "t"))
    out = Port(name="out", shape=("b", "twice", 4))

    def define(ops: Any, **inputs: Any) -> Mapping[str, Any]:
        return network(ops, **inputs, **more)

    ir.save(emit(define, [x, mask], [out], recipe, store), folder / "model.onnx")
    with DataFile(folder / DATA, store.nbytes) as data:
        for name, w in WEIGHTS.items():
            store.put(data, recipe, name, 0, w)
        store.put_constants(data)
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return lambda **inputs: np.asarray(session.run(None, inputs)[0])


TARGETS: dict[str, Callable[..., Run]] = {
    "numpy": on_numpy,
    "torch": on_torch,
    "mlx": on_mlx,
    "onnx": on_onnx,
}


def apart(run: Run) -> float:
    """How far the worst of a padded batch is from itself alone, beside the largest number."""
    x = random(len(LENGTHS), max(LENGTHS), 8, seed=9)
    mask = (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]).astype(np.float32)
    padded = run(x=x, mask=mask)
    worst = 0.0
    for i, length in enumerate(LENGTHS):
        alone = run(x=x[i : i + 1, :length], mask=mask[i : i + 1, :length])[0]
        assert alone.shape == (2 * length, 4)
        worst = max(worst, float(np.abs(padded[i, : 2 * length] - alone).max()))
    return worst / float(np.abs(padded).max())


@pytest.mark.parametrize("target", TARGETS)
def test_padded_equals_unpadded(target: str, tmp_path: Path) -> None:
    assert apart(TARGETS[target](tmp_path)) <= 2e-6


@pytest.mark.parametrize("target", TARGETS)
def test_without_masks_within_it_does_not(target: str, tmp_path: Path) -> None:
    """A mask of the input alone is not enough: biases and norms fill what is padded again."""
    assert apart(TARGETS[target](tmp_path, masked=False)) > 0.01


def test_every_target_says_the_same(tmp_path: Path) -> None:
    x, mask = random(2, 6, 8, seed=9), np.ones((2, 6), np.float32)
    want = on_numpy(tmp_path)(x=x, mask=mask)
    for make in TARGETS.values():
        got = make(tmp_path)(x=x, mask=mask)
        assert np.abs(got - want).max() <= 2e-6 * np.abs(want).max()
