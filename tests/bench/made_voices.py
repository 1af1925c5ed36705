"""Voices that a program makes, as a folder to learn from: a LibriTTS-like tree of WAV files, each with what it says and
with which phoneme lasts how long.

    python tests/bench/made_voices.py -o FOLDER --text FILE... [--hours 4] [--voices 60] [--seed 1]
    edge data speech FOLDER -o PREPARED --set held-out=...

espeak-ng (GPL-3) speaks: its library is found in the package espeakng-loader, or named by --library and --data. It is a
tool of development, and no part of this package. What it makes is synthetic, and whoever learns from it should say so.
A voice is an accent, a variant, a rate, a height and a range: people differ in more.

VOICE/CHAPTER/NAME.wav has NAME.normalized.txt beside it, and NAME.times.json: [symbol, where it ends in seconds], in
their order, the silence before as the symbol ^.
"""

import argparse
import ctypes
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from edge.audio.wav import WavWriter  # noqa: E402 - the paths come first
from edge.errors import EdgeError  # noqa: E402
from edge.text.spoken.symbols import START, spelled  # noqa: E402
from edge.typing import F32  # noqa: E402

# Names that espeak-ng 1.52 takes; of its variants those that could be somebody.
ACCENTS = ("en-us", "en-us", "en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc")
RHOTIC = ("en-us", "en-us-nyc")  # where a written ɜː is said with an r
VARIANTS = """Alex Alicia Andrea Andy Annie Denis Diogo Gene Gene2 Hugo Jacky Lee Marco Mario Michael Mike Mr_serious
    Nguyen Reed adam anika antonio aunty belinda benjamin boris caleb david ed edward edward2 f1 f2 f3 f4 f5 grandma
    grandpa gustave ian iven iven2 john kaukovalta klatt klatt2 klatt3 linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel
    miguel mike2 norbert pablo paul pedro quincy rob robert sandro shelby steph steph2 travis victor zac""".split()  # noqa: SIM905
MARKS = ",;:.?!"
SECONDS = (2.0, 8.0)
LETTERS = (22, 120)  # of a sentence that may last so long
SILENCE = 0.1  # seconds before and after
OTHERS = {
    "ʌʉ": "aʊ",
    "ʉː": "uː",
    "ʉ": "ʊ",
    "a:": "a",
    "\u032a": "",
}  # of accents, and the nearest of ours
SHORT = 0.15  # of a vowel and what follows it
PAUSE = 1600  # samples: what is shorter is how vowels are kept apart
END = "\n"
CHAPTER = "made"
_ABBREVIATED = re.compile(r"\b[A-HJ-Z]\b|\b(?:St|Mr|Mrs|Dr|No|Vol)\.")


@dataclass(frozen=True, slots=True)
class Voice:
    name: str
    accent: str
    variant: str
    rate: int  # words a minute
    pitch: int  # of 100
    range: int  # of 100


def voices(count: int, rng: random.Random) -> list[Voice]:
    """Each variant once, in an order that chance fixes, with an accent and a manner."""
    chosen = rng.sample(VARIANTS, count)
    out = []
    for at, variant in enumerate(chosen):
        accent = ACCENTS[at % len(ACCENTS)]
        manner = rng.randint(135, 195), rng.randint(35, 65), rng.randint(40, 70)
        out.append(Voice(f"{accent}+{variant}", accent, variant.replace("_", " "), *manner))
    return out


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        *(
            (name, ctypes.c_int)
            for name in ("type", "identifier", "text", "length", "audio", "sample")
        ),
        ("user", ctypes.c_void_p),
        ("id", _Id),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_END, _PHONEME = 5, 7
_SYNCHRONOUS, _PHONEME_EVENTS, _IPA, _UTF8 = 2, 1, 2, 1
_RATE, _PITCH, _RANGE = 1, 3, 4


@dataclass(frozen=True, slots=True)
class Heard:
    """`phoneme` begins at `sample`; empty: a pause; END: a clause is over."""

    phoneme: str
    sample: int


