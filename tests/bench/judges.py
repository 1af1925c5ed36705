"""What independent judges say of speech: how many words a recognizer gets wrong, whose voice it is, how clean it is.

    python tests/bench/judges.py made.jsonl --words --phonemes --python JUDGES/bin/python --whisper FOLDER
    python tests/bench/judges.py made.jsonl --against recorded.jsonl --speaker resemblyzer.whl --mos speechmos.whl

A line of a file is {"sound": "a.wav", "text": "What it says.", "voice": "ann"}; sounds lie beside or below it. Figures
are means over lines, with the middle 95 % of 1,000 draws of as many lines (of voices, where voices count). For
development alone: none of the judges is in the package, or needed by it.

- words: Whisper (faster-whisper, in the environment of `--python`; `--whisper`: its CTranslate2 folder). Both texts are
  taken as they are spoken: numbers and abbreviations as words. With `--against` also how many are wrong there and, if
  that has the same texts, how many times as many are wrong here.
- phonemes: of the same transcripts, by edge's own front end and without stress, as words are judged.
- speaker: the cosine of GE2E's embeddings (arXiv 1710.10467; `--speaker`: the wheel of resemblyzer 0.1.4, or its
  pretrained.pt) to the mean of the voice's other sentences, and of every other voice's ("shuffled"), in `--against` or
  else among the lines themselves; to the `same` sentence there. `way`: how much of the way from shuffled to the voice's
  own, both of `--against`.
  Long silences are not cut out, as resemblyzer does; the same for all.
- mos: DNSMOS P.835 (arXiv 2110.01763; `--mos`: the wheel of speechmos), its raw numbers of signal, background and all.
"""

import argparse
import io
import json
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from edge.audio.sound import open_sound
from edge.audio.spectra import Framing, Mel, log_mel
from edge.text.spoken.reading import read

RATE = 16_000
DRAWS = 1000
# GE2E hears power, not its logarithm, of 40 bands each 10 ms; 160 frames at a time, a new time every 0.77 s.
HEARD = Mel(
    framing=Framing(rate=RATE, hop=160, window=400, padding="center"),
    transform=400, bands=40, scale="slaney", area=True, power=2.0, floor=1e-30,
)  # fmt: skip
PARTIAL, STEP = 160, 77
SOFT = 10 ** (-30 / 20)  # a voice below -30 dB is made that loud
MOS_SECONDS = 9.01
RECOGNIZER = """
import json, sys
from faster_whisper import WhisperModel
model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8", cpu_threads=1)
for line in sys.stdin:
    parts, _ = model.transcribe(
        json.loads(line), language="en", beam_size=5, temperature=0.0, condition_on_previous_text=False,
        without_timestamps=True,
    )
    print(json.dumps(" ".join(part.text.strip() for part in parts)), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Line:
    sound: Path
    text: str
    voice: str


def lines_of(file: Path) -> list[Line]:
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [
        Line(file.parent / row["sound"], row.get("text", ""), row.get("voice", "")) for row in rows
    ]


def interval(
    draw: Callable[[np.ndarray], float], groups: Sequence[Any], seed: int = 0
) -> dict[str, float | None]:
    """`draw`: a figure of chosen lines; `groups`: lines of one are drawn together."""
    rng = np.random.default_rng(seed)
    members: dict[Any, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    names = list(members)
    found = [
        draw(np.concatenate([members[names[i]] for i in rng.integers(len(names), size=len(names))]))
        for _ in range(DRAWS)
    ]
    known = [value for value in found if np.isfinite(value)]
    if not known:
        return {"mean": None, "low": None, "high": None}
    low, high = np.quantile(known, (0.025, 0.975))
    whole = draw(np.arange(len(groups)))
    return {"mean": round(whole, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


# Words


def words_of(text: str) -> list[str]:
    """As they are spoken, in small letters."""
    tokens = read(text, lambda _: True)
    joined = " ".join(word for token in tokens for word in token.words)
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in joined.lower())
    return kept.replace("'", "").split()


def phonemes_of(text: str) -> list[str]:
    """Of those words, and no stress."""
    from edge.text.spoken.speaking import script
    from edge.text.spoken.symbols import bare

    kept = [c for c in " ".join(words_of(text)) if c.isascii()]
    if not any(map(str.isalnum, kept)):
        return []
    spoken = script("".join(kept), _dictionary())
    return [bare(s) for one in spoken.sentences for s in one.symbols if bare(s).isalpha()]


@cache
def _dictionary() -> Any:
    from edge.text.spoken.words import Words

    return Words()


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Words that are missing, more or other, in the cheapest way (Levenshtein)."""
    costs = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, costs[0] = costs[0], i
        for j, other in enumerate(heard, 1):
            before, costs[j] = (
                costs[j],
                min(costs[j] + 1, costs[j - 1] + 1, before + (word != other)),
            )
    return costs[-1]


