"""What a voice takes here: the time of each network, the first sound and memory.

    python tests/bench/speaking.py artifacts/voice --out docs/speaking.json
    python tests/bench/speaking.py --random small --to onnx --quant fp32 fp16 --rounds 5 --out docs/speaking.json
    python tests/bench/speaking.py --random published --to onnx --quant fp16 rtn-int8-g32 --rounds 3

A model that is named is measured as it is; `--random` makes one of the sizes that edge trains, whose weights say
nothing but whose phonemes last as long as people's: no time depends on the others. Each round of each artifact is a
process of its own, one after another in turn: it says the sentences once to warm up and once timed. `cpu_factor`:
seconds of all its threads a second of speech, which others at work here change little.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from edge.artifact.pipeline import PipelineArtifact
from edge.measure.bench import machine, peak_rss_mb
from edge.pipelines.runners import open_pipeline
from edge.pipelines.speech import Speech

SENTENCES = (
    "Good morning.",
    "The quick brown fox jumps over the lazy dog while the sun sets slowly behind the hills.",
    "At 3:05 p.m. Dr. Lee paid $3.50 for two cups of coffee, and went home by train.",
)
LASTS = 6.5  # frames of a phoneme: about 12 a second


def fields(width: int, layers: int) -> dict[str, Any]:
    """The sizes of edge's own voice."""
    encoder = {
        "encoder_hidden": width,
        "encoder_head": 2,
        "conv_filter_size": 2 * width,
        "conv_kernel_size": 5,
    }
    predictor = {
        "input_size": width,
        "filter_size": width,
        "conv_layers": 6,
        "cross_attn_per_layer": 3,
        "attn_head": 2,
    }
    refiner = {"hidden_size": width, "num_layers": 3, "dilation_cycle": 2}
    heard = {"input_channels": 80, "num_layers": 4}
    return {
        "model_type": "edge_speech",
        "mel": "edge",
        "symbols": "edge-96",
        "latent": {"mean": -5.0, "scale": 4.0},
        "latent_dim": 80,
        "prompt_encoder": {**encoder, "encoder_layer": 2, "use_cln": False},
        "query_emb": {"query_token_num": 16, "hidden_size": width, "head_num": 2},
        "prior_encoder": {
            "vocab_size": 100,
            "pitch_bins_num": 512,
            "pitch_min": 50,
            "pitch_max": 1100,
            "encoder": {**encoder, "encoder_layer": 3, "use_cln": True},
            "duration_predictor": {**predictor, "kernel_size": 3},
            "pitch_predictor": {**predictor, "kernel_size": 5},
        },
        "diffusion": {
            "wavenet": {
                "input_size": 80,
                "hidden_size": width,
                "out_size": 80,
                "num_layers": layers,
                "cross_attn_per_layer": 3,
                "dilation_cycle": 2,
                "attn_head": 2,
            }
        },
        "refiner": {"duration": refiner, "pitch": refiner},
        "vocoder": {
            **heard,
            "dim": 192,
            "intermediate_dim": 384,
            "n_fft": 800,
            "hop_length": 200,
            "padding": "same",
        },
        "recognizer": {**heard, "dim": 128, "intermediate_dim": 256, "num_sounds": 96},
    }


def published() -> dict[str, Any]:
    """The paper's sizes, as our recipe has them, and Vocos at its own (arXiv 2306.00814)."""
    recipe = Path(__file__).parents[2] / "edge" / "train" / "recipes" / "flashspeech.yaml"
    small = fields(96, 8)
    vocoder = {"dim": 512, "intermediate_dim": 1536, "num_layers": 8}
    model = yaml.safe_load(recipe.read_text("utf-8"))["model"]
    return {**small, **model, "vocoder": {**small["vocoder"], **vocoder}}


SIZES: Mapping[str, Callable[[], dict[str, Any]]] = {
    "small": partial(fields, 96, 8),
    "wide": partial(fields, 128, 8),
    "published": published,
}


def checkpoint(folder: Path, size: str) -> Path:
    """Random weights, but that phonemes last as long as people's do, and that refinement adds little."""
    from safetensors.numpy import save_file
    from speaking import edge_speech

    config = SIZES[size]()
    state, _ = edge_speech(config)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    last = "prior_encoder.duration_predictor.linear"
    state = {name: np.ascontiguousarray(x, np.float32) for name, x in state.items()}
    state[f"{last}.weight"] *= 0.02
    state[f"{last}.bias"][:] = np.log1p(LASTS)
    state["refiner.duration.out_proj.weight"] *= 0.01
    state["refiner.duration.out_proj.bias"][:] = 0
    save_file(state, folder / "model.safetensors")
    return folder


