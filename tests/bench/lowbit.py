"""What low bits cost a model: every recipe converted, and measured on a text that none of them has seen.

    python tests/bench/lowbit.py CHECKPOINT TEXT [--calibrate FILE] [--group 64] [--tokens 4096] [--only gptq ...] \
        [--tasks arc_easy,piqa --task-data FOLDER [--task-note synthetic]] --out docs/lowbit-NAME.json

The embedding and the head have 8 bits everywhere, so that layers alone differ. Uniform codes, levels and rotations are
measured on torch, sums of two on MLX, int8 for inputs, and `int4` as it is there, on ONNX, and llama.cpp's own types on
GGUF. Divergence and the same first choice are from the full model's, in numpy; losses are nats a token. What a target
refuses, for groups or blocks do not divide its rows, is there with its reason. With --tasks, benchmarks are asked of
each, too, and of the model in floats.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.artifact.manifest import Artifact, recipe_of
from edge.errors import EdgeError, Unsupported
from edge.measure.bench import machine
from edge.names import shapes
from edge.quant.recipe import parse
from edge.text.tokenizer import Tokenizer

EDGE = [sys.executable, "-m", "edge"]


def cases(group: int) -> list[tuple[str, str]]:
    """(recipe, target) of every row, by falling bits."""
    out = [("rtn-int8-g32", "onnx"), ("smoothquant-w8a8", "onnx")]
    out += [("int4", "onnx"), ("rtn-int4-g32", "onnx")]
    for bits in (4, 3, 2):
        zero = "-min" if bits == 2 else ""
        for method in ("rtn", "awq", "gptq", "quip", "efficientqat"):
            out.append((f"{method}-int{bits}-g{group}{zero}-fp16", "torch"))
        if bits == 4:
            out += [(f"nf4-g{group}-fp16", "torch"), ("q4_0", "gguf"), ("q4_k_m", "gguf")]
        if bits == 3:
            out += [("q3_k_m", "gguf"), ("iq3_xxs", "gguf")]
    sums = ("dbllm-int2", "pbllm-int2", "pbllm-int1", "billm-int1")
    out += [(f"{name}-g{group}-fp16", "mlx") for name in sums]
    rounded = ("smoothquant-w6a6", "smoothquant-w4a4")
    return [*out, ("iq2_xs", "gguf"), *((name, "torch") for name in rounded)]


def bits_of(artifact: Artifact) -> float:
    """Stored bits of a weight of the layers' matrices, scales and all."""
    recipe, stored, count = recipe_of(artifact.manifest), 0, 0
    for name, shape in shapes(artifact.manifest.spec).items():
        if name.startswith("layers.") and len(shape) == 2:
            stored += recipe.scheme(name).nbytes(*shape)
            count += shape[0] * shape[1]
    return 8 * stored / count


class Refused(Exception):
    """In the words of edge."""


def run(words: list[str]) -> str:
    done = subprocess.run([*EDGE, *words], capture_output=True, text=True)
    if done.returncode in (EdgeError.code, Unsupported.code):
        raise Refused(done.stderr.strip().splitlines()[-2].removeprefix("edge: "))
    if done.returncode:
        raise RuntimeError(f"edge {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def row(
    recipe: str, target: str, asked: argparse.Namespace, held: Path, place: Path
) -> dict[str, Any]:
    ends = "q8_0" if target == "gguf" else "rtn-int8-g32" + ("-fp16" if "fp16" in recipe else "")
    words = ["convert", str(asked.checkpoint), "--to", target, "--quant", recipe, "-o", str(place)]
    words += ["--embed", ends, "--head", ends, "--force"]
    meant = parse(recipe)
    reads = meant.by_inputs or meant.balanced or recipe.startswith("iq")
    if reads and asked.calibrate is not None:
        words += ["--calibrate", str(asked.calibrate)]
    if reads:
        words += ["--calibrate-tokens", str(asked.calibrate_tokens)]
    start = time.perf_counter()
    run(words)
    seconds = time.perf_counter() - start
    measured = ["eval", str(place), "--text", str(held), "--against", str(asked.checkpoint)]
    found = json.loads(run([*measured, "--window", "512", "--json"]))
    artifact = Artifact.open(place)
    return {
        "recipe": recipe,
        "target": target,
        "bits": round(bits_of(artifact), 3),
        "bytes": artifact.nbytes,
        "seconds": round(seconds, 1),
        **{key: found[key] for key in ("nats_per_token", "kl", "kl_se", "top1", "top1_se")},
        **benchmarks(place, asked),
    }


