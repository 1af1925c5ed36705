"""What FlashSpeech learns from: pieces of prepared speech, each beside a prompt of the same voice.

A prompt is cut from another utterance of the voice where there is one, else from another part of the same, as the
paper's random split has it (arXiv 2404.14700). Which piece, which prompt and which noise an example has depends on the
seed, the step and its number in the batch alone, so that any number of processes makes the same.

B examples, P symbols, T frames, R prompt frames, C channels.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edge.audio.alignment import by_frame
from edge.data.utterances import Utterance, Utterances
from edge.errors import EdgeError
from edge.train.speech.recipe import UtterancesTable
from edge.typing import F32, I64

LEAST = 16  # frames of a piece, and of a prompt: a fifth of a second
_WINDOW = 32  # batches of which one has utterances of about one length
_KEPT = 4096  # latents that are kept in memory: what a few hours of speech are


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """symbols, frames [P]; log_pitch [T], log(1 + Hz); latent [T, C]; prompt [R, C]."""

    symbols: I64
    frames: I64
    log_pitch: F32
    latent: F32
    prompt: F32


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Examples of any lengths, zero where there is nothing: phonemes, durations [B, P], alignment, log_pitch [B, T],
    latent [B, T, C], prompt [B, R, C], and of each kind a mask [B, …].
    """

    phonemes: I64
    phoneme_mask: F32
    durations: F32
    alignment: I64
    frame_mask: F32
    log_pitch: F32
    latent: F32
    prompt: F32
    prompt_mask: F32


