"""Speed beside the engines that a user would pick instead: same weights, same threads, one run.

    python tests/bench/speed.py --edge ARTIFACT --genai FOLDER --gguf FILE [-p 512] [-n 64]
        [--transformers CHECKPOINT] [--also "edge, 1,024 rows=ARTIFACT --snapkv 1024"]
    python tests/bench/speed.py --edge ARTIFACT --mlx ARTIFACT --threads 0   # one folder, two engines

Rounds are interleaved, so that a change in the machine's speed hits all alike. Prints a table of
medians with the least and the most of the rounds; --out keeps every number as JSON. `--python` runs
the peers, for they may live in an environment of their own (onnxruntime-genai, llama-cpp-python,
transformers).
`--also` adds a row for edge itself: a title, an artifact, and options of `edge bench`. `--threads 0`:
as many as an engine takes by itself, for MLX does not let itself be told.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np

SPEEDS = ("prefill_tps", "decode_tps")
WARM_UP = 16
UNSUPPORTED = 3  # exit code of edge


@dataclass(frozen=True, slots=True)
class Load:
    """What an engine is asked to do."""

    path: str
    prompt: int
    new: int
    threads: int
    options: tuple[str, ...] = ()  # of `edge bench`
    engine: str = "edge"
    vocab: int = 21_000  # ids of a peer's prompt are below it

    @property
    def ids(self) -> list[int]:
        return [(1000 + 7919 * i % 20000) % self.vocab for i in range(self.prompt)]


def llama_cpp(load: Load) -> tuple[float, float]:
    import llama_cpp as engine

    import edge_runtimes.gguf  # noqa: F401 - leaves out kernels that some compilers break

    room = load.prompt + load.new + 8
    model = engine.Llama(
        load.path,
        n_ctx=room,
        n_batch=512,
        n_threads=load.threads,
        n_threads_batch=load.threads,
        verbose=False,
    )
    model.eval(load.ids[:WARM_UP])
    model.reset()
    return _timed(load, lambda: model.eval(load.ids), lambda i: model.eval([1000 + i]))


def genai(load: Load) -> tuple[float, float]:
    import onnxruntime_genai as engine

    config = engine.Config(load.path)
    options = {"session_options": {"intra_op_num_threads": load.threads}}
    config.overlay(json.dumps({"model": {"decoder": options}}))
    model = engine.Model(config)
    params = engine.GeneratorParams(model)
    room = load.prompt + load.new + 2
    params.set_search_options(max_length=room, min_length=room - 1, do_sample=False)
    engine.Generator(model, params).append_tokens(np.array(load.ids[:WARM_UP], np.int32))
    generator = engine.Generator(model, params)

    def prefill() -> None:
        generator.append_tokens(np.array(load.ids, np.int32))
        generator.get_logits()

    return _timed(load, prefill, lambda _: generator.generate_next_token())


def mlx_lm(load: Load) -> tuple[float, float]:
    import mlx.core as mx
    from mlx_lm.generate import generate_step
    from mlx_lm.utils import load_model

    model, _ = load_model(Path(load.path))
    list(generate_step(mx.array(load.ids[:WARM_UP]), model, max_tokens=2))
    tokens = generate_step(mx.array(load.ids), model, max_tokens=load.new + 1)
    return _timed(load, lambda: next(tokens), lambda _: next(tokens))


def transformers(load: Load) -> tuple[float, float]:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(load.threads)
    model = AutoModelForCausalLM.from_pretrained(load.path, dtype=torch.bfloat16).eval()
    state = {}

    @torch.inference_mode()
    def feed(ids: list[int], *, keep: bool = True) -> None:
        made = model(
            torch.tensor([ids]),
            past_key_values=state.get("cache"),
            use_cache=True,
            logits_to_keep=1,
        )
        if keep:
            state["cache"] = made.past_key_values

    feed(load.ids[:WARM_UP], keep=False)
    return _timed(load, lambda: feed(load.ids), lambda i: feed([1000 + i]))


def _timed(
    load: Load, prefill: Callable[[], object], step: Callable[[int], object]
) -> tuple[float, float]:
    start = perf_counter()
    prefill()
    middle = perf_counter()
    for i in range(load.new):
        step(i)
    return load.prompt / (middle - start), load.new / (perf_counter() - middle)


ENGINES = {"gguf": llama_cpp, "genai": genai, "mlx": mlx_lm, "transformers": transformers}
TITLES = {"edge": "edge", "gguf": "llama.cpp", "genai": "ORT GenAI", "mlx": "mlx-lm"}
TITLES |= {"transformers": "transformers, bf16"}


def one(kind: str, load: Load) -> None:
    """A peer's round, in a process of its own."""
    prefill, decode = ENGINES[kind](load)
    print(json.dumps(dict(zip(SPEEDS, (prefill, decode), strict=True))))


