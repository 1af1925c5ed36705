"""llama.cpp behind `edge.protocols.Decoder`.

The file is judged by our own reader before llama.cpp sees it. The cache grows by doubling, into a
context of more rows, so that a model of a long context does not claim memory that nobody uses.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.closing import Closing
from edge.errors import Damaged
from edge.gguf.judge import spec_of
from edge.gguf.reader import GGUFFile
from edge.spec import DecoderSpec, LongRope
from edge.typing import F32
from runtimes.gguf.library import Context, Model, Watch

MODEL = "model.gguf"
FIRST_ROWS, ANSWER = 512, 256  # rows of a new cache; rows kept free after a prompt
_LOGITS = 1 << 24  # logits that a call for all positions holds at most
_NEVER = 1 << 30  # tokens


class GgufDecoder(Closing):
    """One sequence over an artifact's folder, or over a file of anyone's.

    `exact`: with attention and its cache in float32. `part` says nothing beyond the spec of it.
    """

    def __init__(
        self,
        folder: Path,
        spec: DecoderSpec,
        *,
        threads: int | None = None,
        exact: bool = False,
        part: str = "",
        outputs: int = 1,
    ) -> None:
        self.spec, self.capacity, self._closed = spec, spec.context, False
        file = folder if folder.is_file() else folder / MODEL
        architecture, codes = _judged(file, spec)
        # Codes are copied into the order that the kernels want: mapped, they would be there twice.
        self._model = Model([file], numbers=_part(architecture, spec), mapped=not codes)
        self._threads = threads or os.cpu_count() or 1
        self._exact = exact
        self._outputs = max(outputs, min(512, _LOGITS // spec.vocab))
        self._length = 0  # tokens
        self._rows = 0  # of the cache
        self._context = self._open(min(FIRST_ROWS, spec.context), outputs=outputs)
        self._logits = np.zeros(spec.vocab, np.float32)

    @property
    def length(self) -> int:
        return self._length

    def prefill(self, tokens: Sequence[int]) -> F32:
        # An answer follows a prompt: its first step should not be the one that grows the cache.
        self.reserve(min(self._rows + len(tokens) + ANSWER, self.capacity))
        at, size = 0, self._context.batch
        while len(tokens) - at > size:
            self._run(tokens[at : at + size], outputs=0)
            at += size
        return self._last(tokens[at:])

    def step(self, token: int) -> F32:
        return self._last((token,))

    def score(self, tokens: Sequence[int]) -> F32:
        few = len(tokens) <= self._context.outputs
        outputs = self._context.outputs if few else self._outputs
        self.reserve(self._rows + len(tokens), outputs=outputs)
        size = min(outputs, self._context.batch)
        pieces = [tokens[at : at + size] for at in range(0, len(tokens), size)]
        return np.concatenate([self._run(piece, outputs=len(piece)).copy() for piece in pieces])

    def rewind(self, length: int) -> None:
        assert 0 <= length <= self._length, f"rewind to {length} of {self._length}"
        if length < self._length:
            self._context.forget(length)
        self._rows -= self._length - length
        self._length = length

    def reserve(self, rows: int, *, outputs: int = 1) -> None:
        """Make room for this many rows at once, up to the context."""
        old = self._context
        if rows <= old.rows and outputs <= old.outputs:
            return
        rows = old.rows if rows <= old.rows else min(max(rows, 2 * old.rows), self.spec.context)
        grown = self._open(rows, outputs=max(outputs, old.outputs))
        if self._rows:
            grown.restore(old.state())
        old.close()
        self._context = grown

    def close(self) -> None:
        self._context.close()
        if not self._closed:
            self._model.close()
        self._closed = True

    def __del__(self) -> None:
        if "_context" in vars(self):
            self.close()

    def _last(self, tokens: Sequence[int]) -> F32:
        self._logits[:] = self._run(tokens, outputs=1)[0]
        return self._logits

    def _run(self, tokens: Sequence[int], *, outputs: int) -> F32:
        total = self._length + len(tokens)
        assert len(tokens) > 0, "no tokens"
        assert total <= self.capacity, f"{len(tokens)} after {self._length} of {self.capacity}"
        self.reserve(self._rows + len(tokens))
        logits = self._context.run(tokens, outputs=outputs)
        self._length, self._rows = total, self._rows + len(tokens)
        return logits

    def _open(self, rows: int, *, outputs: int, watch: Watch | None = None) -> Context:
        return Context(
            self._model,
            rows,
            threads=self._threads,
            exact=self._exact,
            outputs=outputs,
            watch=watch,
        )


def _judged(file: Path, spec: DecoderSpec) -> tuple[str, bool]:
    """The architecture of a file that is sound, and of the model that its manifest says; and whether
    its weights are mostly codes.
    """
    with GGUFFile(file) as opened:
        found, name = spec_of(opened), opened["general.architecture"]
        largest = max(opened.tensors.values(), key=lambda tensor: tensor.nbytes)
    same = [
        [layer.heads, layer.kv_heads, layer.head_width, layer.ffn_width] for layer in found.layers
    ] == [[layer.heads, layer.kv_heads, layer.head_width, layer.ffn_width] for layer in spec.layers]
    if not same or (found.vocab, found.width) != (spec.vocab, spec.width):
        raise Damaged(f"{file} is of another model than its edge.json", fix="convert again")
    assert isinstance(name, str)
    return name, largest.kind.block > 1


def _part(architecture: str, spec: DecoderSpec) -> dict[str, int]:
    """llama.cpp picks rotary factors by a context's rows: let the part decide instead."""
    if not isinstance(spec.rope.scaling, LongRope):
        return {}
    long = spec.context > spec.rope.scaling.original_context
    key = f"{architecture}.rope.scaling.original_context_length"
    return {key: 1 if long else _NEVER}
