"""ONNX Runtime behind `edge.protocols.Decoder`: bound buffers, past and present in one.

Every input and output is bound by address, so that a step copies nothing and allocates nothing. The
cache grows with the sequence: a model of a long context does not claim memory that nobody uses.
S rows of the cache, G kv heads, W head width.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from edge.adapters.branches import Branches
from edge.contracts import Opening
from edge.spec import DecoderSpec
from edge.system import processors
from edge.system.cancellation import go_on
from edge.system.memory import give_back
from edge.typing import F32, AnyArray, Fed
from edge_runtimes.onnx.call import Call, Entry, open_call

if TYPE_CHECKING:
    from edge_runtimes.onnx.adapted import Adapting

STEP, SCORE, EXACT = "model.onnx", "score.onnx", "exact.onnx"
CHUNK = 512  # tokens of a prompt at a time: bounds the memory of activations
_SCORES = 1 << 22  # attention scores a head and call: long caches take shorter chunks
_BIASES = 1 << 25  # what block-sparse attention adds to the scores of a call, all heads together
FIRST_ROWS = 512
_GROWTH = 512  # rows: a copy of the cache is little beside as many steps, each of which reads it
ANSWER = 256  # rows kept free after a prompt


class OnnxDecoder:
    """One sequence over an artifact's folder.

    If exact, by the twin with float activations. `step`: another graph, which is that of the exact one where
    it has any.
    """

    def __init__(self, opening: Opening, *, step: Entry | None = None, alone: bool = True) -> None:
        self.spec = spec = opening.spec
        self.capacity = spec.context
        self._folder = opening.folder
        self._options = partial(session_options, opening.threads, alone=alone)
        branches = opening.branches
        self._adapting = None if branches is None else _adapting(branches, spec)
        self._exact = opening.exact
        self._biased = biased(spec)
        files = (EXACT, EXACT) if opening.exact else (STEP, SCORE)
        plain, self._score = (Entry(file=opening.part + file) for file in files)
        self._step = step or plain
        self._calls: dict[str, Call] = {}
        self._length = 0  # tokens
        self._rows = np.zeros(len(spec.layers), np.int64)  # of each layer's cache, never written to
        first = self._opened(self._step)  # before a spec's lie costs memory
        self._calls[self._step.file] = first
        self._use(buffers(spec, min(FIRST_ROWS, spec.context)))

    @property
    def length(self) -> int:
        return self._length

    def prefill(self, tokens: Sequence[int]) -> F32:
        # An answer follows a prompt: its first step should not be the one that grows the cache.
        self.reserve(len(tokens) + ANSWER)
        at = 0
        while True:
            end = min(at + self._chunk(), len(tokens))
            logits = self._run(self._step, tokens[at:end], last=True)
            if end == len(tokens):
                return logits[-1]
            at = end
            go_on()

    def step(self, token: int) -> F32:
        return self._run(self._step, (token,), last=True)[-1]

    def score(self, tokens: Sequence[int]) -> F32:
        out, at = [], 0
        while at < len(tokens):
            end = min(at + self._chunk(), len(tokens))
            out.append(self._run(self._score, tokens[at:end], last=False).copy())
            at = end
        return out[0] if len(out) == 1 else np.concatenate(out)  # a draft's rows are megabytes

    def rewind(self, length: int) -> None:
        gone = self._length - length
        fewest = self._rows.min()
        assert length == 0 or 0 <= gone <= fewest, f"rewind to {length} of {self._length}"
        self._rows = self._rows - (self._rows if length == 0 else gone)
        self._length = length

    def reserve(self, more: int) -> None:
        """Make room in each layer for so many more rows at once, up to the context."""
        wanted = np.minimum(self._rows + more, self.capacity)
        if (wanted <= self._room).all():
            return
        grown = np.minimum(np.maximum(wanted, self._room + _GROWTH), self.capacity)
        try:
            for name, old in self._cache.items():  # one by one: never two whole caches
                index = int(name.split(".")[0])
                if wanted[index] <= old.shape[2]:
                    continue
                used = self._rows[index]
                self._cache[name] = new = buffer(old, grown[index])
                new[:, :, :used] = old[:, :, :used]
        finally:
            self._use(self._cache)  # nothing stays bound to memory that is gone
        give_back()

    def _use(self, cache: dict[str, AnyArray]) -> None:
        self._cache = cache
        rooms = [cache[f"{index}.key"].shape[2] for index in range(len(self.spec.layers))]
        self._room = np.array(rooms)  # rows of each layer's buffers
        for call in self._calls.values():
            self._bind(call)

    def _bind(self, call: Call) -> None:
        call.bind_cache(self._cache)

    def _chunk(self) -> int:
        return chunk(int(self._rows.max()) + CHUNK, self._biased)

    def _run(self, entry: Entry, tokens: Fed, *, last: bool) -> F32:
        """Append tokens, or rows [T, D] -> logits [T or 1, V]: a view that the next call overwrites."""
        assert len(tokens) > 0, "no tokens"
        assert self._length + len(tokens) <= self.capacity, (
            f"{len(tokens)} after {self._length} of {self.capacity}"
        )
        self.reserve(len(tokens))
        call = self._call(entry)
        every = not last or (self._exact and not entry.asked)
        rows = len(tokens) if every else 1
        logits = call.run(tokens, start=self._length, past=self._rows, rows=rows)
        self._more(len(tokens))
        return logits

    def _more(self, count: int) -> None:
        """So many tokens are in every layer's cache now."""
        self._length += count
        self._rows = self._rows + count

    def _call(self, entry: Entry) -> Call:
        if entry.file not in self._calls:
            self._calls[entry.file] = self._opened(entry)
            self._bind(self._calls[entry.file])
        return self._calls[entry.file]

    def _opened(self, entry: Entry) -> Call:
        call = open_call(self._folder, entry, self.spec, self._options(), self._adapting)
        give_back()  # what reading the graph and packing its weights took
        return call


