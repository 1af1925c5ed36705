"""A conversation keeps its cache between turns, and answers as if it had not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Edge
from support import converted

from edge.decode.snapkv import SnapKV
from edge.errors import EdgeError
from edge.run import model as models
from edge.run.model import Chat, Model, Wish, load
from edge.run.strategy import Strategy
from edge.system import confined, workers
from edge.text.chat import ChatTemplate, Message, encode_chat

STORIES = "llm/stories-260k"
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}Tom said: {% endif %}"
)
WISH = Wish(max_tokens=12)


@pytest.fixture(scope="module")
def talking(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("chat") / "talking"
    source.mkdir()
    for file in (assets / STORIES).iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    (source / "chat_template.jinja").write_text(TEMPLATE)
    return converted(source.parent / "artifact", source)


@pytest.fixture
def model(talking: Path) -> Model:
    return load(talking, threads=1)


def fresh(talking: Path, *messages: Message) -> str:
    """What a model answers that has seen nothing before."""
    new = load(talking, threads=1)
    assert new.template is not None
    ids = encode_chat(new.tokenizer, new.template, messages)
    return "".join(new.reply(ids, WISH))


def said(chat: Chat, text: str) -> str:
    return "".join(chat.say(text, WISH))


def test_each_turn_answers_as_a_fresh_model(talking: Path, model: Model) -> None:
    chat = model.chat()
    first = said(chat, "Lily found a ball.")
    assert first == fresh(talking, Message("user", "Lily found a ball."))
    fed: list[int] = []
    inner = model.decoder.prefill
    model.decoder.prefill = lambda ids: fed.extend(ids) or inner(ids)  # type: ignore[method-assign]
    second = said(chat, "What did Tom do?")
    assert second == fresh(talking, *chat.messages[:-1])
    assert [message.role for message in chat.messages] == ["user", "assistant"] * 2
    assert len(fed) < model.decoder.length - 12, "the first turn was not fed again"


def test_a_turn_that_is_left_early_is_forgotten(talking: Path, model: Model) -> None:
    chat = model.chat()
    said(chat, "Lily found a ball.")
    kept = list(chat.messages)
    answer = chat.say("Tell me a long story.", WISH)
    next(answer)
    answer.close()
    assert chat.messages == kept
    assert said(chat, "And then?") == fresh(talking, *kept, Message("user", "And then?"))


def test_a_turn_that_does_not_fit_changes_nothing(talking: Path, model: Model) -> None:
    chat = model.chat()
    said(chat, "Lily found a ball.")
    kept = list(chat.messages)
    with pytest.raises(EdgeError, match="fit"):
        said(chat, "word " * 2000)
    assert chat.messages == kept
    assert said(chat, "And then?") == fresh(talking, *kept, Message("user", "And then?"))


def test_a_system_message_leads(talking: Path, model: Model) -> None:
    chat = model.chat(system="You are Tom.")
    messages = Message("system", "You are Tom."), Message("user", "Hi.")
    assert said(chat, "Hi.") == fresh(talking, *messages)
    assert chat.messages[0] == messages[0]


def test_a_prompt_is_a_turn_of_the_template(edge: Edge, talking: Path, model: Model) -> None:
    args = ("--max-tokens", "12", "--system", "You are Tom.", "--json")
    done = edge("run", talking, "Hi.", *args)
    assert done.code == 0, done.err
    messages = Message("system", "You are Tom."), Message("user", "Hi.")
    assert model.template is not None
    assert done.json["prompt_tokens"] == encode_chat(model.tokenizer, model.template, messages)
    assert done.json["text"] == fresh(talking, *messages)
    raw = edge("run", talking, "Hi.", "--raw", "--max-tokens", "1", "--json").json
    assert raw["prompt_tokens"] == model.tokenizer.encode("Hi.", special=True)


def test_the_first_turn_is_made_ready_before_the_model(
    edge: Edge, talking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is, where there will be no turn."""
    begun: list[str] = []
    start, opened, first = workers.Worker, models.opened, ChatTemplate.get_ready
    monkeypatch.setattr(workers, "Worker", noted(begun, "process", start))
    monkeypatch.setattr(models, "opened", noted(begun, "model", opened))
    monkeypatch.setattr(ChatTemplate, "get_ready", noted(begun, "turn", first))
    monkeypatch.setattr(confined, "_crews", {})
    for given, wanted in ((), ["process", "turn", "model"]), (("--raw",), ["model"]):
        begun.clear()
        assert edge("run", talking, "Hi.", "--max-tokens", "1", *given).code == 0
        assert list(dict.fromkeys(begun)) == wanted
        confined.close()


def noted(into: list[str], what: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def noting(*given: Any, **named: Any) -> Any:
        into.append(what)
        return call(*given, **named)

    return noting


def test_a_chat_on_the_command_line(edge: Edge, talking: Path) -> None:
    lines = "Lily found a ball.\nWhat did Tom do?\n"
    done = edge("run", talking, "--max-tokens", "12", stdin=lines)
    assert done.code == 0, done.err
    first = fresh(talking, Message("user", "Lily found a ball."))
    assert done.out.startswith(first + "\n")
    assert len(done.out) > len(first) + 2
    assert "Traceback" not in done.err


def test_a_model_without_a_template_does_not_chat(edge: Edge, assets: Path, tmp_path: Path) -> None:
    artifact = converted(tmp_path / "out", assets / STORIES)
    done = edge("run", artifact, stdin="Hi.\n")
    assert (done.code, done.out) == (2, "")
    assert "--raw" in done.err


@pytest.mark.parametrize(
    ("terminal", "shown"), [(True, "\\x1b]0;mine\\x07"), (False, "\x1b]0;mine\x07")]
)
def test_an_answer_on_a_terminal_does_not_steer_it(
    talking: Path, edge: Edge, monkeypatch: pytest.MonkeyPatch, terminal: bool, shown: str
) -> None:
    monkeypatch.setattr("edge.run.model.text_of", lambda *_, **__: iter(["red \x1b]0;mine\x07"]))
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert edge("run", talking, "a prompt").out.strip("\n") == "red " + shown
    assert shown in edge("run", talking, stdin="a line\n\n").out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "kept for the first; --snapkv-for reuse keeps for any"),
        (("--snapkv-for", "reuse"), "a second question sees what the first saw"),
        (("--draft-by", "snapkv"), None),
    ],
    ids=str,
)
def test_a_chat_says_what_a_second_question_sees(
    edge: Edge, talking: Path, given: tuple[str, ...], words: str | None
) -> None:
    done = edge("run", talking, "--snapkv", "64", *given, stdin="\n")
    assert done.code == 0
    assert ("second" in done.err) == (words is not None), "drafts change no answer"
    assert words is None or words in done.err


@pytest.mark.parametrize("purpose", ["question", "reuse"])
def test_a_compacted_chat_is_read_on_and_begun_anew(talking: Path, purpose: str) -> None:
    snap = SnapKV(capacity=48, window=8, chunk=16, purpose=purpose)  # type: ignore[arg-type]
    model = load(talking, threads=1, strategy=Strategy(snapkv=snap))
    chat = model.chat()
    said(chat, "Lily found a ball. " * 8)
    first = model.decoder.length
    assert max(model.cache_rows) < first
    said(chat, "Tom saw a red bird in the big tree. " * 4)
    assert model.decoder.length > first
    assert max(model.cache_rows) <= 48 + WISH.max_tokens
    said(model.chat(), "Tom")
    assert max(model.cache_rows) == model.decoder.length, "a short chat fits"