class Examples:
    """`latent`: how a row's mel bands become its latent."""

    def __init__(
        self,
        rows: Utterances,
        table: UtterancesTable,
        seed: int,
        latent: Callable[[F32], F32],
    ) -> None:
        self._rows, self._table, self._seed = rows, table, seed
        self._latent = lru_cache(maxsize=_KEPT)(lambda row: latent(rows[row].mel()))
        self._of_voice: dict[str, list[int]] = defaultdict(list)
        for row, voice in enumerate(rows.voices):
            if rows.lengths[row] >= LEAST:
                self._of_voice[voice].append(row)
        self.usable = usable(rows)
        self.voices = len(self._of_voice)
        self._batches = lru_cache(maxsize=2)(self._epoch)

    def batch(self, step: int) -> list[int]:
        """The rows of one: about as long as each other, and in an epoch each once."""
        each = max(1, len(self.usable) // self._table.batch)
        return self._batches(step // each)[step % each]

    def take(self, step: int, numbers: Iterable[int]) -> Batch:
        """Some of a step's examples."""
        rows = self.batch(step)
        return padded([self.example(rows[n], self.rng(step, n)) for n in numbers])

    def rng(self, step: int, number: int, kind: int = 0) -> np.random.Generator:
        """What decides one example of a step; of another `kind`: its noise."""
        return np.random.default_rng((self._seed, step, number, kind))

    def example(self, row: int, rng: np.random.Generator) -> Example:
        one, table = self._rows[row], self._table
        latent, others = self._latent(row), self._others(row)
        wanted = int(rng.integers(table.prompt_least, table.prompt_most + 1))
        if others:
            other = self._latent(others[int(rng.integers(len(others)))])
            first, last = piece(one.frames, table.crop, rng)
            prompt = cut(other, wanted, rng)
        else:
            first, last, prompt = self._split(one, latent, wanted, rng)
        ends = np.concatenate([[0], np.cumsum(one.frames)])
        start, stop = int(ends[first]), min(int(ends[last]), int(ends[first]) + table.crop)
        frames = one.frames[first:last].copy()
        frames[-1] -= int(ends[last]) - stop
        return Example(
            symbols=one.symbols[first:last],
            frames=frames,
            log_pitch=np.log1p(one.hertz[start:stop]),
            latent=latent[start:stop],
            prompt=prompt,
        )

    def _others(self, row: int) -> list[int]:
        return [other for other in self._of_voice[self._rows.voices[row]] if other != row]

    def _split(
        self, one: Utterance, latent: F32, wanted: int, rng: np.random.Generator
    ) -> tuple[int, int, F32]:
        """One end of an utterance is the prompt, the other what is said."""
        ends = np.cumsum(one.frames)
        total = int(ends[-1])
        inner = [int(end) for end in ends[:-1] if LEAST <= end <= total - LEAST]
        at = inner[int(rng.integers(len(inner)))] if inner else 0
        parted = int(np.searchsorted(ends, at)) + 1
        if not inner:  # nothing to part it at: it imitates itself
            return (*piece(one.frames, self._table.crop, rng), cut(latent, wanted, rng))
        if rng.random() < 0.5:
            first, last = piece(one.frames[parted:], self._table.crop, rng)
            return first + parted, last + parted, cut(latent[:at], wanted, rng)
        return (*piece(one.frames[:parted], self._table.crop, rng), cut(latent[at:], wanted, rng))

    def _epoch(self, number: int) -> list[list[int]]:
        rng = np.random.default_rng((self._seed, number))
        each, order = self._table.batch, rng.permutation(self.usable).tolist()
        while len(order) < each:  # a handful of utterances are said again within one batch
            order += rng.permutation(self.usable).tolist()
        batches: list[list[int]] = []
        for start in range(0, len(order) - each + 1, each * _WINDOW):
            window = sorted(order[start : start + each * _WINDOW], key=self._length)
            batches += [window[i : i + each] for i in range(0, len(window) - each + 1, each)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def _length(self, row: int) -> int:
        return int(self._rows.lengths[row])


def usable(rows: Utterances) -> list[int]:
    """Those long enough to be learned from; refuses a set that has none."""
    found = [row for row, length in enumerate(rows.lengths) if length >= LEAST]
    if not found:
        raise EdgeError(
            f"no utterance lasts {LEAST / 80:.1f} seconds or more, and a voice is heard in no less",
            fix="prepare longer ones",
        )
    return found


def piece(frames: I64, most: int, rng: np.random.Generator) -> tuple[int, int]:
    """The first symbol, and the one after the last, of a run that lasts so many frames at most: all, if they fit. One
    symbol alone may last longer.
    """
    ends = np.concatenate([[0], np.cumsum(frames)])
    if ends[-1] <= most:
        return 0, len(frames)
    starts = np.flatnonzero(ends[:-1] <= ends[-1] - most)
    first = int(starts[int(rng.integers(len(starts)))])
    last = int(np.searchsorted(ends, ends[first] + most, side="right")) - 1
    return first, max(int(np.searchsorted(ends, ends[first], side="right")), last)


def cut(latent: F32, wanted: int, rng: np.random.Generator) -> F32:
    """So many frames of it, from anywhere: all, if it has no more."""
    start = int(rng.integers(max(0, len(latent) - wanted) + 1))
    return latent[start : start + wanted]


def padded(examples: Sequence[Example]) -> Batch:
    return Batch(
        phonemes=_filled([one.symbols for one in examples]).astype(np.int64),
        phoneme_mask=_masks([len(one.symbols) for one in examples]),
        durations=_filled([one.frames.astype(np.float32) for one in examples]),
        alignment=_filled([by_frame(one.frames) for one in examples]).astype(np.int64),
        frame_mask=_masks([len(one.latent) for one in examples]),
        log_pitch=_filled([one.log_pitch for one in examples]),
        latent=_filled([one.latent for one in examples]),
        prompt=_filled([one.prompt for one in examples]),
        prompt_mask=_masks([len(one.prompt) for one in examples]),
    )


def _filled(arrays: Sequence[F32] | Sequence[I64]) -> F32:
    longest = max(map(len, arrays))
    return np.stack(
        [np.pad(a, [(0, longest - len(a))] + [(0, 0)] * (a.ndim - 1)) for a in arrays]
    ).astype(np.float32)


def _masks(lengths: Sequence[int]) -> F32:
    return (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.float32)
