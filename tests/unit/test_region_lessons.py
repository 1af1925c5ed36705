"""Conversations about regions as a model learns them: what is an answer, where rows stand, which region a thing is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.data.regions import vocabulary
from edge.data.regions.lessons import lesson, regions_of
from edge.data.regions.scenes import Page, scene
from edge.data.regions.talks import words
from edge.text.conversations import FormTemplate
from edge.text.grounded import read
from edge.text.pointing import FORM, PLACE, SYSTEM, TOKENS, asked, ids, shown
from edge.text.tokenizer import Tokenizer
from edge.vision.boxes import corners, in_parts, overlaps
from edge.vision.selection import Limits

PAGE = Page(width=112, height=96)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("points")
    for name, content in vocabulary.files().items():
        (folder / name).write_bytes(content)
    return Tokenizer.load(folder)


def encoder(tokenizer: Tokenizer):  # type: ignore[no-untyped-def]
    return lambda text: tokenizer.encode(text, special=False)


def test_groma_s_tokens_come_after_all_others(tokenizer: Tokenizer) -> None:
    found = ids(tokenizer.id_of)
    assert [found[token] for token in TOKENS] == [vocabulary.old() + n for n in range(len(TOKENS))]
    assert tokenizer.vocab_size == vocabulary.old() + len(TOKENS)
    assert tokenizer.id_of("</s>") == 2


def test_every_word_of_a_scene_is_one_token(tokenizer: Tokenizer) -> None:
    for word in (*words(), *(word.capitalize() for word in words())):
        assert len(tokenizer.encode(word, special=False)) == 1, word
    said = tokenizer.encode("ASSISTANT:<p>A red letter K</p><roi><r3></roi>.</s>", special=False)
    assert len(said) == 2 + 6 + 3 + 2 + 1, "and a blank before the stop"


@given(number=st.integers(0, 10**6), held=st.booleans(), seed=st.integers(0, 99))
def test_a_lesson_reads_as_what_a_model_is_asked(
    tokenizer: Tokenizer, number: int, held: bool, seed: int
) -> None:
    """Each answer with its stop is learned, nothing else; a place for each row of the picture, of regions, and of
    those that questions refer to.
    """
    made = scene(number, PAGE, held=held)
    rng = np.random.default_rng(seed)
    count = len(made.boxes) + 3
    region = rng.permutation(count)[: len(made.boxes)].tolist()
    talks = made.talks[:3]
    found = lesson(talks, 9, count, region, encoder(tokenizer))
    assert len(found.ids) == len(found.answers)
    places = found.ids.count(tokenizer.id_of(PLACE))
    assert places == 9 + count + len(found.referred)
    assert found.referred == [region[n] for talk in talks for n in talk.referred]
    runs: list[list[int]] = [[]]
    for one, is_answer in zip(found.ids, found.answers, strict=True):
        runs[-1].append(one) if is_answer else runs.append([]) if runs[-1] else None
    texts = [tokenizer.decode(run, skip_special=False) for run in runs if run]
    assert len(texts) == len(talks)
    for text, talk in zip(texts, talks, strict=True):
        assert text.endswith(FORM.stop)
        reading = read(text.removesuffix(FORM.stop), count)
        want = read(talk.answer, len(made.boxes))
        assert [one.region for one in reading.grounded] == [
            region[one.region] for one in want.grounded
        ]
        assert reading.text.split() == want.text.split()


def test_the_first_turn_is_what_a_pipeline_asks(tokenizer: Tokenizer) -> None:
    made = scene(4, PAGE)
    talk = next(talk for talk in made.talks if talk.referred)
    region = list(range(len(made.boxes)))
    found = lesson([talk], 4, 9, region, encoder(tokenizer))
    messages = [*shown(4, 9)]
    question = asked(talk.asked, talk.referred, 9)
    text = FormTemplate(FORM, SYSTEM).render(messages, generate=False)
    prompt = f"{text}{FORM.user.format(question)}{FORM.answer}"
    assert found.ids[: found.answers.index(True)] == tokenizer.encode(prompt, special=False)


@given(seed=st.integers(0, 10**6), held=st.booleans())
def test_every_thing_is_a_region_that_it_overlaps(seed: int, held: bool) -> None:
    """Found or not; a thing that no proposal is near is a region itself, as long as there is room."""
    rng = np.random.default_rng(seed)
    made = scene(seed, PAGE, held=held)
    there = in_parts(made.boxes, PAGE.width, PAGE.height)
    near = there + rng.normal(0, 0.01, there.shape)
    far = rng.uniform(0.2, 0.8, (6, 4)) * [1, 1, 0.2, 0.2]
    boxes = np.concatenate([near[::2], far]).astype(np.float32)
    scores = rng.uniform(0, 1, len(boxes)).astype(np.float32)
    shown_, region = regions_of(boxes, scores, there, Limits(most=40))
    assert len(region) == len(there)
    shares = overlaps(corners(there), corners(shown_))
    for number, at in enumerate(region):
        assert shares[number, at] == shares[number].max()
        assert shares[number, at] > 0.5


def test_nothing_there_is_the_best_proposal() -> None:
    boxes = np.full((3, 4), 0.5, np.float32)
    shown_, region = regions_of(
        boxes, np.array([0.01, 0.02, 0.01], np.float32), boxes[:0], Limits()
    )
    assert len(shown_) == 1
    assert region == []


def test_the_tokenizer_is_no_file_of_the_machine(tmp_path: Path) -> None:
    assert vocabulary.files() == vocabulary.files()
    assert set(vocabulary.files()) == {"tokenizer.json", "tokenizer_config.json"}
