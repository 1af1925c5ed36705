"""Texts that become sound."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from edge.audio.sound import open_sound
from edge.audio.wav import WavWriter
from edge.errors import EdgeError
from edge.pipelines.acoustics import SEED, Delivery, Voice
from edge.pipelines.aloud import aloud
from edge.pipelines.editing import Change
from edge.pipelines.listening import LONGEST
from edge.pipelines.speech import LISTENED, Said, Speech, delivered
from edge.pipelines.utterance import Timed
from edge.text.spoken.sentences import Sentences
from edge.typing import F32


@dataclass(frozen=True, kw_only=True, slots=True)
class Saying:
    """How a text is said; None is as usual. `source`: a recording that is said again in the voice, or in which `edit`
    says what else is to be said.
    """

    voice: Path | None = None
    source: Path | None = None
    edit: str | None = None
    steps: int | None = None
    alpha: float | None = None
    speed: float | None = None
    seed: int | None = None
    takes: int = 1
    picture: Path | None = None

    def check(self) -> None:
        """Refuse what no model can follow, before one is opened: numbers beyond their bounds, no recording."""
        self.delivery(self.takes - 1)
        if self.voice is not None:
            open_sound(self.voice, longest=LISTENED, cut=True)
        if self.source is not None:
            open_sound(self.source, longest=LONGEST)
        if self.edit is not None:
            Change.of(self.edit)

    def delivery(self, take: int) -> Delivery:
        """Of a take."""
        seed = (SEED if self.seed is None else self.seed) + take
        return delivered(steps=self.steps, alpha=self.alpha, speed=self.speed, seed=seed)


def say_into(
    model: Speech, text: str | None, out: Path, saying: Saying, told: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Say a text into a WAV file, or into one for each take: what each says of itself. A file that is there is replaced
    once the new one is whole. `told` hears what was not said, and why.
    """
    found = []
    for take in range(saying.takes):
        file = numbered(out, take, saying.takes)
        said = _said(model, text, saying, take)
        with _replacing(file) as stream:
            _write(said, stream)
        for note in said.notes if not take else ():
            told(note)
        if saying.picture is not None:
            _draw(model, said, numbered(saying.picture, take, saying.takes))
        seed = saying.delivery(take).seed
        found.append({"file": str(file), "seed": seed, **report(said)})
    return found


def say_to(
    model: Speech, text: str | None, stream: BinaryIO, saying: Saying, told: Callable[[str], None]
) -> dict[str, Any]:
    """The same into a stream, each piece as soon as it is made."""
    said = _said(model, text, saying, 0)
    for note in said.notes:
        told(note)
    _write(said, stream)
    if saying.picture is not None:
        _draw(model, said, saying.picture)
    return report(said)


@dataclass(slots=True)
class Aloud:
    """A voice that says answers while they are written, each into a file. `told` hears what was not said, and why."""

    model: Speech
    saying: Saying
    out: Path
    told: Callable[[str], None]
    spoken: list[Said] = field(default_factory=list)  # of the last answer, by sentences

    def over(self, pieces: Iterable[str], turn: int | None = None) -> Iterator[str]:
        """The pieces of an answer as they come. Its sound is in the file once all of them were taken; `turn`: of a
        chat, whose files are numbered.
        """
        self.spoken, voice = [], self.model.voice(self.saying.voice)
        sentences = Sentences(self.model.dictionary.known)
        made = aloud(pieces, sentences, partial(self._say, voice), self.told)
        file = self.out if turn is None else numbered(self.out, turn, turn + 2)
        with _replacing(file) as stream, WavWriter(stream, self.model.rate) as writer:
            for one in made:
                if isinstance(one, str):
                    yield one
                else:
                    writer.write(one)

    def _say(self, voice: Voice, sentence: str) -> Iterator[F32]:
        said = self.model.say(sentence, voice, self.saying.delivery(0))
        for note in said.notes:
            self.told(note)
        self.spoken.append(said)
        return iter(said)

    def report(self) -> dict[str, Any]:
        """What is known of the sound of the last answer."""
        seconds = sum(said.seconds for said in self.spoken)
        busy = sum(said.busy_seconds for said in self.spoken)
        first = self.spoken[0].first_sound_seconds if self.spoken else None
        return {
            "file": str(self.out),
            "seconds": seconds,
            "rtf": busy / seconds if seconds else 0.0,
            "first_sound_seconds": first,
            "phonemes": [asdict(one) for one in self._in_all("phonemes")],
            "words": [asdict(one) for one in self._in_all("words")],
        }

    def _in_all(self, what: str) -> Iterator[Timed]:
        after = 0.0
        for said in self.spoken:
            for one in getattr(said, what):
                yield replace(one, start=one.start + after, end=one.end + after)
            after += said.seconds


def report(said: Said) -> dict[str, Any]:
    """What is known of speech that was made."""
    return {
        "seconds": said.seconds,
        "rtf": said.rtf,
        "first_sound_seconds": said.first_sound_seconds,
        "phonemes": [asdict(one) for one in said.phonemes],
        "words": [asdict(one) for one in said.words],
        "notes": list(said.notes),
    }


def numbered(file: Path, take: int, takes: int) -> Path:
    return file if takes == 1 else file.with_name(f"{file.stem}-{take + 1}{file.suffix}")


@contextmanager
def _replacing(file: Path) -> Iterator[BinaryIO]:
    """A stream whose content is the file's once it is whole."""
    beside = file.with_name(f".{file.name}.partial")
    try:
        with beside.open("wb") as stream:
            yield stream
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _said(model: Speech, text: str | None, saying: Saying, take: int) -> Said:
    delivery = saying.delivery(take)
    if saying.source is None:
        assert text is not None, "there is something to say"
        return model.say(text, saying.voice, delivery)
    if saying.edit is None:
        return model.say_again(saying.source, saying.voice, delivery, text=text)
    assert text is not None, "an edit is of a text"
    return model.say_changed(saying.source, text, saying.edit, saying.voice, delivery)


def _write(said: Said, stream: BinaryIO) -> None:
    with WavWriter(stream, said.rate) as writer:
        for piece in said:
            writer.write(piece)
            stream.flush()


def _draw(model: Speech, said: Said, file: Path) -> None:
    from edge.measure.spectrogram import svg

    try:
        file.write_text(svg(said.samples, model.mel, said.phonemes, said.words), encoding="utf-8")
    except EdgeError as error:
        error.say(f"no {file}: {error.problem}", fix=error.fix)
        raise
