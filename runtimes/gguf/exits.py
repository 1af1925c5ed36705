"""Early exits on llama.cpp: `edge.decode.exits.Halves` of two models of the same files.

An artifact's files are cut at its exits, so that the first of them are a model of their own: it drafts,
and the whole one verifies. Its cache is that of the whole one's first layers, taken from there after a
prompt; then it follows. llama.cpp cannot go on from a layer, so that verifying runs them all. Floats are
mapped, by both models from the same pages; codes are copied into the order that the kernels want, those
of the first layers, the embedding and the head twice.
"""

from collections.abc import Sequence

import numpy as np

from edge.adapters.branches import Branches
from edge.contracts import Opening
from edge.files.closeable import Closeable
from edge.gguf.shards import COUNT, TENSORS
from edge.spec import DecoderSpec
from edge.typing import F32, Fed
from edge_runtimes.gguf.decoder import FIRST_ROWS, Found, GgufDecoder, adapt, rotary
from edge_runtimes.gguf.library import DRAFTS, Context, Model
from edge_runtimes.gguf.offload import gpu_layers
from edge_runtimes.gguf.state import State

_FEW = 16  # tokens that the first layers read themselves, rather than take over the cache


class ExitGgufDecoder(GgufDecoder):
    """As `GgufDecoder`, never exact. A token leaves itself: its first layers run again."""

    def __init__(self, opening: Opening, *, exit_: int) -> None:
        super().__init__(opening, outputs=DRAFTS + 1)
        branches = None if opening.branches is None else opening.branches.within(range(exit_))
        self._first = _FirstLayers(
            self._found, self.spec, exit_, threads=self._threads, branches=branches
        )
        self._unread: list[int] = []  # what the first layers have not read yet, in order
        self._row = np.zeros(self.spec.vocab, np.float32)
        self._prove()

    def prefill(self, tokens: Sequence[int]) -> F32:
        logits = super().prefill(tokens)
        self._catch_up()  # as a part of the prompt, not of the first draft
        return logits

    def draft(self, token: int, *, ahead: int) -> tuple[int, F32]:
        self._catch_up()
        self._row[:] = self._first.read([*self._unread, token])
        self._unread.clear()
        return token, self._row

    def early(self, token: int, *, ahead: int) -> int:
        self._unread.append(token)  # with the next draft
        return token

    def late(self, left: Sequence[int]) -> F32:
        assert len(left) <= self._context.outputs, f"{len(left)} tokens to verify"
        # A copy: a cache that grows takes its logits along.
        return super()._run(left, outputs=len(left)).copy()

    def rewind(self, length: int) -> None:
        super().rewind(length)
        if self._first.length > length:
            self._first.forget(length)
        del self._unread[length - self._first.length :]

    def close(self) -> None:
        if "_first" in vars(self):
            self._first.close()
        super().close()

    def _run(self, fed: Fed, *, outputs: int) -> F32:
        logits = super()._run(fed, outputs=outputs)
        self._unread += map(int, fed)
        return logits

    def _catch_up(self) -> None:
        if len(self._unread) > _FEW:
            state = State.parse(self._context.state(), self.spec)
            self._first.take(state, self._context.rows)
            self._unread.clear()


class _FirstLayers(Closeable):
    """The first files of an artifact as a model, and a cache that holds `length` tokens."""

    def __init__(
        self,
        found: Found,
        spec: DecoderSpec,
        exit_: int,
        *,
        threads: int,
        branches: Branches | None,
    ) -> None:
        self.length = 0
        self._layers, self._most, self._threads = exit_, spec.context, threads
        files = spec.exits.index(exit_) + 1
        numbers = {
            **rotary(found.architecture, spec),
            f"{found.architecture}.block_count": exit_,
            COUNT: files,
            TENSORS: sum(found.counts[:files]),
        }
        self._model = Model(
            found.paths[:files],
            numbers=numbers,
            mapped=not found.codes,
            gpu_layers=gpu_layers(),
        )
        adapt(self._model, branches, spec, found.architecture)
        self._context = self._open(min(FIRST_ROWS, spec.context))

    def read(self, tokens: Sequence[int]) -> F32:
        """Append tokens -> logits [V] of the last, in memory that the next call overwrites."""
        self._reserve(self.length + len(tokens))
        logits: F32 = self._context.run(tokens, outputs=1)[0]
        self.length += len(tokens)
        return logits

    def take(self, state: State, rows: int) -> None:
        """The cache of a whole model, in place of this one; with room for so many tokens."""
        if rows > self._context.rows:
            self._context.close()
            self._context = self._open(rows)
        self._context.restore(state.first(self._layers).pack())
        self.length = int(state.positions[-1]) + 1

    def forget(self, length: int) -> None:
        """Drop every token from `length` on."""
        self._context.forget(length)
        self.length = length

    def close(self) -> None:
        self._context.close()
        self._model.close()

    def _reserve(self, rows: int) -> None:
        old = self._context
        if rows > old.rows:
            grown = self._open(min(max(rows, 2 * old.rows), self._most))
            if self.length:
                grown.restore(old.state())
            old.close()
            self._context = grown

    def _open(self, rows: int) -> Context:
        return Context(self._model, rows, threads=self._threads, batch=2 * _FEW)
