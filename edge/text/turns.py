"""A chat template as prefixes and suffixes by role, for an app that has no Jinja.

They are read off texts that the template gives for marks, each of which asks for an answer, and then held against it
on many conversations. A template of which more than who speaks and what is said decides is refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, takewhile

from edge.errors import EdgeError, Unsupported
from edge.text.chat import Message, Template

_MARKS = ("Qzamark", "Qzbmark", "Qzcmark")  # letters that no template says itself
# What is said in conversations that a form is held against: plain, of several lines, with blanks around, of braces and
# quotes, of no letters of ours, of letters in two parts, of thoughts that some templates forget, nothing.
_SAID = (
    "Hello!",
    "One.\n\nTwo: {{ 2 }}\n",
    "  blanks \n",
    "a 'b' \"c\" <d> & {}",
    "你好，世界",
    "e\u0301 🙂",
    "<think>\nWhy?\n</think>\n\nSo.",
    "",
)
_ORDERS = ("u", "uau", "uauau", "uauauau", "su", "suau", "suauau")
_NAMED = {"s": "system", "u": "user", "a": "assistant"}


@dataclass(frozen=True, slots=True)
class Around:
    """What stands before and after what somebody says; `trims`: blanks at its ends are left out."""

    prefix: str
    suffix: str
    trims: bool = False

    def text(self, said: str) -> str:
        return f"{self.prefix}{said.strip() if self.trims else said}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Turns:
    """`start`: before all, where there is no system message; `answer`: after all, where the assistant's turn begins.
    `roles` has no system where the template takes none.
    """

    start: str
    roles: Mapping[str, Around]
    answer: str

    def render(self, messages: Sequence[Message]) -> str:
        """A conversation, of which the last message is a user's, as the text that asks for an answer."""
        told = any(message.role == "system" for message in messages)
        said = "".join(self.roles[message.role].text(message.content) for message in messages)
        return f"{'' if told else self.start}{said}{self.answer}"


def turns_of(template: Template) -> Turns:
    """The form of a template; refuses one that has none."""
    try:
        found = _read(template)
    except ValueError as error:
        raise _formless(str(error)) from None
    first = None
    for form in _trimming(found):
        different = next(_different(template, form), None)
        if different is None:
            return form
        first = first or different
    raise _formless(f"it says {first} in a way of its own")


def _formless(problem: str) -> Unsupported:
    return Unsupported(
        f"the chat template cannot be written as prefixes and suffixes: {problem}",
        fix="use a template of turns that follow one another, such as ChatML's",
    )


def _read(template: Template) -> Turns:
    """By marks in the place of what is said; ValueError where these do not stand as in a form.

    Texts show what stands between two messages as a whole. Where one ends and the next begins is free, as long as
    every place of a role agrees.
    """
    a, b, c = _MARKS
    user = Message("user", a)
    first, asked = _split(template, [user])
    _, answering, turn, again = _split(
        template, [user, Message("assistant", b), Message("user", c)]
    )
    if again != asked:
        raise ValueError("what follows a user's message depends on what came before")
    told = _system(template, [Message("system", b), user])
    if told is not None and told[2] != asked:
        raise ValueError("what follows a user's message depends on a system message")
    prefix = _ending([first, turn, *([] if told is None else [told[1]])])
    suffix = _beginning([asked, answering])
    roles = {
        "user": Around(prefix, suffix),
        "assistant": Around(answering.removeprefix(suffix), turn.removesuffix(prefix)),
    }
    if told is not None:
        roles["system"] = Around(told[0], told[1].removesuffix(prefix))
    return Turns(first.removesuffix(prefix), roles, asked.removeprefix(suffix))


def _system(template: Template, messages: Sequence[Message]) -> list[str] | None:
    """What is around a system message; None where the template refuses one, or leaves it out."""
    try:
        return _split(template, messages)
    except EdgeError:
        return None


def _split(template: Template, messages: Sequence[Message]) -> list[str]:
    """What is around the messages of a conversation, each of which is said once and in this order."""
    text, parts = template.render(messages, generate=True), []
    for message in messages:
        if text.count(message.content) != 1:
            raise ValueError(f"it says a message of the {message.role} twice, or elsewhere")
        part, text = text.split(message.content)
        parts.append(part)
    return [*parts, text]


def _ending(texts: Sequence[str]) -> str:
    """What all end in: from the first mark of it on, if there is one, so that no mark is cut."""
    common = _common([text[::-1] for text in texts])[::-1]
    found = re.search(r"[<\[\n]", common)
    return common[found.start() :] if found else common


def _beginning(texts: Sequence[str]) -> str:
    """What all begin with: up to the last mark of it."""
    common = _common(texts)
    found = re.search(r".*[>\]\n]", common, re.DOTALL)
    return found.group() if found else common


def _common(texts: Sequence[str]) -> str:
    """What all begin with."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in alike)


def _trimming(found: Turns) -> Iterator[Turns]:
    """The form with each choice of roles whose blanks are left out: none first, then all."""
    choices = sorted(product((False, True), repeat=len(found.roles)), key=lambda some: -sum(some))
    for chosen in (choices[-1], *choices[:-1]):
        roles = {
            role: Around(around.prefix, around.suffix, trims)
            for (role, around), trims in zip(found.roles.items(), chosen, strict=True)
        }
        yield Turns(found.start, roles, found.answer)


def _different(template: Template, form: Turns) -> Iterator[str]:
    """Conversations that a form renders otherwise than the template."""
    for order, shift in product(_ORDERS, range(len(_SAID))):
        said = [_SAID[(shift + 3 * i) % len(_SAID)] for i in range(len(order))]
        if order.startswith("s") and ("system" not in form.roles or not said[0].strip()):
            continue  # one that says nothing may be left out
        messages = [Message(_NAMED[who], text) for who, text in zip(order, said, strict=True)]
        if template.render(messages, generate=True) != form.render(messages):
            yield ", ".join(f"{message.role} {message.content!r}" for message in messages)
