"""A chat template as prefixes and suffixes says what the template says, or is refused.

Forms are read back from templates that were written from forms; real templates are held against Jinja itself.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT

from edge.errors import EdgeError, Unsupported
from edge.text.chat import ChatTemplate, Message
from edge.text.conversations import FORMS, FormTemplate
from edge.text.turns import turns_of

ASSETS = ROOT.parent / "shared" / "assets"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
AROUND = st.text("<|>[]user \n#:", max_size=8)
SAID = st.text(max_size=12)
TALKS = st.builds(
    lambda system, turns, last: [
        *([] if system is None else [Message("system", system)]),
        *(Message(who, text) for pair in turns for who, text in zip(("user", "assistant"), pair, strict=True)),
        Message("user", last),
    ],
    st.none() | SAID.filter(str.strip),
    st.lists(st.tuples(SAID, SAID), max_size=3),
    SAID,
)  # fmt: skip


@dataclass(frozen=True)
class Written:
    """A template of texts around what each says, in plain Python."""

    start: str
    around: dict[str, tuple[str, str]]
    trims: frozenset[str]
    answer: str
    end: str = ""  # where no answer is asked for

    def render(self, messages: Sequence[Message], *, generate: bool) -> str:
        text = "" if messages[0].role == "system" else self.start
        for message in messages:
            before, after = self.around[message.role]
            said = message.content.strip() if message.role in self.trims else message.content
            text += before + said + after
        return text + (self.answer if generate else self.end)

    def get_ready(self) -> None: ...


PAIRS = st.tuples(AROUND, AROUND)
WRITTEN = st.builds(
    Written,
    AROUND,
    st.fixed_dictionaries({"system": PAIRS, "user": PAIRS, "assistant": PAIRS}),
    st.frozensets(st.sampled_from(["system", "user", "assistant"])),
    AROUND,
    AROUND,
)


@settings(max_examples=100)
@given(WRITTEN, TALKS)
def test_a_form_is_read_back(template: Written, talk: list[Message]) -> None:
    assert turns_of(template).render(talk) == template.render(talk, generate=True)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("system", [None, "You are kind."])
def test_named_conversations(name: str, system: str | None) -> None:
    template = FormTemplate(FORMS[name], system)
    turns = turns_of(template)
    for talk in (
        [Message("user", "Hi")],
        [Message("system", "Be brief."), Message("user", " a {}")],
        [Message("user", "1"), Message("assistant", "2"), Message("user", "3")],
    ):
        assert turns.render(talk) == template.render(talk, generate=True)


def published() -> list[tuple[str, str]]:
    found = [(file.name, file.read_text()) for file in sorted(ASSETS.rglob("*.jinja"))]
    for file in sorted(ASSETS.rglob("tokenizer_config.json")):
        template = json.loads(file.read_text()).get("chat_template")
        found += [(file.parent.name, template)] if isinstance(template, str) else []
    return found


@pytest.mark.skipif(
    not ASSETS.is_dir(), reason="real templates lie in ../shared, which is not here"
)
@pytest.mark.parametrize(("name", "source"), published(), ids=lambda value: str(value)[:30])
def test_published_templates(name: str, source: str) -> None:
    template = ChatTemplate(source, TOKENS)
    turns = turns_of(template)
    talk = [Message("user", "  What\u00a0is it? \n")]
    for more in ("Nothing.\n", "\tSomething ", "x" * 5000):
        assert turns.render(talk) == template.render(talk, generate=True)
        talk += [Message("assistant", more), Message("user", more[::-1])]


LLAMA_2 = (
    "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{{ bos_token + '[INST] ' "
    "+ ('<<SYS>>\\n' + s + '\\n<</SYS>>\\n\\n' if loop.first and s else '') + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def each(said: str) -> str:
    return "{% for m in messages %}<{{ m.role }}>" + said + "</{{ m.role }}>{% endfor %}<assistant>"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (each("{{ loop.index }}{{ m.content }}"), "depends on|way of its own|what came before"),
        (each("{{ m.content | upper }}"), "twice, or elsewhere"),
        (each("{{ m.content | replace('\\n', ' ') }}"), "way of its own"),
        (each("{{ m.content }}{{ m.content }}"), "twice, or elsewhere"),
        (each("{{ m.content if loop.last else m.content[:3] }}"), "twice, or elsewhere"),
        (
            each("{{ m.content.split('</think>') | last }}"), "think.*way of its own",
        ),
        (each("{{ m.content }}{{ messages | length }}"), "what came before|depends on|way of its own"),
        (each("{{ '你' if '你' in m.content else '' }}{{ m.content }}"), "你.*way of its own"),
    ],
)  # fmt: skip
def test_a_template_that_has_no_form_is_refused(source: str, problem: str) -> None:
    with pytest.raises(Unsupported, match=f"cannot be written as prefixes.*({problem})"):
        turns_of(ChatTemplate(source, TOKENS))


def test_llama_2_puts_a_system_message_within_a_users() -> None:
    """Which is a form all the same: of its first turn."""
    template = ChatTemplate(LLAMA_2, TOKENS)
    turns = turns_of(template)
    talk = [Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Ho")]
    talk += [Message("user", "And?")]
    assert turns.render(talk) == template.render(talk, generate=True)
    assert "<<SYS>>" in turns.roles["system"].prefix


def test_a_template_without_system_messages_has_no_such_role() -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}"
    assert set(turns_of(ChatTemplate(refusing + each("{{ m.content }}"), TOKENS)).roles) == {
        "user", "assistant",
    }  # fmt: skip


def test_what_a_template_says_of_itself_is_passed_on() -> None:
    with pytest.raises(EdgeError, match=r"chat template failed: .*no"):
        turns_of(ChatTemplate("{{ raise_exception('no') }}", TOKENS))
