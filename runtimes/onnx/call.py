"""One entry point of an artifact, with its inputs and outputs bound by address: a call copies nothing
and allocates nothing. S rows of the cache, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edge.errors import Damaged
from edge.spec import DecoderSpec
from edge.typing import F32
from runtimes.onnx import external

_NONE: Mapping[str, int] = {}


class Call:
    """One entry point with its bindings."""

    def __init__(self, file: Path, session: ort.InferenceSession, spec: DecoderSpec) -> None:
        self._file, self._session, self._spec = file, session, spec
        self._binding = self._session.io_binding()
        self._vocab = spec.vocab
        self._mask = np.ones(0, np.int64)
        self._positions = np.arange(spec.context, dtype=np.int64)
        self._tokens = np.zeros(1, np.int64)
        self._logits = np.zeros((1, spec.vocab), np.float32)

    def bind_cache(self, cache: dict[str, F32]) -> None:
        """The same memory goes in as past and comes out as present."""
        for name, buffer in cache.items():
            self._bind_input("past_key_values." + name, buffer, buffer.shape)
            self._bind_output("present." + name, buffer, buffer.shape)
        rows = next(iter(cache.values())).shape[2]
        self._mask = np.ones(rows, np.int64)

    def again(self) -> "Call":
        """The same session with bindings of its own."""
        return Call(self._file, self._session, self._spec)

    def run(self, tokens: Sequence[int], *, start: int, past: int, rows: int) -> F32:
        """Tokens at positions from `start` on, after `past` rows of the cache -> logits [rows, V]: a view
        that the next call overwrites.
        """
        count = len(tokens)
        if len(self._tokens) < count:
            self._tokens = np.zeros(count, np.int64)
        if len(self._logits) < rows:
            self._logits = np.zeros((rows, self._vocab), np.float32)
        self._tokens[:count] = tokens
        self._bind_input("input_ids", self._tokens, (1, count))
        self._bind_input("attention_mask", self._mask, (1, past + count))
        self._bind_input("position_ids", self._positions[start:], (1, count))
        self._bind_output("logits", self._logits, (1, rows, self._vocab))
        try:
            self._session.run_with_iobinding(self._binding)
        except RuntimeError as error:
            raise _refused(self._file, error) from None
        return self._logits[:rows]

    def bind_more(self, arrays: Mapping[str, F32]) -> None:
        """Outputs that a plain step has no use for."""
        for name, array in arrays.items():
            self._bind_output(name, array, array.shape)

    def _bind_input(self, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
        self._binding.bind_input(name, "cpu", 0, array.dtype, shape, array.ctypes.data)

    def _bind_output(self, name: str, array: F32, shape: tuple[int, ...]) -> None:
        self._binding.bind_output(name, "cpu", 0, array.dtype, shape, array.ctypes.data)


def open_session(
    file: Path, options: ort.SessionOptions, spec: DecoderSpec, more: Mapping[str, int] = _NONE
) -> ort.InferenceSession:
    """A checked graph; `more`: outputs that this entry point has beside logits and caches."""
    external.check(file)
    try:
        session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no public base class
        raise _refused(file, error) from None
    _agree(session, spec, file, more)
    return session


def _refused(file: Path, error: Exception) -> Damaged:
    reason = str(error).splitlines()[0][:300]
    return Damaged(f"onnxruntime refuses {file}: {reason}", fix="convert again")


def _agree(
    session: ort.InferenceSession, spec: DecoderSpec, file: Path, more: Mapping[str, int]
) -> None:
    """A manifest may lie: its spec must have the graph's inputs, outputs, caches and vocabulary."""
    ids = ("input_ids", "attention_mask", "position_ids")
    inputs: dict[str, object] = dict.fromkeys(ids, ("tensor(int64)", None))
    outputs: dict[str, object] = {"logits": ("tensor(float)", spec.vocab)}
    for index, layer in enumerate(spec.layers):
        rows = ("tensor(float)", [layer.kv_heads, layer.head_width])
        for part in ("key", "value"):
            inputs[f"past_key_values.{index}.{part}"] = rows
            outputs[f"present.{index}.{part}"] = rows
    outputs |= {name: ("tensor(float)", width) for name, width in more.items()}
    got = [_kinds(session.get_inputs()), _kinds(session.get_outputs())]
    if got != [inputs, outputs]:
        raise Damaged(f"{file} is of another model than its edge.json", fix="convert again")


def _kinds(values: list[ort.NodeArg]) -> dict[str, object]:
    """By name: the type, and of a shape what a spec decides."""
    return {
        v.name: (v.type, v.shape[1::2] if len(v.shape) == 4 else (v.shape[2:] or [None])[0])
        for v in values
    }
