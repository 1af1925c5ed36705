"""What a user of a voice waits for here: a recording that is listened to, the first sound, and all of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter

from edge.artifact.pipeline import PipelineArtifact
from edge.audio.buzz import buzz
from edge.measure.bench import machine, peak_rss_mb
from edge.pipelines.acoustics import Voice
from edge.pipelines.speech import Speech, open_speech
from edge.run.strategy import PLAIN, Strategy
from edge.system import processors

SHORT = "Good morning."
TEXT = "The quick brown fox jumps over the lazy dog, while the sun sets slowly behind the hills."


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechTiming:
    """Medians of the rounds, and the rounds. `rtf`: seconds of work for one of sound, of a sentence;
    `first_sound_seconds`: until its first samples, and `short_seconds` until those of a few words; `voice_seconds`: of
    listening, once.
    """

    artifact: str
    threads: int
    rounds: int
    rtf: float
    first_sound_seconds: float
    short_seconds: float
    voice_seconds: float
    spoken_seconds: float
    rtf_all: tuple[float, ...]
    first_all: tuple[float, ...]
    short_all: tuple[float, ...]
    load_seconds: float
    peak_rss_mb: float
    artifact_mb: float
    machine: str

    def json(self) -> dict[str, object]:
        return asdict(self)


def bench(
    artifact: PipelineArtifact,
    *,
    threads: int | None = None,
    rounds: int = 3,
    strategy: Strategy = PLAIN,
    clock: Callable[[], float] = perf_counter,
) -> list[SpeechTiming]:
    """Say a sentence and a few words in a voice that is a buzz, so often, after once to warm up."""
    start = clock()
    speech = open_speech(artifact, threads=threads, strategy=strategy)
    loaded = clock() - start
    start = clock()
    voice = speech.voice(buzz())
    listened = clock() - start
    _round(speech, voice, TEXT, 0)
    _round(speech, voice, SHORT, 0)
    whole = [_round(speech, voice, TEXT, number) for number in range(rounds)]
    short = [_round(speech, voice, SHORT, number)[1] for number in range(rounds)]
    rtf, first, spoken = (tuple(one[i] for one in whole) for i in range(3))
    return [
        SpeechTiming(
            artifact=artifact.folder.name,
            threads=processors.threads(threads),
            rounds=rounds,
            rtf=median(rtf),
            first_sound_seconds=median(first),
            short_seconds=median(short),
            voice_seconds=listened,
            spoken_seconds=median(spoken),
            rtf_all=rtf,
            first_all=first,
            short_all=tuple(short),
            load_seconds=loaded,
            peak_rss_mb=peak_rss_mb(),
            artifact_mb=artifact.nbytes / 1e6,
            machine=machine(),
        )
    ]


def _round(speech: Speech, voice: Voice, text: str, seed: int) -> tuple[float, float, float]:
    """Seconds of work a second of sound, until the first samples, and of sound."""
    said = speech.speak(text, voice=voice, seed=seed)
    seconds = said.samples.size / said.rate
    return said.rtf, said.first_sound_seconds or 0.0, seconds
