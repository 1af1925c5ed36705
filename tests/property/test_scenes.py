"""Laws of made scenes: a box bounds its pixels exactly, words mean one thing and that one, captions read back to their
boxes, what is held out is shown nowhere, and a seed makes one scene.

What words mean is read here by itself, from their letters: nothing of how they were made.
"""

import re
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.data.regions.examples import Talk, renumbered
from edge.data.regions.pixels import mask
from edge.data.regions.scenes import LEAST, Page, Scene, painted, scene
from edge.data.regions.talks import NUMBERS, TOPICS, words
from edge.data.regions.things import COLOURS, KINDS, held_out, pairs
from edge.errors import EdgeError
from edge.text import pointing
from edge.text.grounded import read
from edge.vision.boxes import Box

PAGE = Page(width=112, height=112)
SIZES, TEXTURES = ("small", "large"), ("plain", "striped", "spotted", "checked")
NUMBER = st.integers(0, 10**9)
ASKED = r"^(?:Is there|Can you see) an? |^How many |^Count the | are there(?=\?$)|[.?]$"


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    page = Page(
        width=draw(st.integers(LEAST, 160)),
        height=draw(st.integers(LEAST, 160)),
        most=draw(st.integers(1, 12)),
        marks=draw(st.integers(0, 3)),
    )
    return scene(draw(NUMBER), page, seed=draw(st.integers(0, 99)), held=draw(st.booleans()))


def shown(found: Scene) -> list[dict[str, str]]:
    """What each thing looks like, by its name alone."""
    out = []
    for name in found.names[: len(found.things)]:
        said = name.split()
        kind = " ".join(said[-2:]) if len(said[-1]) == 1 else said[-1]
        rest = said[: -len(kind.split())]
        out.append(
            {
                "size": rest[0],
                "texture": rest[1] if len(rest) == 3 else "plain",
                "colour": rest[-1],
                "kind": kind,
                "group": kind.split()[0] if " " in kind else "shape",
            }
        )
    return out


def singular(words: str) -> str:
    """ "red crosses" -> "red cross", "letters A" -> "letter A"."""
    *first, last = words.split()
    if len(last) == 1:
        return f"{singular(' '.join(first))} {last}"
    known = {
        f"{kind}{'es' if kind[-1] in 'sx' else 's'}": kind for kind in (*KINDS, "shape", "thing")
    }
    known |= {"letters": "letter", "digits": "digit"}
    return " ".join([*first, known.get(last, last)])


def meant(words: str, found: Scene) -> list[int]:
    """The things that some words without an article mean."""
    things, boxes = shown(found), found.boxes
    for relation in ("left of", "right of", "above", "below", "inside"):
        if f" {relation} the " in words:
            first, _, other = words.partition(f" {relation} the ")
            (anchor,) = meant(other, found)
            return [n for n in meant(first, found) if lies(boxes[n], relation, boxes[anchor])]
    head, _, rest = words.partition(" ")
    if head in ("largest", "smallest", "leftmost", "rightmost", "topmost", "lowest"):
        some = meant(rest, found)
        best = max(some, key=lambda n: much(head, boxes[n]))
        others = [much(head, boxes[n]) for n in some if n != best]
        assert others, "of one thing none is the most"
        assert much(head, boxes[best]) > max(others) + 1
        return [best]
    said = words.split()
    out = []
    for number, look in enumerate(things):
        noun = 2 if len(said[-1]) == 1 else 1
        called = " ".join(said[-noun:]) in (look["kind"], look["group"], "thing")
        if called and all(word in look.values() for word in said[:-noun]):
            out.append(number)
    return out


def lies(a: Box, relation: str, b: Box) -> bool:
    return {
        "left of": a[2] <= b[0],
        "right of": a[0] >= b[2],
        "above": a[3] <= b[1],
        "below": a[1] >= b[3],
        "inside": b[0] <= a[0] and a[2] <= b[2] and b[1] <= a[1] and a[3] <= b[3],
    }[relation]


def much(word: str, box: Box) -> float:
    left, top, right, bottom = box
    area = (right - left) * (bottom - top)
    return {
        "largest": area, "smallest": -area, "leftmost": -left - right, "rightmost": left + right,
        "topmost": -top - bottom, "lowest": top + bottom,
    }[word]  # fmt: skip


def bare(words: str) -> str:
    return re.sub(r"^(?:the|an?|one) ", "", words[:1].lower() + words[1:])


def phrase_of(question: str) -> str:
    found = re.findall(r"<p>the (.*?)</p>", question)
    return found[0] if found else ""


