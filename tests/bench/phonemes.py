"""How the front end says the transcripts of the shared speech, beside espeak-ng: by word, and by phoneme.

    python tests/bench/phonemes.py [--out docs/phonemes.json] [--library LIBESPEAK --voices DATA]
    python tests/bench/phonemes.py --names cmudict.dict     makes edge/text/spoken/names.txt.gz again, and
    python tests/bench/phonemes.py --learn                  edge/text/spoken/guessing.npz

espeak-ng (GPL-3) is no part of this package: the library is found in the package espeakng-loader, or named. It is not
the truth either: the list of what differs most often is read by a person. Letters are judged on a tenth of the lexicon
whose first five letters the guesser has never seen together.
"""

import argparse
import ctypes
import gzip
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from edge.text.spoken import guessing, learning  # noqa: E402 - the paths come first
from edge.text.spoken.guessing import guesser, write  # noqa: E402
from edge.text.spoken.lexicon import DEFAULT, NAMES, lexicon  # noqa: E402
from edge.text.spoken.speaking import script  # noqa: E402
from edge.text.spoken.symbols import Phonemes, bare, is_vowel, spelled  # noqa: E402
from edge.text.spoken.symbols import table as symbol_table  # noqa: E402
from edge.text.spoken.words import Words  # noqa: E402

ASSETS = TESTS.parents[1] / "shared" / "assets" / "speech"
# What one accent says in more than one way, or one of the two does not write: counted as agreeing in `alike`.
ALIKE = {"ᵻ": "ə", "ɪ": "ə", "ʌ": "ə", "ɾ": "t", "ɔ": "ɑ", "ɜ": "ə", "ʔ": "t", "ʊ": "u"}

VOWELS = symbol_table().vowels


class Espeak:
    """The library through ctypes, without sound: espeak_ng's speak_lib.h."""

    def __init__(self, library: str, data: str, voice: str = "en-us") -> None:
        self._lib = ctypes.CDLL(library)
        self._lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        assert self._lib.espeak_Initialize(2, 0, data.encode(), 0) > 0, "espeak-ng did not start"
        # A name that it does not know keeps the voice before, and says so here alone.
        assert self._lib.espeak_SetVoiceByName(voice.encode()) == 0, f"no voice {voice}"

    def phonemes(self, text: str) -> str:
        """IPA, words apart by spaces."""
        pointer = ctypes.pointer(ctypes.c_char_p(text.encode()))
        out = []
        while pointer.contents.value is not None:
            out.append(self._lib.espeak_TextToPhonemes(pointer, 1, 0x02).decode())
        # American r after a vowel is written once, or as the vowel's colour.
        return " ".join(out).replace("ɜː", "ɝ").replace("ɚɹ", "ɚ")


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Fewest symbols to replace, add or take away."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def parted(ours: Sequence[Phonemes], theirs: Sequence[str]) -> list[Phonemes]:
    """Their symbols of a sentence, among our words: it joins words (in the, of the), so that spaces say little."""
    flat = [(alike((symbol,))[0], at) for at, word in enumerate(ours) for symbol in word]
    other = alike(tuple(theirs))
    table = [[i + j for j in range(len(other) + 1)] for i in range(len(flat) + 1)]
    for i, (mine, _) in enumerate(flat, 1):
        for j, symbol in enumerate(other, 1):
            swap = table[i - 1][j - 1] + (
                0 if mine == symbol else 1.5 - (mine in VOWELS) * (symbol in VOWELS)
            )
            table[i][j] = min(swap, table[i - 1][j] + 1, table[i][j - 1] + 1)
    out: list[list[str]] = [[] for _ in ours]
    i, j = len(flat), len(other)
    while j:
        near = flat[max(0, i - 1)]
        swap = (
            0 if near[0] == other[j - 1] else 1.5 - (near[0] in VOWELS) * (other[j - 1] in VOWELS)
        )
        if i and table[i][j] == table[i - 1][j - 1] + swap:
            out[near[1]].append(theirs[j - 1])
            i, j = i - 1, j - 1
        elif i and table[i][j] == table[i - 1][j] + 1:
            i -= 1
        else:
            out[near[1]].append(theirs[j - 1])
            j -= 1
    return [tuple(reversed(word)) for word in out]


