"""Decoding by the Android app's core on the JVM, beside edge itself: the same artifact, threads and ONNX Runtime.

    python tests/bench/jvm.py [--model edge-stories] [--quant fp32 int4] [--threads 2] [-n 200] [--pairs 15]
                              [--out docs/app-jvm.json]

Both are open the whole time and take turns: an answer of each makes a pair, and the one that begins changes with every
pair. Both choose the likeliest token, and must say the same ones. Prints the medians of tokens a second, and of the
pairs' quotients with the quarters between which half of them lie; two pairs before them warm up.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import android

from edge import api
from edge.apps.folder import write_app
from edge.convert.options import Options
from edge.decode.generate import generate
from edge.measure.bench import machine
from edge.run.model import Model, load
from edge.text.chat import Message

PROMPT = "Tell me a story about Marla."


@contextmanager
def core(folder: Path, app: Path, threads: int, most: int) -> Iterator["subprocess.Popen[str]"]:
    """The core in a process of its own, with the model open: it answers at every line."""
    compiler, classes = android.kotlin(folder), android.classes()
    files, out = android.sources("main", "test"), folder / "classes"
    if not out.exists():
        android.compiled(compiler, files, [classes], out)
    native = android.native(folder / "native")
    path = f"{out}:{compiler / 'lib' / 'kotlin-stdlib.jar'}:{classes}"
    command = [
        android.java(),
        f"-Donnxruntime.native.path={native}",
        "-cp",
        path,
        "edge.core.MainKt",
    ]
    words = ["bench", str(app), str(threads), str(most), PROMPT]
    with subprocess.Popen(
        [*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def of_core(process: "subprocess.Popen[str]") -> tuple[int, float]:
    """Tokens of an answer, and tokens a second after the first."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    tokens, speed, _ = process.stdout.readline().split()
    return int(tokens), float(speed)


def of_edge(model: Model, most: int) -> tuple[int, float]:
    ids = model.encode([Message("user", PROMPT)])
    model.forget()
    made = generate(model.source, ids, max_tokens=most, stop_ids=model.stop_ids)
    return len(list(made)), made.decode_tps


def measured(folder: Path, artifact: Path, args: argparse.Namespace) -> dict[str, Any]:
    app = folder / f"{artifact.name}-app"
    write_app(artifact, app, force=False)
    model = load(artifact, threads=args.threads)
    pairs: list[tuple[float, float]] = []
    with core(folder, app, args.threads, args.n) as process:
        for number in range(args.pairs + 2):
            if number % 2:
                mine, its = of_core(process), of_edge(model, args.n)
            else:
                its, mine = of_edge(model, args.n), of_core(process)
            assert mine[0] == its[0], f"{mine[0]} tokens, and {its[0]} of edge"
            pairs.append((mine[1], its[1]))
    pairs = pairs[2:]
    jvm, edge = (statistics.median(speeds) for speeds in zip(*pairs, strict=True))
    low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
    print(
        f"{artifact.name}: {mine[0]} tokens, {args.threads} threads, JVM {jvm:.0f} tok/s, edge {edge:.0f} tok/s, "
        f"quotient {middle:.2f} ({low:.2f} to {high:.2f}, {len(pairs)} pairs)",
        flush=True,
    )
    return {
        "model": Path(args.model).name,
        "recipe": artifact.name,
        "threads": args.threads,
        "tokens": mine[0],
        "pairs": len(pairs),
        "jvm_tps": jvm,
        "edge_tps": edge,
        "quotient": [low, middle, high],
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="edge-stories")
    parser.add_argument("--quant", nargs="+", default=["fp32", "int4"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-n", type=int, default=200, help="tokens of an answer, at most")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--out", type=Path, help="a file of rows, which these join")
    args = parser.parse_args()
    rows = json.loads(args.out.read_text()) if args.out and args.out.is_file() else []
    with tempfile.TemporaryDirectory() as made:
        for quant in args.quant:
            artifact = Path(made) / quant
            api.convert_model(args.model, "onnx", artifact, Options(quant=quant))
            rows.append(measured(Path(made), artifact, args))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
