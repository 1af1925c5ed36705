"""Networks that are no decoders as Core ML packages: written, read back, evaluated, and equal to numpy."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from net_cases import CASES, LAYER, RMS, Case, random

pytest.importorskip("coremltools")

from edge.errors import EdgeError, Unsupported
from edge.files.datafile import DataFile
from edge.net import NetConfig, NetSpec, Port, Size
from edge.nn.networks import define
from edge.nn.projector import ProjectorSpec
from edge.nn.vit import VitSpec
from edge.quant.recipe import parse
from edge.quant.tensor import QTensor
from edge_converters.coreml.export import WEIGHTS, model, write
from edge_converters.coreml.net_graph import net_program
from edge_converters.coreml.weight_file import WeightFile
from edge_runtimes.coreml.evaluator import Evaluator
from edge_runtimes.coreml.program import Program
from edge_runtimes.reference.net import NumpyNetOps

Arrays = Mapping[str, np.ndarray]
CLOSE = 2e-6  # of the largest output
VIT = VitSpec(grid=(2, 3), patch=2, width=16, layers=2, heads=2, ffn_width=24, norm=LAYER)
FORMS: dict[str, dict[str, Any]] = {
    "plain": {"last": LAYER},
    "stem": {"stem": ((2, 6), (2, 8))},
    "6B": {"qkv_bias": False, "qk_norm": RMS, "norm": RMS, "layer_scale": True},
    "classes": {"last": LAYER, "classes": 5},
}
CONFIGS: dict[str, tuple[str, NetConfig]] = {
    **{f"vit, {name}": ("vit", VitSpec(**{**vars(VIT), **more})) for name, more in FORMS.items()},
    **{
        f"projector {order}": (
            "projector",
            ProjectorSpec(side=4, channels=6, width=10, norm=LAYER, order=order),
        )
        for order in ("v1", "v2")
    },
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operation_is_what_numpy_computes(case: Case, tmp_path: Path) -> None:
    evaluator = saved(tmp_path, case.define, ports(case.inputs), case.weights)
    compare(evaluator, case.define, case.inputs, case.weights)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_networks_are_what_numpy_computes(name: str, batch: int, tmp_path: Path) -> None:
    network, weights, image = whole(name, batch)
    evaluator = saved(tmp_path, network, ports(image), weights)
    compare(evaluator, network, image, weights)


@pytest.mark.parametrize("recipe", ["rtn-int4-g32", "rtn-int8-g32", "kmeans-lut4-g8"])
def test_products_may_be_of_low_bit_weights(recipe: str, tmp_path: Path) -> None:
    weights = {"up": random(64, 32), "up.bias": random(64), "down": random(32, 64)}
    x = {"x": random(2, 3, 5, 32)}

    def network(ops: Any, x: Any) -> dict[str, Any]:
        return {"out": ops.one(ops.act(ops.one(x, "up"), "gelu"), "down", bias=False)}

    evaluator = saved(tmp_path, network, ports(x), weights, recipe)
    compare(evaluator, network, x, dequantized(weights, recipe))


def test_a_call_chooses_one_size(tmp_path: Path) -> None:
    weights = chosen_weights()
    inputs = (Port(name="x", shape=(1, "rows", 8)),)
    sizes = {"rows": Size(name="rows", least=2, most=9)}
    evaluator = saved(tmp_path, chosen, inputs, weights, sizes=sizes)
    for rows in (2, 7):
        compare(evaluator, chosen, {"x": random(1, rows, 8)}, weights)


def test_a_table_is_not_repeated_for_a_batch_that_calls_choose(tmp_path: Path) -> None:
    inputs = (Port(name="x", shape=("tiles", 5, 8)),)
    sizes = {"tiles": Size(name="tiles", most=3)}

    def network(ops: Any, x: Any) -> dict[str, Any]:
        return {"out": ops.spread(ops.param("t"), x)}

    with pytest.raises(Unsupported, match="give the batch a number"):
        saved(tmp_path, network, inputs, {"t": random(5, 8)}, sizes=sizes)


def test_two_sizes_that_calls_choose_are_not_reshaped(tmp_path: Path) -> None:
    inputs = (Port(name="x", shape=("tiles", "rows", 8)),)
    sizes = {name: Size(name=name, most=3) for name in ("tiles", "rows")}

    def network(ops: Any, x: Any) -> dict[str, Any]:
        return {"out": ops.reshape(x, 0, -1, 2, 4)}

    with pytest.raises(EdgeError, match="all of its sizes but one"):
        saved(tmp_path, network, inputs, {}, sizes=sizes)


def chosen(ops: Any, x: Any) -> dict[str, Any]:
    """A convolution, attention of two heads with a mask of the rows, group norm, and what is padded."""
    x = ops.act(ops.conv(x, "conv", pad=(2, 0)), "gelu")
    x, h = ops.add_norm(x, None, "norm", LAYER)
    q, k, v = ops.linear(h, "q", "k", "v", biased=["q"])
    keep = ops.pair("at_least", ops.reshape(ops.fold(x, "max", -1), 0, -1), -9.0)
    x = ops.add(x, ops.one(ops.attention(q, k, v, heads=2, keep=keep), "o"))
    x = ops.group_norm(ops.norm(x, None, RMS), "group", groups=2, channels=8, eps=1e-5)
    x = ops.conv_transpose(x, "late", kernel=4, stride=2, width=6, cut=(1, 1))
    return {"out": x, "total": ops.fold(x, "mean", 1)}


def chosen_weights() -> dict[str, np.ndarray]:
    square = {name: random(8, 8, seed=i) for i, name in enumerate(("q", "k", "v", "o"))}
    vectors = ("conv.bias", "norm", "norm.bias", "q.bias", "o.bias", "group", "group.bias")
    return {
        "conv": random(8, 8, 3),
        **square,
        **{name: random(8, seed=i) for i, name in enumerate(vectors)},
        "late": random(24, 8),
        "late.bias": random(6),
    }


def whole(name: str, batch: int) -> tuple[Callable[..., Any], Arrays, Arrays]:
    """A network of `edge.nn`, its weights, and inputs for it."""
    kind, config = CONFIGS[name]
    spec = NetSpec(kind=kind, config=config)
    shapes = config.shapes()
    weights = {n: random(*shape, seed=i) / 2 for i, (n, shape) in enumerate(shapes.items())}
    (port,) = config.inputs
    shape = [batch if isinstance(size, str) else size for size in port.shape]
    return lambda ops, **x: define(ops, spec, **x), weights, {port.name: random(*shape)}


def ports(inputs: Arrays) -> tuple[Port, ...]:
    return tuple(
        Port(name=name, type="int" if array.dtype == np.int32 else "float", shape=array.shape)
        for name, array in inputs.items()
    )


def saved(
    folder: Path,
    network: Callable[..., Any],
    inputs: tuple[Port, ...],
    weights: Arrays,
    recipe: str = "fp32",
    sizes: Mapping[str, int | Size] | None = None,
) -> Evaluator:
    """A package on disk, read back."""
    how = parse(recipe)
    file = WeightFile({name: array.shape for name, array in weights.items()}, "fp32")
    program = net_program(network, inputs, sizes or {}, how, file)
    (folder / WEIGHTS).parent.mkdir(parents=True)
    data = DataFile(folder / WEIGHTS, file.nbytes)
    for name, array in weights.items():
        file.put(data, how, name, 0, array)
    file.finish(data)
    data.close()
    write(folder, model(program, file, {}))
    return Evaluator(Program.open(folder), "declared")


def compare(
    evaluator: Evaluator, network: Callable[..., Any], inputs: Arrays, weights: Arrays
) -> None:
    got = evaluator.call("main", inputs)
    want = network(NumpyNetOps(lambda name: weights[name]), **inputs)
    assert got.keys() == want.keys()
    for name, array in want.items():
        assert got[name].shape == array.shape
        np.testing.assert_allclose(got[name], array, rtol=0, atol=CLOSE * np.abs(array).max())


def dequantized(weights: Arrays, recipe: str) -> Arrays:
    how, out = parse(recipe), dict(weights)
    for name, array in weights.items():
        stored = how.stored(name, array, how.scheme(name)) if array.ndim == 2 else array
        out[name] = stored.dequantize() if isinstance(stored, QTensor) else array
    return out
