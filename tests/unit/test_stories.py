"""The corpus: the same bytes for the same seed, nothing held out in it, a tokenizer that loses nothing."""

import dataclasses
import json
import random

import pytest

from edge.data import questions, stories, vocabulary, world
from edge.data.rows import Part, Stage, Writer
from edge.measure import recall
from edge.train import fields, recipe

tokenizers = pytest.importorskip("tokenizers")

TOKENIZER = tokenizers.Tokenizer.from_str(json.dumps(vocabulary.tokenizer()))
STAGE = Stage(
    length=400, batch=1, people=6, prose=0.5, free=0.3, echo=0.2, lists=0.1, pairs=0.1, until=1.0
)


def encode(text: str) -> list[int]:
    return list(TOKENIZER.encode(text).ids)


def decode(ids: list[int]) -> str:
    return str(TOKENIZER.decode(ids, skip_special_tokens=False))


def rows(count: int, seed: int = 0) -> list[str]:
    writer = Writer(encode)
    return [decode(writer.row(random.Random(f"{seed}/{n}"), STAGE).ids) for n in range(count)]


def test_a_seed_fixes_the_corpus() -> None:
    assert rows(3) == rows(3)
    assert rows(3) != rows(3, seed=1)


def test_held_out_names_and_places_are_never_trained_on() -> None:
    for pool in (world.names, world.places):
        assert not set(pool(True)) & set(pool(False))
        assert 0.1 < len(pool(True)) / len(pool(True) + pool(False)) < 0.2
    text = " ".join(rows(20))
    words = {word.strip(".,?").removesuffix("'s") for word in text.split()}
    assert not words & set(world.names(True) + world.places(True))


def test_every_piece_of_a_held_out_name_is_trained_on() -> None:
    for pool in (world.names, world.places):
        known = {piece for name in pool(False) for piece in encode(name)}
        assert {piece for name in pool(True) for piece in encode(name)} <= known


def test_names_are_two_tokens_and_words_one() -> None:
    for flag in (False, True):
        for name in world.names(flag) + world.places(flag):
            assert len(encode(name)) == 2, name
    for word in [*world.COLOURS, *world.THINGS, *world.KINDS]:
        assert len(encode(word)) == 1, word


@pytest.mark.parametrize(
    "text",
    [
        "Once upon a time",
        "héllo 🙂\n\n  two  spaces",
        " lead",
        "tab\t",
        "日本語",
        "<0x41> 'quoted'",
        "",
    ],
)
def test_any_text_survives(text: str) -> None:
    assert decode(encode(text)) == text


def test_words_are_tokenized_one_by_one() -> None:
    """What `Writer` relies on."""
    rng = random.Random(0)
    text = stories.story(rng, world.people(rng, 3))
    assert [piece for word in text.split(" ") for piece in encode(word)] == encode(text)
    assert recall.tokens(text) == len(encode(text))


def test_a_row_holds_whole_answers_to_what_it_tells() -> None:
    stage = dataclasses.replace(STAGE, free=0.0, echo=0.0, lists=0.0, pairs=0.0)
    row = Writer(encode).row(random.Random(5), stage)
    assert len(row.ids) == len(row.parts) == STAGE.length + 1
    answer = [token for token, part in zip(row.ids, row.parts, strict=True) if part == Part.ANSWER]
    assert decode(answer).count("<|end|>") > 3


def test_every_answer_is_told_before_it_is_asked() -> None:
    """Also where a story is cut short by the question."""
    stage = dataclasses.replace(
        STAGE, length=1200, prose=1.0, free=0.0, echo=0.0, lists=0.0, pairs=0.0
    )
    row = Writer(encode).row(random.Random(1), stage)
    chats = decode(row.ids).split("<|endoftext|>")
    for chat in chats:
        before, *turns = chat.split("<|assistant|>")
        for turn in turns:
            answer = turn.split("<|end|>")[0].strip()
            for fact in answer.split(". ") if " had a " in answer and "<|end|>" in turn else []:
                assert fact.removesuffix(".") in before
            before += turn


def test_no_fact_is_asked_for_twice() -> None:
    rng = random.Random(0)
    for count in range(1, 8):
        asked = questions.once_each(rng, world.people(rng, count))
        about = [fact for question in asked for fact in question.about]
        assert len(about) == len(set(about))


@pytest.mark.parametrize("distance", [50, 200, 1000])
def test_a_case_puts_the_fact_at_its_distance(distance: int) -> None:
    for number in range(12):
        case = recall.case(random.Random(number), number, distance)
        facts = [case.prompt.index(fact) + len(fact) for fact in case.question.about]
        since = case.prompt[min(facts) : -len(case.question.text)]
        assert case.distance == len(encode(since.strip()))
        assert distance <= case.distance < distance + 60


def test_scores_count_exact_answers() -> None:
    answers = {}
    for number in range(6):
        case = recall.case(random.Random(f"0/50/{number}"), number, 50)
        answers[case.prompt] = case.question.answer if number < 3 else "Nobody."
    (score,) = recall.by_distance(answers.__getitem__, per_distance=6, distances=[50])
    assert (score.right, score.asked, score.share) == (3, 6, 0.5)


def test_the_recipe_reads() -> None:
    made = recipe.read(fields.EXAMPLE)
    assert len(made.shape.spec(64).layers) >= 8
