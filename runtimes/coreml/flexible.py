"""A decoder whose cache may be cut (SnapKV): `edge.protocols.Evictable`.

What is kept goes over to a small cache, whose functions attend to its few rows and no more: a cache of
fixed size costs its whole size in each step. When an answer fills it, it goes on in the next larger
one, at last in the whole. Observing functions give each layer's rotated queries; votes are counted here,
from the keys. S rows of a cache, G kv heads, H query heads, T tokens, W head width.
"""

from collections.abc import Sequence
from copy import copy
from typing import Protocol

import numpy as np

from edge.decode.snapkv import vote
from edge.errors import Damaged, Unsupported
from edge.spec import DecoderSpec
from edge.typing import F32, I64, AnyArray, Fed
from edge_runtimes.coreml.agreement import KEYS, VALUES, shares
from edge_runtimes.coreml.decoder import FIX, Caller, CoreMlDecoder, Found

ANSWER = 256  # rows that are advised beside those that are kept


class Keeper(Caller, Protocol):
    """A caller whose states may be read and replaced: [1, G, S, W] each, of all layers of a package."""

    caches: dict[str, tuple[int, ...]]  # shapes by name

    def read(self, state: str) -> AnyArray: ...

    def write(self, state: str, content: AnyArray) -> None: ...

    def forget(self, *states: str) -> None: ...

    def again(self) -> "Keeper":
        """The same functions over states of its own."""
        ...


class FlexibleCoreMlDecoder(CoreMlDecoder):
    """The cache in use has `_size` rows, of which `_rows` are filled."""

    def __init__(self, spec: DecoderSpec, callers: Sequence[Keeper], label: str = "") -> None:
        super().__init__(spec, callers, label)
        self._keepers = callers
        self._small = [rows for rows in spec.snapkv_rows if rows < spec.context]
        self._need(*(f"cut{rows}_step" for rows in self._small))
        self._need(*(["observe1"] if self._small else []))
        self._layers = shares([keeper.caches for keeper in callers], spec)

    @property
    def rows(self) -> tuple[int, ...]:
        return (self._rows,) * len(self.spec.layers)

    def observe(self, tokens: Sequence[int]) -> tuple[F32, list[F32]]:
        if not self._small:
            raise Unsupported(
                "this artifact has no small cache for the rows that SnapKV keeps",
                fix="convert again with --snapkv-rows 1280, which holds 1024 of them and an answer",
            )
        self._move(self.spec.context)
        calls = self._read("observe", tokens, single="observe1")
        return calls[-1]["logits"][-1], self._votes(calls)

    def keep(self, rows: Sequence[I64]) -> None:
        size = self._fitting_cache(rows)
        self._carry(self._keepers, size, rows)
        self._change(size)
        self._rows = rows[0].shape[1]

    def fork(self, rows: Sequence[I64]) -> "FlexibleCoreMlDecoder":
        """Over the same functions."""
        size, others = self._fitting_cache(rows), [keeper.again() for keeper in self._keepers]
        self._carry(others, size, rows)
        other = copy(self)
        other._keepers = other._callers = others
        other._use(size)
        other._rows = rows[0].shape[1]
        return other

    def rewind(self, length: int) -> None:
        super().rewind(length)
        if length == 0:
            self._change(self.spec.context)

    def _read(self, kind: str, tokens: Fed, single: str = "step") -> list[Found]:
        rows = self._rows + len(tokens)
        if rows > self._size:
            self._move(next((size for size in self._small if size >= rows), self.spec.context))
        return super()._read(kind, tokens, single)

    def _append(self, name: str, tokens: Fed, length: int) -> Found:
        found = super()._append(name, tokens, length)
        queries = [output for output in found if output.startswith("queries")]
        return found | {q: np.asarray(found[q], np.float32)[0, :, : len(tokens)] for q in queries}

    def _votes(self, calls: Sequence[Found]) -> list[F32]:
        """Of each layer, from the queries of the last tokens and all keys: [H, S]."""
        out = []
        for keeper, layers in zip(self._keepers, self._layers, strict=True):
            keys = keeper.read(KEYS)[0, :, : self._rows]
            for index, heads in self._heads(layers).items():
                layer = self.spec.layers[index]
                own = keys[heads, :, : layer.head_width].astype(np.float32)
                queries = np.concatenate([_queries(call, index) for call in calls], axis=1)
                out.append(vote(queries.transpose(1, 0, 2), own, layer.scale))
        return out

    def _fitting_cache(self, rows: Sequence[I64]) -> int:
        """The smallest that holds what is kept and a token more."""
        counts = sorted({places.shape[1] for places in rows})
        if len(counts) > 1:
            raise Unsupported(
                f"layers share one table of rows on coreml, and {counts[0]} to {counts[-1]} are kept",
                fix="keep as many rows in every layer",
            )
        found = [size for size in self._small if size > counts[0]]
        if not found:
            have = ", ".join(map(str, self._small)) or "none"
            raise Unsupported(
                f"SnapKV keeps {counts[0]} rows, and this artifact's small caches hold fewer: {have}",
                fix=f"convert again with --snapkv-rows {counts[0] + ANSWER}, or give a smaller --snapkv",
            )
        return found[0]

    def _move(self, size: int) -> None:
        """What is in the cache goes on in another."""
        if size == self._size:
            return
        places = np.arange(self._rows)
        rows = [np.broadcast_to(places, (layer.kv_heads, self._rows)) for layer in self.spec.layers]
        self._carry(self._keepers, size, rows)
        self._change(size)

    def _carry(self, keepers: Sequence[Keeper], size: int, rows: Sequence[I64]) -> None:
        """Put these rows of each layer, [G, C] by kv head, at the front of another cache."""
        for old, new, layers in zip(self._keepers, keepers, self._layers, strict=True):
            for part in (KEYS, VALUES) if rows[0].shape[1] else ():
                held, name = old.read(part + self._suffix(self._size)), part + self._suffix(size)
                content = np.zeros(new.caches[name], held.dtype)
                for index, heads in self._heads(layers).items():
                    for head, places in enumerate(rows[index], heads.start):
                        content[0, head, : len(places)] = held[0, head, places]
                new.write(name, content)

    def _change(self, size: int) -> None:
        """Use another cache, and give the memory of this one back."""
        if size == self._size:
            return
        for keeper in self._keepers:
            keeper.forget(*(part + self._suffix(self._size) for part in (KEYS, VALUES)))
        self._use(size)

    def _use(self, size: int) -> None:
        self._size = size
        self._at = self._label + (f"cut{size}_" if self._suffix(size) else "")

    def _suffix(self, size: int) -> str:
        """Of the names of a cache's states."""
        return "" if size == self.spec.context else str(size)

    def _heads(self, layers: range) -> dict[int, slice]:
        """Where each layer's kv heads lie in the states of a package."""
        out, at = {}, 0
        for index in layers:
            out[index] = slice(at, at + self.spec.layers[index].kv_heads)
            at += self.spec.layers[index].kv_heads
        return out


def _queries(found: Found, index: int) -> F32:
    """Of a call's tokens, rotated: [H, T, W]."""
    if f"queries{index}" not in found:
        raise Damaged(f"observing gives no queries of layer {index}", fix=FIX)
    return found[f"queries{index}"]
