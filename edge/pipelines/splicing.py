"""A decoder whose prompt has rows of another network where a placeholder's ids stand."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edge.artifact.manifest import Artifact
from edge.decode.layerskip import SelfDrafter
from edge.decode.speculate import Speculation
from edge.errors import EdgeError, Unsupported
from edge.protocols import (
    Decoder,
    Evictable,
    Spliced,
    SplicedEvictable,
    SplicedExit,
    SplicedRoundable,
)
from edge.run.opening import open_spliced, open_spliced_exits
from edge.run.strategy import PLAIN, Strategy, decoding, rounding
from edge.spec import DecoderSpec
from edge.typing import F32, I64

PIECE = 2048  # of a prompt, whose rows are copied between those of tokens


class SplicingDecoder:
    """`edge.protocols.Decoder` over one that takes rows. `placeholder`: its id stands once for each row that
    `show` gave, in their order.
    """

    def __init__(self, decoder: Spliced, placeholder: int) -> None:
        self._decoder, self._placeholder = decoder, placeholder
        self._rows = np.zeros((0, decoder.spec.width), np.float32)
        self._shown: list[bool] = []  # of each position: whether a row stands there

    @property
    def spec(self) -> DecoderSpec:
        return self._decoder.spec

    @property
    def length(self) -> int:
        return self._decoder.length

    @property
    def capacity(self) -> int:
        return self._decoder.capacity

    def show(self, rows: F32) -> None:
        """Rows [N, D] of the sequence from here on, of which no more than `until` says was read."""
        self._rows = rows

    def until(self, rows: F32) -> int:
        """How many positions of what was read hold with these rows: the others are to be forgotten."""
        places = np.flatnonzero(self._shown)
        most = min(len(places), len(rows))
        differ = np.any(self._rows[:most] != rows[:most], axis=1)
        kept = int(differ.argmax()) if differ.any() else most
        return int(places[kept]) if kept < len(places) else self.length

    def prefill(self, tokens: Sequence[int]) -> F32:
        """Append tokens and rows -> logits of the last."""
        for at in range(0, len(tokens), PIECE):
            some = tokens[at : at + PIECE]
            rows = self._fed(some)
            logits = (
                self._decoder.prefill(some) if rows is None else self._decoder.prefill_rows(rows)
            )
        return logits

    def _fed(self, tokens: Sequence[int]) -> F32 | None:
        """What tokens and rows are before the first layer, noted as read; None: tokens alone."""
        ids, first = np.asarray(tokens, np.int64), sum(self._shown)
        places = ids == self._placeholder
        last = first + int(places.sum())
        if last > len(self._rows):
            raise EdgeError(
                f"the prompt has {last} places for rows of pictures, and there are {len(self._rows)}",
                fix="leave the placeholder's token out of the prompt",
            )
        self._shown += places.tolist()
        if last == first:
            return None
        rows = np.zeros((len(ids), self.spec.width), np.float32)
        if not places.all():
            rows[~places] = self._decoder.embed(ids[~places].tolist())
        rows[places] = self._rows[first:last]
        return rows

    def step(self, token: int) -> F32:
        self._shown.append(False)
        return self._decoder.step(token)

    def score(self, tokens: Sequence[int]) -> F32:
        self._shown += [False] * len(tokens)
        return self._decoder.score(tokens)

    def rewind(self, length: int) -> None:
        self._decoder.rewind(length)
        del self._shown[self._decoder.length :]


class SplicingEvictable(SplicingDecoder):
    """`edge.protocols.Evictable`, too: a picture's rows are forgotten as others are."""

    def __init__(self, decoder: SplicedEvictable, placeholder: int) -> None:
        super().__init__(decoder, placeholder)
        self._cache = decoder

    @property
    def rows(self) -> tuple[int, ...]:
        return self._cache.rows

    def observe(self, tokens: Sequence[int]) -> tuple[F32, list[F32]]:
        rows = self._fed(tokens)
        return self._cache.observe(tokens) if rows is None else self._cache.observe_rows(rows)

    def keep(self, rows: Sequence[I64]) -> None:
        self._cache.keep(rows)

    def fork(self, rows: Sequence[I64]) -> Evictable:
        """Of tokens alone from here on: a draft is for the answer."""
        return self._cache.fork(rows)


class SplicingRoundable(SplicingEvictable):
    """`edge.protocols.Roundable`, too."""

    def __init__(self, decoder: SplicedRoundable, placeholder: int) -> None:
        super().__init__(decoder, placeholder)
        self._rounding = decoder

    @property
    def rounded(self) -> bool:
        return self._rounding.rounded

    def round(self) -> None:
        self._rounding.round()


class SplicingExit(SplicingDecoder):
    """`edge.protocols.EarlyExit`, too: drafts are of tokens alone."""

    def __init__(self, decoder: SplicedExit, placeholder: int) -> None:
        super().__init__(decoder, placeholder)
        self._early = decoder

    def draft(self, token: int) -> F32:
        return self._early.draft(token)

    def finish(self, token: int) -> F32:
        logits = self._early.finish(token)
        self._shown += [False] * len(logits)
        return logits


def taking_rows(artifact: Artifact, strategy: Strategy, **how: Any) -> Spliced:
    """A decoder of an artifact that takes rows and can do what a strategy asks for; `how`: as
    `edge.run.opening.open_spliced` takes it.
    """
    if strategy.layerskip is not None:
        how.pop("exact")  # halves never are
        return open_spliced_exits(artifact, exit_=strategy.layerskip, **how)
    return open_spliced(artifact, rounding=strategy.kv is not None, **how)


def spliced_by(
    decoder: Spliced, placeholder: int, strategy: Strategy, target: str
) -> tuple[SplicingDecoder, Decoder | Speculation]:
    """What rows are shown to, and what decodes by it as a strategy says."""
    if replace(strategy, reference=False) == PLAIN:
        plain = SplicingDecoder(decoder, placeholder)
        return plain, plain
    if strategy.layerskip is not None:
        assert isinstance(decoder, SplicedExit), "it was opened to stop early"
        early = SplicingExit(decoder, placeholder)
        return early, Speculation(early, SelfDrafter(early), strategy.draft)
    if strategy.snapkv is not None and strategy.snapkv.purpose == "reuse":
        raise Unsupported(
            "KVzip repeats a text, and a picture is none", fix="leave out --snapkv-for reuse"
        )
    if not isinstance(decoder, SplicedEvictable):
        raise Unsupported(
            f"{target} cannot compact its cache or verify drafts with pictures as yet",
            fix="leave out --snapkv and --draft-by, or convert for onnx",
        )
    if strategy.kv is not None:
        assert isinstance(decoder, SplicedRoundable), "it was opened to be rounded"
        all_three = SplicingRoundable(decoder, placeholder)
        return all_three, rounding(all_three, strategy)
    both = SplicingEvictable(decoder, placeholder)
    return both, decoding(both, strategy)
