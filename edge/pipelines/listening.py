"""What a recording says, and when: by the recognizer that comes with a voice, from its text or without.

T frames, C bands, P symbols, V that a recognizer knows, N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.audio.alignment import BLANK, Aligned, aligned, heard, spread
from edge.audio.pitch import pitch
from edge.audio.sound import Sound, at_rate
from edge.audio.spectra import Mel, log_mel
from edge.errors import EdgeError
from edge.protocols import Net
from edge.text.spoken.symbols import START, ids, is_sound
from edge.typing import F32, I64

PEAK = 0.7  # of full scale: as voices learn, and are prompted
LONGEST = 50.0  # seconds of a recording
_PAUSE = 12  # frames of silence that are a pause: 0.15 seconds
_SILENT = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """A recording of whole frames. samples [T hop] as they are, gain: by which they are as loud as voices learn; bands
    [T, C] and hertz [T] of them then.
    """

    samples: F32
    gain: float
    bands: F32
    hertz: F32


@dataclass(frozen=True, kw_only=True, slots=True)
class Spelled:
    """Symbols [P], the first of which stands before the text, and how many frames each lasts, T in sum."""

    symbols: I64
    frames: I64


@dataclass(frozen=True, slots=True)
class Listener:
    """`net`: of the kind `recognizer`, whose first symbol is silence."""

    net: Net
    mel: Mel

    def heard(self, sound: Sound) -> Heard:
        """At the rate of the voice. EdgeError if it is silent, or longer than can be heard at once."""
        samples, framing = at_rate(sound, self.mel.framing.rate).samples, self.mel.framing
        if samples.size > LONGEST * framing.rate:
            raise EdgeError(
                f"a recording of {samples.size / framing.rate:.0f} seconds",
                fix=f"cut it into parts of {LONGEST:g} seconds",
            )
        height = float(np.abs(samples).max(initial=0.0))
        if height < _SILENT:
            raise EdgeError("the recording is silent", fix="record it again: nothing in it is loud")
        whole = samples[: samples.size // framing.hop * framing.hop]
        scaled = whole * np.float32(PEAK / height)
        return Heard(
            samples=samples,
            gain=PEAK / height,
            bands=log_mel(scaled, self.mel),
            hertz=pitch(scaled, framing),
        )

    def aligned(self, bands: F32, symbols: I64) -> I64:
        """How many frames each of these symbols lasts: [P], T in sum. EdgeError where they cannot be what is said."""
        sounds = [int(symbol) for symbol in symbols if is_sound(int(symbol))]
        found = aligned(heard(self.net, bands), sounds)
        return spread(found, [not is_sound(int(symbol)) for symbol in symbols], len(bands))

    def read(self, bands: F32) -> Spelled:
        """The likeliest symbol of each frame, and a comma where there is a pause. EdgeError where nothing is said."""
        best = heard(self.net, bands).argmax(1)
        edges = np.flatnonzero(np.diff(best)) + 1
        runs = zip([0, *edges], [*edges, len(best)], strict=True)
        spans = [(int(best[a]), int(a), int(b)) for a, b in runs if best[a] != BLANK]
        spans = [span for span in spans if is_sound(span[0])]
        if not spans:
            raise EdgeError(
                "nothing is said in the recording", fix="record it again, or give its text"
            )
        symbols, silent = list(ids((START,))), [True]
        comma, stop = ids((",", "."))
        for at, (symbol, begin, _) in enumerate(spans):
            if at and begin - spans[at - 1][2] >= _PAUSE:
                symbols, silent = [*symbols, comma], [*silent, True]
            symbols, silent = [*symbols, symbol], [*silent, False]
        found = Aligned(
            np.array([begin for _, begin, _ in spans]), np.array([end for _, _, end in spans]), 0.0
        )
        frames = spread(found, [*silent, True], len(bands))
        return Spelled(symbols=np.array([*symbols, stop], np.int64), frames=frames)


def lines(spelled: Spelled, *, symbols: int, frames: int) -> list[tuple[int, int]]:
    """From which symbol to which one after the last: as much as a voice says at once, parted at marks where there are
    some.
    """
    found, begin, count = [], 0, len(spelled.symbols)
    while begin < count:
        sums = np.cumsum(spelled.frames[begin : begin + symbols])
        fits = begin + max(1, int(np.searchsorted(sums, frames, side="right")))
        if fits < count:
            marks = [at for at in range(begin + 1, fits) if not is_sound(int(spelled.symbols[at]))]
            fits = marks[-1] + 1 if marks else fits
        found.append((begin, fits))
        begin = fits
    return found


def symbols_of(sentences: Sequence[Sequence[str]]) -> I64:
    """Of a text's sentences, after what stands before it: [P]."""
    return np.array([*ids((START,)), *(i for one in sentences for i in ids(one))], np.int64)
