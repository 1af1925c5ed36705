"""Entry points: one graph of a few kilobytes for each way in which the same weights are used."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
import onnx_ir.passes.common
from onnx_ir.tape import Tape

from converters.onnx.ops import OnnxOps, rotates_inside
from converters.onnx.store import Store
from edge.nn.decoder import decoder
from edge.quant.recipe import Recipe
from edge.spec import DecoderSpec

OPSETS = {"": 21, "com.microsoft": 1}
IR_VERSION = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Whether logits are of the last position only, whether activations stay floats, and whether each
    layer gives out its last queries, for `edge.decode.snapkv`.
    """

    file: str
    last_only: bool
    exact: bool
    queries: bool = False


STEP = Entry(file="model.onnx", last_only=True, exact=False)
SCORE = Entry(file="score.onnx", last_only=False, exact=False)
EXACT = Entry(file="exact.onnx", last_only=False, exact=True)
OBSERVE = Entry(file="observe.onnx", last_only=True, exact=False, queries=True)


def emit(spec: DecoderSpec, recipe: Recipe, store: Store, entry: Entry) -> ir.Model:
    """The graph of an entry point; its weights are claims on the store."""
    tokens = _input("input_ids", ["batch", "new"])
    mask = _input("attention_mask", ["batch", "total"])
    positions = _input("position_ids", ["batch", "new"])
    tape = Tape()
    rows, total = _lengths(tape, mask)
    ops = OnnxOps(
        tape=tape,
        store=store,
        recipe=recipe,
        exact=entry.exact,
        last_only=entry.last_only,
        positions=positions,
        rows=rows,
        total=total,
        context=spec.context,
        past=_past(spec),
        queries={} if entry.queries else None,
    )
    logits = decoder(ops, spec, tokens)
    # onnxruntime-genai takes last-position logits only where the length is declared as a literal 1.
    _declare(logits, "logits", ["batch", 1 if entry.last_only else "new", spec.vocab])
    for name, value in ops.present.items():
        layer = spec.layers[int(name.split(".")[1])]
        _declare(value, name, ["batch", layer.kv_heads, "total", layer.head_width])
    queries = ops.queries or {}
    for index, value in queries.items():
        width = queries_width(spec, index)
        _declare(value, f"queries.{index}", ["batch", "seen", width])
    graph = ir.Graph(
        [tokens, mask, positions, *ops.past.values()],
        [logits, *ops.present.values(), *queries.values()],
        nodes=tape.nodes,
        initializers=tape.initializers,
        opset_imports=OPSETS,
        name=entry.file.removesuffix(".onnx"),
    )
    model = ir.Model(graph, ir_version=IR_VERSION, producer_name="edge")
    onnx_ir.passes.common.RemoveUnusedNodesPass()(model)
    return model


def queries_width(spec: DecoderSpec, index: int) -> int:
    """Of a row of queries: with keys and values beside them where attention rotates them itself."""
    layer = spec.layers[index]
    heads = layer.heads + (2 * layer.kv_heads if rotates_inside(layer, spec.rope.width) else 0)
    return heads * layer.head_width


def _lengths(tape: Tape, mask: ir.Value) -> tuple[ir.Value, ir.Value]:
    """What GroupQueryAttention wants to know of the cache: rows in use less one [B], and rows in
    use.
    """
    axis = tape.initializer(ir.tensor([1], dtype=ir.DataType.INT64, name="mask.axis"))
    one = tape.initializer(ir.tensor([1], dtype=ir.DataType.INT64, name="mask.one"))
    second = tape.initializer(ir.tensor(1, dtype=ir.DataType.INT64, name="mask.second"))
    used = tape.op("Sub", [tape.op("ReduceSum", [mask, axis], {"keepdims": 0}), one])
    length = tape.op("Gather", [tape.op("Shape", [mask]), second])
    to = {"to": ir.DataType.INT32}
    return tape.op("Cast", [used], to), tape.op("Cast", [length], to)


def _past(spec: DecoderSpec) -> dict[str, ir.Value]:
    out = {}
    for index, layer in enumerate(spec.layers):
        shape: list[int | str] = ["batch", layer.kv_heads, "past", layer.head_width]
        for part in ("key", "value"):
            name = f"past_key_values.{index}.{part}"
            out[name] = _declare(ir.Value(name=name), name, shape)
    return out


def _input(name: str, shape: Sequence[int | str]) -> ir.Value:
    return _declare(ir.Value(name=name), name, shape, ir.DataType.INT64)


def _declare(
    value: ir.Value, name: str, shape: Sequence[int | str], kind: ir.DataType = ir.DataType.FLOAT
) -> ir.Value:
    value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(kind)
    return value
