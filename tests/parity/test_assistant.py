"""What counts of a conversation: equal to what transformers marks in a template that says so itself, by
`{% generation %}`, for that template and for the same one without these tags.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from edge.data import vocabulary
from edge.errors import EdgeError
from edge.text.assistant import ASSISTANT, Conversation, Spoken, refuse_without_roles, spoken
from edge.text.chat import ChatTemplate, Message
from edge.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")

# What is between ( and ) is the assistant's.
TEMPLATES = {
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}⟨{{ m.content }}<|im_end|>⟩"
        "{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "trims": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{% if m.role == 'assistant' %}⟨{{ m.content | trim }}<|eot_id|>⟩{% else %}{{ m.content | trim }}<|eot_id|>"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}"
        "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "brackets": (
        "{% if messages[0].role == 'system' %}{% set s = messages[0].content ~ '\n\n' %}"
        "{% set messages = messages[1:] %}{% else %}{% set s = '' %}{% endif %}"
        "{% for m in messages %}{% if m.role == 'user' %}"
        "{{ bos_token }}[INST] {{ s if loop.first else '' }}{{ m.content }} [/INST]{% else %}"
        "⟨ {{ m.content }} {{ eos_token }}⟩{% endif %}{% endfor %}"
    ),
    "an end of its own": (
        "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}⟨{{ m.content }}<|end|>⟩"
        "{% else %}{{ m.content }}<|end|>{% endif %}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
    ),
    "no token at an end": (
        "{% for m in messages %}{% if m.role == 'assistant' %}A:⟨ {{ m.content }}\n\n⟩{% else %}"
        "{{ m.role }}: {{ m.content }}\n\n{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    ),
    "merges": (
        "{% for m in messages %}{% set again = not loop.first and loop.previtem.role == m.role %}"
        "{% set own = m.role == 'assistant' %}{% set last = loop.last or loop.nextitem.role != m.role %}"
        "{% if not again %}<|im_start|>{{ m.role }}\n{% endif %}"
        "{% if own %}⟨{{ '\n\n' if again else '' }}{{ m.content }}{{ '<|im_end|>' if last else '' }}⟩"
        "{% else %}{{ '\n\n' if again else '' }}{{ m.content }}{{ '<|im_end|>' if last else '' }}{% endif %}"
        "{{ '\n' if last else '' }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "forgets thoughts": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role != 'assistant' %}{{ m.content }}<|im_end|>"
        "{% elif loop.last %}⟨<think>\n\n</think>\n\n{{ m.content }}<|im_end|>⟩"
        "{% else %}⟨{{ m.content.split('</think>')[-1] }}<|im_end|>⟩{% endif %}\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
}
STOPS = {"brackets": "</s>", "trims": "<|eot_id|>", "an end of its own": "<|endoftext|>"}
SAID = st.one_of(
    st.text("ab é日🙂.\n", min_size=1, max_size=9),
    st.sampled_from(["  blanks \n", "<think>\nWhy?\n</think>\n\nSo.", "{{ x }}", "[/INST]", "A:"]),
)
TALKS = st.builds(
    lambda system, turns: [
        *([] if system is None else [("system", system)]),
        *(said for turn in turns for said in zip(("user", "assistant"), turn, strict=True)),
    ],
    st.none() | SAID.filter(str.strip),
    st.lists(st.tuples(SAID, SAID), min_size=1, max_size=3),
)
TOKENIZERS = ("bytes", "pieces")


@cache
def checkpoint(place: Path, kind: str, stop: str) -> Path:
    """A tokenizer of bytes, some of which join across where somebody begins to speak; or of pieces of words, where
    tokens of templates take blanks along. With the tokens that templates name.
    """
    folder = place / f"{kind}-{len(list(place.iterdir()))}"
    folder.mkdir()
    if kind == "bytes":
        letters = sorted(ByteLevel.alphabet())
        joined = [("Ċ", "Ċ"), ("Ċ", "a"), ("Ġ", "a"), ("Ġ", "Ġ"), (":", "Ġ")]
        ids = {letter: number for number, letter in enumerate(letters)}
        ids |= {a + b: 256 + number for number, (a, b) in enumerate(joined)}
        made = tokenizers.Tokenizer(BPE(ids, joined))
        made.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
        made.decoder = ByteLevelDecoder()
        made.save(str(folder / "tokenizer.json"))
    else:
        (folder / "tokenizer.json").write_bytes(vocabulary.files()["tokenizer.json"])
    named = {token for source in TEMPLATES.values() for token in re.findall(r"<\|\w+\|>", source)}
    given = {"bos_token": "<s>", "eos_token": stop, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(given))
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    theirs.add_special_tokens({"additional_special_tokens": sorted({*named, "</s>"})})
    theirs.save_pretrained(folder)
    return folder


@cache
def readers(folder: Path) -> tuple[Tokenizer, Any]:
    """Ours and transformers'."""
    return Tokenizer.load(folder), transformers.PreTrainedTokenizerFast.from_pretrained(folder)


