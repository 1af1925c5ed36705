"""A line that is made: its bands and what stands where in it, and its sound piece by piece.

P phonemes, T frames, C bands, N samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge.audio.level import gate, limited
from edge.audio.pieces import pieces
from edge.audio.polish import polished, reach
from edge.audio.spectra import Mel
from edge.nn.speech.vocos import VocosSpec
from edge.protocols import Net
from edge.system.cancellation import go_on
from edge.typing import F32, I64

FIRST = 40  # frames of the first piece: half a second, soon there
ROUNDS = 8  # of polishing what a vocoder made
FADE = 0.005  # seconds at both ends of what is heard


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """What is said from when to when, in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Laid:
    """bands [T, C]; heard [T], 1 where something is said and 0 where silence was asked for; ends [P, 2], the first
    frame of each phoneme and the one after its last.
    """

    bands: F32
    heard: F32
    ends: I64


def laid(bands: F32, frames: I64, pauses: Mapping[int, int], floor: float) -> Laid:
    """bands [T, C] of phonemes that last so long, [P], with silence of so many frames after some of them. `floor`: what
    a band is where there is no sound.
    """
    stops = np.cumsum(frames)
    parts, heard, ends, begin = [], [], np.stack([stops - frames, stops], 1), 0
    for place in sorted(pauses):
        stop, silent = int(stops[place]), pauses[place]
        parts += [bands[begin:stop], np.full((silent, bands.shape[1]), floor, np.float32)]
        heard += [np.ones(stop - begin, np.float32), np.zeros(silent, np.float32)]
        begin = stop
        ends[place + 1 :] += silent
    parts.append(bands[begin:])
    heard.append(np.ones(len(bands) - begin, np.float32))
    return Laid(bands=np.concatenate(parts), heard=np.concatenate(heard), ends=ends)


def sounds(vocoder: Net, line: Laid, mel: Mel, *, begin: int = FIRST) -> Iterator[F32]:
    """[T, C] -> its samples, the first ones soon."""
    framing, config = mel.framing, vocoder.spec.config
    assert isinstance(config, VocosSpec)
    (frames,) = (size for size in config.sizes if size.name == "frames")
    gains = gate(line.heard, framing.hop, int(FADE * framing.rate))
    around = config.reach + reach(mel, ROUNDS)
    for piece in pieces(len(line.bands), begin=begin, most=frames.most, reach=around):
        some = line.bands[None, piece.first : piece.last]
        audio = vocoder(mel=some, frame_mask=np.ones(some.shape[:2], np.float32))["audio"]
        made = polished(np.asarray(audio, np.float32).reshape(-1), some[0], mel, ROUNDS)
        start, stop = (framing.hop * (at - piece.first) for at in (piece.start, piece.stop))
        wanted = made[start:stop]
        yield limited(wanted * gains[piece.start * framing.hop : piece.stop * framing.hop])
        go_on()


def timed(
    texts: Sequence[str], spans: Sequence[tuple[int, int]], line: Laid, after: float, mel: Mel
) -> Iterator[Timed]:
    """What is said by phonemes from the first to one after the last of each span; `after`: seconds that were said
    before the line.
    """
    each = mel.framing.per_second
    for text, (first, last) in zip(texts, spans, strict=True):
        start, end = line.ends[first, 0], line.ends[last - 1, 1]
        yield Timed(text=text, start=after + float(start) / each, end=after + float(end) / each)
