"""ONNX Runtime behind `edge.protocols.Decoder`: bound buffers, past and present in one.

Every input and output is bound by address, so that a step copies nothing and allocates nothing. The
cache grows by doubling: a model of a long context does not claim memory that nobody uses. S rows of
the cache, G kv heads, W head width.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edge.errors import Damaged
from edge.spec import DecoderSpec
from edge.typing import F32
from runtimes.onnx import external

STEP, SCORE, EXACT = "model.onnx", "score.onnx", "exact.onnx"
CHUNK = 512  # tokens of a prompt at a time: bounds the memory of activations
_SCORES = 1 << 22  # attention scores a head and call: long caches take shorter chunks
_BIASES = 1 << 26  # what block-sparse attention adds to the scores of a call, all heads together
_FIRST_ROWS = 512
_ANSWER = 256  # rows kept free after a prompt


class OnnxDecoder:
    """One sequence over an artifact's folder.

    `exact`: the twin with float activations. `part`: a key of `edge.spec.parts`.
    """

    def __init__(
        self,
        folder: Path,
        spec: DecoderSpec,
        *,
        threads: int | None = None,
        exact: bool = False,
        part: str = "",
    ) -> None:
        self.spec = spec
        self.capacity = spec.context
        self._folder = folder
        self._options = _options(threads)
        self._exact = exact
        self._biased = biased(spec)
        files = (EXACT, EXACT) if exact else (STEP, SCORE)
        self._step_file, self._score_file = (part + file for file in files)
        self._calls: dict[str, _Call] = {}
        self._length = 0
        first = _Call(
            folder / self._step_file, self._options, spec
        )  # before a spec's lie costs memory
        self._calls[self._step_file] = first
        self._cache = _buffers(spec, min(_FIRST_ROWS, spec.context))
        first.bind_cache(self._cache)

    @property
    def length(self) -> int:
        return self._length

    def prefill(self, tokens: Sequence[int]) -> F32:
        # An answer follows a prompt: its first step should not be the one that grows the cache.
        self.reserve(min(self._length + len(tokens) + _ANSWER, self.capacity))
        at = 0
        while True:
            end = min(at + self._chunk(), len(tokens))
            logits = self._run(self._step_file, tokens[at:end], last=True)
            if end == len(tokens):
                return logits[-1]
            at = end

    def step(self, token: int) -> F32:
        return self._run(self._step_file, (token,), last=True)[-1]

    def score(self, tokens: Sequence[int]) -> F32:
        out, at = [], 0
        while at < len(tokens):
            end = min(at + self._chunk(), len(tokens))
            out.append(self._run(self._score_file, tokens[at:end], last=False).copy())
            at = end
        return np.concatenate(out)

    def rewind(self, length: int) -> None:
        assert 0 <= length <= self._length, f"rewind to {length} of {self._length}"
        self._length = length

    def reserve(self, rows: int) -> None:
        """Make room for this many rows at once, up to the context."""
        have = next(iter(self._cache.values())).shape[2]
        if rows <= have:
            return
        grown = _buffers(self.spec, min(max(rows, 2 * have), self.spec.context))
        for name, old in self._cache.items():
            grown[name][:, :, : self._length] = old[:, :, : self._length]
        self._cache = grown
        for call in self._calls.values():
            call.bind_cache(grown)

    def _chunk(self) -> int:
        return chunk(self._length + CHUNK, self._biased)

    def _run(self, file: str, tokens: Sequence[int], *, last: bool) -> F32:
        """Append tokens -> logits [T or 1, V]: a view that the next call overwrites."""
        total = self._length + len(tokens)
        assert len(tokens) > 0, "no tokens"
        assert total <= self.capacity, f"{len(tokens)} after {self._length} of {self.capacity}"
        self.reserve(total)
        every = self._exact or not last
        logits = self._call(file).run(tokens, self._length, rows=len(tokens) if every else 1)
        self._length = total
        return logits

    def _call(self, file: str) -> "_Call":
        if file not in self._calls:
            self._calls[file] = _Call(self._folder / file, self._options, self.spec)
            self._calls[file].bind_cache(self._cache)
        return self._calls[file]


def chunk(rows: int, heads: int) -> int:
    """Tokens to read at a time with a cache of this many rows, and so many biased heads."""
    tokens = max(64, min(CHUNK, _SCORES // rows))
    return max(1, min(tokens, _BIASES // (heads * rows))) if heads else tokens


def biased(spec: DecoderSpec) -> int:
    """Heads whose scores get a bias in the graph: those of sparse layers, where any key is hidden."""
    sparse = [layer for layer in spec.layers if layer.sparse and layer.sparse.reach < spec.context]
    return max((layer.heads for layer in sparse), default=0)


class _Call:
    """One entry point with its bindings."""

    def __init__(self, file: Path, options: ort.SessionOptions, spec: DecoderSpec) -> None:
        external.check(file)
        try:
            self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no public base class
            raise _refused(file, error) from None
        self._file = file
        _agree(self._session, spec, file)
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

    def run(self, tokens: Sequence[int], start: int, *, rows: int) -> F32:
        count = len(tokens)
        if len(self._tokens) < count:
            self._tokens = np.zeros(count, np.int64)
        if len(self._logits) < rows:
            self._logits = np.zeros((rows, self._vocab), np.float32)
        self._tokens[:count] = tokens
        self._bind_input("input_ids", self._tokens, (1, count))
        self._bind_input("attention_mask", self._mask, (1, start + count))
        self._bind_input("position_ids", self._positions[start:], (1, count))
        self._bind_output("logits", self._logits, (1, rows, self._vocab))
        try:
            self._session.run_with_iobinding(self._binding)
        except RuntimeError as error:
            raise _refused(self._file, error) from None
        return self._logits[:rows]

    def _bind_input(self, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
        self._binding.bind_input(name, "cpu", 0, array.dtype, shape, array.ctypes.data)

    def _bind_output(self, name: str, array: F32, shape: tuple[int, ...]) -> None:
        self._binding.bind_output(name, "cpu", 0, array.dtype, shape, array.ctypes.data)


def _refused(file: Path, error: Exception) -> Damaged:
    reason = str(error).splitlines()[0][:300]
    return Damaged(f"onnxruntime refuses {file}: {reason}", fix="convert again")


def _agree(session: ort.InferenceSession, spec: DecoderSpec, file: Path) -> None:
    """A manifest may lie: its spec must have the graph's inputs, outputs, caches and vocabulary."""
    ids = ("input_ids", "attention_mask", "position_ids")
    inputs: dict[str, object] = dict.fromkeys(ids, ("tensor(int64)", None))
    outputs: dict[str, object] = {"logits": ("tensor(float)", spec.vocab)}
    for index, layer in enumerate(spec.layers):
        rows = ("tensor(float)", [layer.kv_heads, layer.head_width])
        for part in ("key", "value"):
            inputs[f"past_key_values.{index}.{part}"] = rows
            outputs[f"present.{index}.{part}"] = rows
    got = [_kinds(session.get_inputs()), _kinds(session.get_outputs())]
    if got != [inputs, outputs]:
        raise Damaged(f"{file} is of another model than its edge.json", fix="convert again")


def _kinds(values: list[ort.NodeArg]) -> dict[str, object]:
    """By name: the type, and of a shape what a spec decides."""
    return {
        v.name: (v.type, v.shape[1::2] if len(v.shape) == 4 else (v.shape[2:] or [None])[0])
        for v in values
    }


def _buffers(spec: DecoderSpec, rows: int) -> dict[str, F32]:
    """An empty cache: `layer.key` and `layer.value`, each [1, G, S, W]."""
    return {
        f"{index}.{part}": np.zeros((1, layer.kv_heads, rows, layer.head_width), np.float32)
        for index, layer in enumerate(spec.layers)
        for part in ("key", "value")
    }


def _options(threads: int | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what it logs as an error, it also raises
    options.enable_mem_pattern = False  # every step has a new shape: no pattern is used twice
    if threads is not None:
        options.intra_op_num_threads = threads
    return options
