"""Which frames of a sound are which of the sounds that it is known to hold: the likeliest path through what a
recognizer says of each frame (Viterbi, IEEE Trans. Information Theory 13(2), 1967), over the states of CTC
(Graves et al., ICML 2006).

Unlike CTC's, a sound may follow itself without a blank between: frames are given to sounds here, not read.

T frames, P sounds, V of which a recognizer knows; times in frames.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.typing import F32, I64

F64 = NDArray[np.float64]
BLANK = 0


@dataclass(frozen=True, slots=True)
class Aligned:
    """Sound p is heard in frames [begin[p], end[p]); between two of them there may be silence. `fit`: the mean
    log-probability of a frame on the path, 0 at most.
    """

    begin: I64
    end: I64
    fit: float


def heard(recognizer: Callable[..., Mapping[str, F32]], bands: F32) -> F32:
    """Log-probabilities [T, V] of what each frame of log mel bands [T, 80] sounds like."""
    mask = np.ones((1, len(bands)), np.float32)
    logits = recognizer(mel=bands[None], frame_mask=mask)["logits"][0].astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    out: F32 = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
    return out


def aligned(log_probs: F32, sounds: Sequence[int]) -> Aligned:
    """log_probs [T, V], of which BLANK is silence, and sounds [P] by their numbers. EdgeError if there are more sounds
    than frames.
    """
    frames, count = len(log_probs), len(sounds)
    if not 0 < count <= frames:
        raise EdgeError(
            f"{count} sounds do not fit into {frames} frames",
            fix="check that the text is what is said",
        )
    states = np.full(2 * count + 1, BLANK)  # silence, a sound, silence, …, silence
    states[1::2] = sounds
    path, total = _path(log_probs[:, states].astype(np.float64))
    at = path[path % 2 == 1] // 2  # the sound of each frame that is one
    begin = np.searchsorted(at, np.arange(count))
    end = np.searchsorted(at, np.arange(count), side="right")
    where = np.flatnonzero(path % 2)
    return Aligned(where[begin], where[end - 1] + 1, total / frames)


def _path(likely: F64) -> tuple[I64, float]:
    """[T, 2 P + 1] -> the state of each frame: it stays, goes on to the next, or from a sound to the next sound."""
    frames, states = likely.shape
    back = np.zeros((frames, states), np.int8)
    score = np.full(states, -np.inf)
    score[:2] = likely[0, :2]
    jumps = np.arange(states) % 2 == 1
    for t in range(1, frames):
        one = np.concatenate([[-np.inf], score[:-1]])
        two = np.where(jumps, np.concatenate([[-np.inf, -np.inf], score[:-2]]), -np.inf)
        choices = np.stack([score, one, two])
        back[t] = choices.argmax(0)
        score = choices.max(0) + likely[t]
    path = np.empty(frames, np.int64)
    path[-1] = states - 1 - int(score[-1] < score[-2])
    for t in range(frames - 1, 0, -1):
        path[t - 1] = path[t] - back[t, path[t]]
    return path, float(score[path[-1]])


def by_frame(frames: I64) -> I64:
    """Frames of each symbol [S] -> the symbol of each frame, by number: [T]."""
    return np.repeat(np.arange(frames.size), frames)


def spread(found: Aligned, silent: Sequence[bool], frames: int) -> I64:
    """How long each of some symbols lasts, of which the `silent` ones are no sounds: [S], `frames` in sum. Silence
    belongs to the silent symbols that stand there, the last of them; where none stands, to the sound before it.
    """
    starts, at = [], 0  # the sound that comes next
    for quiet in silent:
        before = int(found.end[at - 1]) if at else 0
        starts.append(before if quiet else int(found.begin[at]))
        at += not quiet
    return np.diff([0, *starts[1:], frames])


def rounded(ends: Sequence[float], silent: Sequence[bool], frames: int) -> I64:
    """How long each symbol lasts that ends at a time in frames: [S], `frames` in sum. A sound lasts a frame at least,
    and takes it from what follows. EdgeError where that leaves too few.
    """
    least = np.where(silent, 0, 1)
    stops = np.rint(ends).astype(np.int64)
    stops[-1] = frames
    room = frames - np.append(
        np.cumsum(least[::-1])[::-1][1:], 0
    )  # where each must end at the latest
    if room[0] < least[0]:
        raise EdgeError(
            f"{int(least.sum())} sounds do not fit into {frames} frames",
            fix="check that the times are seconds of this sound",
        )
    last = 0
    for number in range(len(stops)):
        last = min(max(int(stops[number]), last + int(least[number])), int(room[number]))
        stops[number] = last
    return np.diff(stops, prepend=0)