def texts(folder: Path) -> Iterator[str]:
    """Transcripts: a recognizer's of 251 readers, and LibriSpeech's own."""
    for line in (folder / "libri251" / "transcripts.tsv").read_text().splitlines()[1:]:
        yield line.split("\t")[3]
    for file in sorted(folder.glob("librispeech-clean/*.txt")):
        for line in file.read_text().splitlines():
            yield line.partition(" ")[2]


def alike(phonemes: Phonemes) -> list[str]:
    return [ALIKE.get(bare(symbol), bare(symbol)) for symbol in phonemes]


def compared(folder: Path, espeak: Espeak) -> dict[str, object]:
    """Each word as we say it in its sentence, and as espeak-ng says what we read it as, in its sentence, too."""
    words = Words()
    counts: Counter[str] = Counter()
    differ: Counter[tuple[str, str, str]] = Counter()
    for text in texts(folder):
        said = script(text, words)
        counts["guessed"] += len(said.guessed)
        for sentence in said.sentences:
            counts["sentences"] += 1
            plain = [word for word in sentence.words if word.text.replace("'", "").isalpha()]
            ours = [sentence.symbols[word.first : word.last] for word in plain]
            joined = spelled(espeak.phonemes(" ".join(word.text for word in plain)), "ipa")
            theirs = parted(ours, [symbol for symbol in joined if symbol != " "])
            for word, mine, other in zip(plain, ours, theirs, strict=True):
                _count(word.text.lower(), mine, other, counts, differ)
    total = counts["words"]
    return {
        "sentences": counts["sentences"],
        "words": total,
        "words_the_same": round(counts["same"] / total, 4),
        "words_the_same_but_for_stress": round(counts["but for stress"] / total, 4),
        "words_alike": round(counts["alike"] / total, 4),
        "phoneme_differences_alike": round(counts["distance"] / counts["phonemes"], 4),
        "guessed_words": counts["guessed"],
        "most_frequent": [
            {"word": word, "ours": ours, "theirs": other, "times": times}
            for (word, ours, other), times in differ.most_common(50)
        ],
    }


def _count(
    word: str,
    ours: Phonemes,
    theirs: Phonemes,
    counts: Counter[str],
    differ: Counter[tuple[str, str, str]],
) -> None:
    counts["words"] += 1
    counts["same"] += ours == theirs
    counts["but for stress"] += [bare(s) for s in ours] == [bare(s) for s in theirs]
    far = distance(alike(ours), alike(theirs))
    counts["alike"] += far == 0
    counts["distance"] += far
    counts["phonemes"] += len(theirs)
    if far:
        differ[word, "".join(ours), "".join(theirs)] += 1


def held_out(word: str) -> bool:
    """A tenth of all families of words: those that begin alike are together."""
    return int(hashlib.sha256(word[:5].encode()).hexdigest(), 16) % 10 == 0


def plain_words() -> list[learning.Word]:
    """Of the lexicon, small letters alone, each as it is said by default."""
    book = lexicon("us")
    words = sorted(
        w for w in book.words() if w.isascii() and w.isalpha() and w.islower() and len(w) > 1
    )
    return [(word, (book.entry(word) or {})[DEFAULT]) for word in words]


def judged() -> dict[str, object]:
    """The guesser on words that it has not seen, every fifth of them."""
    words = [word for word in plain_words() if held_out(word[0])][::5]
    same = bare_same = far = length = 0
    for word, want in words:
        got = guesser().phonemes(word)
        same += got == want
        bare_same += [bare(s) for s in got] == [bare(s) for s in want]
        far += distance([bare(s) for s in got], [bare(s) for s in want])
        length += len(want)
    return {
        "words": len(words),
        "right": round(same / len(words), 4),
        "right_but_for_stress": round(bare_same / len(words), 4),
        "phoneme_errors": round(far / length, 4),
        "pairs": guessing.ORDER,
    }


