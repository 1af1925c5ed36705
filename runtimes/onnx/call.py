"""One entry point of an artifact, with its inputs and outputs bound by address: a call copies nothing
and allocates nothing. T tokens, S rows of the cache, D model width, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from edge.errors import Damaged, EdgeError
from edge.spec import DecoderSpec
from edge.typing import F32, I64, AnyArray, Fed
from edge_runtimes.onnx import external

if TYPE_CHECKING:
    from edge_runtimes.onnx.adapted import Adapting

Kinds = dict[str, object]  # inputs or outputs by name


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What an entry point's graph does: these layers, then the head. `asked`: for how many last rows is an
    input. `queries`: each layer gives out its last ones. `drafts`: logits of the ids that drafts are of,
    of one row, and the stream after the layers. `counted`: the rows of each layer's cache are inputs, else
    there is a mask. `rounded`: caches are of int8. `embedded`: a residual stream goes in, wherever it begins.
    """

    file: str
    start: int = 0
    stop: int | None = None  # None: the last layer
    asked: bool = False
    queries: bool = False
    counted: bool = False
    rounded: bool = False
    drafts: bool = False
    embedded: bool = False

    @property
    def source(self) -> str:
        """What goes in."""
        return "hidden" if self.start or self.embedded else "input_ids"

    def width(self, spec: DecoderSpec) -> int:
        """Of a row of logits."""
        return (spec.draft_vocab or spec.vocab) if self.drafts else spec.vocab

    def layers(self, spec: DecoderSpec) -> range:
        return range(self.start, len(spec.layers) if self.stop is None else self.stop)


class Call:
    """One entry point with its bindings."""

    def __init__(
        self, file: Path, session: ort.InferenceSession, spec: DecoderSpec, entry: Entry
    ) -> None:
        self._file, self._session, self._spec, self._entry = file, session, spec, entry
        self._binding = session.io_binding()
        self._layers = entry.layers(spec)
        self._source = entry.source
        self._width = entry.width(spec)
        self._mask = np.ones(0, np.int64)
        self._counts = np.zeros(
            (2, len(spec.layers)), np.int32
        )  # rows in use, less one, and as they are
        for index in self._layers if entry.counted else ():
            self._bind_input(f"last.{index}", self._counts[0, index:], (1,))
            self._bind_input(f"total.{index}", self._counts[1, index:], ())
        self._positions = np.arange(spec.context, dtype=np.int64)
        self._tokens = np.zeros(1, np.int64)
        self._wanted = np.ones(1, np.int64)
        # Ids that the graph has no logits for are never chosen: nobody writes there.
        self._out = np.full((1, spec.vocab), -np.inf, np.float32)

    def again(self) -> "Call":
        """The same session with bindings of its own."""
        return Call(self._file, self._session, self._spec, self._entry)

    def bind_cache(self, cache: Mapping[str, AnyArray]) -> None:
        """The same memory goes in as past and comes out as present."""
        for index in self._layers:
            for part in ("key", "value"):
                buffer = cache[f"{index}.{part}"]
                self._bind_input(f"past_key_values.{index}.{part}", buffer, buffer.shape)
                self._bind_output(f"present.{index}.{part}", buffer, buffer.shape)
        self._mask = np.ones(next(iter(cache.values())).shape[2], np.int64)

    def bind_scales(self, scales: Mapping[str, F32]) -> None:
        """What a step of int8 is worth, by layer and part: [1, G, 1, W]."""
        for name, array in scales.items():
            self._bind_input(f"scales.{name}", array, array.shape)

    def bind_queries(self, arrays: Mapping[int, F32]) -> None:
        """What a plain step has no use for, by layer."""
        for index, array in arrays.items():
            self._bind_output(f"queries.{index}", array, array.shape)

    def bind_stream(self, array: F32) -> None:
        """Where the stream of the next call's tokens goes: [T, D]."""
        self._bind_output("stream", array, (1, *array.shape))

    def run(self, x: Fed, *, start: int, past: I64, rows: int) -> F32:
        """Tokens [T], or a residual stream [T, D], at positions from `start` on, after `past` rows of each
        layer's cache -> logits of the last `rows`: a view that the next call overwrites.
        """
        count = len(x)
        assert rows == 1 or self._width == self._out.shape[1], (
            "rows of some ids do not lie together"
        )
        if len(self._out) < rows:
            self._out = np.zeros((rows, self._out.shape[1]), np.float32)
        fed = self._fed(x)
        self._bind_input(self._source, fed, (1, *fed.shape))
        self._bind_rows(past + count)
        self._bind_input("position_ids", self._positions[start:], (1, count))
        if self._entry.asked:
            self._wanted[0] = rows
            self._bind_input("wanted", self._wanted, (1,))
        self._bind_output("logits", self._out, (1, rows, self._width))
        try:
            self._session.run_with_iobinding(self._binding)
        except RuntimeError as error:
            raise refused(self._file, error) from None
        return self._out[:rows]

    def _fed(self, x: Fed) -> AnyArray:
        if isinstance(x, np.ndarray):
            return np.ascontiguousarray(x)
        if len(self._tokens) < len(x):
            self._tokens = np.zeros(len(x), np.int64)
        self._tokens[: len(x)] = x
        return self._tokens[: len(x)]

    def _bind_rows(self, total: I64) -> None:
        """How many are in use, the new ones included: [L]."""
        if self._entry.counted:
            self._counts[1] = total
            np.subtract(total, 1, out=self._counts[0], casting="unsafe")
        else:
            self._bind_input("attention_mask", self._mask, (1, int(total[0])))

    def _bind_input(self, name: str, array: AnyArray, shape: tuple[int, ...]) -> None:
        self._binding.bind_input(name, "cpu", 0, array.dtype, shape, array.ctypes.data)

    def _bind_output(self, name: str, array: AnyArray, shape: tuple[int, ...]) -> None:
        self._binding.bind_output(name, "cpu", 0, array.dtype, shape, array.ctypes.data)


