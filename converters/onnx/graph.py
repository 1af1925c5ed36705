"""Entry points: one graph of a few kilobytes for each way in which the same weights are used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import onnx_ir as ir
import onnx_ir.passes.common
from onnx_ir.tape import Tape

from edge.nn.decoder import segment
from edge.quant.recipe import Recipe
from edge.spec import DecoderSpec
from edge_converters.onnx.ops import Lengths, OnnxOps, rotates_inside
from edge_converters.onnx.store import Store
from edge_converters.onnx.weights import Weights

OPSETS = {"": 21, "com.microsoft": 1}
IR_VERSION = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Which layers run, and what a call gives out.

    `rows`: logits of the last position only, of all, or of as many last ones as the input `wanted` asks
    for. `start`, `stop`: the layers, tokens going in where they are the first, a residual stream else.
    `drafts`: the stream after the layers goes out, too, of every position, and logits are of as many ids
    as drafts are of. `queries`: each layer gives out its last ones, for `edge.decode.snapkv`. `counted`:
    each layer's rows are inputs, so that caches may differ in length, and nothing is computed from a mask,
    which is what others' software gives. `rounded`: caches are of int8, and the scales of their channels
    are inputs. `embedded`: a residual stream goes in where they are the first, too.
    """

    file: str
    rows: Literal["last", "all", "asked"]
    exact: bool = False
    queries: bool = False
    counted: bool = False
    rounded: bool = False
    start: int = 0
    stop: int | None = None  # None: the last layer
    drafts: bool = False
    embedded: bool = False


STEP = Entry(file="model.onnx", rows="last")
SCORE = Entry(file="score.onnx", rows="all")
EXACT = Entry(file="exact.onnx", rows="all", exact=True)


def entries(spec: DecoderSpec) -> tuple[Entry, ...]:
    """Every way in which a model's weights are used. Attention that a window or a pattern cuts is never
    observed: its cache is not compacted.
    """
    cut = any(layer.window is not None or layer.sparse is not None for layer in spec.layers)
    flexible = Entry(file="flexible.onnx", rows="asked", queries=not cut, counted=True)
    rounded = replace(flexible, file="flexible-int8.onnx", rounded=True)
    out = [STEP, SCORE, EXACT, flexible, rounded]
    for at in spec.exits:
        draft = Entry(file=f"draft-{at}.onnx", rows="last", stop=at, drafts=True, counted=True)
        finish = Entry(file=f"finish-{at}.onnx", rows="asked", start=at, counted=True)
        out += [draft, finish]
        if spec.spliced:
            out.append(replace(draft, file=f"rows-draft-{at}.onnx", embedded=True))
    if spec.spliced:
        out.append(replace(flexible, file="rows.onnx", embedded=True))
        out.append(replace(rounded, file="rows-int8.onnx", embedded=True))
        out.append(Entry(file="exact-rows.onnx", rows="asked", exact=True, embedded=True))
    return tuple(out)


def emit(spec: DecoderSpec, recipe: Recipe, store: Store, entry: Entry) -> ir.Model:
    """The graph of an entry point; its weights are claims on the store."""
    stop = len(spec.layers) if entry.stop is None else entry.stop
    layers = range(entry.start, stop)
    x = _first(spec, entry)
    positions = _input("position_ids", ["batch", "new"])
    wanted = _input("wanted", [1])
    tape = Tape()
    counts, lengths = _counted(layers) if entry.counted else _masked(tape, layers)
    ops = OnnxOps(
        tape=tape,
        weights=Weights(tape, store, recipe, exact=entry.exact),
        rows_wanted=wanted if entry.rows == "asked" else entry.rows,
        positions=positions,
        lengths=lengths,
        context=spec.context,
        past=_past(spec, entry, layers),
        scales=_scales(spec, layers) if entry.rounded else {},
        queries={} if entry.queries else None,
    )
    out = segment(
        ops, spec, x, start=entry.start, stop=stop, ends=not entry.drafts, embedded=entry.embedded
    )
    streams, width = [], spec.vocab
    if entry.drafts:
        streams = [_declare(out, "stream", ["batch", "new", spec.width])]
        width = spec.draft_vocab or spec.vocab
        out = _drafted(replace(ops, vocab=spec.draft_vocab), spec, out)
    # onnxruntime-genai takes last-position logits only where the length is declared as a literal 1.
    heights: dict[str, int | str] = {"last": 1, "all": "new", "asked": "wanted"}
    _declare(out, "logits", ["batch", heights[entry.rows], width])
    for name, value in ops.present.items():
        _declare_cache(value, name, spec, entry)
    queries = ops.queries or {}
    for index, value in queries.items():
        _declare(value, f"queries.{index}", ["batch", "seen", queries_width(spec, index)])
    asked = [wanted] if entry.rows == "asked" else []
    graph = ir.Graph(
        [x, *counts, positions, *asked, *ops.past.values(), *ops.scales.values()],
        [out, *streams, *ops.present.values(), *queries.values()],
        nodes=tape.nodes,
        initializers=tape.initializers,
        opset_imports=OPSETS,
        name=entry.file.removesuffix(".onnx"),
    )
    model = ir.Model(graph, ir_version=IR_VERSION, producer_name="edge")
    onnx_ir.passes.common.RemoveUnusedNodesPass()(model)
    return model


