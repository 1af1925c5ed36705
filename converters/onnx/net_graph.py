"""A network's definition as one graph, whose open sizes keep the names that its ports give them."""

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir
import onnx_ir.passes.common
from onnx_ir.tape import Tape

from edge.net import NetSpec, Port
from edge.nn.networks import define
from edge.quant.recipe import Recipe
from edge_converters.onnx.graph import IR_VERSION, OPSETS
from edge_converters.onnx.net_ops import OnnxNetOps
from edge_converters.onnx.store import Store
from edge_converters.onnx.weights import NET_MATRICES, Weights

_TYPES = {"float": ir.DataType.FLOAT, "int": ir.DataType.INT64}
Define = Callable[..., Mapping[str, ir.Value]]  # (ops, **inputs) -> outputs by name


def emit_network(
    spec: NetSpec, recipe: Recipe, store: Store, *, exact: bool = False, signed: bool = False
) -> ir.Model:
    """The graph of a network; its weights are claims on the store."""

    def call(ops: OnnxNetOps, **inputs: ir.Value) -> Mapping[str, ir.Value]:
        return define(ops, spec, **inputs)

    config = spec.config
    return emit(call, config.inputs, config.outputs, recipe, store, exact=exact, signed=signed)


def emit(
    call: Define,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    recipe: Recipe,
    store: Store,
    *,
    exact: bool = False,
    signed: bool = False,
) -> ir.Model:
    """`exact`: with float activations where fast kernels round them; `signed`: by products of signed bytes."""
    tape = Tape()
    ops = OnnxNetOps(
        tape=tape,
        weights=Weights(tape, store, recipe, exact=exact, held=NET_MATRICES, signed=signed),
    )
    given = {port.name: _declared(ir.Value(name=port.name), port) for port in inputs}
    found = call(ops, **given)
    # What goes in may come out as it is, which a graph refuses.
    made = [_declared(tape.op("Identity", [found[port.name]]), port) for port in outputs]
    graph = ir.Graph(
        list(given.values()),
        made,
        nodes=tape.nodes,
        initializers=tape.initializers,
        opset_imports=OPSETS,
        name="network",
    )
    model = ir.Model(graph, ir_version=IR_VERSION, producer_name="edge")
    onnx_ir.passes.common.RemoveUnusedNodesPass()(model)
    return model


def _declared(value: ir.Value, port: Port) -> ir.Value:
    value.name, value.shape = port.name, ir.Shape(port.shape)
    value.type = ir.TensorType(_TYPES[port.type])
    return value
