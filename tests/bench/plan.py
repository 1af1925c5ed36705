"""What was planned beside what then happened: disk, and peak memory of a conversion and of runs.

    python tests/bench/plan.py CHECKPOINT... --quant rtn-int4-g32 int8 --tokens 512 8192 --out docs/plan.json
    python tests/bench/plan.py CHECKPOINT --tokens 8192 --layerskip 4 --out docs/plan.json
    python tests/bench/plan.py CHECKPOINT --tokens 8192 --snapkv 1024 --kv int8 --out docs/plan.json

Each conversion and each run is a process of its own, whose peak resident memory the system tells.
A run loads the artifact as `edge run` does, with the options that were planned, and reads and writes as many
tokens as were planned.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edge.artifact.manifest import Artifact
from edge.command.options import DecodingOptions
from edge.decode.generate import generate
from edge.decode.speculate import Speculation
from edge.measure.bench import machine, peak_rss_mb

EDGE = [sys.executable, "-m", "edge"]
ANSWER = 16  # tokens of a sequence that are not its prompt
KEPT = ("layerskip", "draft_vocab", "snapkv_rows")  # options of a conversion
RAN = ("layerskip", "snapkv", "snapkv_prefill", "kv")  # options of a run


def words(options: dict[str, Any]) -> list[str]:
    """As a command line takes them."""
    pairs = ((f"--{name.replace('_', '-')}", str(options[name])) for name in options)
    return list(itertools.chain.from_iterable(pairs))


def run(artifact: Path, tokens: int, options: dict[str, Any]) -> None:
    """Reach this many tokens, and print the peak of this process."""
    import edge

    strategy = DecodingOptions(
        **{name: options[name] for name in RAN if name in options}
    ).strategy()
    source = edge.load(artifact, strategy=strategy).decoder
    decoder = source.decoder if isinstance(source, Speculation) else source
    prompt = [(1000 + 7919 * i) % decoder.spec.vocab for i in range(tokens - ANSWER)]
    if isinstance(source, Speculation):
        for _ in generate(source, prompt, max_tokens=ANSWER):
            pass
    else:
        decoder.prefill(prompt)
        for i in range(ANSWER):
            decoder.step((1000 + i) % decoder.spec.vocab)
    print(json.dumps({"bytes": round(peak_rss_mb() * 1e6), "length": decoder.length}))


def planned(
    checkpoint: Path, quant: str, target: str, tokens: int, options: dict[str, Any]
) -> dict[str, Any]:
    asked = ["--to", target, "--quant", quant, "--context", str(tokens), "--json"]
    found = subprocess.check_output([*EDGE, "plan", str(checkpoint), *asked, *words(options)])
    return dict(json.loads(found))


def converted(checkpoint: Path, quant: str, target: str, out: Path, options: dict[str, Any]) -> int:
    """Convert in a process of its own: its peak resident bytes."""
    asked = ["--to", target, "--quant", quant, "-o", str(out)]
    kept = {name: options[name] for name in KEPT if name in options}
    command = [*EDGE, "convert", str(checkpoint), *asked, *words(kept)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the conversion of {checkpoint.name} to {quant} failed")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def ran(artifact: Path, tokens: int, options: dict[str, Any]) -> int:
    command = [sys.executable, __file__, "--run", str(artifact), str(tokens), *words(options)]
    return int(json.loads(subprocess.check_output(command))["bytes"])


def measure(
    checkpoint: Path, quant: str, target: str, lengths: list[int], options: dict[str, Any]
) -> dict[str, Any]:
    """Planned and measured bytes of one artifact."""
    plans = [planned(checkpoint, quant, target, tokens, options) for tokens in lengths]
    with tempfile.TemporaryDirectory(dir=checkpoint.parent) as place:
        out = Path(place) / "artifact"
        peak = converted(checkpoint, quant, target, out, options)
        row = {
            "checkpoint": checkpoint.name,
            "parameters": plans[0]["parameters"],
            "target": target,
            "recipe": plans[0]["recipe"],
            **({"options": " ".join(words(options))} if options else {}),
            "disk": (plans[0]["disk_bytes"], Artifact.open(out).nbytes),
            "convert": (plans[0]["convert_bytes"], peak),
            "run": {
                str(tokens): (plan["run_bytes"], ran(out, tokens, options))
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
    parser.add_argument("--quant", nargs="+", default=["rtn-int4-g32"])
    parser.add_argument("--to", default="onnx")
    parser.add_argument("--tokens", nargs="+", type=int, default=[512])
    parser.add_argument("--out", type=Path, help="keep every number, beside what is there, as JSON")
    for name in dict.fromkeys((*KEPT, *RAN)):
        kind = str if name == "kv" else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="as edge plan has it")
    parser.add_argument("--run", nargs=2, metavar=("ARTIFACT", "TOKENS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    given = {name: getattr(args, name) for name in dict.fromkeys((*KEPT, *RAN))}
    options = {name: value for name, value in given.items() if value is not None}
    if args.run:
        run(Path(args.run[0]), int(args.run[1]), options)
        return
    rows = [
        measure(checkpoint, quant, args.to, args.tokens, options)
        for checkpoint in args.checkpoint
        for quant in args.quant
    ]
    if args.out:
        keep(args.out, rows)


def keep(file: Path, rows: list[dict[str, Any]]) -> None:
    """Rows of the same checkpoint, target, recipe and options are replaced."""
    old = json.loads(file.read_text())["rows"] if file.exists() else []
    keys = ("checkpoint", "target", "recipe", "options")
    found = {tuple(row.get(key, "") for key in keys): row for row in [*old, *rows]}
    tools = {name: version(name) for name in ("numpy", "onnxruntime")}
    record = {"machine": machine(), "tools": tools, "rows": [found[key] for key in sorted(found)]}
    file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
