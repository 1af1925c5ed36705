"""What a form costs: decoding within a JSON schema beside decoding freely, on one artifact in one run.

    python tests/bench/grammar.py ARTIFACT [-n 128] [--rounds 7] [--threads 2] [--out docs/grammar.json]

Rounds take turns. A token's time is the whole of it: choosing, masking and the model. The artifact
should have a large vocabulary (128k): that is what a mask is over. The schema is one that asks for
long texts, so that hardly a token is forced: forced ones would make the answer faster, not slower.
"""

import argparse
import json
import statistics
from pathlib import Path
from time import perf_counter

import edge
from edge.decode.grammar import Grammar
from edge.measure.bench import machine
from edge.run.model import Model, Wish

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 200},
        "text": {"type": "string", "minLength": 2000},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 3},
    },
    "required": ["title", "text", "tags"],
    "additionalProperties": False,
}
PROMPT = "Write about the sea."


def milliseconds(model: Model, wish: Wish) -> float:
    """Of a token, after the first, which comes with the prompt."""
    answer = model.generate(PROMPT, raw=True, wish=wish)
    tokens = answer.generation
    next(tokens)
    start, before = perf_counter(), len(tokens.tokens)
    for _ in tokens:
        pass
    return 1000 * (perf_counter() - start) / (len(tokens.tokens) - before)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("-n", "--new", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = edge.load(args.artifact, threads=args.threads)
    form = Grammar.of_schema(json.dumps(SCHEMA))
    wishes = {
        "free": Wish(max_tokens=args.new),
        "schema": Wish(max_tokens=args.new, grammar=form),
    }
    for wish in wishes.values():
        milliseconds(model, wish)  # the vocabulary is read, and every buffer made
    rounds: dict[str, list[float]] = {name: [] for name in wishes}
    for _ in range(args.rounds):
        for name, wish in wishes.items():
            rounds[name].append(milliseconds(model, wish))
    cost = [with_ / free - 1 for free, with_ in zip(rounds["free"], rounds["schema"], strict=True)]
    for name, values in rounds.items():
        print(
            f"{name:8} {statistics.median(values):.2f} ms a token ({min(values):.2f} to {max(values):.2f})"
        )
    print(f"cost     {statistics.median(cost):.1%} ({min(cost):.1%} to {max(cost):.1%})")
    if args.out:
        record = {
            "machine": machine(),
            "artifact": args.artifact.name,
            "vocabulary": model.tokenizer.vocab_size,
            "new": args.new,
            "threads": args.threads,
            "milliseconds": rounds,
        }
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
