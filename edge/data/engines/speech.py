"""Recordings of people who speak, with what they say, as what a voice learns from: `edge.data.utterances`."""

from dataclasses import dataclass
from functools import cache, partial

from edge.data.asking import is_address
from edge.data.frame.settings import setting
from edge.data.frame.step import Each, Engine, Form, Means, Step
from edge.data.recordings import READING
from edge.data.steps.hearing import Hearing
from edge.data.steps.speech import Durations, Finished, Sounds, Splits, symbols
from edge.data.utterances import FRAMING, MOST_FRAMES, SOUND
from edge.errors import EdgeError

_LONGEST = MOST_FRAMES / FRAMING.per_second


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Parameters of the engine; docs/speech-data.md is made from them."""

    shortest: float = setting(0.5, "seconds that are spoken, at least", low=0.1, high=_LONGEST)
    longest: float = setting(20.0, "seconds that are spoken, at most", low=0.1, high=_LONGEST)
    held_out: str = setting("", "voices that are held out whole, by commas")
    held_texts: float = setting(
        0.0, "share of texts that are held out, whoever of the other voices says them", high=1
    )
    least_fit: float = setting(
        -0.8, "of --model: log-probability of a frame in the mean, at least", low=-100, high=0
    )
    evenly: bool = setting(
        False, "give all symbols the same time where nothing says theirs: enough for a recognizer"
    )
    shard: int = setting(
        256 << 20, "bytes of a file of rows and its sound, at most", low=1, size=True
    )


def steps(settings: Settings, means: Means) -> tuple[Step, ...]:
    sounds = Sounds(shortest=settings.shortest, longest=settings.longest)
    hear = None if means.model is None else cache(partial(Hearing, means.model))
    durations = Durations(hear=hear, least_fit=settings.least_fit, evenly=settings.evenly)
    voices = frozenset(filter(None, map(str.strip, settings.held_out.split(","))))
    finished = Finished(Splits(voices=voices, texts=settings.held_texts))
    return (
        Each(name="sound", do=sounds),
        Each(name="symbols", do=symbols),
        Each(name="durations", do=durations),
        Each(name="pitch", do=finished),
    )


def form(settings: Settings, means: Means) -> Form:
    return Form(shard=settings.shard, beside=SOUND)


def check(given: frozenset[str], settings: Settings, means: Means) -> None:
    """Refuses what does not go together."""
    if means.tokenizer is not None:
        raise EdgeError("speech has no tokens of a tokenizer", fix="leave out --tokenizer")
    if means.model is not None and is_address(means.model):
        raise EdgeError("a recognizer is asked here, not at an address", fix="give its folder")
    if settings.shortest > settings.longest:
        raise EdgeError(
            "the shortest is longer than the longest", fix="give them the other way round"
        )
    if settings.evenly and means.model is not None:
        raise EdgeError(
            "evenly says nothing where --model knows better", fix="leave out one of them"
        )
    if "least_fit" in given and means.model is None:
        raise EdgeError(
            "least_fit says nothing without --model", fix="give --model, or leave it out"
        )


ENGINE = Engine(
    name="speech",
    version=1,
    what="recordings with their texts: symbols, how long each lasts, pitch, and the sound, mapped",
    settings=Settings,
    steps=steps,
    form=form,
    check=check,
    reading=READING,
)
