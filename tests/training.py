"""What tests of training share: tiny checkpoints that can read, texts, small recipes."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

from support import tiny

from edge.data import vocabulary
from edge.measure.recall import text
from edge.train import fields
from edge.train import recipe as recipes
from edge.train.recipe import Rates, Skip, TrainingRecipe
from edge.train.rows import Rows, Stories, Text

EXAMPLE = recipes.read(fields.EXAMPLE)
assert isinstance(EXAMPLE.rows, Stories)
STORIES = EXAMPLE.rows
ROWS = vocabulary.rows(vocabulary.tokenizer())
ADAM = Rates(matrix=3e-3, other=3e-3, shrink=0.1, warmup=100, decay=0.3, optimizer="adam")
CURRICULA = {
    "rotational": Skip(dropout=0.3, exit_scale=1.0, exit_every=2),
    "gradual": Skip(dropout=0.3, exit_scale=1.0, curriculum="gradual", exit_growth="constant"),
    "all": Skip(dropout=0.5, exit_scale=0.2, curriculum="all", dropout_growth="constant"),
}


def speaking(folder: Path, family: str = "llama", **changes: Any) -> Path:
    """A tiny checkpoint of random weights with the tokenizer of the small world."""
    tiny(folder, family, vocab_size=ROWS, **changes)
    for name, content in vocabulary.files().items():
        (folder / name).write_bytes(content)
    return folder


# No blank and no line between a turn's end and the next one.
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def talking(folder: Path, family: str = "llama", **changes: Any) -> Path:
    """The same with a chat template."""
    (speaking(folder, family, **changes) / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def chats(file: Path, count: int = 21) -> str:
    """Conversations of one turn or of two, some with a system message."""
    rng, lines = random.Random(1), []
    for number in range(count):
        said = [("system", "Be kind.")] if number % 4 == 0 else []
        for _ in range(1 + number % 2):
            said += [("user", words(rng)), ("assistant", words(rng))]
        messages = [{"role": role, "content": content} for role, content in said]
        lines.append({"messages": messages})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


def pairs(file: Path, count: int = 13) -> str:
    """Answers of which one is liked better, to a question or after a conversation."""
    rng, lines = random.Random(2), []
    for number in range(count):
        asked: Any = words(rng)
        if number % 3 == 0:
            roles = ("user", "assistant", "user")
            asked = [{"role": role, "content": words(rng)} for role in roles]
        lines.append({"prompt": asked, "chosen": words(rng), "rejected": words(rng)})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


_WORDS = ("the", "cat", "had", "a", "red", "ball", "and", "was", "kind")


def words(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(1, 7)))


def on_rows(rows: Rows, start: Path, *, steps: int = 5, **changes: Any) -> TrainingRecipe:
    """A recipe that goes on from a checkpoint, on rows of any kind."""
    given: dict[str, Any] = {
        "seed": 3,
        "tokens": steps * 60,
        "start": str(start),
        "skip": CURRICULA["all"],
        "rates": ADAM,
        "rows": rows,
        "precision": "fp32",
    }
    return TrainingRecipe(**given | changes)


def texts(folder: Path, count: int = 3) -> list[str]:
    """Files of stories, the last of letters and signs that the small world lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number}.txt" for number in range(count)]
    for number, file in enumerate(files[:-1]):
        file.write_text(text(seed=number, count=20))
    rng = random.Random(0)
    words = ("".join(rng.choices("aßé日🙂\n ", k=rng.randint(1, 40))) for _ in range(200))
    files[-1].write_text(" ".join(words), encoding="utf-8")
    return [str(file) for file in files]


def on_text(files: list[str], start: Path, *, steps: int = 8, **changes: Any) -> TrainingRecipe:
    """A recipe that goes on from a checkpoint."""
    given: dict[str, Any] = {
        "seed": 3,
        "tokens": steps * 4 * 24,
        "start": str(start),
        "skip": CURRICULA["all"],
        "rates": ADAM,
        "rows": Text(files=tuple(files), length=24, batch=4),
        "precision": "fp32",
    }
    return TrainingRecipe(**given | changes)


def on_stories(*, steps: int = 8, **changes: Any) -> TrainingRecipe:
    """A recipe that trains a shape from scratch."""
    given: dict[str, Any] = {
        "tokens": steps * 4 * 96,
        "shape": recipes.Shape(width=32, layers=3, heads=2, kv_heads=1, ffn_width=32, context=128),
        "rows": dataclasses.replace(
            STORIES, stages=(dataclasses.replace(STORIES.stages[1], batch=4),)
        ),
        "rates": dataclasses.replace(EXAMPLE.rates, warmup=100),
    }
    return dataclasses.replace(EXAMPLE, **given | changes)