def regions(talk: Talk, found: Scene) -> list[int]:
    reading = read(talk.answer, len(found.boxes))
    assert not reading.unknown
    return [one.region for one in reading.grounded]


def topics(found: Scene) -> dict[str, Talk]:
    return {talk.topic: talk for talk in found.talks}


@given(found=scenes())
@settings(max_examples=40, deadline=None)
def test_a_box_bounds_the_pixels_that_its_thing_has(found: Scene) -> None:
    """Those that are others once it is not there."""
    whole = painted(found)
    for number, box in enumerate(found.boxes):
        changed = (whole != painted(found, without=number)).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert min(box[:2]) >= 0
        assert box[2] <= found.page.width
        assert box[3] <= found.page.height


@given(found=scenes())
@settings(max_examples=40, deadline=None)
def test_nothing_covers_anything(found: Scene) -> None:
    painted_by = np.zeros((found.page.height, found.page.width), np.int64)
    whole = painted(found)
    for number in range(len(found.boxes)):
        painted_by += (whole != painted(found, without=number)).any(axis=2)
    assert painted_by.max() == 1


@given(found=scenes())
@settings(max_examples=100, deadline=None)
def test_words_that_refer_mean_one_thing_and_that_one(found: Scene) -> None:
    talk = topics(found).get("where")
    if talk is not None:
        assert meant(phrase_of(talk.question), found) == regions(talk, found)


@given(found=scenes())
@settings(max_examples=100, deadline=None)
def test_words_for_several_mean_all_of_them(found: Scene) -> None:
    talk = topics(found).get("every")
    if talk is not None:
        some = meant(singular(phrase_of(talk.question)), found)
        assert len(some) > 1
        assert sorted(regions(talk, found)) == some


@given(found=scenes())
@settings(max_examples=100, deadline=None)
def test_what_is_said_to_be_absent_is_not_there(found: Scene) -> None:
    """And what is said to be there is, all of it."""
    for topic in ("absent", "there", "many"):
        talk = topics(found)[topic]
        denied = re.search(r"here is no (.*)\.$", talk.answer)
        if denied is not None:
            assert meant(denied[1], found) == []
            assert regions(talk, found) == []
            assert denied[1] in singular(re.sub(r"<.*?>|\?|\.| are there", "", talk.question))
        else:
            asked = re.sub(ASKED, "", talk.question)
            assert sorted(regions(talk, found)) == meant(singular(asked), found)
    assert "no " in topics(found)["absent"].answer


@given(found=scenes())
@settings(max_examples=100, deadline=None)
def test_a_caption_reads_back_to_its_boxes(found: Scene) -> None:
    """Everything once, each phrase with the regions that look so; and a phrase says how many they are."""
    talk = topics(found)["shows"]
    reading = read(talk.answer, len(found.boxes))
    assert sorted(one.region for one in reading.grounded) == list(range(len(found.things)))
    assert reading.text == re.sub("<.*?>", "", talk.answer)
    by_phrase: dict[tuple[str, int], list[int]] = {}
    for one in reading.grounded:
        by_phrase.setdefault((one.phrase, one.start), []).append(one.region)
    for (phrase, _), some in by_phrase.items():
        first, _, rest = phrase.partition(" ")
        assert (
            first.lower() in ("a", "an") if len(some) == 1 else first.lower() == NUMBERS[len(some)]
        )
        names = {found.names[number] for number in some}
        assert names == {singular(rest)}


@given(found=scenes())
@settings(max_examples=100, deadline=None)
def test_what_is_said_of_a_region_is_so(found: Scene) -> None:
    said, things = topics(found), shown(found)
    for talk in found.talks:
        assert len(talk.referred) == talk.question.count(pointing.BOX)
        assert all(number < len(found.things) for number in talk.referred)
    (number,) = said["what"].referred
    assert bare(said["what"].answer) == f"{found.names[number]}."
    for topic in ("colour", "texture"):
        (number,) = said[topic].referred
        assert said[topic].answer.lower() == f"{things[number][topic]}."
    (number,) = said["is"].referred
    asked = bare(said["is"].question.removeprefix(f"Is {pointing.BOX} ").rstrip("?"))
    assert said["is"].answer.startswith("Yes") == (number in meant(asked, found))
    beside = said.get("beside")
    if beside is not None:
        relation = re.sub(rf"What is | {pointing.BOX}\?", "", beside.question)
        (number,) = beside.referred
        want = [
            n
            for n in range(len(things))
            if n != number and lies(found.boxes[n], relation, found.boxes[number])
        ]
        assert sorted(regions(beside, found)) == want


