"""Networks as ONNX, run by ONNX Runtime, against numpy: every operation at its edges, and whole networks at
other sizes than one graph was made for.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from net_cases import CASES, Case
from networks import NETWORKS, inputs_of, weights_of

from edge.files.datafile import DataFile
from edge.net import Port
from edge.nn.networks import define
from edge.quant import recipe as recipes
from edge.quant.tensor import QTensor, rounded
from edge_runtimes.reference.net import NumpyNetOps

ort = pytest.importorskip("onnxruntime")
ir = pytest.importorskip("onnx_ir")

from edge_converters.onnx.net_graph import emit, emit_network  # noqa: E402
from edge_converters.onnx.store import DATA, Store  # noqa: E402

FLOAT = recipes.parse("fp32")
Arrays = Mapping[str, np.ndarray]


def near(got: Arrays, want: Arrays, tolerance: float = 2e-6) -> None:
    assert got.keys() == want.keys()
    for name, expected in want.items():
        assert got[name].shape == expected.shape
        error = np.abs(got[name] - expected).max() / max(np.abs(expected).max(), 1e-30)
        assert error <= tolerance, (name, error)


def session(model: object, store: Store, weights: Arrays, folder: Path, recipe: object) -> object:
    """The graph and its data on disk, as an artifact has them; weights come row by row."""
    with DataFile(folder / DATA, store.nbytes) as data:
        for name, values in weights.items():
            for row in range(len(values)):
                store.put(data, recipe, name, row, values[row : row + 1])  # type: ignore[arg-type]
        store.put_constants(data)
    ir.save(model, folder / "model.onnx")
    return ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def ports(arrays: Arrays, *, opened: bool = False) -> list[Port]:
    """Every axis a size that calls choose, or the first alone."""
    out = []
    for name, x in arrays.items():
        first = (f"{name}.0",) if x.ndim else ()
        rest = tuple(f"{name}.{i + 1}" for i in range(x.ndim - 1)) if opened else x.shape[1:]
        kind = "int" if x.dtype.kind == "i" else "float"
        out.append(Port(name=name, type=kind, shape=(*first, *rest)))  # type: ignore[arg-type]
    return out


def run(opened: object, inputs: Arrays) -> Arrays:
    wide = {n: x.astype(np.int64) if x.dtype.kind == "i" else x for n, x in inputs.items()}
    names = [out.name for out in opened.get_outputs()]  # type: ignore[attr-defined]
    return dict(zip(names, opened.run(None, wide), strict=True))  # type: ignore[attr-defined]


@pytest.mark.parametrize("opened", [False, True], ids=["the batch open", "all open"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operation_is_numpys(case: Case, tmp_path: Path, opened: bool) -> None:
    want = case.define(NumpyNetOps(case.weights.__getitem__), **case.inputs)
    store = Store({name: w.shape for name, w in case.weights.items()})
    model = emit(
        case.define, ports(case.inputs, opened=opened), ports(want, opened=True), FLOAT, store
    )
    near(run(session(model, store, case.weights, tmp_path, FLOAT), case.inputs), want)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_numpys_at_every_batch(name: str, tmp_path: Path) -> None:
    spec, weights = NETWORKS[name], weights_of(NETWORKS[name])
    store = Store(spec.config.shapes())
    opened = session(emit_network(spec, FLOAT, store), store, weights, tmp_path, FLOAT)
    for batch in (1, 3):
        inputs = inputs_of(spec, batch=batch)
        near(run(opened, inputs), define(NumpyNetOps(weights.__getitem__), spec, **inputs))


@pytest.mark.parametrize("quant", ["rtn-int8-g32", "rtn-int4-g32", "fp16"])
def test_low_bit_networks_are_the_same_codes_in_numpy(quant: str, tmp_path: Path) -> None:
    """With float activations; matrices alone are packed."""
    spec, weights = NETWORKS["catlip"], weights_of(NETWORKS["catlip"])
    recipe, meant = recipes.parse(quant), dict(weights)
    store = Store(spec.config.shapes())
    model = emit_network(spec, recipe, store, exact=True)
    for name, w in weights.items():
        if w.ndim == 2 and name != "position":  # a table that is added stays a float
            made = recipe.stored(name, w, recipe.scheme(name))
            floats = rounded(w, recipe.body.number)
            meant[name] = made.dequantize() if isinstance(made, QTensor) else floats
    assert any((meant[name] != weights[name]).any() for name in weights)
    inputs = inputs_of(spec)
    got = run(session(model, store, weights, tmp_path, recipe), inputs)
    near(got, define(NumpyNetOps(meant.__getitem__), spec, **inputs), 1e-5)
