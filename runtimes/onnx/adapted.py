"""A graph with an adapter beside its products (`edge.adapters.branches`), made where it is opened: no file is
written, and every weight is read from where it lies.

ONNX Runtime's own adapters want a graph that was exported with inputs for them. Here any graph of edge serves: what
each product multiplies, and by which weights, it says itself. N rows, K columns, R rank.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from edge.adapters.branches import Branch, Branches
from edge.errors import Damaged
from edge.names import shapes
from edge.spec import DecoderSpec
from edge.typing import F32
from edge_runtimes.onnx.stored import stack_of

_PRODUCTS = ("MatMulNBits", "FusedMatMul")  # the weight is their second input
_FOLDER = "session.model_external_initializers_file_folder_path"
_NOWHERE = "adapter"  # such a tensor is given to the session, and never read from a file


class Adapting:
    """What several graphs of an artifact have in common: the adapter's arrays, each once."""

    def __init__(self, branches: Branches, spec: DecoderSpec) -> None:
        self._branches, self._shapes = branches, shapes(spec)
        self._arrays: dict[str, ort.OrtValue] = {}

    def opened(self, file: Path, options: ort.SessionOptions, layers: range) -> bytes:
        """The graph of a file that `external.check` let pass, as a session takes it with these options; refuses one
        that lacks a product beside which the adapter belongs.
        """
        model = ir.load(file)
        found = self._beside_products(model.graph)
        wanted = self._branches.within(layers).of.keys()  # every graph has the head's
        if found != wanted:
            name = min(found ^ wanted)
            raise Damaged(
                f"{file} does not multiply by {name} where it should", fix="convert again"
            )
        names = [name for name in model.graph.initializers if name in self._arrays]
        options.add_external_initializers(names, [self._arrays[name] for name in names])
        options.add_session_config_entry(_FOLDER, str(file.parent))
        content: bytes = ir.to_proto(model).SerializeToString()
        return content

    def _beside_products(self, graph: ir.Graph) -> set[str]:
        """Add branches; the names of the weights that they are beside."""
        found: set[str] = set()
        for node in list(graph):
            if node.op_type not in _PRODUCTS:
                continue
            weight = _constant(_input(node, 1))
            names = stack_of(weight.name or "", self._shapes)
            branch = self._branches.stacked(names, [self._shapes[name][0] for name in names])
            if branch is None:
                continue
            found |= {name for name in names if name in self._branches.of}
            self._add(graph, node, "+".join(names), branch.first(_rows(node, weight)))
        return found

    def _add(self, graph: ir.Graph, node: ir.Node, name: str, branch: Branch) -> None:
        """After a product: its output [.., N], and what comes of its input [.., K] through the branch."""
        x, y, rows = _fed(node), node.outputs[0], len(branch.up)
        uses, is_output = list(y.uses()), y in graph.outputs
        down = self._array(graph, f"{name}.adapter.down", branch.down.T)
        up = self._array(graph, f"{name}.adapter.up.{rows}", branch.up.T)
        low = ir.node("MatMul", [x, down])
        high = ir.node("MatMul", [low.outputs[0], up])
        added = [low, high, ir.node("Add", [y, high.outputs[0]])]
        if branch.gain is not None:
            gain = self._array(graph, f"{name}.adapter.gain.{rows}", branch.gain)
            added.append(ir.node("Mul", [added[-1].outputs[0], gain]))
        graph.insert_after(node, added)
        both = added[-1].outputs[0]
        for use in uses:
            use.node.replace_input_with(use.idx, both)
        if is_output:
            both.name, y.name = y.name, f"{y.name}.own"
            both.shape, both.type = y.shape, y.type
            graph.outputs[graph.outputs.index(y)] = both

    def _array(self, graph: ir.Graph, name: str, values: F32) -> ir.Value:
        if name not in self._arrays:
            self._arrays[name] = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values))
        kind, shape = ir.DataType.FLOAT, ir.Shape(values.shape)
        tensor = ir.ExternalTensor(_NOWHERE, 0, values.nbytes, kind, shape=shape, name=name)
        value = ir.Value(name=name, shape=shape, type=ir.TensorType(kind), const_value=tensor)
        graph.register_initializer(value)
        return value


def _constant(value: ir.Value) -> ir.Value:
    """The initializer that a product reads, widened or not."""
    node = value.producer()
    return value if node is None else _input(node, 0)


def _rows(node: ir.Node, weight: ir.Value) -> int:
    """Of what a product multiplies by: of a head that drafts, the first ones alone."""
    found = node.attributes["N"].as_int() if "N" in node.attributes else (weight.shape or [0])[0]
    assert isinstance(found, int), "a weight's shape is numbers"
    return found


def _input(node: ir.Node, at: int) -> ir.Value:
    found = node.inputs[at]
    assert found is not None, f"{node.op_type} lacks an input"
    return found


def _fed(node: ir.Node) -> ir.Value:
    """What a product multiplies, before it is rotated as the columns of its weight are (`edge.quant.rotation`)."""
    x = _input(node, 0)
    return next(_before(x), x)


def _before(x: ir.Value) -> Iterator[ir.Value]:
    """What was rotated into x, if it was: times signs, then times a matrix for each factor, in other shapes."""
    while (node := x.producer()) is not None and node.op_type in ("Reshape", "MatMul", "Mul"):
        if node.op_type == "Mul":
            if (_input(node, 1).name or "").startswith("rotation."):
                yield _input(node, 0)
            return
        x = _input(node, 1 if node.op_type == "MatMul" else 0)
