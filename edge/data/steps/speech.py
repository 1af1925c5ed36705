"""A recording, step by step, as what a voice learns from: its sound, the symbols of its text, how long each lasts, and
how high the voice is.
"""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edge.audio.alignment import Aligned, aligned, rounded, spread
from edge.audio.pitch import pitch
from edge.audio.prompts import spoken
from edge.audio.sound import open_sound
from edge.audio.spectra import MELS, log_mel
from edge.data.frame.step import Drop, Row
from edge.data.utterances import (
    FRAMING,
    HOP,
    MOST_FRAMES,
    SOUND,
    TEXT,
    TRAIN,
    VOICE,
    Utterance,
    packed,
)
from edge.errors import EdgeError
from edge.text.spoken.speaking import script
from edge.text.spoken.symbols import END, PAD, SPACE, START, ids, is_sound, table
from edge.text.spoken.words import Words
from edge.typing import F32

_PEAK = 0.7  # of full scale, as prompts are
_SILENT = 1e-3
_BEYOND = 10.0  # seconds of silence at the ends that are read
Hear = Callable[[F32], F32]  # log mel [T, 80] -> log-probabilities [T, V]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sounds:
    """`audio` becomes `samples`: 16 kHz, without silence at its ends, a whole number of frames, scaled to one height;
    `times` become those of frames. Seconds.
    """

    shortest: float
    longest: float

    def __call__(self, row: Row, _seed: int) -> Row | Drop:
        try:
            path, rate = Path(row.data["audio"]), FRAMING.rate
            sound = open_sound(path, rate=rate, longest=self.longest + _BEYOND, cut=True)
        except EdgeError as error:
            return Drop("unreadable sound", error.problem[:300])
        samples = sound.samples - np.float32(sound.samples.mean(dtype=np.float64))
        height = float(np.abs(samples).max(initial=0.0))
        if not height > _SILENT:
            return Drop("silent")
        times = row.data["times"]
        kept = self._kept(samples, times)
        if isinstance(kept, Drop):
            return kept
        begin = kept.start / HOP
        made = samples[kept] * np.float32(_PEAK / height)
        ends = times and [(symbol, at * FRAMING.per_second - begin) for symbol, at in times]
        return replace(row, data={**row.data, "samples": made, "times": ends})

    def _kept(self, samples: F32, times: Sequence[tuple[str, float]] | None) -> slice | Drop:
        """What is spoken: what is said to be, too, however quiet it is."""
        part = spoken(samples, FRAMING.rate)
        start, stop = part.start, part.stop
        if times:
            heard = [round(at * FRAMING.rate) for _, at in times]
            if heard[-1] > samples.size + FRAMING.rate // 10:
                return Drop("no times", f"they end {heard[-1] / FRAMING.rate:.2f} s into the sound")
            start, stop = min(start, heard[0]), max(stop, min(heard[-2], samples.size))
        frames = (stop - start) // HOP
        seconds = frames / FRAMING.per_second
        if seconds < self.shortest:
            return Drop("too short", f"{seconds:.2f} s are spoken")
        if seconds > self.longest or frames > MOST_FRAMES:
            return Drop("too long", f"{seconds:.2f} s are spoken")
        return slice(start, start + frames * HOP)


def symbols(row: Row, _seed: int) -> Row | Drop:
    """`symbols` of the text, or those that its times name: the first is START."""
    if row.data["times"]:
        given = [symbol for symbol, _ in row.data["times"]]
        known = table().ids.keys() - {PAD, END, SPACE}
        unknown = next((symbol for symbol in given if symbol not in known), None)
        if unknown is not None or given[0] != START:
            what = (
                f"{unknown!r:.40} is none" if unknown is not None else f"the first is not {START}"
            )
            return Drop("no symbols", f"of those that the times name, {what}")
        return replace(row, data={**row.data, "symbols": given})
    try:
        said = script(row.data["text"], _words())
    except EdgeError as error:
        return Drop("nothing to say", error.problem[:300])
    if said.notes:
        return Drop("other scripts", "; ".join(said.notes)[:300])
    spoken_ = [symbol for sentence in said.sentences for symbol in sentence.symbols]
    return replace(row, data={**row.data, "symbols": [START, *spoken_]})


@cache
def _words() -> Words:
    return Words()


@dataclass(frozen=True, kw_only=True, slots=True)
class Durations:
    """`frames` of each symbol: by its times; else as a recognizer `hears` them, unless it says less than `least_fit` of
    a frame in the mean (a text that is not what is said); else evenly, where that will do.
    """

    hear: Callable[[], Hear] | None
    least_fit: float
    evenly: bool

    def __call__(self, row: Row, _seed: int) -> Row | Drop:
        given, total = row.data["symbols"], row.data["samples"].size // HOP
        silent = [not is_sound(number) for number in ids(given)]
        try:
            if row.data["times"]:
                frames = rounded([end for _, end in row.data["times"]], silent, total)
            elif self.hear is not None:
                found = self._heard(row.data["samples"], given, silent)
                if found.fit < self.least_fit:
                    return Drop("not what is said", f"it fits by {found.fit:.2f}")
                frames = spread(found, silent, total)
            elif self.evenly:
                ends = np.arange(1, len(given) + 1) * (total / len(given))
                frames = rounded(ends.tolist(), silent, total)
            else:
                return Drop("no times", "give --model a recognizer, which finds them")
        except EdgeError as error:
            return Drop("too fast", error.problem[:300])
        return replace(row, data={**row.data, "frames": frames})

    def _heard(self, samples: F32, given: Sequence[str], silent: Sequence[bool]) -> Aligned:
        assert self.hear is not None
        log_probs = self.hear()(log_mel(samples, MELS["edge"]))
        sounds = [number for number, quiet in zip(ids(given), silent, strict=True) if not quiet]
        return aligned(log_probs, sounds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """Which rows are held out: those of some voices; of the others, a share of all texts, the same in every voice."""

    voices: Container[str]
    texts: float

    def of(self, voice: str, text: str) -> str:
        if voice in self.voices:
            return VOICE
        said = " ".join(text.split()).lower().encode()
        number = int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big")
        return TEXT if number < self.texts * 2**64 else TRAIN


@dataclass(frozen=True, slots=True)
class Finished:
    """The row as `edge.data.utterances` reads it, with its pitch."""

    splits: Splits

    def __call__(self, row: Row, _seed: int) -> Row | Drop:
        data = row.data
        text, voice = " ".join(data["text"].split()), data["voice"].strip()
        made, sound = packed(
            Utterance(
                text=text,
                voice=voice,
                symbols=np.array(ids(data["symbols"]), np.int64),
                frames=data["frames"],
                hertz=pitch(data["samples"], FRAMING),
                samples=data["samples"],
                exact=bool(data["times"]),
            )
        )
        found: dict[str, Any] = {**made, "split": self.splits.of(voice, text)}
        found |= {"file": row.file, SOUND: b64encode(sound).decode()}
        return replace(row, data=found)
