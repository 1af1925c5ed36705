"""A decoder whose cache may be compacted: `edge.protocols.Evictable` over one session.

Its graph is the plain one and gives out each layer's last queries besides; keys lie in the bound
cache. A second binding of the same session asks for the queries, so that steps pay nothing. T tokens,
H query heads, G kv heads, S rows, W head width.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.decode.snapkv import vote
from edge.errors import EdgeError
from edge.nn.rope import rotate, tables
from edge.spec import DecoderSpec
from edge.typing import F32, I64
from runtimes.onnx.decoder import ANSWER, Entry, OnnxDecoder, buffers

OBSERVE = "observe.onnx"
WINDOW = 64  # the most rows whose queries the graph gives out


class EvictableOnnxDecoder(OnnxDecoder):
    """As `OnnxDecoder`, never exact: one session, one copy of the weights."""

    def __init__(
        self, folder: Path, spec: DecoderSpec, *, threads: int | None = None, part: str = ""
    ) -> None:
        more = {f"queries.{index}": _width(spec, index) for index in range(len(spec.layers))}
        step = Entry(part + OBSERVE, more)
        super().__init__(folder, spec, threads=threads, part=part, step=step)
        self._observing = self._call(step).again()
        self._tables = tables(spec.rope, spec.context)

    @property
    def rows(self) -> int:
        return self._rows

    def observe(self, tokens: Sequence[int]) -> tuple[F32, list[F32]]:
        if len(tokens) > WINDOW:
            raise EdgeError(
                f"a window of {len(tokens)} tokens; onnx observes at most {WINDOW}",
                fix=f"give a window of {WINDOW} or fewer",
            )
        self.reserve(self._rows + len(tokens))
        seen = {
            name: np.empty((1, len(tokens), width), np.float32)
            for name, width in self._step.more.items()
        }
        call, start = self._observing, self._length
        call.bind_cache(self._cache)
        call.bind_more(seen)
        logits = call.run(tokens, start=start, past=self._rows, rows=1)[-1]
        self._length += len(tokens)
        self._rows += len(tokens)
        return logits, [self._votes(i, seen[f"queries.{i}"][0], start) for i in range(len(seen))]

    def keep(self, rows: Sequence[I64]) -> None:
        count = rows[0].shape[1]
        cache = buffers(self.spec, min(count + ANSWER, self.capacity))
        for name, old in self._cache.items():
            kept = rows[int(name.split(".")[0])]
            for head, places in enumerate(kept):
                cache[name][0, head, :count] = old[0, head, places]
        self._rows = count
        self._use(cache)

    def _votes(self, index: int, queries: F32, start: int) -> F32:
        layer = self.spec.layers[index]
        heads = queries.reshape(len(queries), -1, layer.head_width)[:, : layer.heads]
        if queries.shape[1] > layer.heads * layer.head_width:  # packed: attention rotates inside
            heads = rotate(heads, self._tables, start)
        keys = self._cache[f"{index}.key"][0, :, : self._rows]
        return vote(heads, keys, layer.scale)


def _width(spec: DecoderSpec, index: int) -> int:
    """Of a row of queries, with keys and values beside them where attention rotates them itself."""
    layer = spec.layers[index]
    rotates = layer.qk_norm is None and (layer.head_width % 16, spec.rope.width % 16) == (0, 0)
    heads = layer.heads + (2 * layer.kv_heads if rotates else 0)
    return heads * layer.head_width
