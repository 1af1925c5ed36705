"""Conversations and pairs as files of this world have them; what is wrong with one is said with its line."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge.data import jsonl
from edge.data.chats import conversation, pair
from edge.data.jsonl import objects
from edge.errors import EdgeError
from edge.text.assistant import Conversation
from edge.text.chat import Message


def said(*turns: str) -> list[dict[str, str]]:
    """`u: hi` is the user's."""
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": roles[turn[0]], "content": turn[3:]} for turn in turns]


def talk(turns: list[dict[str, str]], *counted: int) -> Conversation:
    return Conversation(
        tuple(Message(turn["role"], turn["content"]) for turn in turns), frozenset(counted)
    )


def test_both_ways_to_write_a_conversation() -> None:
    turns = said("s: Be kind.", "u: Hi", "a: Hello", "u: And?", "a: No.")
    wanted = (talk(turns, 2, 4),)
    assert conversation({"messages": turns, "id": 7}) == wanted
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    share = [{"from": names[one["role"]], "value": one["content"]} for one in turns]
    assert conversation({"conversations": share}) == wanted
    assert conversation({"conversations": turns}) == wanted


def test_a_weight_of_nothing_takes_a_message_out_of_what_is_learned() -> None:
    turns: list[dict[str, Any]] = said("u: Hi", "a: Hello", "u: And?", "a: No.")
    turns[1]["weight"], turns[3]["weight"] = 0, 1
    assert conversation({"messages": turns}) == (talk(turns, 3),)


