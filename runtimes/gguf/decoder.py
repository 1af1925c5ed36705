"""llama.cpp behind `edge.protocols.Decoder`.

The file is judged by our own reader before llama.cpp sees it. The cache grows by doubling, into a
context of more rows, so that a model of a long context does not claim memory that nobody uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import cast

import numpy as np

from edge.adapters.branches import Branches
from edge.artifact.manifest import contained
from edge.contracts import Opening
from edge.errors import Damaged
from edge.files.closeable import Closeable
from edge.gguf import lora
from edge.gguf.architectures import architecture
from edge.gguf.judge import spec_of
from edge.gguf.shards import GGUFModel, file_names
from edge.spec import DecoderSpec, LongRope
from edge.system import processors
from edge.system.cancellation import go_on
from edge.typing import F32, Fed
from edge_runtimes.gguf.library import Context, Model, Watch
from edge_runtimes.gguf.offload import gpu_layers
from edge_runtimes.gguf.state import prove
from edge_runtimes.gguf.stored import StoredWeights

FIRST_ROWS, ANSWER = 512, 256  # rows of a new cache; rows kept free after a prompt
_LOGITS = 1 << 24  # logits that a call for all positions holds at most
_NEVER = 1 << 30  # tokens


class GgufDecoder(Closeable):
    """One sequence over an artifact's folder, or over a file of anyone's.

    If exact, with attention and its cache in float32.
    """

    def __init__(self, opening: Opening, *, outputs: int = 1) -> None:
        spec = opening.spec
        self.spec, self.capacity, self._closed = spec, spec.context, False
        self._found = found = _judged(opening.folder, spec)
        # Codes are copied into the order that the kernels want: mapped, they would be there twice.
        self._model = Model(
            found.paths,
            numbers=rotary(found.architecture, spec),
            mapped=not found.codes,
            gpu_layers=gpu_layers(),
        )
        adapt(self._model, opening.branches, spec, found.architecture)
        self._threads = processors.threads(opening.threads)
        self._exact = opening.exact
        self._outputs = max(outputs, min(512, _LOGITS // spec.vocab))
        self._folder, self._table = opening.folder, cast("StoredWeights | None", None)
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
            go_on()
        return self._last(tokens[at:])

    def step(self, token: int) -> F32:
        return self._last((token,))

    def embed(self, tokens: Sequence[int]) -> F32:
        if self._table is None:
            self._table = StoredWeights(self._folder, self.spec)
        found = [self._table.rows("embed", t, t + 1, by_row=True) for t in tokens]
        return np.concatenate(found) * np.float32(self.spec.embed_scale)

    def prefill_rows(self, rows: F32) -> F32:
        self.reserve(min(self._rows + len(rows) + ANSWER, self.capacity))
        at, size = 0, self._context.batch
        while len(rows) - at > size:
            self._run(rows[at : at + size], outputs=0)
            at += size
            go_on()
        return self._last(rows[at:])

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
        if self._table is not None:
            self._table.close()
        if not self._closed:
            self._model.close()
        self._closed = True

    def __del__(self) -> None:
        if "_context" in vars(self):
            self.close()

    def _prove(self) -> None:
        """The state of two tokens is what is expected: found before a prompt was read in vain."""
        self._run([0, self.spec.vocab - 1], outputs=0)
        prove(self._context.state(), self.spec)
        self.rewind(0)

    def _last(self, tokens: Fed) -> F32:
        self._logits[:] = self._run(tokens, outputs=1)[0]
        return self._logits

    def _run(self, tokens: Fed, *, outputs: int) -> F32:
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


@dataclass(frozen=True, slots=True)
class Found:
    """Files that are sound, and of the model that their manifest says; `counts`: how many tensors each
    holds; `codes`: whether weights are mostly codes.
    """

    paths: list[Path]
    counts: list[int]
    architecture: str
    codes: bool


def _judged(folder: Path, spec: DecoderSpec) -> Found:
    names = file_names(len(spec.exits) + 1)
    first, *_ = [folder] if folder.is_file() else [contained(folder, name) for name in names]
    with GGUFModel(first) as opened:
        found, name = spec_of(opened), opened["general.architecture"]
        largest = max(opened.tensors.values(), key=lambda tensor: tensor.nbytes)
        paths, counts = opened.paths, opened.counts
    same = [
        [layer.heads, layer.kv_heads, layer.head_width, layer.ffn_width] for layer in found.layers
    ] == [[layer.heads, layer.kv_heads, layer.head_width, layer.ffn_width] for layer in spec.layers]
    if not same or (found.vocab, found.width) != (spec.vocab, spec.width):
        raise Damaged(f"{first} is of another model than its edge.json", fix="convert again")
    assert isinstance(name, str)
    return Found(paths, counts, name, largest.kind.block > 1)


def adapt(model: Model, branches: Branches | None, spec: DecoderSpec, name: str) -> None:
    """An adapter beside a model's weights; llama.cpp reads all of its file at once."""
    if branches is not None and branches.of:
        with NamedTemporaryFile(prefix="edge-", suffix=".gguf") as file:
            lora.write(file, branches, spec, architecture(name))
            file.flush()
            model.adapt(Path(file.name))


def rotary(architecture: str, spec: DecoderSpec) -> dict[str, int]:
    """llama.cpp picks rotary factors by a context's rows: let the part decide instead."""
    if not isinstance(spec.rope.scaling, LongRope):
        return {}
    long = spec.context > spec.rope.scaling.original_context
    key = f"{architecture}.rope.scaling.original_context_length"
    return {key: 1 if long else _NEVER}