def _first(spec: DecoderSpec, entry: Entry) -> ir.Value:
    """What goes in: tokens, or the finished residual stream of the layers before."""
    if entry.start == 0 and not entry.embedded:
        return _input("input_ids", ["batch", "new"])
    return _declare(ir.Value(name="hidden"), "hidden", ["batch", "new", spec.width])


def _drafted(ops: OnnxOps, spec: DecoderSpec, stream: ir.Value) -> ir.Value:
    """A finished stream -> logits of its wanted rows."""
    end = len(spec.layers)
    return segment(ops, spec, ops.wanted(stream), start=end, stop=end, ends=True)


def queries_width(spec: DecoderSpec, index: int) -> int:
    """Of a row of queries: with keys and values beside them where attention rotates them itself."""
    layer = spec.layers[index]
    heads = layer.heads + (2 * layer.kv_heads if rotates_inside(layer, spec.rope.width) else 0)
    return heads * layer.head_width


def _counted(layers: range) -> tuple[list[ir.Value], dict[int, Lengths]]:
    """Each layer's numbers of rows as they go in."""
    whole = ir.DataType.INT32
    lengths = {
        index: Lengths(
            _input(f"last.{index}", ["batch"], whole), _input(f"total.{index}", [], whole)
        )
        for index in layers
    }
    return [value for of in lengths.values() for value in (of.last, of.total)], lengths


def _masked(tape: Tape, layers: range) -> tuple[list[ir.Value], dict[int, Lengths]]:
    """The same of all layers, from a mask [B, S] of the rows in use."""
    mask = _input("attention_mask", ["batch", "total"])
    axis = tape.initializer(ir.tensor([1], dtype=ir.DataType.INT64, name="mask.axis"))
    one = tape.initializer(ir.tensor([1], dtype=ir.DataType.INT64, name="mask.one"))
    second = tape.initializer(ir.tensor(1, dtype=ir.DataType.INT64, name="mask.second"))
    used = tape.op("Sub", [tape.op("ReduceSum", [mask, axis], {"keepdims": 0}), one])
    length = tape.op("Gather", [tape.op("Shape", [mask]), second])
    to = {"to": ir.DataType.INT32}
    shared = Lengths(tape.op("Cast", [used], to), tape.op("Cast", [length], to))
    return [mask], dict.fromkeys(layers, shared)


def _past(spec: DecoderSpec, entry: Entry, layers: range) -> dict[str, ir.Value]:
    names = [f"past_key_values.{index}.{part}" for index in layers for part in ("key", "value")]
    return {name: _declare_cache(ir.Value(name=name), name, spec, entry) for name in names}


def _declare_cache(value: ir.Value, name: str, spec: DecoderSpec, entry: Entry) -> ir.Value:
    """Past or present rows of a layer, by their name."""
    kind, index, _ = name.split(".")
    layer, rows = spec.layers[int(index)], "past" if kind == "past_key_values" else "total"
    if entry.counted:
        rows += f".{index}"
    number = ir.DataType.INT8 if entry.rounded else ir.DataType.FLOAT
    return _declare(value, name, ["batch", layer.kv_heads, rows, layer.head_width], number)


def _scales(spec: DecoderSpec, layers: range) -> dict[str, ir.Value]:
    """What a step of int8 is worth in each channel, [1, G, 1, W]."""
    out = {}
    for index in layers:
        layer = spec.layers[index]
        for part in ("key", "value"):
            name = f"scales.{index}.{part}"
            shape = [1, layer.kv_heads, 1, layer.head_width]
            out[name] = _declare(ir.Value(name=name), name, shape)
    return out


def _input(
    name: str, shape: Sequence[int | str], kind: ir.DataType = ir.DataType.INT64
) -> ir.Value:
    return _declare(ir.Value(name=name), name, shape, kind)


def _declare(
    value: ir.Value, name: str, shape: Sequence[int | str], kind: ir.DataType = ir.DataType.FLOAT
) -> ir.Value:
    value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(kind)
    return value
