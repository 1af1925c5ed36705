"""How well a recognizer hears phonemes, and how near its alignments are to times that are known.

    python tests/bench/recognized.py RECOGNIZER PREPARED[:SPLIT]... [--most 100] [--out docs/recognizer.json]

RECOGNIZER is a checkpoint or an artifact; PREPARED a folder that `edge data speech` made. Symbols that are wrong: the
fewest to replace, add or take away, of those that are said (Levenshtein), as the likeliest path reads; the same
without stresses. Times: where sounds begin, beside the row's own durations: those of made voices are exact to a frame.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from edge.artifact.manifest import is_artifact  # noqa: E402 - the paths come first
from edge.artifact.pipeline import is_pipeline  # noqa: E402
from edge.audio.alignment import BLANK, aligned, spread  # noqa: E402
from edge.convert.conversion import convert  # noqa: E402
from edge.convert.options import Options  # noqa: E402
from edge.data.steps.hearing import Hearing  # noqa: E402
from edge.data.utterances import FRAMING, SPLITS, TRAIN, Utterances  # noqa: E402
from edge.text.spoken.symbols import bare, is_sound, table  # noqa: E402
from edge.typing import F32  # noqa: E402

MILLISECONDS = 1000 / FRAMING.per_second


def distance(one: Sequence[object], other: Sequence[object]) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def read(log_probs: F32) -> list[int]:
    """The likeliest path without repetitions and blanks."""
    path = log_probs.argmax(1)
    return [
        int(now)
        for before, now in zip((BLANK, *path), path, strict=False)
        if now not in (before, BLANK)
    ]


def measured(hear: Hearing, speech: Utterances, most: int) -> dict[str, object]:
    wrong = stressless = said = frames = right = 0
    far: list[float] = []
    fits: list[float] = []
    symbols = table().symbols
    for number in np.linspace(0, len(speech) - 1, min(most, len(speech))).astype(int):
        one = speech[int(number)]
        log_probs = hear(one.mel())
        sounds = [int(symbol) for symbol in one.symbols if is_sound(int(symbol))]
        heard = read(log_probs)
        wrong += distance(heard, sounds)
        stressless += distance(
            [bare(symbols[x]) for x in heard], [bare(symbols[x]) for x in sounds]
        )
        said += len(sounds)
        silent = [not is_sound(int(symbol)) for symbol in one.symbols]
        frames += len(log_probs)
        right += int(
            (
                log_probs.argmax(1) == np.repeat(np.where(silent, BLANK, one.symbols), one.frames)
            ).sum()
        )
        if len(sounds) > len(log_probs):
            continue
        found = aligned(log_probs, sounds)
        fits.append(found.fit)
        starts = [np.cumsum(x) - x for x in (spread(found, silent, len(log_probs)), one.frames)]
        far += (np.abs(starts[0] - starts[1])[~np.array(silent)] * MILLISECONDS).tolist()
    return {
        "utterances": min(most, len(speech)),
        "symbols": said,
        "symbols_wrong": round(wrong / said, 4),
        "symbols_wrong_but_for_stress": round(stressless / said, 4),
        "frames_right": round(right / frames, 4),
        "fit_median": round(float(np.median(fits)), 3),
        "starts_apart_ms": {
            "mean": round(float(np.mean(far)), 1),
            "median": round(float(np.median(far)), 1),
            "nine_of_ten": round(float(np.quantile(far, 0.9)), 1),
        },
        "starts_within_25_ms": round(float(np.mean(np.array(far) <= 25)), 4),
    }


def main() -> None:
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("recognizer", type=Path)
    ask.add_argument("prepared", nargs="+")
    ask.add_argument("--most", type=int, default=100)
    ask.add_argument("--out", type=Path)
    asked = ask.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = asked.recognizer
        if not is_artifact(folder) and not is_pipeline(folder):
            folder = Path(made) / "recognizer"
            convert(asked.recognizer, folder, Options(target="onnx", quant="fp32"))
        hear = Hearing(str(folder))
        found = {}
        for given in asked.prepared:
            name, _, split = given.partition(":")
            splits = [split] if split in SPLITS else [TRAIN]
            for one in splits:
                key = f"{Path(name).name}, {one}"
                found[key] = measured(hear, Utterances(Path(name), one), asked.most)
                print(key, json.dumps(found[key]), flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
