"""A speaker for tests of what is around one: a word is a tone, which anyone can tell again."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge.audio.sound import Sound, open_sound
from edge.errors import EdgeError
from edge.system.cancellation import go_on
from edge.typing import F32

RATE = 16_000
WORD = 0.05  # seconds, at speed 1


@dataclass
class Timed:
    """A word, and when."""

    text: str
    start: float
    end: float


@dataclass
class Said:
    """Tones as they are made."""

    speaker: "Parrot"
    texts: list[str]
    hertz: float
    seconds: float
    rate: int = RATE
    notes: tuple[str, ...] = ()
    phonemes: list[Timed] = field(default_factory=list)
    words: list[Timed] = field(default_factory=list)

    def __iter__(self) -> Iterator[F32]:
        for i, text in enumerate(self.texts):
            time.sleep(self.speaker.slow)
            go_on()
            if text == "broken":
                raise EdgeError("it breaks", fix="say something else")
            self.speaker.made += 1
            one = Timed(text, i * self.seconds, (i + 1) * self.seconds)
            self.words.append(one)
            self.phonemes += [one] * len(text)
            yield tone(self.hertz + 10 * len(text), self.seconds)


@dataclass
class Parrot:
    """`slow`: seconds that a word takes to make. It speaks at 200 Hz, and at others as loud as a recording is."""

    slow: float = 0.0
    own: bool = True
    rate: int = RATE
    made: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)

    @property
    def dictionary(self) -> "Parrot":
        return self

    def known(self, word: str, /) -> bool:
        return word.islower()

    def voice(self, recording: Any = None, /) -> float:
        if recording is None:
            if not self.own:
                raise EdgeError("this model has no voice of its own", fix="give one: --voice")
            return 200.0
        sound = recording if isinstance(recording, Sound) else open_sound(Path(recording))
        loud = float(np.abs(sound.samples).max())
        if loud < 1e-3:
            raise EdgeError("the voice to imitate is silent", fix="record it again")
        return 200.0 + 1000 * round(loud, 1)

    def speak(self, text: str, *, voice: Any, **how: Any) -> Said:
        self.asked.append({"text": text, "voice": voice, **how})
        words = [word for word in text.split() if word.isascii()]
        if not words:
            raise EdgeError("the text has nothing to say", fix="write English words or numbers")
        silent = [word for word in text.split() if not word.isascii()]
        notes = tuple(f"not spoken: {word}" for word in silent)
        return Said(self, words, voice, WORD / (how["speed"] or 1.0), notes=notes)


def tone(hertz: float, seconds: float = WORD) -> F32:
    at = np.arange(round(seconds * RATE)) / RATE
    sound: F32 = (0.5 * np.sin(2 * np.pi * hertz * at)).astype(np.float32)
    return sound


def heard(text: str, hertz: float = 200.0, speed: float = 1.0) -> F32:
    """What a text sounds like."""
    return np.concatenate([tone(hertz + 10 * len(word), WORD / speed) for word in text.split()])
