"""Vision towers of real shapes beside torch, and what converting and running them takes.

    python tests/bench/towers.py speed internvit-300m-448px --rounds 5 --out docs/towers.json
    python tests/bench/towers.py memory internvit-6b-448px --quant int8 --to onnx torch --out docs/towers.json

Weights are random. Each engine's round is a process of its own, one
after another in turn; a round is a call to warm up and three timed ones, each of one picture. torch is
transformers' own module, eager, in float32, with its fastest attention.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from random_weights import shapes_of, write
from towers import TOWERS, Fields

from edge.artifact.manifest import Artifact
from edge.files.config import Config
from edge.measure.bench import machine, peak_rss_mb
from edge.nn.tracing import least, traced
from edge.run.opening import open_net

EDGE = [sys.executable, "-m", "edge"]
CALLS = 3


def fields_of(name: str) -> tuple[str, Fields]:
    for family, tower in TOWERS.items():
        if name in tower.published:
            return family, tower.published[name][0]
    raise SystemExit(f"no published tower {name}")


def checkpoint(folder: Path, fields: Fields) -> Path:
    """Random weights of the shapes that a config has."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(fields)))
    write(folder / "model.safetensors", shapes_of(Config(fields, "config.json")))
    return folder


def timed(call: Callable[[], Any]) -> dict[str, Any]:
    call()
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "peak_rss_mb": peak_rss_mb()}


def of_torch(fields: Fields) -> dict[str, Any]:
    import torch
    import transformers

    torch.set_num_threads(2)
    side = fields["image_size"]
    model = transformers.InternVLVisionModel(
        transformers.InternVLVisionConfig(
            hidden_size=fields["hidden_size"],
            num_hidden_layers=fields["num_hidden_layers"],
            num_attention_heads=fields["num_attention_heads"],
            intermediate_size=fields["intermediate_size"],
            image_size=[side, side],
            patch_size=[fields["patch_size"]] * 2,
            norm_type=fields["norm_type"],
            use_qk_norm=fields["qk_normalization"],
            attention_bias=fields["qkv_bias"],
            use_mean_pooling=True,
            attn_implementation="sdpa",
        )
    ).eval()
    image = torch.randn(1, 3, side, side)
    with torch.inference_mode():
        return timed(lambda: model(image))


def of_edge(folder: Path) -> dict[str, Any]:
    net = open_net(Artifact.open(folder), threads=2)
    (port,) = net.spec.config.inputs
    shape = [n if isinstance(n, int) else 1 for n in port.shape]
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return timed(lambda: net(image=image))


def apart(*words: str) -> dict[str, Any]:
    """What this file says in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def speed(name: str, quants: list[str], rounds: int, target: str) -> dict[str, Any]:
    _, fields = fields_of(name)
    with tempfile.TemporaryDirectory() as place:
        source = checkpoint(Path(place) / "source", fields)
        outs = {quant: Path(place) / quant for quant in quants}
        for quant, out in outs.items():
            words = ("convert", str(source), "--to", target, "--quant", quant, "-o", str(out))
            subprocess.run([*EDGE, *words], check=True, capture_output=True)
        engines = {
            "torch": ("torch", name),
            **{f"{target} {q}": ("edge", str(o)) for q, o in outs.items()},
        }
        found: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
        for _ in range(rounds):
            for engine, words in engines.items():
                found[engine].append(apart(*words))
        spec = Artifact.open(next(iter(outs.values()))).manifest.network
    rows = {}
    for engine, parts in found.items():
        every = [second for part in parts for second in part["seconds"]]
        rows[engine] = {
            "seconds": statistics.median(every),
            "least": min(every),
            "most": max(every),
            "peak_rss_mb": max(part["peak_rss_mb"] for part in parts),
        }
        rows[engine]["of_torch"] = rows[engine]["seconds"] / rows["torch"]["seconds"]
        print(engine, json.dumps(rows[engine]), flush=True)
    work = 2 * traced(spec, **least(spec))[0].work / 1e9
    return {"gflop": work, "rounds": rounds, "engines": rows}


def memory(name: str, quants: list[str], targets: list[str]) -> dict[str, Any]:
    """Peak resident bytes of conversions and of runs, beside what was planned."""
    _, fields = fields_of(name)
    rows = {}
    with tempfile.TemporaryDirectory() as place:
        source = checkpoint(Path(place) / "source", fields)
        for target in targets:
            for quant in quants:
                out, options = Path(place) / "out", ("--to", target, "--quant", quant)
                said = subprocess.run(
                    [*EDGE, "plan", str(source), *options, "--json"],
                    check=True,
                    capture_output=True,
                )
                planned = json.loads(said.stdout)
                words = ("convert", str(source), *options, "-o", str(out), "--force")
                start = time.perf_counter()
                done = apart("convert", *words)
                rows[f"{target} {quant}"] = {
                    "seconds": time.perf_counter() - start,
                    "convert_mb": done["peak_rss_mb"],
                    "planned_convert_mb": planned["convert_bytes"] / 1e6,
                    "artifact_mb": Artifact.open(out).nbytes / 1e6,
                    "planned_disk_mb": planned["disk_bytes"] / 1e6,
                    "run_mb": apart("edge", str(out))["peak_rss_mb"],
                    "planned_run_mb": planned["run_bytes"] / 1e6,
                }
                print(target, quant, json.dumps(rows[f"{target} {quant}"]), flush=True)
    return rows


def converted(words: list[str]) -> dict[str, Any]:
    """Run a conversion in this process, for its own peak."""
    from edge.command.cli import main

    sys.argv = ["edge", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    return {"peak_rss_mb": peak_rss_mb()}


def keep(file: Path | None, kind: str, name: str, found: dict[str, Any]) -> None:
    if file is None:
        return
    record = json.loads(file.read_text()) if file.is_file() else {}
    about = {
        "machine": machine(),
        "versions": {
            package: version(package) for package in ("torch", "transformers", "onnxruntime")
        },
    }
    record.setdefault(kind, {})[name] = {**found, **about}
    file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "torch":
        print(json.dumps(of_torch(fields_of(sys.argv[2])[1])))
        raise SystemExit
    if sys.argv[1] == "edge":
        print(json.dumps(of_edge(Path(sys.argv[2]))))
        raise SystemExit
    if sys.argv[1] == "convert":
        print(json.dumps(converted(sys.argv[2:])))
        raise SystemExit
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("speed", "memory"))
    parser.add_argument("name")
    parser.add_argument("--quant", nargs="+", default=["fp32", "int8"])
    parser.add_argument("--to", nargs="+", default=["onnx"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.kind == "speed":
        keep(args.out, "speed", args.name, speed(args.name, args.quant, args.rounds, args.to[0]))
    else:
        keep(args.out, "memory", args.name, memory(args.name, args.quant, args.to))