def transcripts(lines: Sequence[Line], python: str, whisper: str) -> list[str]:
    asked = "".join(json.dumps(str(line.sound.resolve())) + "\n" for line in lines)
    done = subprocess.run(
        [python, "-c", RECOGNIZER, whisper],
        input=asked,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"the recognizer failed: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def parts_wrong(
    lines: Sequence[Line], heard: Sequence[str], parts: Callable[[str], list[str]] = words_of
) -> np.ndarray:
    """Of each line, how many parts are wrong and how many there are: [N, 2]."""
    pairs = [(parts(line.text), parts(text)) for line, text in zip(lines, heard, strict=True)]
    return np.array([(errors(said, got), len(said)) for said, got in pairs], float)


def judge_words(
    lines: Sequence[Line], others: Sequence[Line] | None, given: argparse.Namespace
) -> dict[str, Any]:
    """Words, phonemes or both."""
    kinds: dict[str, Callable[[str], list[str]]] = {}
    kinds |= {"words": words_of} if given.words else {}
    kinds |= {"phonemes": phonemes_of} if given.phonemes else {}
    heard = transcripts(lines, given.python, given.whisper)
    theirs = None if others is None else transcripts(others, given.python, given.whisper)
    out: dict[str, Any] = {}
    for name, parts in kinds.items():
        counts = parts_wrong(lines, heard, parts)
        out[name] = found = {
            "wrong": int(counts[:, 0].sum()), name: int(counts[:, 1].sum()),
            "error": interval(partial(share, counts), range(len(lines))),
        }  # fmt: skip
        if others is None or theirs is None:
            continue
        base = parts_wrong(others, theirs, parts)
        found["against"] = interval(partial(share, base), range(len(others)))
        if [line.text for line in lines] == [line.text for line in others]:
            found["times"] = interval(
                partial(times, counts, base),
                range(len(lines)),
            )
    return out


def share(counts: np.ndarray, some: np.ndarray) -> float:
    return float(counts[some, 0].sum() / max(1.0, counts[some, 1].sum()))


def times(counts: np.ndarray, base: np.ndarray, some: np.ndarray) -> float:
    return share(counts, some) / max(share(base, some), 1e-9)


# Voices


class Speaker:
    """GE2E: three LSTMs, of whose last state a product and what is above zero is a voice."""

    def __init__(self, file: Path) -> None:
        import torch

        self._torch = torch
        if zipfile.is_zipfile(file) and file.suffix == ".whl":
            with zipfile.ZipFile(file) as wheel, wheel.open("resemblyzer/pretrained.pt") as inner:
                stream: Any = io.BytesIO(inner.read())
        else:
            stream = file
        state = torch.load(stream, map_location="cpu", weights_only=True)["model_state"]
        self._lstm = torch.nn.LSTM(HEARD.bands, 256, 3, batch_first=True)
        self._linear = torch.nn.Linear(256, 256)
        for name, module in (("lstm", self._lstm), ("linear", self._linear)):
            at = f"{name}."
            module.load_state_dict(
                {k.removeprefix(at): v for k, v in state.items() if k.startswith(at)}
            )

    def of(self, file: Path) -> np.ndarray:
        """[256], of length 1."""
        samples = open_sound(file, rate=RATE).samples
        loud = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
        samples = samples * np.float32(max(1.0, SOFT / max(loud, 1e-9)))
        power = np.exp(log_mel(samples, HEARD))  # [T, 40]
        if len(power) < PARTIAL:
            power = np.pad(power, ((0, PARTIAL - len(power)), (0, 0)))
        starts = range(0, len(power) - PARTIAL + 1, STEP)
        torch = self._torch
        with torch.no_grad():
            heard = torch.from_numpy(np.stack([power[at : at + PARTIAL] for at in starts]))
            _, (state, _) = self._lstm(heard.float())
            raw = torch.relu(self._linear(state[-1])).numpy()
        mean = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).mean(0)
        made: np.ndarray = mean / np.linalg.norm(mean)
        return made