class Speaker:
    """The library through ctypes: text -> samples, and where its phonemes begin."""

    def __init__(self, library: str, data: str) -> None:
        self._lib = ctypes.CDLL(library)
        options = _PHONEME_EVENTS | _IPA
        self.rate = self._lib.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), options)
        assert self.rate > 0, "espeak-ng did not start"
        self._sound: list[F32] = []
        self._events: list[Heard] = []
        self._kept = _CALLBACK(self._take)  # the library holds no reference to it
        self._lib.espeak_SetSynthCallback(self._kept)

    def use(self, voice: Voice) -> None:
        """A name that it does not know keeps the voice before, and says so by its code alone."""
        name = f"{voice.accent}+{voice.variant}"
        self._right(self._lib.espeak_SetVoiceByName(name.encode()), f"has no voice {name}")
        for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.range)):
            code = self._lib.espeak_SetParameter(parameter, value, 0)
            self._right(code, f"takes no {value} as parameter {parameter}")

    def say(self, text: str) -> tuple[F32, list[Heard]]:
        self._sound, self._events = [], []
        raw = text.encode()
        code = self._lib.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, _UTF8, None, None)
        self._right(code, f"cannot say {text!r}")
        self._right(self._lib.espeak_Synchronize(), "did not end")
        return np.concatenate(self._sound or [np.zeros(0, np.float32)]), self._events

    def _take(
        self,
        samples: "ctypes._Pointer[ctypes.c_short]",
        count: int,
        events: "ctypes._Pointer[_Event]",
    ) -> int:
        if samples and count > 0:
            whole = np.ctypeslib.as_array(samples, (count,)).astype(np.float32)
            self._sound.append(whole / np.float32(32768))
        at = 0
        while (event := events[at]).type:
            if event.type == _END:
                self._events.append(Heard(END, event.sample))
            if event.type == _PHONEME:
                # Eight bytes, which may be full, so that no zero ends them.
                raw = ctypes.string_at(ctypes.addressof(event.id), 8).split(b"\0")[0]
                self._events.append(Heard(raw.decode(errors="replace"), event.sample))
            at += 1
        return 0

    def _right(self, code: int, what: str) -> None:
        if code != 0:
            raise SystemExit(f"espeak-ng {what} (code {code})")


def times(heard: Sequence[Heard], text: str, end: int, rhotic: bool) -> list[tuple[str, int]]:
    """Symbols and the samples where they end. What is one phoneme to espeak-ng and several to us is parted equally.
    EdgeError where it said what is none of English, ValueError where clauses and marks do not fit.
    """
    out: list[tuple[str, int]] = []
    began = 0
    for one, until in _joined(heard, [letter for letter in text if letter in MARKS], end):
        begin = one.sample
        symbols = (one.phoneme,) if one.phoneme in MARKS else _symbols(one.phoneme, rhotic)
        if symbols[0] in ("l", "ɹ") and until - begin < SHORT * (until - began) and out:
            # It is the end of a vowel to espeak-ng, and its event comes when it is over.
            begin = began + (until - began) * 2 // 3
            out[-1] = (out[-1][0], begin)
        for symbol, stop in _parted(symbols, begin, until):
            longer = out and symbol == out[-1][0] == "ɹ"  # ɚ, and its r once more
            out[len(out) - bool(longer) :] = [(symbol, stop)]
        began = begin
    return out


def _joined(heard: Sequence[Heard], marks: list[str], end: int) -> Iterator[tuple[Heard, int]]:
    """Phonemes, and marks in the place of pauses, each with where the next begins. A pause at the end of a clause is
    the mark that is written there; a long one within it a comma that is not; a short one is the end of a phoneme.
    """
    found: list[Heard] = []
    for one in heard:
        silent = bool(found) and found[-1].phoneme in MARKS
        if one.phoneme == END:
            found[-1:] = [Heard(marks.pop(0), found[-1].sample)] if silent and marks else found[-1:]
        elif one.phoneme:
            short = silent and one.sample - found[-1].sample < PAUSE
            found[len(found) - short :] = [one]
        elif found and not silent:
            found.append(Heard(",", one.sample))
    if marks or not found or found[-1].phoneme not in MARKS:
        raise ValueError("clauses and marks do not fit")
    for one, after in pairwise([*found, Heard("", end)]):
        yield one, after.sample