@given(found=scenes())
@settings(max_examples=100, deadline=None)
def test_what_is_held_out_is_neither_shown_nor_named(found: Scene) -> None:
    """Of training no thing, no answer and no question; of what is held out, all things."""
    for look in shown(found):
        assert held_out(look["colour"], look["kind"]) == found.held
    if not found.held:
        said = " ".join(f"{talk.question} {talk.answer}" for talk in found.talks)
        for colour, kind in pairs(held=True):
            first, *symbol = kind.split()
            assert not re.search(rf"\b{' '.join([f'{colour} {first}(e?s)?', *symbol])}\b", said)


@given(found=scenes())
@settings(max_examples=100, deadline=None)
def test_every_word_is_known_and_every_talk_can_be_asked(found: Scene) -> None:
    known = words()
    for talk in found.talks:
        regions_of = len(found.boxes)
        plain = re.sub(r"<.*?>|\[grounding\]|[.,?]", " ", f"{talk.question} {talk.answer}").lower()
        assert set(plain.split()) <= known
        question = re.sub("</?p>", "", talk.asked)
        assert (
            pointing.PLACE in pointing.asked(question, talk.referred, regions_of)
            or not talk.referred
        )


@given(number=NUMBER, seed=st.integers(0, 99), held=st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_seed_and_a_number_make_one_scene(number: int, seed: int, held: bool) -> None:
    first, again = (scene(number, PAGE, seed=seed, held=held) for _ in range(2))
    assert first == again
    assert first.talks == again.talks
    np.testing.assert_array_equal(painted(first), painted(again))
    other = scene(number + 1, PAGE, seed=seed, held=held)
    assert (painted(first) != painted(other)).any()
    assert scene(number, PAGE, seed=seed, held=not held).things != first.things


def test_a_scene_is_the_same_in_another_process() -> None:
    """Whatever its hashes are seeded with."""
    code = (
        "from edge.data.regions.scenes import *; from hashlib import sha256;"
        "s = scene(7, Page(width=112, height=112)); print(sha256(painted(s).tobytes()).hexdigest(), s.talks)"
    )
    found = scene(7, PAGE)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "5", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout == f"{sha256(painted(found).tobytes()).hexdigest()} {found.talks}\n"


def test_every_colour_and_every_kind_is_known_though_some_pairs_are_not() -> None:
    seen, held = pairs(held=False), pairs(held=True)
    assert set(seen) | set(held) == {(colour, kind) for colour in COLOURS for kind in KINDS}
    assert not set(seen) & set(held)
    for some in (seen, held):
        assert {colour for colour, _ in some} == set(COLOURS)
        assert {kind for _, kind in some} == set(KINDS)
    assert len(held) == len(KINDS)


def test_every_topic_comes_up_and_every_way_to_refer() -> None:
    found = [topics(scene(number, PAGE)) for number in range(80)]
    assert {topic for one in found for topic in one} == set(TOPICS)
    asked = " ".join(one["where"].question for one in found if "where" in one)
    assert re.search(r"largest|smallest|leftmost|rightmost|topmost|lowest", asked)
    assert re.search(r"left of|right of|above|below|inside", asked)
    every = [scene(number, PAGE).boxes for number in range(80)]
    nested = sum(lies(a, "inside", b) for boxes in every for a in boxes for b in boxes if a != b)
    assert nested


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(7, 5), (14, 10), (40, 31)])
def test_a_shape_fills_what_it_is_drawn_in_and_is_no_other(
    kind: str, size: tuple[int, int]
) -> None:
    found = mask(kind, *size)
    assert found.shape == size
    assert found.any()
    if size[0] > 10:
        assert all((found != mask(other, *size)).any() for other in KINDS if other != kind)
        assert found.any(1).mean() > 0.7
        assert found.any(0).mean() > 0.55  # a 1 is narrow


def test_boxes_by_number_become_regions() -> None:
    assert (
        renumbered("<p>a</p><roi><r0><r2></roi> <r1>", [5, 3, 99])
        == "<p>a</p><roi><r5><r99></roi> <r3>"
    )
    with pytest.raises(IndexError):
        renumbered("<r3>", [0])


@pytest.mark.parametrize(
    "page", [{"width": 55}, {"height": 10}, {"most": 0}, {"most": 13}, {"marks": -1}]
)
def test_a_page_that_nothing_fits_on_is_refused(page: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="sides of 56"):
        Page(**{"width": 112, "height": 112, **page})


def test_a_question_is_asked_as_a_model_gets_it() -> None:
    assert Talk(topic="", question="What?", answer="", grounded=True).asked == "[grounding] What?"
    with pytest.raises(EdgeError):
        pointing.asked("Where is <r9>?", (), 3)
