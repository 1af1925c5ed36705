"""What was planned beside what then happened: disk, and peak memory of a conversion and of runs.

    python tests/bench/plan.py CHECKPOINT... --quant int4 int8 --tokens 512 8192 --out docs/plan.json

Each conversion and each run is a process of its own, whose peak resident memory the system tells.
A run loads the artifact as `edge run` does and reads and writes as many tokens as were planned.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edge.artifact.manifest import Artifact
from edge.measure.bench import machine, peak_rss_mb

EDGE = [sys.executable, "-m", "edge"]
ANSWER = 16  # tokens of a sequence that are not its prompt


def run(artifact: Path, tokens: int) -> None:
    """Reach this many tokens, and print the peak of this process."""
    import edge

    model = edge.load(artifact)
    decoder = model.decoder
    decoder.prefill([(1000 + 7919 * i) % decoder.spec.vocab for i in range(tokens - ANSWER)])
    for i in range(ANSWER):
        decoder.step(1000 + i)
    print(json.dumps({"bytes": round(peak_rss_mb() * 1e6), "length": decoder.length}))


def planned(checkpoint: Path, quant: str, target: str, tokens: int) -> dict[str, Any]:
    options = ["--to", target, "--quant", quant, "--context", str(tokens), "--json"]
    found = subprocess.check_output([*EDGE, "plan", str(checkpoint), *options])
    return dict(json.loads(found))


def converted(checkpoint: Path, quant: str, target: str, out: Path) -> int:
    """Convert in a process of its own: its peak resident bytes."""
    options = ["--to", target, "--quant", quant, "-o", str(out)]
    command = [*EDGE, "convert", str(checkpoint), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the conversion of {checkpoint.name} to {quant} failed")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def ran(artifact: Path, tokens: int) -> int:
    command = [sys.executable, __file__, "--run", str(artifact), str(tokens)]
    return int(json.loads(subprocess.check_output(command))["bytes"])


def measure(checkpoint: Path, quant: str, target: str, lengths: list[int]) -> dict[str, Any]:
    """Planned and measured bytes of one artifact."""
    plans = [planned(checkpoint, quant, target, tokens) for tokens in lengths]
    with tempfile.TemporaryDirectory(dir=checkpoint.parent) as place:
        out = Path(place) / "artifact"
        peak = converted(checkpoint, quant, target, out)
        row = {
            "checkpoint": checkpoint.name,
            "parameters": plans[0]["parameters"],
            "target": target,
            "recipe": plans[0]["recipe"],
            "disk": (plans[0]["disk_bytes"], Artifact.open(out).nbytes),
            "convert": (plans[0]["convert_bytes"], peak),
            "run": {
                str(tokens): (plan["run_bytes"], ran(out, tokens))
                for tokens, plan in zip(lengths, plans, strict=True)
            },
        }
    print(json.dumps(row), file=sys.stderr)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, nargs="*")
    parser.add_argument("--quant", nargs="+", default=["int4"])
    parser.add_argument("--to", default="onnx")
    parser.add_argument("--tokens", nargs="+", type=int, default=[512])
    parser.add_argument("--out", type=Path, help="keep every number, beside what is there, as JSON")
    parser.add_argument("--run", nargs=2, metavar=("ARTIFACT", "TOKENS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run(Path(args.run[0]), int(args.run[1]))
        return
    rows = [
        measure(checkpoint, quant, args.to, args.tokens)
        for checkpoint in args.checkpoint
        for quant in args.quant
    ]
    if args.out:
        keep(args.out, rows)


def keep(file: Path, rows: list[dict[str, Any]]) -> None:
    """Rows of the same checkpoint, target and recipe are replaced."""
    old = json.loads(file.read_text())["rows"] if file.exists() else []
    found = {tuple(row[key] for key in ("checkpoint", "target", "recipe")): row for row in old}
    found |= {tuple(row[key] for key in ("checkpoint", "target", "recipe")): row for row in rows}
    tools = {name: version(name) for name in ("numpy", "onnxruntime")}
    record = {"machine": machine(), "tools": tools, "rows": [found[key] for key in sorted(found)]}
    file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
