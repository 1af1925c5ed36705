"""Voices that clients may ask for: by names that the server gave recordings of its own, or as a recording in the
request itself. A client never names a file.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field, model_validator

from edge.audio.sound import Sound, open_sound
from edge.errors import EdgeError
from edge.serve.dataurls import content_of
from edge.serve.fields import FieldError, Strict
from edge.typing import F32

DEFAULT, SENT = "default", "sent"
# Programs have these built in, and they are nobody's here: the default voice answers to them.
OPENAI = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
    *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
)
LISTENED = 20.0  # seconds of a recording in a request
URL = 4 << 20  # characters of it
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Timed(Protocol):
    """What is said from when to when, in seconds."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...


class Said(Protocol):
    """Speech as it is made: samples, [n] at `rate` Hz. What is known of a part is there once that was made."""

    @property
    def rate(self) -> int: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def phonemes(self) -> Sequence[Timed]: ...
    @property
    def words(self) -> Sequence[Timed]: ...

    def __iter__(self) -> Iterator[F32]: ...


class Dictionary(Protocol):
    """How words are said."""

    def known(self, word: str, /) -> bool: ...


class Speaker(Protocol):
    """What is needed of a model that speaks. `rate`: samples a second."""

    @property
    def rate(self) -> int: ...
    @property
    def dictionary(self) -> Dictionary: ...

    def voice(self, recording: Any = None, /) -> Any:
        """What it makes of a recording; of none: its own."""
        ...

    def speak(
        self,
        text: str,
        *,
        voice: Any,
        steps: int | None,
        alpha: float | None,
        speed: float | None,
        seed: int | None,
    ) -> Said: ...


class VoiceAsk(Strict):
    """A voice by its name, as text or as `id`; or `audio`, a recording of it."""

    id: str | None = Field(default=None, max_length=64)
    audio: str | None = Field(default=None, max_length=URL)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return {"id": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self) -> "VoiceAsk":
        if (self.id is None) == (self.audio is None):
            raise ValueError("a voice is a name, or a recording as audio")
        return self


@dataclass(frozen=True, slots=True)
class Recordings:
    """What each name stands for, as the model keeps it; `DEFAULT` is among them."""

    voices: Mapping[str, Any]

    @classmethod
    def of(cls, speaker: Speaker, files: Mapping[str, Path]) -> "Recordings":
        """Listen to each once. Where a model has no voice of its own, the first one is the default."""
        named = {name: speaker.voice(file) for name, file in files.items()}
        try:
            own = speaker.voice()
        except EdgeError:
            if not named:
                raise
            own = next(iter(named.values()))
        return cls({DEFAULT: own, **named})

    def name(self, asked: str) -> str:
        """Which voice speaks where this one is asked for."""
        if asked in self.voices:
            return asked
        if asked in OPENAI:
            return DEFAULT
        known = ", ".join(self.voices)
        raise FieldError(
            "voice", f"there is no voice {asked!r} here", fix=f"ask for one of: {known}"
        )


def check(files: Mapping[str, Path]) -> None:
    """Refuse names that are none, and recordings that are not there, before a model is opened for them."""
    for name, file in files.items():
        if not _NAME.fullmatch(name) or name == DEFAULT:
            raise EdgeError(
                f"a voice cannot be called {name!r:.70}",
                fix=f"letters, digits, _, . and -, and not {DEFAULT}",
            )
        open_sound(file, longest=LISTENED, cut=True)


def recording(asked: VoiceAsk) -> Sound:
    """The one that a request holds."""
    content = content_of(asked.audio or "", "audio", field="voice", what="the recording")
    try:
        return open_sound(content, longest=LISTENED, cut=True)
    except EdgeError as error:
        raise FieldError("voice", error.problem, fix=error.fix) from None


@dataclass(frozen=True, slots=True)
class Voiced:
    """A voice as a request names it: which one speaks, and where its own recording is listened to."""

    name: str
    voice: Callable[[], Any]  # on the models' thread


def voiced(asked: VoiceAsk, speaker: Speaker, known: Recordings) -> Voiced:
    if asked.id is not None:
        name = known.name(asked.id)
        return Voiced(name, lambda: known.voices[name])
    sound = recording(asked)

    def heard() -> Any:
        try:
            return speaker.voice(sound)
        except EdgeError as error:
            raise FieldError("voice", error.problem, fix=error.fix) from None

    return Voiced(SENT, heard)
