"""From phonemes and a voice to log mel bands: FlashSpeech's networks (arXiv 2404.14700) in turn, a sentence at a time.
Noise is the host's, so that one seed is one sound wherever networks run.

P phonemes, T frames, R frames of the prompt, C bands, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from edge.audio.alignment import by_frame
from edge.audio.pitch import pitch
from edge.audio.prompts import Prompting, as_prompt
from edge.audio.sound import Sound
from edge.audio.spectra import Mel, log_mel
from edge.errors import EdgeError
from edge.nn.speech import noise
from edge.protocols import Net
from edge.text.spoken.symbols import table
from edge.typing import F32, I64

Bools = NDArray[np.bool_]
STEPS, SPEED, SEED, ALPHA = 1, 1.0, 0, 0.2  # where nobody says otherwise
MOST_STEPS = 64
SPEEDS = (0.25, 4.0)
MOST_ALPHA = 2.0
MOST_SEED = (1 << 63) - 1
REFINERS = {"duration": "duration_refiner", "pitch": "pitch_refiner"}
_HERTZ = (20.0, 4000.0)  # what a pitch can be
_LONGEST = 400  # frames of one phoneme: five seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """How something is said. `steps` of the consistency network; `alpha`: how much of what is random in a voice's
    prosody, None as much as usual; `speed`: above 1 is faster; `seed` of all noise.
    """

    steps: int = STEPS
    alpha: float | None = None
    speed: float = SPEED
    seed: int = SEED

    def __post_init__(self) -> None:
        _within("steps", self.steps, 1, MOST_STEPS)
        _within("alpha", ALPHA if self.alpha is None else self.alpha, 0, MOST_ALPHA)
        _within("speed", self.speed, *SPEEDS)
        _within("seed", self.seed, 0, MOST_SEED)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # nor where it is NaN
        raise EdgeError(f"{name} {value}", fix=f"give {low:g} to {high:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    """What the prompt network made of a recording: rows [1, R, D], tokens [1, N, D], style [1, 1, D]. `hertz`: the
    middle of its pitch, None where nothing in it has one; notes: what is to be known of the recording.
    """

    rows: F32
    tokens: F32
    style: F32
    hertz: float | None
    notes: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + self.tokens.nbytes + self.style.nbytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What is said at once: ids [P], the first of which is what stands before a text, and factors of the voice's own
    rate and pitch, [P] each.
    """

    symbols: I64
    rates: F32
    pitches: F32

    @classmethod
    def plain(cls, symbols: I64) -> "Line":
        """In the voice's own manner."""
        ones = np.ones(symbols.size, np.float32)
        return cls(symbols=symbols, rates=ones, pitches=ones)

    @property
    def heard(self) -> Bools:
        """Which are sounds: marks are silence, and what stands before a text is."""
        found: Bools = self.symbols >= table().marks
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Prosody:
    """How long each phoneme of a line is and how high each frame: frames [P], log_pitch [1, T]; repeated [1, T, D], the
    rows of what frames are of.
    """

    frames: I64
    log_pitch: F32
    repeated: F32


@dataclass(frozen=True, kw_only=True, slots=True)
class Latent:
    """What networks compute in place of log mel bands: (log mel - mean) / scale."""

    mean: float
    scale: float

    def of(self, bands: F32) -> F32:
        return ((bands - np.float32(self.mean)) / np.float32(self.scale)).astype(np.float32)

    def bands(self, latent: F32) -> F32:
        return (latent * np.float32(self.scale) + np.float32(self.mean)).astype(np.float32)


