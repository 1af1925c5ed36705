"""A synthetic benchmark of the packaged model's small world, in the form of two published ones, so that
lm-evaluation-harness asks it: who has what, where somebody lives, after a story of people whose names no training saw.
Wrong options are what the story says of others.

    python tests/bench/world_tasks.py data --count 200
    edge eval artifacts/edge-stories --tasks arc_easy,piqa --task-data data --chat

Figures of it are none of ARC's or PIQA's.
"""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from edge.data.questions import Kind, ask
from edge.data.stories import story
from edge.data.world import people

KINDS: tuple[Kind, ...] = ("what", "where", "colour", "two facts")
ARC, PIQA = "allenai/ai2_arc/ARC-Easy/test.jsonl", "baber/piqa/validation.jsonl"


def questions(count: int, options: int) -> Iterator[tuple[str, list[str], int]]:
    """A story with a question, its answers, and which is right."""
    for number in range(count):
        rng = random.Random(f"{options}/{number}")
        person, *others = cast = people(rng, options + 2, held_out=True)
        kind = KINDS[number % len(KINDS)]
        told = rng.sample(cast, len(cast))
        text = " ".join((story(rng, told), ask(kind, person, others[0]).text))
        right = ask(kind, person, others[0]).answer
        wrong = (
            ask(kind, replace(other, name=person.name, thing=thing), person).answer
            for other in others
            for thing in [person.thing if kind == "colour" else other.thing]
        )
        answers = list(dict.fromkeys(answer for answer in wrong if answer != right))[: options - 1]
        answers.append(right)
        rng.shuffle(answers)
        if len(answers) == options:
            yield text, answers, answers.index(right)


def write(folder: Path, count: int) -> None:
    arc = [
        {
            "id": f"synthetic-{number}",
            "question": text,
            "choices": {"text": answers, "label": list("ABCD")},
            "answerKey": "ABCD"[right],
        }
        for number, (text, answers, right) in enumerate(questions(count, 4))
    ]
    piqa = [
        {"goal": text, "sol1": answers[0], "sol2": answers[1], "label": right}
        for text, answers, right in questions(count, 2)
    ]
    for name, rows in ((ARC, arc), (PIQA, piqa)):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200)
    asked = parser.parse_args()
    write(asked.folder, asked.count)


if __name__ == "__main__":
    main()
