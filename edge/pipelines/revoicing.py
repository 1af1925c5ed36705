"""What somebody said, in another voice: its symbols with their lengths and its pitch, moved to where the other voice
lies, said anew (arXiv 2404.14700, 4.4, by the networks that speak alone).

P symbols, T frames.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edge.pipelines.acoustics import Acoustics, Delivery, Line, Noise, Voice, middle
from edge.pipelines.listening import Heard, Spelled, lines
from edge.text.spoken.speaking import LONGEST
from edge.typing import F32, I64


def said_again(
    acoustics: Acoustics, heard: Heard, spelled: Spelled, voice: Voice, delivery: Delivery
) -> Iterator[tuple[I64, I64, F32]]:
    """Line by line its symbols [P], how long each lasts [P], and its bands [T, C]."""
    log_pitch = moved_to(heard.hertz, voice.hertz)
    stops = np.cumsum(spelled.frames)
    every = lines(spelled, symbols=LONGEST, frames=acoustics.most)
    for number, (first, last) in enumerate(every):
        symbols, frames = spelled.symbols[first:last], spelled.frames[first:last]
        if not frames.sum():
            continue
        line, noises = Line.plain(symbols), Noise(delivery.seed, number)
        hidden = acoustics.hidden(line, voice)
        prosody = acoustics.prosody(line, hidden, frames, voice, delivery, noises)
        mine = log_pitch[None, int(stops[first] - frames[0]) : int(stops[last - 1])]
        prosody = replace(prosody, log_pitch=mine)
        yield symbols, frames, acoustics.bands(prosody, voice, delivery, noises)


def moved_to(hertz: F32, middle_of_voice: float | None) -> F32:
    """A pitch [T], whose middle becomes another: log(1 + Hz). What has no pitch keeps none."""
    own = middle(hertz)
    factor = 1.0 if own is None or middle_of_voice is None else middle_of_voice / own
    return np.log1p(hertz * factor).astype(np.float32)