def chunk(rows: int, heads: int) -> int:
    """Tokens to read at a time with a cache of this many rows, and so many biased heads."""
    tokens = max(64, min(CHUNK, _SCORES // rows))
    return max(1, min(tokens, _BIASES // (heads * rows))) if heads else tokens


def biased(spec: DecoderSpec) -> int:
    """Heads whose scores get a bias in the graph: those of sparse layers, where any key is hidden."""
    sparse = [layer for layer in spec.layers if layer.sparse and layer.sparse.reach < spec.context]
    return max((layer.heads for layer in sparse), default=0)


def buffers(spec: DecoderSpec, rows: int) -> dict[str, AnyArray]:
    """An empty cache: `layer.key` and `layer.value`, each [1, G, S, W]."""
    return {
        f"{index}.{part}": np.zeros((1, layer.kv_heads, rows, layer.head_width), np.float32)
        for index, layer in enumerate(spec.layers)
        for part in ("key", "value")
    }


def buffer(like: AnyArray, rows: int) -> AnyArray:
    """An empty one with room for so many rows."""
    return np.zeros((*like.shape[:2], rows, like.shape[3]), like.dtype)


def _adapting(branches: Branches, spec: DecoderSpec) -> "Adapting":
    """Its toolkit takes 40 MB, which only a run with an adapter needs."""
    from edge_runtimes.onnx.adapted import Adapting

    return Adapting(branches, spec)


def session_options(threads: int | None, *, alone: bool) -> ort.SessionOptions:
    """`alone`: threads wait between calls without sleep, for no other session wants their cores."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what it logs as an error, it also raises
    options.enable_mem_pattern = False  # every step has a new shape: no pattern is used twice
    if not alone:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    options.intra_op_num_threads = _threads(threads)
    return options


def _threads(asked: int | None) -> int:
    """0: it takes all cores by itself, each thread at home on one; it sees neither mask nor quota."""
    found = processors.here()
    return processors.threads(asked or found.bodies) if asked or found.limited else 0
