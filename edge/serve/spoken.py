"""A chat's answer that is said while it is written, as OpenAI's API has it: `modalities` of text and audio."""

import base64
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from edge.audio.encoding import Encoder
from edge.pipelines.aloud import aloud
from edge.serve.answers import CHAT, Form, Json
from edge.serve.recordings import Recordings, Speaker, Voiced, voiced
from edge.serve.replies import Asked, Piece, Replies, Reply
from edge.serve.requests import AudioAsk
from edge.serve.speeches import refuse_format
from edge.text.spoken.sentences import Sentences


class SpokenReply(Reply):
    """Pieces of text, and after those that make a sentence whole its sound. `whole`: all sound comes at the end."""

    def __init__(
        self,
        model: Replies,
        ask: Callable[[], Asked],
        audio: AudioAsk,
        speaker: Speaker,
        known: Recordings,
        *,
        whole: bool,
    ) -> None:
        super().__init__(model, ask)
        self._audio, self._speaker, self._known, self._whole = audio, speaker, known, whole
        self._voiced: Voiced | None = None

    def prepare(self) -> None:
        refuse_format(self._audio.encoding, "audio.format")
        self._voiced = voiced(self._audio.voice, self._speaker, self._known)
        super().prepare()

    def __iter__(self) -> Iterator[Piece]:
        assert self._voiced is not None
        speaker, voice = self._speaker, self._voiced.voice()
        say = partial(speaker.speak, voice=voice, steps=None, alpha=None, speed=None, seed=None)
        encoder = Encoder(self._audio.encoding, speaker.rate, whole=self._whole)
        try:
            for one in aloud(self.texts(), Sentences(speaker.dictionary.known), say):
                if piece := one if isinstance(one, str) else encoder.write(one):
                    yield piece
            yield encoder.close()
        finally:
            encoder.close()


def form() -> Form:
    """How such an answer is written."""
    name = "audio_" + secrets.token_hex(12)

    def message(text: str, sound: bytes) -> Json:
        data = base64.b64encode(sound).decode()
        audio = {"id": name, "data": data, "expires_at": int(time.time()), "transcript": text}
        said = {"role": "assistant", "content": None, "refusal": None}
        return {"message": {**said, "audio": audio}}

    def delta(piece: Piece) -> Json:
        if not piece:  # sound is not kept here
            return {"delta": {"audio": {"id": name, "expires_at": int(time.time())}}}
        if isinstance(piece, str):
            return {"delta": {"audio": {"id": name, "transcript": piece}}}
        return {"delta": {"audio": {"id": name, "data": base64.b64encode(piece).decode()}}}

    return replace(CHAT, message=message, delta=delta)