def command(load: Load, python: str) -> list[str]:
    numbers = ["-p", str(load.prompt), "-n", str(load.new)]
    kind = load.engine
    numbers += ["--threads", str(load.threads)] if load.threads or kind in ENGINES else []
    if kind not in ENGINES:
        own = [sys.executable, "-m", "edge", "bench", load.path, "--rounds", "1", "--json"]
        return [*own, *numbers, *load.options]
    numbers += ["--vocab", str(load.vocab)]
    return [python, __file__, "--one", kind, f"--{kind}", load.path, *numbers]


def measure(loads: dict[str, Load], rounds: int, python: str) -> dict[str, list[dict[str, float]]]:
    """What each load's rounds gave, in turns; a load that is not supported here is said, and left out."""
    results: dict[str, list[dict[str, float]]] = {kind: [] for kind in loads}
    for number in range(rounds):
        for kind in list(results):
            print(f"round {number + 1} of {rounds}: {TITLES.get(kind, kind)}", file=sys.stderr)
            done = subprocess.run(command(loads[kind], python), capture_output=True, text=True)
            if done.returncode == UNSUPPORTED and loads[kind].engine not in ENGINES:
                print(f"left out: {done.stderr.strip()[-400:]}", file=sys.stderr)
                del results[kind]
            elif done.returncode:
                sys.exit(f"{kind} failed:\n{done.stderr[-2000:]}")
            else:
                results[kind].append(json.loads(done.stdout.strip().splitlines()[-1]))
    return results


def table(results: dict[str, list[dict[str, float]]]) -> str:
    rows = ["| engine | prefill tok/s | decode tok/s |", "|---|---|---|"]
    for kind, found in results.items():
        cells = []
        for key in SPEEDS:
            values = [row[key] for row in found]
            cells.append(
                f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
            )
        rows.append(f"| {TITLES.get(kind, kind)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def record(loads: dict[str, Load], results: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    """Everything that was asked and measured, and on what."""
    every = [row for rows in results.values() for row in rows]
    machine = next((row["machine"] for row in every if "machine" in row), "unknown")
    settings = {kind: asdict(load) | {"path": Path(load.path).name} for kind, load in loads.items()}
    tools = {name: version(name) for name in ("onnxruntime", "mlx", "torch") if _has(name)}
    return {"machine": machine, "settings": settings, "tools": tools, "rounds": results}


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for kind in TITLES:
        parser.add_argument(f"--{kind}")
    parser.add_argument("--also", action="append", default=[], metavar="TITLE=ARTIFACT OPTIONS")
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--new", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocab", type=int, default=21_000, help="of a small model")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=sorted(ENGINES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    given = {kind: getattr(args, kind) for kind in TITLES if getattr(args, kind)}
    loads = {
        kind: Load(path, args.prompt, args.new, args.threads, engine=kind, vocab=args.vocab)
        for kind, path in given.items()
    }
    for text in args.also:
        title, _, rest = text.partition("=")
        path, *options = rest.split()
        loads[title] = Load(path, args.prompt, args.new, args.threads, tuple(options))
    if args.one:
        one(args.one, loads[args.one])
        return
    results = measure(loads, args.rounds, args.python)
    print(table(results))
    if args.out:
        args.out.write_text(json.dumps(record(loads, results), indent=1) + "\n")


if __name__ == "__main__":
    main()
