"""What compacted and int8 caches, early exits and drafts bring, beside plain decoding and other engines.

    python tests/bench/decoding.py --edge ARTIFACT [--exits ARTIFACT --exit 4] [--gguf FILE]
        [--genai FOLDER] [--lengths 512,8192,16384] [--drafts 3,7,15] --out docs/decoding-NAME.json

For any target. `--edge`: without exits, whose plain decoding every gain is measured against. `--exits`:
the same with exits; layers after the exit that change nothing make every draft right, which is the most
that drafts can bring, and `edge bench` drafts what the model itself says; `--text stories.txt`: after
pieces of a text, where it matters what a draft is worth. Every measurement is a process
of its own, rounds are interleaved (tests/bench/speed.py), a gain is the median of the rounds' own ratios.
What a runtime refuses is said and left out. Compacting, and going over to int8, count as prompt.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from speed import TITLES, Load, measure, record

from edge.decode.rounding import ENOUGH

Rounds = dict[str, list[dict[str, float]]]
Way = tuple[int, str, str, tuple[str, ...]]  # length, title, artifact, options
PEERS = ("gguf", "genai")
INT8 = ("--kv", "int8")
COLUMNS = (
    "prompt",
    "by",
    "prompt tok/s",
    "its time",
    "decode tok/s",
    "gain",
    "cache MB",
    "drafts kept",
)


def loads_of(args: argparse.Namespace) -> dict[str, Load]:
    """Titles and what they measure: `prompt: means`, plain decoding of a length first."""
    lengths, drafts = ([int(n) for n in text.split(",")] for text in (args.lengths, args.drafts))
    found = [way for length in lengths for way in _caches(args, length)]
    found += [way for draft in map(str, drafts) for way in _drafts(args, lengths, draft)]
    out = {}
    said = ("--text", str(args.text), "--rounds", str(args.pieces)) if args.text else ()
    for length, title, path, options in found:
        engine = title if title in PEERS else "edge"
        more = () if title in PEERS else said
        load = Load(path, length, args.new, args.threads, (*options, *more), engine)
        out[f"{length}: {TITLES.get(title, title)}"] = load
    return {title: load for title, load in out.items() if title not in args.without}


def _caches(args: argparse.Namespace, length: int) -> Iterator[Way]:
    """Whole, cut and rounded caches, and the peers."""
    yield length, "plain", args.edge, ()
    if length >= ENOUGH:
        yield length, "int8 cache", args.edge, INT8
    if length > args.snapkv:
        snap = ("--snapkv", str(args.snapkv))
        yield length, f"{args.snapkv:,} rows", args.edge, snap
        yield length, f"{args.snapkv:,} rows, int8", args.edge, (*snap, *INT8)
    for peer in PEERS:
        if getattr(args, peer):
            yield length, peer, getattr(args, peer), ()


def _drafts(args: argparse.Namespace, lengths: list[int], draft: str) -> Iterator[Way]:
    """An exit's after the shortest prompt, a cut cache's after the longest."""
    if args.exits:
        skip = ("--layerskip", str(args.exit), "--draft", draft)
        yield lengths[0], f"exit {args.exit} drafts {draft}", args.exits, skip
    if lengths[-1] > args.snapkv:
        by = ("--draft-by", "snapkv", "--snapkv", str(args.snapkv), "--draft", draft)
        yield lengths[-1], f"{args.snapkv:,} rows draft {draft}", args.edge, by


def summary(results: Rounds) -> list[dict[str, object]]:
    """A row for each title, against the plain one of its length."""
    rows = []
    for title, found in results.items():
        length, _, strategy = title.partition(": ")
        plain = results[f"{length}: plain"]
        first = found[0]
        slower = [a["prefill_tps"] / b["prefill_tps"] for a, b in zip(plain, found, strict=True)]
        gain = [a["decode_tps"] / b["decode_tps"] for a, b in zip(found, plain, strict=True)]
        drafted, accepted = (
            sum(row.get(key) or 0 for row in found) for key in ("drafted", "accepted")
        )
        rows.append(
            {
                "prompt": int(length),
                "by": strategy,
                "prompt tok/s": _spread([row["prefill_tps"] for row in found]),
                "its time": _spread(slower),
                "decode tok/s": _spread([row["decode_tps"] for row in found]),
                "gain": _spread(gain),
                "cache MB": first.get("cache_mb"),
                "drafts kept": accepted / drafted if drafted else None,
            }
        )
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Medians, with the least and the most."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += [f"| {' | '.join(_cell(key, row[key]) for key in COLUMNS)} |" for row in rows]
    return "\n".join(lines)


def _spread(values: list[float]) -> list[float]:
    return [statistics.median(values), min(values), max(values)]


def _cell(key: str, value: object) -> str:
    if value is None:
        return ""
    if key == "drafts kept":
        return f"{value:.0%}"
    if not isinstance(value, list):
        return f"{value:,.1f}" if isinstance(value, float) else str(value)
    digits = 2 if key in ("gain", "its time") else 1
    middle, least, most = (f"{number:.{digits}f}" for number in value)
    return f"{middle} ({least} to {most})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edge", required=True)
    parser.add_argument("--exits")
    parser.add_argument("--exit", type=int, default=4)
    for peer in PEERS:
        parser.add_argument(f"--{peer}")
    parser.add_argument("--lengths", default="512,8192,16384")
    parser.add_argument("--drafts", default="3,7,15")
    parser.add_argument("--snapkv", type=int, default=1024)
    parser.add_argument("-n", "--new", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", default=sys.executable, help="that has the other engines")
    parser.add_argument("--text", type=Path, help="whose pieces are edge's prompts")
    parser.add_argument("--pieces", type=int, default=8, help="of it, in each process")
    parser.add_argument("--without", action="append", default=[], metavar="'16384: int8 cache'")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    loads = loads_of(args)
    results = measure(loads, args.rounds, args.python)
    rows = summary(results)
    print(table(rows))
    kept = record(loads, results) | {"summary": rows}
    args.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
