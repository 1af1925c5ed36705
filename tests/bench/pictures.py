"""A model of several networks of real shape, asked about pictures: what converting it takes, beside the plan; the
first token of a first question, of a second one in the same chat, and of a new chat about the same picture; and
memory, with a few tiles and with the most.

    EDGE_ASSETS=../shared/assets python tests/bench/pictures.py mini-internvl-2b --out docs/pictures.json

Weights are random, the tokenizer is InternLM2's own. Each picture is asked about in a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from published import PUBLISHED
from random_weights import shapes_of, write

from edge.families import pipeline_of
from edge.files.config import Config
from edge.measure.bench import machine, peak_rss_mb
from edge.pipelines.internvl import Conversation, load_internvl
from edge.run.model import Wish
from edge.vision.pictures import Picture

EDGE = [sys.executable, "-m", "edge"]
PICTURES = {"5 tiles": (896, 896, 4), "41 tiles": (3584, 2240, 40)}  # width, height, the most tiles


def checkpoint(folder: Path, name: str, assets: Path) -> Path:
    """Random weights under the published names, and the published tokenizer."""
    config = Config(PUBLISHED[name], "config.json")
    pipeline = pipeline_of(config)
    assert pipeline is not None, f"{name} is one network"
    shapes = {}
    for stage in pipeline.stages:
        own = shapes_of(stage.config(pipeline.fields.checked(config)))
        shapes |= {stage.prefix + n.removeprefix(stage.prefix): s for n, s in own.items()}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(PUBLISHED[name]))
    for file in (assets / "hf-config" / "internvl2-2b-ft").glob("*token*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer = assets / "tokenizers" / "internlm2" / "tokenizer.model"
    (folder / "tokenizer.model").write_bytes(tokenizer.read_bytes())
    write(folder / "model.safetensors", shapes)
    return folder


def said(*words: str) -> dict[str, Any]:
    """The last line of a process, as JSON."""
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


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


def first_token(chat: Conversation, text: str, images: list[Picture], most: int) -> float:
    """Seconds until an answer begins, its pictures included."""
    start = time.perf_counter()
    answer = chat.ask(text, images, most=most, wish=Wish(max_tokens=1))
    next(answer.generation, None)
    return time.perf_counter() - start


def asked(folder: Path, width: int, height: int, most: int) -> dict[str, Any]:
    model = load_internvl(folder, threads=2, unchecked=True)
    loaded = peak_rss_mb()
    rng = np.random.default_rng(0)
    image = Picture(rgb=rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    start = time.perf_counter()
    shown = model.look(image, most=most)
    found = {"tower": time.perf_counter() - start, "tiles": shown.grid.tiles}
    seen = peak_rss_mb()
    chat = model.chat()
    found["first"] = found["tower"] + first_token(chat, "What is it?", [image], most)
    list(chat.say("What is it?", [image], most=most, wish=Wish(max_tokens=2)))
    found["second"] = first_token(chat, "And what colour has it?", [], most)
    start = time.perf_counter()
    model.look(image, most=most)
    found["tower_again"] = time.perf_counter() - start
    found["cache_mb"] = model.model.cache_mb
    found["tokens"] = max(model.model.cache_rows)
    return {**found, "loaded_mb": loaded, "seen_mb": seen, "peak_mb": peak_rss_mb()}


def plan(source: Path, to: str, **options: int) -> dict[str, Any]:
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    done = subprocess.run(
        [*EDGE, "plan", str(source), "--to", to, *words, "--json"], check=True, capture_output=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured(name: str, to: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        source = checkpoint(Path(place) / "source", name, Path(os.environ["EDGE_ASSETS"]))
        planned = plan(source, to)
        out = Path(place) / "out"
        done = said("convert", "convert", str(source), "--to", to, "-o", str(out))
        files = [file.stat().st_size for file in out.rglob("*") if file.is_file()]
        conversion = {
            "mb": done["peak_rss_mb"],
            "planned_mb": planned["convert_bytes"] / 1e6,
            "disk_mb": sum(files) / 1e6,
            "planned_disk_mb": planned["disk_bytes"] / 1e6,
        }
        print("convert", json.dumps(conversion), flush=True)
        rows = {}
        for label, numbers in PICTURES.items():
            rows[label] = said("ask", str(out), *map(str, numbers))
            planned = plan(source, to, context=rows[label]["tokens"])
            rows[label]["planned_mb"] = planned["run_bytes"] / 1e6
            print(label, json.dumps(rows[label]), flush=True)
    return {"to": to, "convert": conversion, "pictures": rows, "machine": machine()}


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        print(json.dumps(converted(sys.argv[2:])))
        raise SystemExit
    if sys.argv[1] == "ask":
        print(json.dumps(asked(Path(sys.argv[2]), *map(int, sys.argv[3:]))))
        raise SystemExit
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--to", default="onnx")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    result = measured(args.name, args.to)
    if args.out is not None:
        record = json.loads(args.out.read_text()) if args.out.is_file() else {}
        args.out.write_text(
            json.dumps({**record, f"{args.name} {args.to}": result}, indent=1) + "\n"
        )
