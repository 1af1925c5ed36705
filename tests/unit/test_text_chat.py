"""Chat templates: equal to transformers on real ones, one short error on hostile ones."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from edge.errors import Damaged, EdgeError
from edge.text import chat
from edge.text.chat import ChatTemplate, Message, continuation, encode_chat
from edge.text.tokenizer import Tokenizer

USER = (Message("user", " Who are you?\n"),)
SYSTEM = (Message("system", "Be brief. <b>\n"), *USER)
TURNS = (*SYSTEM, Message("assistant", 'A "model" & <i>.'), Message("user", "Und wo? 日本 🙂"))
FILES = {"phi-3": None, "phi-3/": "microsoft-Phi-3.5-mini-instruct.jinja"}


def dicts(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def one(source: str, messages: tuple[Message, ...] = USER) -> str:
    return ChatTemplate(source, {}).render(messages, generate=True)


@pytest.fixture(params=FILES)
def checkpoint(assets: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return with_template(
        assets / "tokenizers" / request.param.strip("/"), FILES[request.param], tmp_path
    )


def with_template(source: Path, file: str | None, place: Path) -> Path:
    """A real tokenizer with its own template, or with one of the published .jinja files."""
    folder = place / "it"
    shutil.copytree(source, folder)
    if file is not None:
        (folder / "chat_template.jinja").write_bytes((source.parent / file).read_bytes())
    return folder


def test_ids_and_text_equal_those_of_transformers(checkpoint: Path) -> None:
    fast = pytest.importorskip("transformers").PreTrainedTokenizerFast
    theirs = fast.from_pretrained(checkpoint)
    tokenizer, template = Tokenizer.load(checkpoint), ChatTemplate.load(checkpoint)
    assert template is not None
    for messages in (USER, SYSTEM, TURNS):
        for generate in (True, False):
            asked = {"conversation": dicts(messages), "add_generation_prompt": generate}
            ids = theirs.apply_chat_template(**asked, tokenize=True, return_dict=False)
            assert encode_chat(tokenizer, template, messages, generate=generate) == ids
    text = theirs.apply_chat_template(dicts(TURNS), tokenize=False)
    assert template.render(TURNS, generate=False) == text


@pytest.mark.parametrize("head", ["{{ bos_token }}", ""])
def test_one_bos_whoever_puts_it(assets: Path, head: str) -> None:
    tokenizer = Tokenizer.load(assets / "tokenizers/llama-2")
    template = ChatTemplate(head + "{{ messages[0].content }}", {"bos_token": "<s>"})
    assert encode_chat(tokenizer, template, USER).count(1) == 1


def test_no_bos_where_the_config_says_none(assets: Path) -> None:
    tokenizer = Tokenizer.load(assets / "tokenizers/phi-3")
    assert 1 not in encode_chat(tokenizer, ChatTemplate("{{ messages[0].content }}", {}), USER)


HOSTILE = {
    "class": "{{ ''.__class__.__mro__ }}",
    "attr filter": "{{ (''|attr('__class__')).mro() }}",
    "format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "globals": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "function": "{{ raise_exception.__globals__['sys'].exit() }}",
    "mutation": "{{ messages.append(messages) }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}{{ os }}",
    "range": "{% for i in range(10**9) %}x{% endfor %}",
    "recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "nesting": "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    "string": "{{ 'a' * 10**10 }}",
    "list": "{{ ([1] * 10**10)|length }}",
    "width": "{{ 'a'|center(10**10) }}",
    "power": "{{ (10**(10**10)) % 7 }}",
    "doubling": "{% set ns = namespace(x='aa') %}"
    "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x|length }}",
    "output": "{% for i in range(99999) %}{{ 'a' * 999 }}{% endfor %}",
    "syntax": "{{ messages",
    "own refusal": "{{ raise_exception('roles must alternate') }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_one_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "SECONDS", 1)
    start = time.monotonic()
    with pytest.raises(EdgeError, match="chat template failed") as caught:
        one(HOSTILE[name])
    assert time.monotonic() - start < chat.PATIENCE + 2
    assert "posix" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_memory_is_limited() -> None:
    with pytest.raises(EdgeError, match="MemoryError"):
        one("{{ ('a' * 10**9)|length }}")


def test_no_python_to_render_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(EdgeError, match="no process could be started"):
        one("x")


@pytest.mark.parametrize("name", ["self._TemplateReference__context", "cycler.__init__"])
def test_what_is_private_prints_as_nothing(name: str) -> None:
    assert one("{{ " + name + " }}") == ""


def test_endless_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    nested = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    monkeypatch.setattr(chat, "SECONDS", 1)
    with pytest.raises(EdgeError, match="took more than 1 seconds"):
        one(nested)
    monkeypatch.setattr(chat, "PATIENCE", 0.3)
    with pytest.raises(EdgeError, match=r"still running after 0\.3 seconds"):
        one(nested)


def test_the_template_says_why_it_refuses() -> None:
    with pytest.raises(EdgeError, match="roles must alternate"):
        one(HOSTILE["own refusal"])


def test_what_transformers_offers_is_there() -> None:
    assert one("{{ {'a': '<ü>'}|tojson }}") == '{"a": "<ü>"}'
    assert one("{{ strftime_now('%Y') }}").isdigit()
    assert one("{% generation %}x{% endgeneration %}") == "x"
    assert (
        one("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}")
        == "01"
    )
    assert one("a\n  {% if true %}\nb\n  {% endif %}\nc") == "a\nb\nc"
    assert one("{{ tools is none }}{{ add_generation_prompt }}") == "TrueTrue"


def test_a_dropped_system_message_is_an_error() -> None:
    only_users = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    assert one(only_users) == USER[0].content
    with pytest.raises(EdgeError, match="leaves out messages of the role 'system'"):
        one(only_users, (Message("system", "you"), *USER))  # "you" stands in the user's text
    assert one(only_users, (Message("system", " "), *USER)) == USER[0].content  # nothing is lost


def test_a_long_conversation_is_not_hostile() -> None:
    text = "word " * 400_000  # 2 MB
    everything = "{% for m in messages %}{{ m.content|trim }}{% endfor %}"
    assert one(everything, (Message("system", "x"), Message("user", text))) == "x" + text.strip()


def test_where_templates_are_found(tmp_path: Path) -> None:
    assert ChatTemplate.load(tmp_path) is None
    config = tmp_path / "tokenizer_config.json"

    def load(template: object) -> str:
        config.write_text(json.dumps({"chat_template": template, "eos_token": {"content": "</s>"}}))
        loaded = ChatTemplate.load(tmp_path)
        assert loaded is not None
        assert loaded.tokens == {"eos_token": "</s>"}
        return loaded.source

    tools, default = {"name": "tools", "template": "t"}, {"name": "default", "template": "d"}
    assert load("plain") == "plain"
    assert load([tools, default]) == "d"
    assert load([tools]) == "t"
    with pytest.raises(EdgeError, match="none is called default"):
        load([tools, {"name": "rag", "template": "r"}])
    with pytest.raises(Damaged, match="neither text nor a list"):
        load(7)
    with pytest.raises(Damaged, match="no list of templates"):
        load(["x"])
    with pytest.raises(Damaged, match="larger than 256 KiB"):
        load("x" * (chat.LIMIT + 1))
    (tmp_path / "chat_template.jinja").write_text("file")
    assert load("plain") == "file"
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(Damaged, match="not UTF-8"):
        load("plain")
    (tmp_path / "chat_template.jinja").write_text("x" * (chat.LIMIT + 1))
    with pytest.raises(Damaged, match="larger than 256 KiB"):
        load("plain")


@pytest.mark.parametrize(
    ("cached", "wanted", "keep", "new"),
    [
        ([], [1, 2], 0, [1, 2]),
        ([1, 2], [1, 2, 3], 2, [3]),
        ([1, 2, 9, 9], [1, 2, 3], 2, [3]),
        ([1, 2, 3], [1, 2, 3], 2, [3]),  # the last is fed again: its logits are needed
        ([1, 2, 3, 4], [1, 2], 1, [2]),
        ([5], [1, 2], 0, [1, 2]),
    ],
)
def test_continuation(cached: list[int], wanted: list[int], keep: int, new: list[int]) -> None:
    assert continuation(cached, wanted) == (keep, new)
