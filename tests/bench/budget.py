"""What a compacted cache costs in right answers: held-out questions about facts far back, by rows kept.

    python tests/bench/budget.py [--model edge-stories] [--questions 120] [--distance 1000] [--window 32] [--out FILE]

Exact match of whole answers with SnapKV at several capacities, beside the whole cache. The questions
are those of `edge eval --questions`: names and places that training never saw.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from edge import api
from edge.bench import machine
from edge.decode.snapkv import SnapKV
from edge.means import PLAIN, Means
from edge.train.measure import by_distance

BUDGETS = (None, 768, 512, 384, 256, 128)  # rows; None: all


def measured(model: str, options: SnapKV | None, questions: int, distance: int) -> dict[str, Any]:
    """Right answers with so many rows, and how long the prompts were."""
    means = PLAIN if options is None else Means(snapkv=options)
    loaded = api.open_model(model, means=means)
    wish = api.Wish(max_tokens=64)
    lengths: list[int] = []

    def answer(prompt: str) -> str:
        made = loaded.generate(prompt, wish=wish)
        text = "".join(made)
        lengths.append(len(made.generation.prompt))
        return text

    (score,) = by_distance(answer, per_distance=questions, distances=(distance,))
    return {
        "rows": None if options is None else options.capacity,
        "prompt": statistics.median(lengths),
        "right": score.right,
        "asked": score.asked,
        "kinds": score.kinds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="edge-stories")
    parser.add_argument("--questions", type=int, default=120)
    parser.add_argument("--distance", type=int, default=1000)
    parser.add_argument("--window", type=int, default=32)
    parser.add_argument("--kernel", type=int, default=7)
    parser.add_argument("--pool", choices=("max", "avg"), default="max")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    for capacity in BUDGETS:
        options = None
        if capacity is not None:
            options = SnapKV(
                capacity=capacity, window=args.window, kernel=args.kernel, pool=args.pool
            )
        rows.append(measured(args.model, options, args.questions, args.distance))
        print(json.dumps(rows[-1]), file=sys.stderr)
    record = {
        "model": Path(args.model).name,
        "distance": args.distance,
        "window": args.window,
        "kernel": args.kernel,
        "pool": args.pool,
        "machine": machine(),
        "rows": rows,
    }
    print(json.dumps(record))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