def _symbols(phoneme: str, rhotic: bool) -> tuple[str, ...]:
    for theirs, ours in OTHERS.items():
        phoneme = phoneme.replace(theirs, ours)
    found = spelled(phoneme.replace("ɜː", "ɝ") if rhotic else phoneme, "ipa")
    if not found:
        raise ValueError(f"{phoneme!r} is no phoneme of ours")
    return found


def _parted(symbols: Sequence[str], begin: int, end: int) -> Iterator[tuple[str, int]]:
    for at, symbol in enumerate(symbols, 1):
        yield symbol, begin + (end - begin) * at // len(symbols)


def sentences(files: Sequence[Path]) -> list[str]:
    """Those of plain letters and marks that may last as long as is wanted, each once."""
    found: dict[str, None] = {}
    for file in files:
        text = file.read_text(encoding="utf-8", errors="ignore")
        if file.suffix == ".tsv":  # transcripts: the last column
            text = "\n\n".join(line.split("\t")[-1] for line in text.splitlines()[1:])
        text = text.translate(str.maketrans({"“": "", "”": "", '"': "", "’": "'", "\r": ""}))
        for paragraph in re.split(r"\n\s*\n", text):
            for sentence in re.findall(r"[^.?!]+[.?!]", " ".join(paragraph.split())):
                said = sentence.strip()
                plain = re.fullmatch(r"[A-Z][a-z']*(?:[,;:]? [A-Za-z][a-z']*)*[.?!]", said)
                if (
                    plain
                    and LETTERS[0] <= len(said) <= LETTERS[1]
                    and not _ABBREVIATED.search(said)
                ):
                    found[said] = None
    return list(found)


def make(speaker: Speaker, voice: Voice, texts: Iterator[str], seconds: float, out: Path) -> float:
    """Write so many seconds of a voice -> how many."""
    speaker.use(voice)
    folder = out / voice.name / CHAPTER
    folder.mkdir(parents=True)
    total, number = 0.0, 0
    silence = np.zeros(int(SILENCE * speaker.rate), np.float32)
    while total < seconds:
        text = next(texts)
        samples, heard = speaker.say(text)
        if not SECONDS[0] <= samples.size / speaker.rate <= SECONDS[1]:
            continue
        try:
            ends = times(heard, text, samples.size, voice.accent in RHOTIC)
        except (EdgeError, ValueError):
            continue  # letters of other languages; a pause that nobody wrote
        rows = [(START, 0), *ends]
        stamps = [[symbol, round(SILENCE + end / speaker.rate, 5)] for symbol, end in rows]
        stamps[-1][1] += SILENCE
        base = folder / f"{voice.name}_{CHAPTER}_{number:04}"
        with base.with_suffix(".wav").open("wb") as file, WavWriter(file, speaker.rate) as writer:
            writer.write(np.concatenate([silence, samples, silence]))
        base.with_suffix(".normalized.txt").write_text(text + "\n")
        base.with_suffix(".times.json").write_text(json.dumps(stamps, ensure_ascii=False) + "\n")
        total, number = total + samples.size / speaker.rate, number + 1
    return total


def main() -> None:
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("-o", "--out", type=Path, required=True)
    ask.add_argument("--text", type=Path, nargs="+", required=True)
    ask.add_argument("--hours", type=float, default=4.0)
    ask.add_argument("--voices", type=int, default=60)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--library")
    ask.add_argument("--data")
    asked = ask.parse_args()
    library, data = asked.library, asked.data
    if library is None:
        import espeakng_loader

        library, data = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    rng = random.Random(asked.seed)
    texts = sentences(asked.text)
    rng.shuffle(texts)
    speaker, each = Speaker(library, data), asked.hours * 3600 / asked.voices
    stream = iter(texts)
    for voice in voices(asked.voices, rng):
        made = make(speaker, voice, stream, each, asked.out)
        print(f"{voice.name}: {made:.0f} s, {voice.rate} words a minute", file=sys.stderr)


if __name__ == "__main__":
    main()
