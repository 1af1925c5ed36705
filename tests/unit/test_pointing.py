"""What a model that points is told, against the published prompt written out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError, Unsupported
from edge.text.chat import Message
from edge.text.conversations import FormTemplate
from edge.text.pointing import FORM, PLACE, SYSTEM, TOKENS, asked, ids, phrase_asked, shown

WHOLE = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: Here is an image with region crops from it. "
    "Image: <image><image>. Regions: <r0><image><r1><image><r2><image>. "
    "ASSISTANT: Thank you for the image! How can I assist you with it?</s>"
    "USER: What is <roi><r1></roi><image>? ASSISTANT:"
)


def test_the_whole_prompt() -> None:
    """By the publisher's code: two rows of a picture, three regions, of which the second is asked about."""
    template = FormTemplate(FORM, SYSTEM)
    question = Message("user", asked("What is <box>?", (1,), 3))
    assert template.render([*shown(2, 3), question], generate=True) == WHOLE


def test_114_tokens_beside_the_decoder_s_own() -> None:
    assert len(TOKENS) == len(set(TOKENS)) == 114
    assert TOKENS[14:] == tuple(f"<r{at}>" for at in range(100))
    assert {"<p>", "</p>", "<roi>", "</roi>", "[grounding]", PLACE} <= set(TOKENS[:14])


def test_ids_by_name() -> None:
    table = {token: 32_000 + at for at, token in enumerate(TOKENS)}
    assert ids(table.get) == table
    with pytest.raises(Unsupported, match="<r99>"):
        ids({token: at for token, at in table.items() if token != "<r99>"}.get)
    with pytest.raises(Unsupported, match="one id"):
        ids((table | {"<r5>": 32_000}).get)  # others' [PAD]: an unknown token has no id of its own


@pytest.mark.parametrize(
    ("question", "referred", "text"),
    [
        ("What is it?", (), "What is it?"),
        ("[grounding] Describe it.", (), "[grounding] Describe it."),
        ("What is <box>?", (4,), "What is <roi><r4></roi><image>?"),
        # Groma#35: two at once; each where it belongs
        (
            "Is <box> left of <box>?",
            (4, 0),
            "Is <roi><r4></roi><image> left of <roi><r0></roi><image>?",
        ),
        (
            "Is it left of <box>?",
            (4, 0),
            "Is it left of <roi><r4></roi><image>? <roi><r0></roi><image>",
        ),
        ("What is this?", (2,), "What is this? <roi><r2></roi><image>"),
        ("<box><box>", (2, 2), "<roi><r2></roi><image><roi><r2></roi><image>"),
        ("", (2,), "<roi><r2></roi><image>"),
        ("Where is <p>the red cup</p>?", (), "Where is <p>the red cup</p>?"),
        ("And <roi><r4></roi>?", (), "And <roi><r4></roi>?"),
        ("a < b > <c>, <R3> <r>", (), "a < b > <c>, <R3> <r>"),
    ],
)
def test_questions(question: str, referred: tuple[int, ...], text: str) -> None:
    assert asked(question, referred, 5) == text


@pytest.mark.parametrize(
    "token",
    [
        *(t for t in TOKENS[:14] if t not in ("<p>", "</p>", "<roi>", "</roi>", "[grounding]")),
        "</s>",
    ],
)
def test_tokens_that_are_not_a_user_s(token: str) -> None:
    """A place without a row, or the end of a turn, would change what was said before."""
    with pytest.raises(EdgeError, match=re.escape(token)) as caught:
        asked(f"What is {token}?", (), 5)
    assert "<box>" in caught.value.fix


@pytest.mark.parametrize("region", ["5", "99", "100", "0000", "9" * 5000])
def test_regions_that_are_not_there(region: str) -> None:
    with pytest.raises(EdgeError, match="there are 5 regions") as caught:
        asked(f"What is <roi><r{region}></roi>?", (), 5)
    assert "<r0> to <r4>" in caught.value.fix
    assert len(str(caught.value)) < 400


def test_more_marks_than_boxes() -> None:
    with pytest.raises(EdgeError, match="2 times <box>, and there are 1 boxes"):
        asked("Is <box> left of <box>?", (1,), 5)


@given(
    st.integers(0, 20),
    st.integers(1, 100),
    st.lists(st.integers(0, 99), max_size=4),
    st.text("ab <>", max_size=20),
)
def test_a_place_for_each_row(rows: int, regions: int, some: list[int], text: str) -> None:
    """As many as rows are given, and names of regions in their order."""
    referred = [at % regions for at in some]
    before, _ = shown(rows, regions)
    assert before.content.count(PLACE) == rows + regions
    assert re.findall(r"<r(\d+)><image>", before.content) == [str(at) for at in range(regions)]
    question = asked(text, referred, regions)
    assert re.findall(r"<roi><r(\d+)></roi><image>", question) == [str(at) for at in referred]
    assert question.count(PLACE) == len(referred)


@pytest.mark.parametrize(
    ("question", "phrase"),
    [
        ("Locate <p> a person\nwith a tie </p> in the image.", "a person\nwith a tie"),
        ("Where are <p>a</p> and <p>b</p>?", ""),
        ("Where is it?", ""),
        ("<p>", ""),
        ("</p><p>", ""),
    ],
)
def test_the_phrase_that_is_asked_for(question: str, phrase: str) -> None:
    assert phrase_asked(question) == phrase