def benchmarks(place: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """What an artifact scores in each task, if any is asked."""
    if asked.tasks is None:
        return {}
    words = ["eval", str(place), "--tasks", asked.tasks, "--task-data", str(asked.task_data)]
    words += [] if asked.limit is None else ["--limit", str(asked.limit)]
    found = json.loads(run([*words, "--json"]).splitlines()[-1])
    return {"tasks": {name: row["metrics"] for name, row in found["tasks"].items()}}


def rows(
    recipe: str, target: str, asked: argparse.Namespace, held: Path, place: Path
) -> Iterator[dict[str, Any]]:
    """A recipe on a target; or why that refuses it, and then it on torch, which holds short last groups."""
    try:
        yield row(recipe, target, asked, held, place)
    except Refused as why:
        yield {"recipe": recipe, "target": target, "refused": str(why)}
        if target == "mlx":
            yield from rows(recipe, "torch", asked, held, place)


def in_order(rows: list[dict[str, Any]], group: int) -> list[dict[str, Any]]:
    """The last of each recipe on each target, as `cases` has them."""
    known = {(row["recipe"], row["target"]): row for row in rows}
    place = {recipe: at for at, (recipe, _) in enumerate(cases(group))}
    return sorted(known.values(), key=lambda row: place[row["recipe"]])


def held_out(text: Path, checkpoint: Path, tokens: int, file: Path) -> None:
    """So many tokens of a text."""
    content = text.read_text()
    tokenizer = Tokenizer.load(checkpoint)
    low, high = 0, len(content)
    while low < high:
        middle = (low + high + 1) // 2
        if len(tokenizer.encode(content[:middle], special=False)) <= tokens:
            low = middle
        else:
            high = middle - 1
    file.write_text(content[:low])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--calibrate", type=Path)
    parser.add_argument("--calibrate-tokens", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument(
        "--only", nargs="*", help="rows whose recipes hold one of these; others of --out stay"
    )
    parser.add_argument("--tasks")
    parser.add_argument("--task-data", type=Path)
    parser.add_argument("--task-note", help="what these data are")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--name")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found: dict[str, Any] = {
        "machine": machine(),
        "checkpoint": asked.name or asked.checkpoint.name,
        "text": asked.text.name,
        "tokens": asked.tokens,
        "calibrated": {
            "text": "edge's own" if asked.calibrate is None else asked.calibrate.name,
            "tokens": asked.calibrate_tokens,
        },
        "rows": [],
    }
    if asked.only and asked.out and asked.out.is_file():
        found["rows"] = json.loads(asked.out.read_text())["rows"]
    with tempfile.TemporaryDirectory() as place:
        held = Path(place) / "held.txt"
        held_out(asked.text, asked.checkpoint, asked.tokens, held)
        full = Path(place) / "full"
        run(["convert", str(asked.checkpoint), "--to", "torch", "--quant", "fp32", "-o", str(full)])
        measured = ["eval", str(full), "--text", str(held), "--window", "512", "--json"]
        found["nats_per_token"] = json.loads(run(measured))["nats_per_token"]
        found |= benchmarks(full, asked)
        if asked.tasks is not None:
            found["task_note"] = asked.task_note or asked.task_data.name
        for recipe, target in cases(asked.group):
            if asked.only and not any(word in recipe for word in asked.only):
                continue
            for made in rows(recipe, target, asked, held, Path(place) / "it"):
                found["rows"] = in_order([*found["rows"], made], asked.group)
                print(json.dumps(made), flush=True)
            if asked.out:
                asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