class Noise:
    """Of one line of one take: each use has its own, whatever the others take."""

    def __init__(self, seed: int, line: int) -> None:
        self._key = (seed, line)

    def of(self, use: str, *shape: int) -> F32:
        number = int.from_bytes(use.encode(), "big")
        return np.random.default_rng((*self._key, number)).standard_normal(shape).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Acoustics:
    """The networks by name, and what their latent is."""

    nets: Mapping[str, Net]
    latent: Latent
    mel: Mel

    @property
    def most(self) -> int:
        """Frames of a line."""
        (frames,) = (s for s in self.nets["denoiser"].spec.config.sizes if s.name == "frames")
        return frames.most

    def alpha(self, asked: float | None) -> float:
        """How much is refined. Refuses a share of what is not there."""
        there = any(name in self.nets for name in REFINERS.values())
        if not there and asked:
            raise EdgeError(
                f"alpha {asked:g}: this voice has no network that refines prosody",
                fix="leave out --alpha",
            )
        return (ALPHA if asked is None else asked) if there else 0.0

    def voice(self, sound: Sound) -> Voice:
        """Of a recording, any that `edge.audio.prompts` takes."""
        prompt = as_prompt(sound, Prompting(rate=self.mel.framing.rate))
        latent = self.latent.of(log_mel(prompt.samples, self.mel))[None]  # [1, R, C]
        found = self.nets["prompt"](prompt=latent, prompt_mask=_ones(latent.shape[1]))
        return Voice(
            rows=found["rows"],
            tokens=found["tokens"],
            style=found["style"],
            hertz=middle(pitch(prompt.samples, self.mel.framing)),
            notes=prompt.notes,
        )

    def hidden(self, line: Line, voice: Voice) -> F32:
        """[1, P, D]"""
        found = self.nets["phonemes"](
            phonemes=line.symbols[None], phoneme_mask=_ones(line.symbols.size), style=voice.style
        )
        return found["hidden"]

    def frames(
        self, line: Line, hidden: F32, voice: Voice, delivery: Delivery, noises: Noise
    ) -> I64:
        """How many each phoneme takes: [P], of a sound 1 or more."""
        mask = _ones(line.symbols.size)
        found = self.nets["duration"](
            hidden=hidden, phoneme_mask=mask, rows=voice.rows, prompt_mask=_ones(_rows(voice))
        )
        log = self._refined("duration", found, mask, delivery, noises)[0]
        return counted(log, delivery.speed * line.rates, line.heard)

    def prosody(
        self,
        line: Line,
        hidden: F32,
        frames: I64,
        voice: Voice,
        delivery: Delivery,
        noises: Noise,
    ) -> Prosody:
        """How high each frame of a line is, whose phonemes last so long."""
        mask = _ones(int(frames.sum()))
        found = self.nets["pitch"](
            hidden=hidden,
            alignment=by_frame(frames)[None],
            frame_mask=mask,
            rows=voice.rows,
            prompt_mask=_ones(_rows(voice)),
        )
        log = self._refined("pitch", found, mask, delivery, noises)
        return Prosody(
            frames=frames,
            log_pitch=moved(log, np.repeat(line.pitches, frames)[None]),
            repeated=found["repeated"],
        )

    def bands(self, prosody: Prosody, voice: Voice, delivery: Delivery, noises: Noise) -> F32:
        """Log mel bands [T, C] of a line in a voice."""
        mask = _ones(int(prosody.frames.sum()))
        condition = self.nets["condition"](
            repeated=prosody.repeated, log_pitch=prosody.log_pitch, frame_mask=mask
        )["condition"]

        def clean(latent: F32, sigma: float) -> F32:
            return self.nets["denoiser"](
                latent=latent,
                sigma=_number(sigma),
                condition=condition,
                tokens=voice.tokens,
                frame_mask=mask,
            )["clean"]

        shape = (1, mask.shape[1], self.mel.bands)
        every = (noises.of(f"latent {i}", *shape) for i in range(delivery.steps))
        return self.latent.bands(noise.speak(clean, every, noise.sizes(delivery.steps)))[0]

    def _refined(
        self,
        what: str,
        found: Mapping[str, F32],
        mask: F32,
        delivery: Delivery,
        noises: Noise,
    ) -> F32:
        """A prediction [1, N], with alpha times what is random in it."""
        net, alpha = self.nets.get(REFINERS[what]), self.alpha(delivery.alpha)
        if net is None or not alpha:
            return found["log"]

        def clean(noisy: F32, sigma: float) -> F32:
            return net(
                noisy=noisy,
                sigma=_number(sigma),
                features=found["features"],
                initial=found["log"],
                alpha=_number(alpha),
                mask=mask,
            )["refined"]

        return noise.speak(clean, [noises.of(what, *mask.shape)], noise.sizes(1))


def counted(log: F32, rates: F32, heard: Bools) -> I64:
    """log(1 + frames) [P], how much faster each is and whether it is a sound -> whole frames, of a sound 1 or more."""
    frames = np.expm1(np.clip(log.astype(np.float64), 0, np.log1p(_LONGEST))) / rates
    return np.clip(np.rint(frames), heard, _LONGEST).astype(np.int64)


def moved(log: F32, factors: F32) -> F32:
    """log(1 + Hz), so many times as high; what is no pitch stays so."""
    if np.all(factors == 1):
        return log
    return np.log1p(np.maximum(np.expm1(log), 0) * factors).astype(np.float32)


def middle(hertz: F32) -> float | None:
    """The middle of a pitch [T], where there is one."""
    voiced: Sequence[float] = hertz[(hertz > _HERTZ[0]) & (hertz < _HERTZ[1])].tolist()
    return median(voiced) if voiced else None


def _rows(voice: Voice) -> int:
    return voice.rows.shape[1]


def _ones(count: int) -> F32:
    return np.ones((1, count), np.float32)


def _number(value: float) -> F32:
    return np.full((1, 1), value, np.float32)