CHOSEN, REJECTED = said("u: Hi", "a: Hello"), said("u: Hi", "a: Go away")
BEFORE = said("s: Be kind.", "u: Hi", "a: Hello", "u: And?")
PAIRS = {
    "texts": {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"},
    "a prompt of messages": {
        "prompt": CHOSEN[:1],
        "chosen": CHOSEN[1:],
        "rejected": REJECTED[1:],
    },
    "messages": {"messages": CHOSEN[:1], "chosen": CHOSEN[1], "rejected": REJECTED[1]},
    "asked again in the answer": {"prompt": "Hi", "chosen": CHOSEN, "rejected": REJECTED},
    "without a prompt": {"chosen": CHOSEN, "rejected": REJECTED, "score_chosen": 8.5},
}


@pytest.mark.parametrize("value", PAIRS.values(), ids=PAIRS.keys())
def test_all_ways_to_write_a_pair(value: dict[str, Any]) -> None:
    assert pair(value) == (talk(CHOSEN, 1), talk(REJECTED, 1))


def test_only_what_follows_the_question_of_a_pair_is_learned() -> None:
    for answers in (("Yes", "No"), (BEFORE + said("a: Yes"), BEFORE + said("a: No"))):
        chosen, rejected = pair({"prompt": BEFORE, "chosen": answers[0], "rejected": answers[1]})
        assert chosen == talk(BEFORE + said("a: Yes"), 4)
        assert rejected == talk(BEFORE + said("a: No"), 4)
    several = said("a: Let me see.", "t: 7", "a: Seven.")
    whole = said("u: How many?") + several
    assert pair({"prompt": "How many?", "chosen": whole, "rejected": "x"})[0] == talk(whole, 1, 3)


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "nothing": (conversation, {}, "it has no messages, but nothing"),
    "both": (conversation, {"messages": CHOSEN, "conversations": CHOSEN}, "it has messages and conversations"),
    "a pair": (conversation, {"chosen": "x", "rejected": "y"}, "it has no messages, but chosen, rejected"),
    "a text": (conversation, {"messages": "Hi"}, "no list"),
    "an empty list": (conversation, {"messages": []}, "empty"),
    "no object": (conversation, {"messages": ["Hi"]}, "message 1 is no object"),
    "an unknown role": (conversation, {"messages": [{"role": "bot", "content": "x"}]}, "message 1 is by 'bot'"),
    "no role": (conversation, {"messages": [{"content": "x"}]}, "message 1 is by None"),
    "a list for a role": (conversation, {"messages": [{"role": [1], "content": "x"}]}, r"is by \[1\]"),
    "parts for a text": (
        conversation, {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "message 1 has no text",
    ),
    "a call": (
        conversation,
        {"messages": [*CHOSEN[:1], {"role": "assistant", "content": None, "tool_calls": [{}]}]},
        "message 2 has tool_calls, which is not learned yet",
    ),
    "an empty answer": (conversation, {"messages": said("u: Hi", "a: ")}, "message 2, the assistant's, is empty"),
    "a weight between": (
        conversation, {"messages": [*CHOSEN[:1], CHOSEN[1] | {"weight": 0.5}]}, "has the weight 0.5, neither 0 nor 1",
    ),
    "no weight at all": (
        conversation, {"messages": [*CHOSEN[:1], CHOSEN[1] | {"weight": 0}]}, "no message of the assistant's",
    ),
    "no answer": (conversation, {"messages": said("u: Hi")}, "the assistant says nothing"),
    "nobody asks": (conversation, {"messages": said("s: Be kind.", "a: Hello")}, "the assistant speaks first"),
    "nothing chosen": (pair, {"prompt": "Hi", "rejected": "x"}, "it has no chosen, but prompt, rejected"),
    "nothing rejected": (pair, {"prompt": "Hi", "chosen": "x"}, "it has no rejected"),
    "alike": (pair, {"prompt": "Hi", "chosen": "x", "rejected": "x"}, "are the same"),
    "asked twice": (pair, {"prompt": "Hi", "messages": CHOSEN[:1], "chosen": "x", "rejected": "y"}, "both a prompt"),
    "another question": (
        pair, {"prompt": "Ho", "chosen": CHOSEN, "rejected": REJECTED}, "do not both go on from what was asked",
    ),
    "no question": (pair, {"chosen": "x", "rejected": "y"}, "the assistant speaks first"),
    "a question again": (pair, {"prompt": "a", "chosen": said("u: a", "u: b"), "rejected": "c"}, "no message of"),
}  # fmt: skip


@pytest.mark.parametrize(("parse", "value", "what"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_said(parse: Any, value: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse(value)


def read(*names: Path) -> tuple[list[tuple[str, Any]], bytes]:
    told = bytearray()
    return list(objects([str(name) for name in names], told.extend)), bytes(told)


def test_lines_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    """With a mark before the first, blank lines between, and a last one that does not end."""
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_bytes(b'\xef\xbb\xbf{"n": 1}\n\n  \r\n{"n": 2}\r\n')
    second.write_text('{"n": "\\u2028é"}', encoding="utf-8")
    for name in ("c.txt", "rejected.jsonl"):
        (tmp_path / name).write_text("no")
    for names in ((first, second), (tmp_path,)):
        found, told = read(*names)
        assert found == [
            (f"{first}, line 1", {"n": 1}),
            (f"{first}, line 4", {"n": 2}),
            (f"{second}, line 1", {"n": "\u2028é"}),
        ]
        assert told == first.read_bytes() + second.read_bytes()


WRONG = {
    "cut off": (b'{"a": 1}\n{"a": ', "line 2 is not JSON"),
    "two objects": (b'{"a": 1} {"b": 2}', "line 1 is not JSON"),
    "over several lines": (b'{\n"a": 1\n}', "line 1 is not JSON"),
    "an array": (b'[{"a": 1}]', "line 1 does not hold a JSON object"),
    "deep": (b'{"a": ' + b"[" * 100_000, "line 1 is not JSON"),
    "digits": (b'{"a": ' + b"9" * 5000 + b"}", "line 1 is not JSON"),
    "another encoding": ('{"a": 1}'.encode("utf-16"), "line 1 cannot be read as UTF-8 text: it is UTF-16"),
    "bytes": (b'{"a": 1}\n{"a": "\xff"}', "line 2 cannot be read as UTF-8 text"),
    "a line without end": (b" " * 99, "line 1 has more than"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "what"), WRONG.values(), ids=WRONG.keys())
def test_a_bad_line_is_named(
    tmp_path: Path, content: bytes, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what.endswith("than"):
        monkeypatch.setattr(jsonl, "LONGEST", 50)
    (tmp_path / "it.jsonl").write_bytes(content)
    with pytest.raises(EdgeError, match=what):
        read(tmp_path / "it.jsonl")


def test_a_folder_without_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({}))
    with pytest.raises(EdgeError, match=r"holds no \*.jsonl file"):
        read(tmp_path)
    with pytest.raises(EdgeError, match="there is no such file"):
        read(tmp_path / "none.jsonl")
