"""Data sets in the form of published benchmarks, whose questions are made up: what they ask means nothing."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NAMES, THINGS = ("Tom", "Anna", "Mia", "Ben"), ("kite", "ball", "dog", "boat", "hat")
ARC, PIQA = "allenai/ai2_arc/ARC-Easy", "baber/piqa"
LAMBADA, GSM8K = "EleutherAI/lambada_openai/default", "openai/gsm8k/main"
WIKITEXT = "EleutherAI/wikitext_document_level/wikitext-2-raw-v1"
TASKS = ("arc_easy", "piqa", "lambada_openai", "gsm8k", "wikitext")


def write(file: Path, rows: Iterable[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file


def everything(folder: Path, *, count: int = 6, seed: int = 0) -> Path:
    """So many questions of each of `TASKS`."""
    rng, some = random.Random(seed), range(count)
    write(folder / ARC / "train.jsonl", [arc(rng) for _ in some])
    write(folder / ARC / "test.jsonl", [arc(rng) for _ in some])
    write(folder / PIQA / "train.jsonl", [piqa(rng) for _ in some])
    write(folder / PIQA / "validation.jsonl", [piqa(rng) for _ in some])
    write(folder / LAMBADA / "test.jsonl", [{"text": sentence(rng)} for _ in some])
    write(folder / GSM8K / "train.jsonl", [sum_of_two(rng) for _ in some])
    write(folder / GSM8K / "test.jsonl", [sum_of_two(rng) for _ in some])
    pages = [" = Made up = \n " + " ".join(sentence(rng) for _ in range(9)) for _ in range(2)]
    write(folder / WIKITEXT / "test.jsonl", [{"page": page} for page in pages])
    return folder


def arc(rng: random.Random) -> dict[str, Any]:
    found = rng.sample(THINGS, 4)
    return {
        "id": "made-up",
        "question": f"Which of these things did {rng.choice(NAMES)} find?",
        "choices": {"text": [f"a red {thing}" for thing in found], "label": list("ABCD")},
        "answerKey": rng.choice("ABCD"),
    }


def piqa(rng: random.Random) -> dict[str, Any]:
    thing = rng.choice(THINGS)
    ways = [f"Look for the {thing} under the bed.", f"Ask {rng.choice(NAMES)}."]
    return {
        "goal": f"Find the {thing}.",
        "sol1": ways[0],
        "sol2": ways[1],
        "label": rng.randint(0, 1),
    }


def sentence(rng: random.Random) -> str:
    """In which words are those of the packaged model's small world."""
    name, (first, last) = rng.choice(NAMES), rng.sample(THINGS, 2)
    return f"Once upon a time {name} had a {first} and saw a {last}"


def sum_of_two(rng: random.Random) -> dict[str, Any]:
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    return {
        "question": f"{rng.choice(NAMES)} has {a} balls and gets {b}. How many?",
        "answer": f"{a} + {b} = {a + b}\n#### {a + b}",
    }
