"""What the commands cost here: seconds and resident memory, each as a process of its own.

    python tests/bench/footprint.py --checkpoint FOLDER [--artifact FOLDER] [--rounds 5]

Prints medians with the least and the most of the rounds: `edge --help`; the first text of a warm
`edge run` of the packaged model; converting the checkpoint to rtn-int4-g32; running the artifact. --out
keeps every number as JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from edge.measure.bench import machine

EDGE = [sys.executable, "-m", "edge"]


@dataclass(frozen=True, slots=True)
class Cost:
    """One process: seconds until its first output and until its end, and its peak memory."""

    first: float
    seconds: float
    peak_mb: float


def measure(command: list[str]) -> Cost:
    start = perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1)
    first = perf_counter() - start
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        assert process.stderr is not None
        sys.exit(f"{' '.join(command)} failed:\n{process.stderr.read().decode()[-2000:]}")
    return Cost(first, perf_counter() - start, usage.ru_maxrss / 1024 * 1.048576)


def rounds(command: list[str], count: int) -> list[Cost]:
    print(" ".join(command[2:]), file=sys.stderr)
    return [measure(command) for _ in range(count)]


def spread(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):.2f} {unit} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="converted to rtn-int4-g32, and its memory watched"
    )
    parser.add_argument("--artifact", type=Path, help="run for 64 tokens, and its memory watched")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows: dict[str, object] = {"machine": machine(), "rounds": args.rounds}

    helped = rounds([*EDGE, "--help"], args.rounds)
    rows["help_seconds"] = [cost.seconds for cost in helped]
    story = [*EDGE, "run", "Once upon a time", "--max-tokens", "16"]
    measure(story)  # the first run converts
    rows["first_text_seconds"] = [cost.first for cost in rounds(story, args.rounds)]
    if args.checkpoint:
        with tempfile.TemporaryDirectory(dir=args.checkpoint.parent) as place:
            command = [*EDGE, "convert", str(args.checkpoint), "--quant", "rtn-int4-g32"]
            command += ["-o", f"{place}/it", "--force"]
            costs = rounds(command, min(args.rounds, 3))
        rows["converted"] = args.checkpoint.name
        rows["convert_seconds"] = [cost.seconds for cost in costs]
        rows["convert_peak_mb"] = [cost.peak_mb for cost in costs]
    if args.artifact:
        command = [*EDGE, "bench", str(args.artifact), "-p", "512", "-n", "64", "--rounds", "1"]
        print(" ".join(command[2:]), file=sys.stderr)
        command += ["--json"]
        found = [json.loads(subprocess.check_output(command)) for _ in range(args.rounds)]
        rows["ran"] = args.artifact.name
        rows["run_peak_mb"] = [row["peak_rss_mb"] for row in found]
        rows["artifact_mb"] = found[0]["artifact_mb"]
        rows["cache_mb"] = found[0]["cache_mb"]
        rows["read_gbs"] = [row["read_gbs"] for row in found]
        rows["machine_gbs"] = [row["machine_gbs"] for row in found]
    for key, value in rows.items():
        text = spread(value, key.rsplit("_", 1)[1]) if isinstance(value, list) else value
        print(f"{key:20} {text}")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