def both(source: str) -> tuple[str, str]:
    """A template with the tags, and without."""
    tagged = source.replace("⟨", "{% generation %}").replace("⟩", "{% endgeneration %}")
    return tagged, source.replace("⟨", "").replace("⟩", "")


def ours(folder: Path, source: str, talk: list[tuple[str, str]]) -> Spoken:
    named = {
        "bos_token": "<s>",
        "eos_token": json.loads((folder / "tokenizer_config.json").read_text())["eos_token"],
    }
    messages = tuple(Message(*said) for said in talk)
    counted = frozenset(n for n, message in enumerate(messages) if message.role == ASSISTANT)
    (made,) = spoken(
        readers(folder)[0], ChatTemplate(source, named), [Conversation(messages, counted)]
    )
    return made


def theirs(folder: Path, source: str, talk: list[tuple[str, str]]) -> tuple[list[int], list[bool]]:
    _, library = readers(folder)
    said = [{"role": role, "content": content} for role, content in talk]
    made: Any = library.apply_chat_template(
        said, chat_template=source, return_assistant_tokens_mask=True, return_dict=True
    )
    return list(made["input_ids"]), [bool(one) for one in made["assistant_masks"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


# Without tags transformers marks nothing: others then learned every token (Megatron-Bridge#3359), or the last answer
# alone (axolotl#1761), or looked for answers where the same words stand before (ArcticTraining#339).
@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_what_counts_is_what_transformers_marks(name: str, kind: str, place: Path) -> None:
    folder = checkpoint(place, kind, STOPS.get(name, "<|im_end|>"))
    tagged, plain = both(TEMPLATES[name])

    @settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
    @given(TALKS)
    def law(talk: list[tuple[str, str]]) -> None:
        ids, marks = theirs(folder, tagged, talk)
        for source in (tagged, plain):
            made = ours(folder, source, talk)
            count = len(made.ids)
            assert made.ids == ids[:count]
            assert made.counted == marks[:count] or (source == plain and blank(folder, made, marks))
            assert not any(marks[count:])

    law()


def blank(folder: Path, made: Spoken, marks: list[bool]) -> bool:
    """Where a token of the template takes the blanks of what is said along, transformers marks it, too."""
    pairs = zip(made.ids, made.counted, marks, strict=False)
    unlike = {token for token, own, their in pairs if own != their}
    return all(readers(folder)[0].is_special(token) for token in unlike)


def test_turns_that_a_template_merges(place: Path) -> None:
    folder = checkpoint(place, "bytes", "<|im_end|>")
    tagged, plain = both(TEMPLATES["merges"])
    talk = [
        ("user", "a"),
        ("assistant", "b"),
        ("assistant", "c"),
        ("user", "d"),
        ("user", "e"),
        ("assistant", "f"),
    ]
    ids, marks = theirs(folder, tagged, talk)
    for source in (tagged, plain):
        made = ours(folder, source, talk)
        assert (made.ids, made.counted) == (ids[: len(made.ids)], marks[: len(made.ids)])
    text = readers(folder)[0].decode(
        [i for i, own in zip(ids, marks, strict=True) if own], skip_special=False
    )
    assert text == "b\n\nc<|im_end|>f<|im_end|>"


def test_thoughts_that_are_asked_for_are_given(place: Path) -> None:
    """A template that asks for thoughts, which no answer of the past has: what both begin with is the question's
    (Automodel#3738).
    """
    tokenizer, _ = readers(folder := checkpoint(place, "bytes", "<|im_end|>"))
    source = both(TEMPLATES["chatml"])[1].replace(
        "assistant\n{% endif", "assistant\n<think>\n{% endif"
    )
    talk = [
        ("user", "a"),
        ("assistant", "So."),
        ("user", "b"),
        ("assistant", "<think>\nWhy?\n</think>\nSo."),
    ]
    made = ours(folder, source, talk)
    ids = [token for token, counts in zip(made.ids, made.counted, strict=True) if counts]
    text = tokenizer.decode(ids, skip_special=False)
    assert text == "So.<|im_end|>Why?\n</think>\nSo.<|im_end|>"


PUBLISHED = (
    "llama3",
    "gemma3",
    "phi3",
    "qwen2_5",
    "qwen3",
    "qwen3_instruct_2507",
    "lfm2",
    "cohere2",
    "deepseekv3",
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_templates_and_what_trl_marks_in_them(name: str, place: Path) -> None:
    """The words that count are the same, whatever of an end or of a beginning TRL marks beside them."""
    folder = Path(pytest.importorskip("trl").__path__[0], "chat_templates")
    plain, tagged = (folder / f"{name}{more}.jinja" for more in ("", "_training"))
    stops = {"llama3": "<|eot_id|>", "gemma3": "<end_of_turn>", "phi3": "<|end|>", "cohere2": "<|END_OF_TURN_TOKEN|>",
             "deepseekv3": "<｜end▁of▁sentence｜>"}  # fmt: skip
    stop = stops.get(name, "<|im_end|>")
    start = checkpoint(place, "bytes", "<|im_end|>")
    library = transformers.PreTrainedTokenizerFast.from_pretrained(start)
    marks = set(re.findall(r"<[|｜][^\s<>{}'\"]+[|｜]>|<\w+_of_turn>", plain.read_text()))
    library.add_special_tokens({"additional_special_tokens": sorted(marks), "eos_token": stop})
    library.save_pretrained(own := place / f"trl-{name}")
    talk = [
        ("user", "Hi there"),
        ("assistant", "Hello!\nHow?"),
        ("user", "  And? "),
        ("assistant", "日本 🙂."),
    ]
    ids, told = theirs(own, tagged.read_text(), talk)
    made = ours(own, tagged.read_text(), talk)
    assert (made.ids, made.counted) == (ids[: len(made.ids)], told[: len(made.ids)])
    made = ours(own, plain.read_text(), talk)
    tokenizer, _ = readers(own)
    texts = [
        tokenizer.decode(
            [token for token, counts in zip(each, which, strict=False) if counts],
            skip_special=False,
        )
        for each, which in ((ids, told), (made.ids, made.counted))
    ]
    aside = r"\s|<think>\s*</think>|<｜Assistant｜>"
    first, second = (re.sub(aside, "", text).replace(stop * 2, stop) for text in texts)
    assert first == second
    assert texts[1].count(stop) == 2


def test_the_token_that_ends_a_turn_is_learned_whoever_says_it(place: Path) -> None:
    """Also where it is no text's end (axolotl#3754, Megatron-Bridge#4265), or where it is what begins the next turn, as
    GLM has it (trl#5988).
    """
    talk = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    for stop, source, wanted in (
        ("<|endoftext|>", TEMPLATES["chatml"], "b<|im_end|>d<|im_end|>"),
        (
            "<|user|>",
            "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
            "b<|user|>d",
        ),
    ):
        folder = checkpoint(place, "bytes", stop)
        made = ours(folder, both(source)[1], talk)
        ids = [token for token, counts in zip(made.ids, made.counted, strict=True) if counts]
        assert readers(folder)[0].decode(ids, skip_special=False) == wanted


def test_only_messages_that_are_to_be_learned_count(place: Path) -> None:
    folder = checkpoint(place, "bytes", "<|im_end|>")
    messages = tuple(
        Message(*said)
        for said in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    )
    tokenizer = readers(folder)[0]
    for source in both(TEMPLATES["chatml"]):
        template = ChatTemplate(source, {})
        for number, letter in ((1, "b"), (3, "d")):
            (made,) = spoken(tokenizer, template, [Conversation(messages, frozenset((number,)))])
            ids = [token for token, counts in zip(made.ids, made.counted, strict=True) if counts]
            assert tokenizer.decode(ids, skip_special=False) == f"{letter}<|im_end|>"


REFUSED = {
    "a turn that ends by no token": (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% else %}THE END{% endif %}",
        [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
        "ends the assistant's turn by no token",
    ),
    "a token that ends a turn within it": (
        TEMPLATES["chatml"],
        [("user", "a"), ("assistant", "say <|im_end|> now")],
        "goes on after a token that ends it",
    ),
    "a beginning that changes": (
        "{{ messages | length }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}",
        [("user", "a"), ("assistant", "b")],
        "renders the beginning of a conversation otherwise",
    ),
    "a system message that is left out": (
        "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}",
        [("system", "Be kind."), ("user", "a"), ("assistant", "b")],
        "leaves out messages of the role 'system'",
    ),
    "an answer that is left out": (
        "{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}",
        [("user", "a"), ("assistant", "b")],
        "shows nothing of what the assistant says",
    ),
}


@pytest.mark.parametrize(("source", "talk", "what"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_told_is_refused(
    source: str, talk: list[tuple[str, str]], what: str, place: Path
) -> None:
    with pytest.raises(EdgeError, match=what):
        ours(checkpoint(place, "bytes", "<|im_end|>"), both(source)[1], talk)


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_with_roles(name: str) -> None:
    refuse_without_roles(
        ChatTemplate(both(TEMPLATES[name])[1], {"bos_token": "<s>", "eos_token": "</s>"})
    )


def test_a_template_without_roles() -> None:
    for source in (
        "{% for m in messages %}{{ m.content }}\n{% endfor %}",
        "{{ messages | map(attribute='content') | join }}",
    ):
        with pytest.raises(EdgeError, match="has no roles"):
            refuse_without_roles(ChatTemplate(source, {}))
    with pytest.raises(EdgeError, match="leaves out what is said"):
        refuse_without_roles(ChatTemplate("{{ messages[-1].content }}", {}))
