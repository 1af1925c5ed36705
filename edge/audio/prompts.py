"""A few seconds of a voice, ready to be imitated: from any sound, or one error that says what is wrong with it."""

from dataclasses import dataclass, replace

import numpy as np

from edge.audio.sound import Sound, at_rate
from edge.audio.spectra import Framing, loudness
from edge.errors import EdgeError
from edge.typing import F32

_SILENT = 1e-3  # of full scale: nothing in it is louder
_QUIET = 0.03  # of its loudest frame: what is cut at both ends
_MARGIN = 0.05  # seconds that stay there
_CLIPPED = 0.001  # of its samples


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompting:
    """What a model takes: `rate` in Hz, `shortest` and `longest` in seconds; peak: what it is scaled to, so that
    one who speaks from afar is no softer.
    """

    rate: int = 16_000
    shortest: float = 1.0
    longest: float = 10.0
    peak: float = 0.7


def as_prompt(sound: Sound, prompting: Prompting) -> Sound:
    """Without silence at its ends, without a constant, not longer than the longest. EdgeError if it is silent or too
    short.
    """
    samples = at_rate(sound, prompting.rate).samples
    notes = list(sound.notes)
    mean = float(samples.mean(dtype=np.float64)) if samples.size else 0.0
    peak = float(np.abs(sound.samples).max(initial=0.0))
    if abs(mean) > 0.01:
        notes.append(f"a constant of {mean:+.2f} was taken away")
    samples = samples - np.float32(mean)
    height = float(np.abs(samples).max(initial=0.0))
    if height < _SILENT:
        raise EdgeError(
            "the voice to imitate is silent", fix="record it again: nothing in it is loud"
        )
    if np.count_nonzero(np.abs(sound.samples) > 0.999 * peak) > max(
        8, _CLIPPED * sound.samples.size
    ):
        notes.append("it is clipped: a voice recorded less loud will be imitated better")
    samples = samples[spoken(samples, prompting.rate)]
    seconds = samples.size / prompting.rate
    if seconds < prompting.shortest:
        raise EdgeError(
            f"the voice to imitate speaks for {seconds:.1f} seconds",
            fix=f"record at least {prompting.shortest:g} seconds, better three",
        )
    if seconds > prompting.longest:
        samples = _cut(samples, prompting)
        notes.append(f"its first {samples.size / prompting.rate:.1f} seconds were taken")
    return replace(
        sound,
        samples=samples * np.float32(prompting.peak / height),
        rate=prompting.rate,
        notes=tuple(notes),
    )


def _cut(samples: F32, prompting: Prompting) -> F32:
    """At the quietest place of the last fifth that is allowed: a word that is cut in two is imitated, too."""
    rate = prompting.rate
    samples = samples[: int(prompting.longest * rate)]
    framing = Framing(rate=rate, hop=rate // 100, window=rate // 10)
    late = int(0.8 * samples.size) // framing.hop
    loud = loudness(samples, framing)[late:]
    return samples[: (late + int(loud.argmin()) + 1) * framing.hop]


def spoken(samples: F32, rate: int) -> slice:
    """From the first frame that is not quiet to the last, and a margin: all of a sound that has hardly a frame."""
    framing = Framing(rate=rate, hop=rate // 100, window=rate // 50)
    if samples.size < 4 * framing.window:
        return slice(0, samples.size)
    loud = loudness(samples, framing)
    heard = np.flatnonzero(loud > _QUIET * loud.max())
    if not heard.size:
        return slice(0, 0)
    margin = int(_MARGIN * rate)
    start = max(0, int(heard[0]) * framing.hop - margin)
    return slice(start, min(samples.size, (int(heard[-1]) + 1) * framing.hop + margin))