@contextmanager
def watched(speech: Speech) -> Iterator[dict[str, list[float]]]:
    """Seconds of the wall in each network's calls."""
    found: dict[str, list[float]] = {name: [] for name in speech.nets}
    whole = dict(speech.nets)

    def timing(name: str) -> Any:
        class Timing:
            spec = whole[name].spec

            def __call__(self, **inputs: Any) -> Any:
                start = perf_counter()
                out = whole[name](**inputs)
                found[name].append(perf_counter() - start)
                return out

        return Timing()

    assert isinstance(speech.nets, dict)
    speech.nets.update({name: timing(name) for name in whole})
    yield found
    speech.nets.update(whole)


def measured(folder: Path, voice: Path | None, threads: int, steps: int) -> dict[str, Any]:
    """One round, in this process."""
    start = perf_counter()
    before = peak_rss_mb()
    speech = open_pipeline(folder, threads=threads)
    loaded, opened = perf_counter() - start, peak_rss_mb()
    from voices import hum

    start = perf_counter()
    imitated = speech.voice(voice if voice is not None else hum(3.0))
    listened = perf_counter() - start
    for text in SENTENCES:
        _ = speech.speak(text, voice=imitated, steps=steps).samples
    rows, busy, cpu = [], 0.0, process_time()
    with watched(speech) as stages:
        for text in SENTENCES:
            said = speech.speak(text, voice=imitated, steps=steps)
            seconds = said.samples.size / said.rate
            busy += said.busy_seconds
            rows.append({"seconds": seconds, "first": said.first_sound_seconds, "rtf": said.rtf})
    total = sum(row["seconds"] for row in rows)
    return {
        "load_seconds": loaded,
        "voice_seconds": listened,
        "spoken_seconds": total,
        "rtf": busy / total,
        "cpu_factor": (process_time() - cpu) / total,
        "first_sound_seconds": [row["first"] for row in rows],
        "stages": {name: sum(s) / total for name, s in stages.items() if s},
        "peak_rss_mb": peak_rss_mb(),
        "opened_rss_mb": opened,
        "python_rss_mb": before,
    }


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the rounds, and the rounds themselves of what is compared."""

    def middle(key: str) -> float:
        return statistics.median(one[key] for one in rounds)

    numbers = [key for key, value in rounds[0].items() if isinstance(value, float)]
    firsts = zip(*(one["first_sound_seconds"] for one in rounds), strict=True)
    return {
        **{key: middle(key) for key in numbers},
        "first_sound_seconds": [statistics.median(every) for every in firsts],
        "stages": {
            name: statistics.median(one["stages"][name] for one in rounds)
            for name in rounds[0]["stages"]
        },
        "rtf_all": [one["rtf"] for one in rounds],
        "rounds": len(rounds),
    }


def artifacts(given: argparse.Namespace, place: Path) -> Iterator[tuple[str, Path]]:
    if given.artifacts:
        yield from ((path.name, path) for path in given.artifacts)
        return
    source = place / given.random
    run("--make", str(source), "--random", given.random)  # apart, for what it takes is not counted
    for target in given.to:
        for quant in given.quant:
            out = place / f"{given.random}-{target}-{quant}"
            words = ["convert", str(source), "--to", target, "--quant", quant, "-o", str(out)]
            subprocess.run([sys.executable, "-m", "edge", *words], check=True, capture_output=True)
            yield f"{given.random} {target} {quant}", out


def apart(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """A round in a process of its own."""
    words = ["--one", str(folder), "--threads", str(given.threads), "--steps", str(given.steps)]
    words += [] if given.voice is None else ["--voice", str(given.voice)]
    found: dict[str, Any] = json.loads(run(*words).splitlines()[-1])
    return found


def run(*words: str) -> str:
    """What this file says."""
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, capture_output=True, text=True
    )
    return done.stdout


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("artifacts", nargs="*", type=Path)
    ask.add_argument("--random", choices=sorted(SIZES), default="small")
    ask.add_argument("--to", nargs="+", default=["onnx"])
    ask.add_argument("--quant", nargs="+", default=["fp32"])
    ask.add_argument("--voice", type=Path)
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--steps", type=int, default=1)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--out", type=Path)
    ask.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    ask.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.make is not None:
        checkpoint(given.make, given.random)
        return
    if given.one is not None:
        print(json.dumps(measured(given.one, given.voice, given.threads, given.steps)))
        return
    with tempfile.TemporaryDirectory() as place:
        every = dict(artifacts(given, Path(place)))
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in every}
        for _ in range(given.rounds):
            for name, folder in every.items():
                rounds[name].append(apart(folder, given))
        found = {
            "machine": machine(),
            "threads": given.threads,
            "steps": given.steps,
            "command": " ".join(["python", "tests/bench/speaking.py", *sys.argv[1:]]),
            "artifacts": {
                name: {"bytes": PipelineArtifact.open(folder).nbytes, **summary(rounds[name])}
                for name, folder in every.items()
            },
        }
    text = json.dumps(found, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
