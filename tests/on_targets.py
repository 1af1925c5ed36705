"""A network's definition on each target, without an artifact around it: weights -> a call by named arrays."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.files.datafile import DataFile
from edge.net import NetSpec, batch_of
from edge.nn.networks import define
from edge.quant import recipe as recipes
from edge_runtimes.reference.net import NumpyNetOps

Arrays = Mapping[str, np.ndarray]
Run = Callable[..., Arrays]
FLOAT = recipes.parse("fp32")


def on_numpy(spec: NetSpec, weights: Arrays, _: Path) -> Run:
    ops = NumpyNetOps(weights.__getitem__)
    return lambda **inputs: dict(define(ops, spec, **inputs))


def on_torch(spec: NetSpec, weights: Arrays, _: Path) -> Run:
    torch = pytest.importorskip("torch")
    from edge_runtimes.torch.net import TorchNetOps

    ops = TorchNetOps({name: torch.from_numpy(w) for name, w in weights.items()})

    def run(**inputs: np.ndarray) -> Arrays:
        given = {name: torch.from_numpy(x) for name, x in inputs.items()}
        return {name: np.asarray(out) for name, out in define(ops, spec, **given).items()}

    return run


def on_mlx(spec: NetSpec, weights: Arrays, _: Path) -> Run:
    mx = pytest.importorskip("mlx.core")
    from mlx_stored import InMemory

    from edge_runtimes.mlx.net import MlxNetOps
    from edge_runtimes.mlx.weights import Weights

    ops = MlxNetOps(Weights(InMemory(weights, FLOAT), exact=True))

    def run(**inputs: np.ndarray) -> Arrays:
        given = {name: mx.array(x) for name, x in inputs.items()}
        return {name: np.array(out) for name, out in define(ops, spec, **given).items()}

    return run


def on_onnx(spec: NetSpec, weights: Arrays, folder: Path) -> Run:
    """One graph for every batch and length."""
    ort, ir = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx_ir")
    from edge_converters.onnx.net_graph import emit_network
    from edge_converters.onnx.store import DATA, Store

    store = Store({name: w.shape for name, w in weights.items()})
    ir.save(emit_network(spec, FLOAT, store), folder / "model.onnx")
    with DataFile(folder / DATA, store.nbytes) as data:
        for name, w in weights.items():
            store.put(data, FLOAT, name, 0, w)
        store.put_constants(data)
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    names = [out.name for out in session.get_outputs()]
    return lambda **inputs: dict(zip(names, session.run(None, inputs), strict=True))


def on_coreml(spec: NetSpec, weights: Arrays, folder: Path) -> Run:
    """A package on disk, read back, and evaluated in numpy; its batch is one."""
    pytest.importorskip("coremltools")
    from edge_converters.coreml.export import WEIGHTS, model, write
    from edge_converters.coreml.net_graph import net_program
    from edge_converters.coreml.weight_file import WeightFile
    from edge_runtimes.coreml.evaluator import Evaluator
    from edge_runtimes.coreml.program import Program

    file = WeightFile({name: w.shape for name, w in weights.items()}, "fp32")
    batch = batch_of(spec.config)
    sizes = {size.name: 1 if size.name == batch else size for size in spec.config.sizes}

    def call(ops: Any, **inputs: Any) -> Mapping[str, Any]:
        return define(ops, spec, **inputs)

    program = net_program(call, spec.config.inputs, sizes, FLOAT, file)
    (folder / WEIGHTS).parent.mkdir(parents=True)
    data = DataFile(folder / WEIGHTS, file.nbytes)
    for name, w in weights.items():
        file.put(data, FLOAT, name, 0, w)
    file.finish(data)
    data.close()
    write(folder, model(program, file, {}))
    evaluator = Evaluator(Program.open(folder), "declared")

    def run(**inputs: np.ndarray) -> Arrays:
        count = len(next(iter(inputs.values())))
        narrow = {n: x.astype(np.int32) if x.dtype.kind == "i" else x for n, x in inputs.items()}
        rows = [
            evaluator.call("main", {n: x[i : i + 1] for n, x in narrow.items()})
            for i in range(count)
        ]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    return run


TARGETS: Mapping[str, Callable[[NetSpec, Arrays, Path], Run]] = {
    "torch": on_torch,
    "mlx": on_mlx,
    "onnx": on_onnx,
    "coreml": on_coreml,
}
