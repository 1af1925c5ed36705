"""Prepared speech that is made up: whistles in place of phonemes, so that what is learned can be heard in numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.data.utterances import HOP, TRAIN, Utterance, write
from edge.text.spoken.symbols import START, ids

RATE = 16_000


def whistled(rng: np.random.Generator, voice: str, count: int = 8) -> Utterance:
    """Each symbol is a sine of its own over the voice's pitch, and none follows itself; silence comes before, and the
    mark at the end is it.
    """
    sounds = ids(["i", "ɑ", "s", "m", "n", "t", "ˈoʊ"])
    places = np.cumsum(rng.integers(1, len(sounds), count)) % len(sounds)
    symbols = np.array([*ids([START]), *(sounds[at] for at in places), *ids(["."])])
    frames = rng.integers(3, 9, symbols.size)
    pitch = 100.0 + 20.0 * (sum(map(ord, voice)) % 7)
    heard = np.array([symbol not in ids([START, "."]) for symbol in symbols])
    hertz = np.repeat(np.where(heard, pitch, 0.0), frames).astype(np.float32)
    tones = np.repeat(np.where(heard, 300.0 + 50.0 * symbols, 0.0), frames * HOP)
    voiced = np.repeat(hertz, HOP)
    sound = sum(0.2 * np.sin(2 * np.pi * np.cumsum(tone) / RATE) for tone in (tones, voiced))
    return Utterance(
        text="Whistled.",
        voice=voice,
        symbols=symbols,
        frames=frames,
        hertz=hertz,
        samples=(sound + 1e-3 * rng.standard_normal(tones.size)).astype(np.float32),
    )


def prepared(
    folder: Path, *, voices: Sequence[str] = ("ann", "bob"), each: int = 4, seed: int = 0
) -> Path:
    """A folder of so many utterances of each voice to learn from, and one more that is held out."""
    rng = np.random.default_rng(seed)
    made = [whistled(rng, voice) for voice in voices for _ in range(each + 1)]
    splits = ([TRAIN] * each + ["text"]) * len(voices)
    write(folder, made, splits)
    return folder
