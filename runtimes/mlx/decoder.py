"""MLX behind `edge.protocols.Decoder`: Metal on a Mac, a plain CPU elsewhere.

One evaluation a call: the graph of a whole chunk is built first, so that MLX plans its memory and
whatever nobody asked for is never computed. T tokens, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from weakref import WeakValueDictionary, ref

import mlx.core as mx
import numpy as np

from edge.contracts import Opening
from edge.errors import Unsupported
from edge.nn.decoder import decoder, embed
from edge.spec import DecoderSpec
from edge.system.cancellation import go_on
from edge.typing import F32, Fed
from edge_runtimes.mlx.cache import Cache, Exactly, Whole
from edge_runtimes.mlx.computing import chunk, on_cpu
from edge_runtimes.mlx.folder import Folder
from edge_runtimes.mlx.ops import MlxOps
from edge_runtimes.mlx.weights import Weights

Arrays = list[mx.array]
Step = Callable[[mx.array, mx.array, Arrays, Arrays, Arrays], tuple[mx.array, Arrays, Arrays]]


class MlxDecoder:
    """One sequence over an mlx-lm folder.

    If exact, with float32 activations, whatever the weights are stored in. `compiled`: a step as one
    compiled graph; pays where kernels are launched on a GPU, not on a CPU.
    """

    def __init__(self, opening: Opening, *, compiled: bool | None = None) -> None:
        if opening.threads is not None:
            raise Unsupported(
                f"{opening.threads} threads were asked for; MLX chooses their number itself",
                fix="leave out --threads",
            )
        self.spec = spec = opening.spec
        self.capacity = spec.context
        self._weights = _weights(opening)
        self._cache = Cache(spec, self._weights.dtype)
        wanted = not on_cpu() if compiled is None else compiled
        self._step = _compiled(self._weights, spec) if wanted else None

    @property
    def length(self) -> int:
        return self._cache.length

    def prefill(self, tokens: Sequence[int]) -> F32:
        at = 0
        while True:
            end = min(at + chunk(self.length), len(tokens))
            logits = self._graph(tokens[at:end], last_only=True)
            if end == len(tokens):
                return self._evaluate(logits, end - at)[-1]
            self._evaluate(None, end - at)  # no head is computed, and no last feed-forward
            at = end
            go_on()

    def step(self, token: int) -> F32:
        if self._step is None:
            return self._evaluate(self._graph((token,), last_only=True), 1)[-1]
        self._room(1)
        cache = self._cache
        rows = cache.rows
        starts = [mx.array([at]) for at in (rows[:1] if len(set(rows)) == 1 else rows)]
        logits, cache.keys, cache.values = self._step(
            mx.array([int(token)]), mx.array([cache.length]), starts, cache.keys, cache.values
        )
        return self._evaluate(logits, 1)[-1]

    def score(self, tokens: Sequence[int]) -> F32:
        out, at = [], 0
        while at < len(tokens):
            end = min(at + chunk(self.length), len(tokens))
            out.append(self._evaluate(self._graph(tokens[at:end], last_only=False), end - at))
            at = end
        return np.concatenate(out)

    def rewind(self, length: int) -> None:
        self._cache.rewind(length)

    def embed(self, tokens: Sequence[int]) -> F32:
        ops = MlxOps(self._weights, Exactly(self._cache, len(tokens)), last_only=False)
        return np.array(embed(ops, self.spec, self._ids(tokens)).astype(mx.float32))

    def prefill_rows(self, rows: F32) -> F32:
        at = 0
        while True:
            end = min(at + chunk(self.length), len(rows))
            logits = self._graph(rows[at:end], last_only=True)
            if end == len(rows):
                return self._evaluate(logits, end - at)[-1]
            self._evaluate(None, end - at)
            at = end
            go_on()

    def _room(self, count: int) -> None:
        at = self._cache.length
        assert count > 0, "no tokens"
        assert at + count <= self.capacity, f"{count} after {at} of {self.capacity}"
        self._cache.reserve(at + count)

    def _graph(
        self,
        fed: Fed,
        *,
        last_only: bool,
        votes: dict[int, mx.array] | None = None,
    ) -> mx.array:
        """Append tokens [T], or rows [T, D] -> logits [T or 1, V], of which nothing is computed yet."""
        self._room(len(fed))
        ops = MlxOps(self._weights, Exactly(self._cache, len(fed)), last_only, votes)
        if isinstance(fed, np.ndarray) and fed.ndim == 2:
            x = mx.array(np.ascontiguousarray(fed)).astype(self._weights.dtype)
            return decoder(ops, self.spec, x, embedded=True)
        return decoder(ops, self.spec, self._ids(list(fed)))

    def _ids(self, tokens: Sequence[int]) -> mx.array:
        assert 0 <= min(tokens) <= max(tokens) < self.spec.vocab, "an id that is no token"
        return mx.array(np.array(tokens, np.int32))

    def _evaluate(self, logits: mx.array | None, count: int, *also: mx.array) -> F32:
        """Compute what a call appended -> its logits."""
        out = mx.zeros(0) if logits is None else logits.astype(mx.float32)
        mx.eval(out, self._cache.keys, self._cache.values, also)
        self._cache.length += count
        return np.array(out)


def _compiled(weights: Weights, spec: DecoderSpec) -> Step:
    """A step as one graph that is built once, not anew for each token."""
    known = ref(weights)

    def step(
        token: mx.array, position: mx.array, starts: Arrays, keys: Arrays, values: Arrays
    ) -> tuple[mx.array, Arrays, Arrays]:
        rows, found = Whole(list(keys), list(values), position, starts), known()
        assert found is not None
        logits = decoder(MlxOps(found, rows, last_only=True), spec, token)
        return logits, rows.keys, rows.values

    _FOREVER.append(step)
    return mx.compile(step)


# MLX knows a compiled function by its address: one that is freed may leave its graph to the next.
_FOREVER: list[Step] = []
_shared: WeakValueDictionary[object, Weights] = WeakValueDictionary()


def _weights(opening: Opening) -> Weights:
    """Those of a folder, once for all decoders that are open on it: parts of a model share them."""
    folder, branches = opening.folder, opening.branches
    files = [(file.name, file.stat()) for file in sorted(folder.iterdir())]
    stamps = tuple((name, s.st_ino, s.st_mtime_ns, s.st_size) for name, s in files)
    adapter = None if branches is None else branches.key
    key = (folder.resolve(), stamps, replace(opening.spec, context=1), opening.exact, adapter)
    found = _shared.get(key)
    if found is None:
        found = _shared[key] = _read(opening)
    return found


def _read(opening: Opening) -> Weights:
    """Every weight of a folder: a graph that is never evaluated asks for each as a call will."""
    spec = opening.spec
    with Folder(opening.folder, spec) as opened:
        weights = Weights(opened, exact=opening.exact, branches=opening.branches)
        cache = Cache(spec, weights.dtype)
        cache.reserve(1)
        decoder(MlxOps(weights, Exactly(cache, 1), last_only=True), spec, mx.array([0]))
        return weights