def likeness(
    lines: Sequence[Line], voices: np.ndarray, others: Sequence[Line], theirs: np.ndarray
) -> np.ndarray:
    """Of each line, the cosine to its voice's other sentences, and the mean of those to each other voice: [N, 2]; NaN
    where a voice has no other sentence.
    """
    out = np.full((len(lines), 2), np.nan)
    names = sorted({line.voice for line in others})
    for i, line in enumerate(lines):
        cosines: dict[str, float] = {}
        for name in names:
            rows = [
                j
                for j, other in enumerate(others)
                if other.voice == name
                and (name != line.voice or (other.sound != line.sound and other.text != line.text))
            ]
            if rows:
                mean = theirs[rows].mean(0)
                cosines[name] = float(voices[i] @ mean / np.linalg.norm(mean))
        out[i, 0] = cosines.pop(line.voice, np.nan)
        out[i, 1] = np.mean(list(cosines.values())) if cosines else np.nan
    return out


def judge_voices(
    lines: Sequence[Line], others: Sequence[Line] | None, file: Path
) -> dict[str, Any]:
    speaker = Speaker(file)
    voices = np.stack([speaker.of(line.sound) for line in lines])
    theirs = voices if others is None else np.stack([speaker.of(line.sound) for line in others])
    reference = lines if others is None else others
    own = likeness(lines, voices, reference, theirs)
    groups = [line.voice for line in lines]
    found: dict[str, Any] = {
        "own": interval(lambda some: mean(own[some, 0]), groups),
        "shuffled": interval(lambda some: mean(own[some, 1]), groups),
        "apart": interval(lambda some: mean(own[some, 0] - own[some, 1]), groups),
    }
    if others is not None:
        same = [
            float(voices[i] @ theirs[j])
            for i, line in enumerate(lines)
            for j, other in enumerate(others)
            if (line.text, line.voice) == (other.text, other.voice)
        ]
        if same:
            found["same"] = interval(lambda some: float(np.array(same)[some].mean()), same)
        base = likeness(others, theirs, others, theirs)
        of_voice: Mapping[str, list[int]] = defaultdict(list)
        for i, line in enumerate(others):
            of_voice[line.voice].append(i)
        found["against"] = {
            "own": interval(lambda some: mean(base[some, 0]), [o.voice for o in others]),
            "shuffled": interval(lambda some: mean(base[some, 1]), [o.voice for o in others]),
        }

        def way(some: np.ndarray) -> float:
            rows = np.concatenate([of_voice[groups[i]] for i in some]).astype(int)
            floor = mean(base[rows, 1])
            return (mean(own[some, 0]) - floor) / (mean(base[rows, 0]) - floor)

        if np.isfinite(base[:, 0]).any():
            found["way"] = interval(way, groups)
    return found


def mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


# Cleanness


def judge_mos(lines: Sequence[Line], file: Path) -> dict[str, Any]:
    import onnxruntime as ort

    with zipfile.ZipFile(file) as wheel:
        model = wheel.read("speechmos/dnsmos_models/sig_bak_ovr.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    length = int(MOS_SECONDS * RATE)
    rows = []
    for line in lines:
        samples = open_sound(line.sound, rate=RATE).samples
        samples = np.tile(samples, -(-length // samples.size))
        starts = range(0, samples.size - length + 1, RATE)
        given = np.stack([samples[at : at + length] for at in starts])
        name = session.get_inputs()[0].name
        rows.append(np.mean([session.run(None, {name: one[None]})[0][0] for one in given], axis=0))
    table = np.array(rows, float)
    return {
        kind: interval(lambda some, i=i: mean(table[some, i]), range(len(lines)))
        for i, kind in enumerate(("signal", "background", "all"))
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("lines", type=Path)
    parser.add_argument("--against", type=Path, help="lines of what was recorded, or made before")
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--phonemes", action="store_true")
    parser.add_argument(
        "--python", default=sys.executable, help="of an environment with faster-whisper"
    )
    parser.add_argument("--whisper", help="a CTranslate2 folder of Whisper")
    parser.add_argument(
        "--speaker", type=Path, help="the wheel of resemblyzer, or its pretrained.pt"
    )
    parser.add_argument("--mos", type=Path, help="the wheel of speechmos")
    given = parser.parse_args()
    lines = lines_of(given.lines)
    others = None if given.against is None else lines_of(given.against)
    found: dict[str, Any] = {"lines": len(lines)}
    if given.words or given.phonemes:
        if not given.whisper:
            parser.error("--words and --phonemes need --whisper FOLDER")
        found |= judge_words(lines, others, given)
    if given.speaker:
        found["speaker"] = judge_voices(lines, others, given.speaker)
    if given.mos:
        found["mos"] = judge_mos(lines, given.mos)
        if others is not None:
            found["mos_against"] = judge_mos(others, given.mos)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
