"""Other words in a recording: what is said instead is made in its own voice, as fast and as high as there, and put in
its place. All else stays sample for sample, but for a crossfade at either end (arXiv 2404.14700, 4.4).

P symbols, T frames, N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edge.audio.level import joined, limited
from edge.audio.spectra import Framing
from edge.errors import EdgeError
from edge.pipelines.acoustics import Acoustics, Delivery, Line, Noise, Voice, middle, moved
from edge.pipelines.listening import Heard, symbols_of
from edge.pipelines.utterance import laid, sounds
from edge.text.spoken.speaking import Script, Spoken
from edge.text.spoken.symbols import START, ids
from edge.typing import F32, I64

ARROW = "=>"
CROSSFADE = 0.01  # seconds
_AROUND, _MOST = 150, 200  # symbols of what stays on either side, and of what is new
_RATE = (0.5, 2.0)  # how much slower or faster than it would speak a voice may be there


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """`old` becomes `new`, which may be nothing."""

    old: str
    new: str

    @classmethod
    def of(cls, text: str) -> "Change":
        """As it is written: old words=>new words."""
        old, arrow, new = text.partition(ARROW)
        if not arrow or not old.strip():
            raise EdgeError(
                f"{text!r:.80} does not say what becomes what",
                fix='write it as "old words=>new words"',
            )
        return cls(old=old.strip(), new=new.strip())

    def made(self, text: str) -> str:
        """The text with it. EdgeError where the old words are not there once, as whole words."""
        places = [at for at in range(len(text)) if text.startswith(self.old, at)]
        whole = [at for at in places if _is_word(text, at, at + len(self.old))]
        if len(whole) != 1:
            there = "are not in the text" if not whole else f"are {len(whole)} times in the text"
            raise EdgeError(
                f"the words {self.old!r:.80} {there}",
                fix="write them as the text does, with as many beside them as make them one place",
            )
        (at,) = whole
        return text[:at] + self.new + text[at + len(self.old) :]


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What a text says: symbols [P], words with their places among these."""

    symbols: I64
    words: tuple[Spoken, ...]

    @classmethod
    def of(cls, script: Script) -> "Words":
        words, at = list[Spoken](), 1  # after what stands before the text
        for sentence in script.sentences:
            words += [
                Spoken(text=w.text, start=w.start, end=w.end, first=w.first + at, last=w.last + at)
                for w in sentence.words
            ]
            at += len(sentence.symbols)
        return cls(symbols=symbols_of([s.symbols for s in script.sentences]), words=tuple(words))

    def bounds(self) -> list[int]:
        """Where words and marks begin and end among the symbols."""
        ends = {end for word in self.words for end in (word.first, word.last)}
        return sorted({1, *ends, len(self.symbols)})

    def units(self) -> list[tuple[int, ...]]:
        """The symbols of each word, and of the marks between two."""
        ends = self.bounds()
        return [tuple(self.symbols[a:b].tolist()) for a, b in pairwise(ends)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Symbols `first` to `old` of what was said become `first` to `new` of what is to be said; ends exclusive."""

    first: int
    old: int
    new: int


def cut(old: Words, new: Words) -> Cut:
    """Between the words that both begin with and the words that both end with."""
    mine, theirs = old.units(), new.units()
    most = min(len(mine), len(theirs))
    same = next((i for i in range(most) if mine[i] != theirs[i]), most)
    left = most - same
    ends = next((i for i in range(left) if mine[-1 - i] != theirs[-1 - i]), left)
    return Cut(
        first=old.bounds()[same],
        old=old.bounds()[len(mine) - ends],
        new=new.bounds()[len(theirs) - ends],
    )


def lengths(old: I64, made: I64, cut: Cut, heard: Sequence[bool]) -> I64:
    """How long each symbol of what is to be said lasts: what stays as it did, `old` [P]; what is new as `made` [Q], at
    the rate of what stays. `heard` [Q]: which are sounds.
    """
    tail = len(made) - cut.new
    kept = np.concatenate([old[: cut.first], old[cut.old :]])
    alike = np.concatenate([made[: cut.first], made[cut.new :]])
    rate = float(np.clip(kept.sum() / max(1, alike.sum()), *_RATE)) if alike.sum() else 1.0
    fresh = np.rint(made[cut.first : cut.new] * rate)
    fresh = np.maximum(fresh, np.asarray(heard[cut.first : cut.new], np.float64))
    assert tail == len(old) - cut.old, "what follows is the same"
    return np.concatenate([old[: cut.first], fresh, old[cut.old :]]).astype(np.int64)


def spliced(samples: F32, made: F32, start: int, stop: int, framing: Framing) -> F32:
    """samples [N] with `made` in the place of those from `start` to `stop`: joined within `CROSSFADE` at either end,
    for which `made` holds that much more on both sides.
    """
    over = int(CROSSFADE * framing.rate)
    before = min(over, start)
    after = min(over, samples.size - stop)
    middle = made[over - before : made.size - (over - after)]
    head = joined(samples[:start], middle, before)
    return joined(head, samples[stop:], after)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Window:
    """What is made around a change: symbols [P], what stands before a text first; kept [P], how long those last that
    stay; bands and hertz of what was there are those from frame `begin` on.
    """

    cut: Cut
    symbols: I64
    old: I64
    begin: int


def _window(cut: Cut, symbols: I64, old: I64) -> _Window:
    """So much of what stays that the change is said as a part of it."""
    if cut.new - cut.first > _MOST:
        raise EdgeError("the new words are too many", fix="put them in bit by bit")
    low = max(1, cut.first - _AROUND)
    after = min(_AROUND, len(symbols) - cut.new)
    head = np.array(ids((START,)), np.int64)
    first = 0 if low > 1 else int(old[0])  # of a piece from within, nothing stands before it
    return _Window(
        cut=Cut(first=cut.first - low + 1, old=cut.old - low + 1, new=cut.new - low + 1),
        symbols=np.concatenate([head, symbols[low : cut.new + after]]),
        old=np.concatenate([[first], old[low : cut.old + after]]),
        begin=int(old[:low].sum()) - first,
    )


def edited(
    acoustics: Acoustics,
    heard: Heard,
    old: I64,
    change: tuple[Cut, I64],
    voice: Voice,
    delivery: Delivery,
) -> tuple[F32, I64]:
    """The recording with a change: its samples, and how long each of its symbols then lasts. `old` [P]: how long what
    was said lasts; `change`: where, and the symbols [Q] of what is to be said.
    """
    (cut, symbols), framing = change, acoustics.mel.framing
    stops = np.concatenate([[0], np.cumsum(old)]) * framing.hop
    start, stop = int(stops[cut.first]), int(stops[cut.old])
    if cut.new == cut.first:
        half = min(int(CROSSFADE * framing.rate) // 2, start, heard.samples.size - stop)
        left = joined(heard.samples[: start + half], heard.samples[stop - half :], 2 * half)
        return left, np.concatenate([old[: cut.first], old[cut.old :]])
    window = _window(cut, symbols, old)
    frames, made = _made(acoustics, heard, window, voice, delivery)
    fresh = frames[window.cut.first : window.cut.new]
    whole = np.concatenate([old[: cut.first], fresh, old[cut.old :]])
    return spliced(heard.samples, made, start, stop, framing), whole


def _made(
    acoustics: Acoustics, heard: Heard, window: _Window, voice: Voice, delivery: Delivery
) -> tuple[I64, F32]:
    """How long each symbol of a window lasts; samples of what is new in it, with a crossfade's more on both sides."""
    cut, framing = window.cut, acoustics.mel.framing
    line, noises = Line.plain(window.symbols), Noise(delivery.seed, 0)
    hidden = acoustics.hidden(line, voice)
    own = acoustics.frames(line, hidden, voice, delivery, noises)
    frames = lengths(window.old, own, cut, line.heard.tolist())
    if frames.sum() > acoustics.most:
        raise EdgeError("the new words take too long", fix="put them in bit by bit")
    prosody = acoustics.prosody(line, hidden, frames, voice, delivery, noises)
    ends = np.concatenate([[0], np.cumsum(frames)])
    begin, end = int(ends[cut.first]), int(ends[cut.new])
    there = heard.hertz[window.begin : window.begin + int(window.old.sum())]
    tail = int(window.old[cut.old :].sum())
    log = _as_there(prosody.log_pitch[0], there, begin, end, tail)
    prosody = replace(prosody, log_pitch=log[None])
    bands = acoustics.bands(prosody, voice, delivery, noises)
    whole = laid(bands, frames, {}, float(np.log(acoustics.mel.floor)))
    sound = np.concatenate(list(sounds(acoustics.nets["vocoder"], whole, acoustics.mel)))
    hop, over = framing.hop, int(CROSSFADE * framing.rate)
    at = window.begin * hop
    kept = (
        (heard.samples[at : at + begin * hop], sound[: begin * hop]),
        (
            heard.samples[at + (int(window.old.sum()) - tail) * hop :][: tail * hop],
            sound[end * hop :],
        ),
    )
    padded = np.pad(sound, (over, over))
    return frames, limited(padded[begin * hop : end * hop + 2 * over] * _louder(kept, heard.gain))


def _as_there(log: F32, hertz: F32, begin: int, end: int, tail: int) -> F32:
    """A pitch log(1 + Hz) [T] with that of the recording in what stays, and moved to where that lies in what is new."""
    kept = np.concatenate([hertz[:begin], hertz[hertz.size - tail :]])
    mine = np.expm1(np.concatenate([log[:begin], log[end:]]))
    theirs, own = middle(kept), middle(mine)
    factor = np.float32(1.0 if theirs is None or own is None else theirs / own)
    new = moved(log[begin:end], np.full(end - begin, factor))
    return np.concatenate([np.log1p(kept[:begin]), new, np.log1p(kept[begin:])]).astype(np.float32)


def _louder(kept: Sequence[tuple[F32, F32]], gain: float) -> np.float32:
    """By how much what is made is louder in what stays of the recording; `gain`: where nothing stays."""
    theirs, mine = (
        float(np.sqrt(np.mean(np.square(np.concatenate(part), dtype=np.float64))))
        if part[0].size + part[1].size
        else 0.0
        for part in zip(*kept, strict=True)
    )
    return np.float32(np.clip(theirs / mine, 0.05, 20) if min(theirs, mine) > 1e-5 else 1 / gain)


def _is_word(text: str, start: int, stop: int) -> bool:
    before, after = text[:start][-1:], text[stop:][:1]
    return not (before.isalnum() or after.isalnum())
