"""A text as sound: what a client may ask of it, and how it is made."""

import base64
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from edge.audio.encoding import Encoder, refuse_unwritten
from edge.errors import EdgeError
from edge.serve.answers import Json
from edge.serve.engine import Making
from edge.serve.fields import FieldError, Only, Strict
from edge.serve.recordings import (
    DEFAULT,
    Recordings,
    Said,
    Speaker,
    Timed,
    VoiceAsk,
    Voiced,
    voiced,
)
from edge.system.cancellation import go_on

LONGEST = 4096  # characters of a text, as OpenAI's
_EACH = 100  # what is called tokens of sound, a second
_FORM = (
    "instructions are not followed here: speed, alpha, and SSML's prosody and break in the text are"
)


class SpeechAsk(Strict):
    """What is said, and how."""

    model: str = Field(max_length=256)
    input: str = Field(max_length=LONGEST)
    voice: VoiceAsk = VoiceAsk(id=DEFAULT)
    response_format: str = Field(default="mp3", max_length=64)
    speed: float | None = Field(default=None, ge=0.25, le=4)
    stream_format: Literal["audio", "sse"] = "audio"
    instructions: Annotated[Any, Only("", instead=_FORM)] = None
    stream: bool = True
    steps: int | None = Field(default=None, ge=1, le=64)
    alpha: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = Field(default=None, ge=0, lt=1 << 63)

    @field_validator("speed", "alpha", mode="before")
    @classmethod
    def _float(cls, value: object) -> object:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _streamed(self) -> "SpeechAsk":
        if self.stream_format == "sse" and not self.stream:
            raise ValueError("events come while sound is made: leave out stream, or stream_format")
        return self

    def manner(self) -> Json:
        """How it is said, as a `Speaker` takes it."""
        return {name: getattr(self, name) for name in ("steps", "alpha", "speed", "seed")}


def refuse_format(name: str, field: str) -> None:
    try:
        refuse_unwritten(name)
    except EdgeError as error:
        raise FieldError(field, error.problem, fix=error.fix) from None


class Speech(Making[bytes]):
    """The bytes of a file, as they are made."""

    def __init__(self, speaker: Speaker, known: Recordings, ask: SpeechAsk) -> None:
        self._speaker, self._known, self._ask = speaker, known, ask
        self._voiced: Voiced | None = None
        self._said: Said | None = None
        self._samples = 0

    def prepare(self) -> None:
        refuse_format(self._ask.response_format, "response_format")
        self._voiced = voiced(self._ask.voice, self._speaker, self._known)

    @property
    def voice(self) -> str:
        """Who speaks."""
        return self._voiced.name if self._voiced else ""

    def __iter__(self) -> Iterator[bytes]:
        assert self._voiced is not None
        voice = self._voiced.voice()
        said = self._speaker.speak(self._ask.input, voice=voice, **self._ask.manner())
        self._said = said
        encoder = Encoder(self._ask.response_format, said.rate, whole=not self._ask.stream)
        try:
            for samples in said:
                self._samples += samples.size
                if piece := encoder.write(samples):
                    yield piece
                go_on()
            if piece := encoder.close():
                yield piece
        finally:
            encoder.close()

    def forget(self) -> None:
        if self.late:
            raise EdgeError("the time is up before all of it is said", fix="ask for less at a time")

    def done(self) -> Json:
        """What is known once all of it is made."""
        said = self._said
        assert said is not None
        heard, made = len(said.phonemes), round(_EACH * self._samples / said.rate)
        usage = {"input_tokens": heard, "output_tokens": made, "total_tokens": heard + made}
        return {"usage": usage, "words": list(map(_timed, said.words)), "notes": list(said.notes)}


async def deltas(speech: Speech, made: AsyncIterator[bytes]) -> AsyncIterator[Json]:
    """Events of OpenAI's API."""
    async for piece in made:
        yield {"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()}
    yield {"type": "speech.audio.done", **speech.done()}


def _timed(one: Timed) -> Json:
    return {"text": one.text, "start": one.start, "end": one.end}
