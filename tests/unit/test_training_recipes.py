"""A recipe that contradicts itself is refused before anything is read; what is short means what it did."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support import config_of, spec_of
from training import EXAMPLE

from edge.errors import EdgeError
from edge.train import fields, reading
from edge.train import recipe as recipes
from edge.train.lessons import read as read_lessons
from edge.train.origin import fitting

STORIES = fields.EXAMPLE.read_text()
TEXT = fields.EXAMPLE.with_name("layerskip-continue.yaml").read_text()
LORA = fields.EXAMPLE.with_name("lora.yaml").read_text()


def changed(whole: str, **changes: object) -> str:
    """A change to None drops the key."""
    table = yaml.safe_load(whole) | changes
    return yaml.safe_dump({key: value for key, value in table.items() if value is not None})


OF_STORIES = yaml.safe_load(STORIES)["stories"]
SHAPE = yaml.safe_load(STORIES)["shape"]
ON_TEXT = yaml.safe_load(TEXT)["text"]
RATES = yaml.safe_load(STORIES)["rates"]
ADAPTER = yaml.safe_load(LORA)["adapter"]


def adapted(**fields: object) -> str:
    return changed(LORA, adapter=ADAPTER | fields)


WRONG = {
    "both a shape and a start": (changed(STORIES, start="x"), "a shape or a start"),
    "neither": (changed(STORIES, shape=None), "a shape or a start"),
    "both stories and a text": (changed(STORIES, text=ON_TEXT), "one of stories, text"),
    "no data": (changed(TEXT, text=None), "one of stories, text"),
    "rows by another name": (changed(TEXT, text=None, rows=ON_TEXT), "one of stories, text"),
    "rows twice": (changed(TEXT, rows="x"), "rows"),
    "stories without weights": (
        changed(STORIES, stories={"stages": OF_STORIES["stages"]}),
        "weights is no table",
    ),
    "stories of a list": (changed(STORIES, stories=[]), "stories is no table"),
    "a text with weights": (changed(TEXT, text={**ON_TEXT, "weights": {}}), "weights"),
    "a text with review": (changed(TEXT, review=0.5), "review"),
    "a shape on a text without a tokenizer": (
        changed(TEXT, start=None, shape=SHAPE),
        "tokenizer is for a shape, and needed there",
    ),
    "a start with a tokenizer": (
        changed(TEXT, text={**ON_TEXT, "tokenizer": "x"}),
        "a start has its own",
    ),
    "splits that do not divide": (changed(STORIES, splits=2), "a batch of 5 has no 2 equal splits"),
    "rows that are too long": (
        changed(STORIES, shape={**SHAPE, "context": 1024}),
        "rows of 1280 tokens in a context of 1024",
    ),
    "an adapter from scratch": (changed(STORIES, adapter=ADAPTER), "it needs a start"),
    "an adapter in shards": (changed(LORA, sharded=True), "leave out sharded"),
    "an adapter without a rank": (changed(LORA, adapter={"alpha": 8}), "rank"),
    "an adapter of no rank": (adapted(rank=0), "adapter: rank is 0"),
    "another method": (adapted(method="ia3"), "none of lora, qlora, irqlora"),
    "everything dropped": (adapted(dropout=1.0), "no share below one"),
    "two dropouts": (
        changed(
            LORA,
            adapter=ADAPTER | {"dropout": 0.1},
            skip={"dropout": 0.1, "exit_scale": 0.1, "curriculum": "all"},
        ),
        "not trained together",
    ),
    "an elastic connection with lengths": (adapted(method="irqlora", dora=True), "irqlora has no"),
    "an elastic connection with dropout": (
        adapted(method="irqlora", dropout=0.1),
        "irqlora has no",
    ),
    "targets of a text": (adapted(targets="q_proj"), "targets is 'q_proj', no list of texts"),
    "no files": (changed(TEXT, text={**ON_TEXT, "files": []}), "files is .*no list of texts"),
    "a file": (changed(TEXT, text={**ON_TEXT, "files": "a"}), "files is 'a', no list of texts"),
    "numbers for files": (changed(TEXT, text={**ON_TEXT, "files": [7]}), "no list of texts"),
    "a number for a start": (changed(TEXT, start=7), "start is 7, no text"),
    "a wide row": (changed(TEXT, text={**ON_TEXT, "length": 1 << 21}), "length is 2097152"),
    "another optimizer": (
        changed(TEXT, rates={**RATES, "optimizer": "sgd"}),
        "optimizer is 'sgd', none of muon, adam",
    ),
    "another precision": (changed(TEXT, precision="fp16"), "none of bf16, fp32"),
    "a number for a truth": (changed(TEXT, recompute=1), "neither true nor false"),
    "a power without a point": (
        TEXT.replace("matrix: 0.00003", "matrix: 3e-5"),
        r"YAML wants a point in it: 3\.0e-5",
    ),
}


@pytest.mark.parametrize(("text", "what"), WRONG.values(), ids=WRONG.keys())
def test_a_recipe_that_contradicts_itself(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(EdgeError, match=f"recipe.yaml is not a training recipe: .*{what}"):
        recipes.read(tmp_path / "recipe.yaml")


def test_what_the_stories_leave_out() -> None:
    """Growing dropout and exits, a rotation, Muon, bfloat16, one split: as they were trained."""
    skip = EXAMPLE.skip
    assert (skip.curriculum, skip.exit_every) == ("rotational", 4)
    assert (skip.dropout_growth, skip.exit_growth) == ("exponential", "linear")
    assert (EXAMPLE.rates.optimizer, EXAMPLE.precision) == ("muon", "bf16")
    assert (EXAMPLE.splits, EXAMPLE.recompute) == (1, False)


@pytest.mark.parametrize("file", sorted(fields.EXAMPLE.parent.glob("*.yaml")), ids=lambda f: f.stem)
def test_every_packaged_recipe_reads(file: Path) -> None:
    """By the kind of run that its keys say, and no other."""
    assert type(reading.read(file)).__name__ == {
        "reads": "LessonsRecipe",
        "classify": "NetworkRecipe",
        "vocoder": "VocoderRecipe",
        "flashspeech": "SpeechRecipe",
        "speaks": "SpeechRecipe",
        "recognizer": "RecognizerRecipe",
        "detection": "DetectionRecipe",
        "dialogues": "DialoguesRecipe",
    }.get(file.stem, "TrainingRecipe")


def test_a_row_has_the_rotation_of_its_length() -> None:
    """LongRoPE's short factors up to the original context, as `edge.spec.parts` has it."""
    longrope = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    spec = spec_of(config_of("phi3", rope_scaling=longrope, original_max_position_embeddings=32))
    assert [fitting(spec, length).context for length in (1, 32, 33, 64)] == [32, 32, 64, 64]


def test_a_course_s_rate_falls_to_nothing_at_its_end_and_the_next_begins_whole() -> None:
    whole = read_lessons(fields.EXAMPLE.with_name("reads.yaml"))
    first, second = (
        replace(whole.courses[0], tiles=80, rate=0.5, falls=0.25),
        replace(whole.courses[0], tiles=40, rate=2.0, falls=0.0),
    )
    made = replace(whole, courses=(first, second))
    rates = {tiles: made.rate(tiles) for tiles in (0, 59, 60, 70, 79, 80, 119)}
    expected = {0: 0.5, 59: 0.5, 60: 0.5, 70: 0.25, 79: 0.025, 80: 2.0, 119: 2.0}
    assert rates == pytest.approx(expected)
    with pytest.raises(ValueError, match="falls is a share"):
        replace(first, falls=1.5)