ARPABET = dict(
    pair.split(":")
    for pair in """AA:ɑ AE:æ AH:ʌ AO:ɔ AW:aʊ AY:aɪ EH:ɛ EY:eɪ IH:ɪ IY:i OW:oʊ OY:ɔɪ UH:ʊ UW:u B:b CH:tʃ D:d DH:ð F:f
    G:ɡ HH:h JH:dʒ K:k L:l M:m N:n NG:ŋ P:p R:ɹ S:s SH:ʃ T:t TH:θ V:v W:w Y:j Z:z ZH:ʒ""".split()  # noqa: SIM905
)
STRESS = {"0": "", "1": "ˈ", "2": "ˌ"}


def arpabet(text: str) -> Phonemes:
    """The dictionary's letters -> ours; as misaki writes American, t between a vowel and an unstressed one is ɾ."""
    out: list[str] = []
    for sound in text.split():
        name, stress = (sound[:-1], STRESS[sound[-1]]) if sound[-1].isdigit() else (sound, "")
        if name == "ER":
            out += [stress + "ɜ" if stress else "ə", "ɹ"]
        else:
            out.append("ə" if sound == "AH0" else stress + ARPABET[name])
    for at in range(1, len(out) - 1):
        if (
            out[at] == "t"
            and (is_vowel(out[at - 1]) or out[at - 1] == "ɹ")
            and out[at + 1] in VOWELS
        ):
            out[at] = "ɾ"
    return tuple(out)


def name_words(dictionary: Path, licence: Path) -> None:
    """Words of a CMU Pronouncing Dictionary that misaki's American lexicon has not, the first way of each."""
    NAMES.write_bytes(gzip.compress(b""))
    words, rows = Words(), {}
    for line in dictionary.read_text().splitlines():
        word, _, spoken = line.partition("#")[0].strip().partition(" ")
        if re.fullmatch(r"[a-z]+(?:'[a-z]+)*", word) and len(word) > 1 and not words.known(word):
            rows[word] = "".join(arpabet(spoken))
    rows = {w: s for w, s in rows.items() if not (w.endswith("'s") and w[:-2] in rows)}
    head = "".join(f"# {line}".rstrip() + "\n" for line in licence.read_text().splitlines())
    body = "".join(f"{word}\t{rows[word]}\n" for word in sorted(rows))
    NAMES.write_bytes(gzip.compress((head + body).encode(), 9, mtime=0))
    print(f"{NAMES}: {len(rows)} words, {NAMES.stat().st_size} bytes")


def learn() -> None:
    pairs, counts = learning.learned([word for word in plain_words() if not held_out(word[0])])
    file = Path(guessing.__file__).with_suffix(".npz")
    write(file, pairs, counts)
    print(f"{file}: {len(pairs)} pairs, {len(counts)} counts, {file.stat().st_size} bytes")


def main() -> None:
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("--assets", type=Path, default=ASSETS)
    ask.add_argument("--out", type=Path)
    ask.add_argument("--library")
    ask.add_argument("--voices")
    ask.add_argument("--learn", action="store_true")
    ask.add_argument(
        "--names",
        type=Path,
        help="cmudict.dict of github.com/cmusphinx/cmudict, its LICENSE beside it",
    )
    asked = ask.parse_args()
    if asked.names:
        name_words(asked.names, asked.names.with_name("LICENSE"))
        return
    if asked.learn:
        learn()
        return
    library, voices = asked.library, asked.voices
    if library is None:
        import espeakng_loader

        library, voices = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    record = {
        "command": "python tests/bench/phonemes.py --out docs/phonemes.json",
        "lexicon": f"misaki {metadata.version('misaki')}",
        "espeak": f"espeakng-loader {metadata.version('espeakng-loader')}"
        if not asked.library
        else "named",
        "beside_espeak": compared(asked.assets, Espeak(library, voices)),
        "unknown_words": judged(),
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()
