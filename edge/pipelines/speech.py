"""A voice that speaks: a text and a few seconds of anyone become sound in that voice, sentence by sentence, with when
each phoneme and word is said (FlashSpeech, arXiv 2404.14700).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edge import targets
from edge.artifact.manifest import Artifact
from edge.artifact.pipeline import PipelineArtifact
from edge.audio.sound import Sound, open_sound
from edge.audio.spectra import MELS
from edge.errors import Damaged, EdgeError
from edge.families.edge_speech import SYMBOLS, VOICE
from edge.files.config import Config
from edge.nn.speech.phoneme_encoder import PhonemeSpec
from edge.nn.speech.vocos import VocosSpec
from edge.pipelines.acoustics import Acoustics, Delivery, Latent, Line, Noise, Prosody, Voice
from edge.pipelines.editing import Change, cut, edited
from edge.pipelines.editing import Words as TextWords
from edge.pipelines.listening import LONGEST as LONGEST_TALK
from edge.pipelines.listening import Heard, Listener, Spelled
from edge.pipelines.remembered import Remembered
from edge.pipelines.revoicing import said_again
from edge.pipelines.utterance import Laid, Timed, laid, sounds, timed
from edge.protocols import Net
from edge.run.opening import open_net
from edge.run.padded import PaddedNet
from edge.run.strategy import PLAIN, Strategy
from edge.text.spoken.speaking import LONGEST, Script, Sentence, Spoken, script
from edge.text.spoken.symbols import START, ids, table
from edge.text.spoken.words import Words
from edge.typing import F32

FAMILY = "edge_speech"
LISTENER = "recognizer"  # the network that no speech takes
LISTENED = 60.0  # seconds of a recording of a voice, of which the best begin is taken
VOICES = 64 << 20  # bytes of voices that are remembered
Recording = Path | str | bytes | Sound | Voice


@dataclass(slots=True)
class Said:
    """Speech as it is made: iterate over its samples, [n] at `rate` Hz, or take all of them. What is known of a part is
    there once that was made: `phonemes` and `words` with their seconds. `notes`: what was not said, and why.
    """

    rate: int
    notes: tuple[str, ...]
    _pieces: Iterator[F32]
    _made: list[F32] = field(default_factory=list)
    phonemes: list[Timed] = field(default_factory=list)
    words: list[Timed] = field(default_factory=list)
    first_sound_seconds: float | None = None  # from the text to the first samples
    busy_seconds: float = 0.0  # that making took

    def __iter__(self) -> Iterator[F32]:
        yield from self._made
        while True:
            begun = perf_counter()
            piece = next(self._pieces, None)
            self.busy_seconds += perf_counter() - begun
            if piece is None:
                return
            if self.first_sound_seconds is None:
                self.first_sound_seconds = self.busy_seconds
            self._made.append(piece)
            yield piece

    @property
    def samples(self) -> F32:
        """All of them: [N]."""
        for _ in self:
            pass
        return np.concatenate([np.zeros(0, np.float32), *self._made])

    @property
    def seconds(self) -> float:
        """Of what was made up to here."""
        return sum(piece.size for piece in self._made) / self.rate

    @property
    def rtf(self) -> float:
        """How long making took, of how long it sounds."""
        return self.busy_seconds / self.seconds if self.seconds else 0.0


class Speech:
    """A loaded pipeline. `nets`: by the names of `edge.families.edge_speech`; `folder`: where a voice may lie."""

    def __init__(self, nets: Mapping[str, Net], settings: Config, folder: Path) -> None:
        latent = settings.table("latent")
        if latent is None or settings.text("mel") not in MELS:
            raise Damaged(f"{settings.where} does not say what its latent is", fix="convert again")
        self.mel = MELS[settings.text("mel")]
        numbers = Latent(mean=latent.number("mean", low=-1e3), scale=latent.number("scale"))
        self.acoustics = Acoustics(nets, numbers, self.mel)
        _fitting(nets, self.acoustics, str(folder))
        self.nets, self.folder = nets, folder
        self._voices = Remembered[Voice](VOICES)

    @cached_property
    def dictionary(self) -> Words:
        """How words are said: read when it is first needed."""
        return Words()

    @property
    def rate(self) -> int:
        return self.mel.framing.rate

    def voice(self, recording: Recording | None = None) -> Voice:
        """A voice from a recording of it: a file, its bytes or a sound; None: the one that the model has. The same
        recording is listened to once.
        """
        if isinstance(recording, Voice):
            return recording
        if recording is None:
            recording = self.folder / VOICE
            if not recording.is_file():
                raise EdgeError(
                    "this model has no voice of its own", fix="give a recording: --voice me.wav"
                )
        if isinstance(recording, str):
            recording = Path(recording)
        sound = recording
        if not isinstance(sound, Sound):
            sound = open_sound(sound, longest=LISTENED, cut=True)
        content = (f"{sound.rate} {sound.notes}".encode(), np.ascontiguousarray(sound.samples).data)
        return self._voices.get(content, lambda: self.acoustics.voice(sound))

    def speak(
        self,
        text: str,
        *,
        voice: Recording | None = None,
        steps: int | None = None,
        alpha: float | None = None,
        speed: float | None = None,
        seed: int | None = None,
    ) -> Said:
        """Say a text in a voice. What cannot be said or imitated is refused at once, before any sound."""
        return self.say(text, voice, delivered(steps=steps, alpha=alpha, speed=speed, seed=seed))

    def say(self, text: str, voice: Recording | None, delivery: Delivery) -> Said:
        """The same."""
        self.acoustics.alpha(delivery.alpha)
        words, imitated = self.dictionary, self.voice(voice)
        begun = perf_counter()
        said = script(text, words, longest=min(LONGEST, max(16, int(LONGEST * delivery.speed))))
        notes = (*imitated.notes, *said.notes)
        out = Said(rate=self.rate, notes=notes, _pieces=iter(()))
        out._pieces = self._spoken(said, imitated, delivery, out)
        out.busy_seconds = perf_counter() - begun
        return out

    def revoice(
        self,
        recording: Recording,
        *,
        voice: Recording | None = None,
        text: str | None = None,
        steps: int | None = None,
        seed: int | None = None,
    ) -> Said:
        """What a recording says, in another voice, as long and as high as there; `text`: what it says, if known."""
        return self.say_again(
            recording, voice, delivered(steps=steps, seed=seed, alpha=0.0), text=text
        )

    def say_again(
        self, recording: Recording, voice: Recording | None, delivery: Delivery, *, text: str | None
    ) -> Said:
        """The same."""
        listener, imitated = self._listener("say again what a recording says"), self.voice(voice)
        script_of = None if text is None else script(text, self.dictionary)
        begun = perf_counter()
        sound = _sound(recording, LONGEST_TALK)
        heard = listener.heard(sound)
        if script_of is None:
            spelled, words = listener.read(heard.bands), None
        else:
            words = TextWords.of(script_of)
            frames = listener.aligned(heard.bands, words.symbols)
            spelled = Spelled(symbols=words.symbols, frames=frames)
        out = self._made((*imitated.notes, *sound.notes), begun)
        out._pieces = self._said_again(heard, spelled, imitated, delivery, out)
        self._time(out, spelled, words)
        return out

    def _said_again(
        self, heard: Heard, spelled: Spelled, voice: Voice, delivery: Delivery, out: Said
    ) -> Iterator[F32]:
        for _, frames, bands in said_again(self.acoustics, heard, spelled, voice, delivery):
            whole = laid(bands, frames, {}, float(np.log(self.mel.floor)))
            yield from sounds(self.nets["vocoder"], whole, self.mel)

    def edit(
        self,
        recording: Recording,
        text: str,
        change: str | Change,
        *,
        voice: Recording | None = None,
        steps: int | None = None,
        alpha: float | None = None,
        seed: int | None = None,
    ) -> Said:
        """A recording of a text with other words in it: "old words=>new words". In its own voice, if none is given."""
        delivery = delivered(steps=steps, alpha=alpha, seed=seed)
        return self.say_changed(recording, text, change, voice, delivery)

    def say_changed(
        self,
        recording: Recording,
        text: str,
        change: str | Change,
        voice: Recording | None,
        delivery: Delivery,
    ) -> Said:
        """The same."""
        listener = self._listener("change what a recording says")
        self.acoustics.alpha(delivery.alpha)
        change = change if isinstance(change, Change) else Change.of(change)
        old, new = (TextWords.of(script(one, self.dictionary)) for one in (text, change.made(text)))
        begun, sound = perf_counter(), _sound(recording, LONGEST_TALK)
        heard = listener.heard(sound)
        imitated = self.voice(sound if voice is None else voice)
        frames = listener.aligned(heard.bands, old.symbols)
        made, whole = edited(
            self.acoustics, heard, frames, (cut(old, new), new.symbols), imitated, delivery
        )
        out = self._made(sound.notes, begun)
        out._pieces = iter([made])
        self._time(out, Spelled(symbols=new.symbols, frames=whole), new)
        return out

    def _listener(self, to: str) -> Listener:
        if LISTENER not in self.nets:
            raise EdgeError(
                f"this voice has no network that listens, which it takes to {to}",
                fix="leave out --from and --edit, or take a model that has one",
            )
        return Listener(self.nets[LISTENER], self.mel)

    def _made(self, notes: tuple[str, ...], begun: float) -> Said:
        out = Said(rate=self.rate, notes=tuple(dict.fromkeys(notes)), _pieces=iter(()))
        out.busy_seconds = perf_counter() - begun
        return out

    def _time(self, out: Said, spelled: Spelled, words: "TextWords | None") -> None:
        """When each symbol and word is said, of what is known before it is made."""
        stops = np.cumsum(spelled.frames)
        line = Laid(
            bands=np.zeros((0, 0), np.float32),
            heard=np.zeros(0, np.float32),
            ends=np.stack([stops - spelled.frames, stops], 1),
        )
        every = [table().symbols[symbol] for symbol in spelled.symbols[1:]]
        spans = [(i + 1, i + 2) for i in range(len(every))]
        out.phonemes += timed(every, spans, line, 0.0, self.mel)
        if words is not None:
            spans = [(word.first, word.last) for word in words.words]
            out.words += timed([word.text for word in words.words], spans, line, 0.0, self.mel)

    def _spoken(self, said: Script, voice: Voice, delivery: Delivery, out: Said) -> Iterator[F32]:
        after = 0.0
        for sentence, prosody, noises in self._lines(said.sentences, voice, delivery):
            bands = self.acoustics.bands(prosody, voice, delivery, noises)
            each = self.mel.framing.per_second
            pauses = {place + 1: round(s * each) for place, s in sentence.pauses.items()}
            whole = laid(bands, prosody.frames, pauses, float(np.log(self.mel.floor)))
            out.phonemes += self._phonemes(sentence, whole, after)
            out.words += self._words(sentence, whole, after)
            yield from sounds(self.nets["vocoder"], whole, self.mel)
            after += len(whole.bands) / each

    def _lines(
        self, sentences: Sequence[Sentence], voice: Voice, delivery: Delivery
    ) -> Iterator[tuple[Sentence, Prosody, Noise]]:
        """What is made at once: a sentence, or where it would last too long, its halves."""
        acoustics, waiting, number = self.acoustics, list(sentences)[::-1], 0
        while waiting:
            sentence = waiting.pop()
            line, noises = line_of(sentence), Noise(delivery.seed, number)
            hidden = acoustics.hidden(line, voice)
            frames = acoustics.frames(line, hidden, voice, delivery, noises)
            if frames.sum() > acoustics.most:
                halves = halved(sentence)
                if len(halves) > 1:
                    waiting += halves[::-1]
                    continue
                frames = np.minimum(frames, acoustics.most // frames.size)
            prosody = acoustics.prosody(line, hidden, frames, voice, delivery, noises)
            yield sentence, prosody, noises
            number += 1

    def _phonemes(self, sentence: Sentence, line: Laid, after: float) -> Iterator[Timed]:
        spans = [(i + 1, i + 2) for i in range(len(sentence.symbols))]
        return timed(sentence.symbols, spans, line, after, self.mel)

    def _words(self, sentence: Sentence, line: Laid, after: float) -> Iterator[Timed]:
        spans = [(word.first + 1, word.last + 1) for word in sentence.words]
        return timed([word.text for word in sentence.words], spans, line, after, self.mel)


def _sound(recording: Recording, longest: float) -> Sound:
    """All of a recording; one that is longer is refused."""
    if isinstance(recording, Voice):
        raise EdgeError("a voice is no recording of words", fix="give the recording")
    if isinstance(recording, Sound):
        return recording
    place = Path(recording) if isinstance(recording, str) else recording
    return open_sound(place, longest=longest)


def delivered(**asked: Any) -> Delivery:
    """How it is said, of what was asked for: None is as usual."""
    return Delivery(**{name: value for name, value in asked.items() if value is not None})


def line_of(sentence: Sentence) -> Line:
    """With what stands before a text, which voices learn as the silence there."""
    manners = (sentence.manners[0], *sentence.manners)
    return Line(
        symbols=np.array(ids((START, *sentence.symbols)), np.int64),
        rates=np.array([manner.rate for manner in manners], np.float32),
        pitches=np.array([manner.pitch for manner in manners], np.float32),
    )


def halved(sentence: Sentence) -> list[Sentence]:
    """Two parts, where a word near the middle begins; itself, where there is one word."""
    starts = [word.first for word in sentence.words[1:]]
    if not starts:
        return [sentence]
    middle = len(sentence.symbols) / 2
    cut = min(starts, key=lambda start: abs(start - middle))
    return [_part(sentence, 0, cut), _part(sentence, cut, len(sentence.symbols))]


def _part(sentence: Sentence, first: int, last: int) -> Sentence:
    def moved(word: Spoken) -> Spoken:
        return replace(word, first=word.first - first, last=word.last - first)

    begin = first or -1  # silence before the first symbol is the first part's
    return Sentence(
        symbols=sentence.symbols[first:last],
        words=tuple(moved(word) for word in sentence.words if first <= word.first < last),
        manners=sentence.manners[first:last],
        pauses={k - first: v for k, v in sentence.pauses.items() if begin <= k < last},
    )


def _fitting(nets: Mapping[str, Net], acoustics: Acoustics, where: str) -> None:
    """Networks whose numbers are of other sound or of other symbols would make noise."""
    phonemes, vocoder = nets["phonemes"].spec.config, nets["vocoder"].spec.config
    framing = acoustics.mel.framing
    if not isinstance(phonemes, PhonemeSpec) or not isinstance(vocoder, VocosSpec):
        raise Damaged(f"{where} has other networks than its edge.json says", fix="convert again")
    bands, samples = acoustics.mel.bands, (framing.hop, framing.padding)
    if (
        phonemes.vocab < SYMBOLS
        or (vocoder.hop, vocoder.padding) != samples
        or vocoder.channels != bands
    ):
        raise Damaged(
            f"{where}: its networks are not of {SYMBOLS} symbols, {bands} bands and frames of {framing.hop} samples",
            fix="use a checkpoint of the model type edge_speech as `edge train flashspeech` writes it",
        )


def open_speech(
    artifact: PipelineArtifact,
    *,
    threads: int | None = None,
    exact: bool = False,
    strategy: Strategy = PLAIN,
) -> Speech:
    """The networks of an artifact, each on its own runtime."""
    strategy.refuse_decoding("a voice decodes no tokens")

    def opened(part: Artifact) -> Net:
        runtime = vars(targets.runtime(part.manifest.target))
        slow = strategy.reference and "open_reference" in runtime
        net = open_net(part, threads=threads, exact=exact, reference=slow, alone=False)
        return PaddedNet(net) if runtime.get("FEW_SIZES") else net

    nets = {name: opened(part) for name, part in artifact.stages.items()}
    settings = Config(artifact.manifest.settings, str(artifact.folder))
    return Speech(nets, settings, artifact.folder)