def open_call(
    folder: Path,
    entry: Entry,
    spec: DecoderSpec,
    options: ort.SessionOptions,
    adapting: "Adapting | None",
) -> Call:
    """A checked graph of an artifact, with an adapter beside its products or without."""
    file = folder / entry.file
    external.check(file)
    try:
        given = file if adapting is None else adapting.opened(file, options, entry.layers(spec))
        session = ort.InferenceSession(
            given, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        _agree(session, spec, file, entry)  # names that are no text are found here
    except EdgeError:
        raise
    except Exception as error:  # onnxruntime has no public base class
        raise refused(file, error) from None
    return Call(file, session, spec, entry)


def queries_width(spec: DecoderSpec, index: int) -> int:
    """Of a row of queries, with keys and values beside them where attention rotates them itself."""
    layer = spec.layers[index]
    rotates = layer.qk_norm is None and (layer.head_width % 16, spec.rope.width % 16) == (0, 0)
    heads = layer.heads + (2 * layer.kv_heads if rotates else 0)
    return heads * layer.head_width


def refused(file: Path, error: Exception) -> Damaged:
    reason = str(error).splitlines()[0][:300]
    return Damaged(f"onnxruntime refuses {file}: {reason}", fix="convert again")


def _agree(session: ort.InferenceSession, spec: DecoderSpec, file: Path, entry: Entry) -> None:
    """A manifest may lie: its spec must have the graph's inputs, outputs, caches and vocabulary."""
    ids, stream = ("tensor(int64)", None), ("tensor(float)", spec.width)
    inputs: Kinds = {entry.source: ids if entry.source == "input_ids" else stream}
    inputs["position_ids"] = ids
    outputs: Kinds = {"logits": ("tensor(float)", entry.width(spec))}
    if entry.drafts:
        outputs["stream"] = stream
    if entry.asked:
        inputs["wanted"] = ids
    if not entry.counted:
        inputs["attention_mask"] = ids
    for index in entry.layers(spec):
        more, made = _of_layer(spec, entry, index)
        inputs, outputs = inputs | more, outputs | made
    got = [_kinds(session.get_inputs()), _kinds(session.get_outputs())]
    if got != [inputs, outputs]:
        raise Damaged(f"{file} is of another model than its edge.json", fix="convert again")


def _of_layer(spec: DecoderSpec, entry: Entry, index: int) -> tuple[Kinds, Kinds]:
    """What goes in and out for one layer's attention."""
    layer = spec.layers[index]
    size = [layer.kv_heads, layer.head_width]
    rows = ("tensor(int8)" if entry.rounded else "tensor(float)", size)
    inputs: Kinds = {f"past_key_values.{index}.{part}": rows for part in ("key", "value")}
    outputs: Kinds = {f"present.{index}.{part}": rows for part in ("key", "value")}
    if entry.queries:
        outputs[f"queries.{index}"] = ("tensor(float)", queries_width(spec, index))
    if entry.rounded:
        inputs |= {f"scales.{index}.{part}": ("tensor(float)", size) for part in ("key", "value")}
    if entry.counted:
        inputs |= dict.fromkeys((f"last.{index}", f"total.{index}"), ("tensor(int32)", None))
    return inputs, outputs


def _kinds(values: list[ort.NodeArg]) -> Kinds:
    """By name: the type, and of a shape what a spec decides."""
    return {
        v.name: (v.type, v.shape[1::2] if len(v.shape) == 4 else (v.shape[2:] or [None])[0])
        for v in values
    }
