"""Held-out sentences as a voice says them, for judges.py: sounds, and a table of lines beside them.

    python tests/bench/said.py ARTIFACT --prepared FOLDER -o said [--lines 60] [--steps 1 4] [--split text voice]

Of what `edge data speech` held out: sentences (`text`) of voices that it learned from, or voices (`voice`) that it
never heard. Each is spoken in its own voice, by another sentence of that voice. Written are `SPLIT-recorded.jsonl`:
what was learned from; `SPLIT-copied.jsonl`: that, of its mel bands alone, which is what the vocoder loses;
`SPLIT-N.jsonl`: what N steps make. The same texts in the same order:

    python tests/bench/judges.py said/text-1.jsonl --against said/text-recorded.jsonl --words --phonemes …
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from edge.audio.sound import Sound
from edge.audio.spectra import MELS
from edge.audio.wav import WavWriter
from edge.data.utterances import Utterance, Utterances
from edge.pipelines.runners import open_pipeline
from edge.pipelines.speech import Speech
from edge.pipelines.utterance import Laid, sounds
from edge.typing import F32

RATE = MELS["edge"].framing.rate
SECONDS = (2.0, 12.0)  # of a line; what is shorter says little
PROMPT = 3.0  # seconds


def chosen(
    rows: Utterances, count: int, voices: str | None
) -> Iterator[tuple[Utterance, Utterance]]:
    """So many lines, of each voice as many as there are lines for, and beside each another of its voice."""
    of: dict[str, list[int]] = defaultdict(list)
    for i, voice in enumerate(rows.voices):
        if fnmatch(voice, voices or "*"):
            of[voice].append(i)
    left = {voice: list(places) for voice, places in sorted(of.items())}
    found = 0
    while any(left.values()):
        for voice in [name for name, places in left.items() if places]:
            line = rows[left[voice].pop(0)]
            others = [rows[i] for i in of[voice]]
            prompts = [one for one in others if one.text != line.text] or [line]
            if SECONDS[0] <= line.samples.size / RATE <= SECONDS[1]:
                found += 1
                yield line, max(prompts, key=lambda one: min(one.samples.size, int(PROMPT * RATE)))
            if found == count:
                return


def copied(speech: Speech, line: Utterance) -> F32:
    """What the vocoder makes of the mel bands of a recording: [N]."""
    bands = line.mel()
    frames = len(bands)
    whole = Laid(bands=bands, heard=np.ones(frames, np.float32), ends=np.array([[0, frames]]))
    return np.concatenate(list(sounds(speech.nets["vocoder"], whole, speech.mel)))


class Table:
    """Lines of one kind: a table, and a folder of sounds of its name beside it."""

    def __init__(self, file: Path) -> None:
        self._file, self._rows = file, list[str]()
        file.with_suffix("").mkdir(parents=True, exist_ok=True)

    def add(self, line: Utterance, samples: F32) -> None:
        sound = Path(self._file.stem, f"{len(self._rows):03}.wav")
        with (self._file.parent / sound).open("wb") as stream, WavWriter(stream, RATE) as out:
            out.write(np.clip(samples, -1, 1))
        row = {"sound": sound.as_posix(), "text": line.text, "voice": line.voice}
        self._rows.append(json.dumps(row) + "\n")
        self._file.write_text("".join(self._rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=60)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--split", choices=("text", "voice"), default="text")
    parser.add_argument("--voices", help="of these alone: a pattern, as *+*")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    speech = open_pipeline(given.artifact)
    if not isinstance(speech, Speech):
        sys.exit(f"{given.artifact} does not speak")
    kinds = ["recorded", "copied", *map(str, given.steps)]
    tables = {kind: Table(given.out / f"{given.split}-{kind}.jsonl") for kind in kinds}
    for line, prompt in chosen(Utterances(given.prepared, given.split), given.lines, given.voices):
        tables["recorded"].add(line, line.samples)
        tables["copied"].add(line, copied(speech, line))
        voice = speech.voice(Sound(samples=prompt.samples, rate=RATE))
        for steps in given.steps:
            said = speech.speak(line.text, voice=voice, steps=steps, seed=given.seed)
            tables[str(steps)].add(line, said.samples)


if __name__ == "__main__":
    main()
