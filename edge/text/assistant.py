"""Which tokens of a conversation the assistant says: what training counts.

A template that marks them itself, by `{% generation %}`, is believed. Of any other, the assistant's turn begins where
the text ends that asks for it, and ends with the token that ends an answer, or where the text ends that has the turn
last. Where a turn is rendered otherwise once the conversation goes on, as by templates that forget thoughts, it is
counted as it stands there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from edge.errors import EdgeError
from edge.text.chat import ChatTemplate, Message, Rendered, marked, refuse_left_out
from edge.text.tokenizer import Tokenizer

Place = tuple[int, tuple[int, int]]  # an id, and from where to where it lies in a text
ASSISTANT = "assistant"
_TEMPLATE = (
    "mark what the assistant says in the template by {% generation %}, or use another template"
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages, and the numbers of those, all of them the assistant's, that training counts."""

    messages: tuple[Message, ...]
    counted: frozenset[int]


@dataclass(frozen=True, slots=True)
class Spoken:
    """Ids of a conversation up to the last that is counted, and which are."""

    ids: list[int]
    counted: list[bool]


@dataclass(frozen=True, slots=True)
class _Turn:
    """Messages of the assistant that a text has as one, from where to where. `ends`: where that is; or else the turn
    ends before it, with a token.
    """

    messages: frozenset[int]
    start: int
    stop: int
    ends: bool


def spoken(
    tokenizer: Tokenizer, template: ChatTemplate, talks: Sequence[Conversation]
) -> list[Spoken]:
    """Each of some conversations; an error of one is an error of all."""
    whole = template.rendered([talk.messages for talk in talks], generate=False)
    _refuse_left_out(template, talks)
    plain = [number for number, one in enumerate(whole) if not one.told]
    found = dict(zip(plain, _turns(template, talks, whole, plain), strict=True))
    return [
        _counted(tokenizer, talk, one, found[number] if number in found else _told(talk, one))
        for number, (talk, one) in enumerate(zip(talks, whole, strict=True))
    ]


def refuse_without_roles(template: ChatTemplate) -> None:
    """A template that says the same between any two messages tells nobody who speaks."""
    said = ("Qzamark", "Qzbmark", "Qzcmark")
    roles = ("user", ASSISTANT, "user")
    messages = [Message(role, text) for role, text in zip(roles, said, strict=True)]
    text = template.render([*messages, Message(ASSISTANT, "Qzdmark")], generate=False)
    first, second, third = (text.find(mark) for mark in said)
    if min(first, second, third) < 0:
        raise EdgeError("the chat template leaves out what is said", fix="use another template")
    if text[first + len(said[0]) : second] == text[second + len(said[1]) : third]:
        raise EdgeError(
            "the chat template has no roles: it says the same before a user's message as before the assistant's",
            fix="write one that has into chat_template.jinja beside the tokenizer",
        )


def _refuse_left_out(template: ChatTemplate, talks: Sequence[Conversation]) -> None:
    pairs = [(talk.messages, marks) for talk in talks if (marks := marked(talk.messages))]
    texts = template.rendered([marks for _, marks in pairs], generate=False) if pairs else []
    for (messages, marks), one in zip(pairs, texts, strict=True):
        refuse_left_out(messages, marks, one.text)


def _told(talk: Conversation, whole: Rendered) -> list[_Turn]:
    """What a template marks: a part for each message of the assistant, or else all that counts."""
    numbers = _assistants(talk)
    if len(whole.told) == len(numbers):
        return [
            _Turn(frozenset((number,)), start, stop, ends=True)
            for number, (start, stop) in zip(numbers, whole.told, strict=True)
        ]
    every = frozenset(numbers)
    return [_Turn(every, start, stop, ends=True) for start, stop in whole.told]


def _turns(
    template: ChatTemplate,
    talks: Sequence[Conversation],
    whole: Sequence[Rendered],
    some: Sequence[int],
) -> Iterator[list[_Turn]]:
    """The assistant's turns of `some` conversations, from what their beginnings are rendered to."""
    asked = [(n, i) for n in some for i in _assistants(talks[n])]
    begun = sorted({(n, k) for n, i in asked for k in (i, i + 1) if k < len(talks[n].messages)})
    questions = _rendered(template, talks, asked, generate=True)
    beginnings = _rendered(template, talks, begun, generate=False)
    for n in some:
        parts = beginnings.get(n, {}) | {len(talks[n].messages): whole[n].text}
        yield _of_text(whole[n].text, questions.get(n, {}), parts)


def _rendered(
    template: ChatTemplate,
    talks: Sequence[Conversation],
    some: Sequence[tuple[int, int]],
    *,
    generate: bool,
) -> dict[int, dict[int, str]]:
    """The first messages of conversations, by the number of each and how many they are."""
    chats = [talks[n].messages[:count] for n, count in some]
    texts = template.rendered(chats, generate=generate) if chats else []
    found: dict[int, dict[int, str]] = {}
    for (n, count), one in zip(some, texts, strict=True):
        found.setdefault(n, {})[count] = one.text
    return found


def _of_text(
    whole: str, questions: Mapping[int, str], beginnings: Mapping[int, str]
) -> list[_Turn]:
    """`questions`: the text that asks for each message of the assistant; `beginnings`: that of so many messages."""
    turns: list[_Turn] = []
    for number, question in questions.items():
        after = beginnings[number + 1]
        stop, ends = (len(after), True) if whole.startswith(after) else (len(whole), False)
        start = _start(whole, question, beginnings[number])
        if start is None and turns and number - 1 in turns[-1].messages:
            before = turns.pop()  # a template that makes one turn of both
            turns.append(_Turn(before.messages | {number}, before.start, stop, ends))
        elif start is None:
            raise EdgeError(
                "the chat template renders the beginning of a conversation otherwise once it goes on",
                fix=_TEMPLATE,
            )
        else:
            turns.append(_Turn(frozenset((number,)), start, stop, ends))
    return turns


def _start(whole: str, question: str, beginning: str) -> int | None:
    """Where a turn begins: after what asks for it, or after as much of that as there is of it beyond what was said
    before, for it may ask for thoughts that are not there.
    """
    if whole.startswith(question):
        return len(question)
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(whole, question, strict=False))
    common = sum(1 for _ in alike)
    return common if common >= len(beginning) and whole.startswith(beginning) else None


def _counted(
    tokenizer: Tokenizer, talk: Conversation, whole: Rendered, turns: Sequence[_Turn]
) -> Spoken:
    places = tokenizer.places(whole.text)
    counted = [False] * len(places)
    for turn in turns:
        if not turn.messages & talk.counted:
            continue
        if not turn.messages <= talk.counted:
            raise EdgeError(
                "the chat template makes one turn of messages of which only some are to be learned",
                fix="give the assistant's messages in one, or all of them the same weight",
            )
        for at in _of_turn(tokenizer, places, turn, whole):
            counted[at] = True
    ids = [token for token, _ in places]
    bos = tokenizer.bos_id
    if tokenizer.adds_bos and bos is not None and ids[:1] != [bos]:
        ids, counted = [bos, *ids], [False, *counted]
    if not any(counted):
        raise EdgeError(
            "the chat template shows nothing of what the assistant says", fix="use another template"
        )
    last = len(counted) - counted[::-1].index(True)
    return Spoken(ids[:last], counted[:last])


def _of_turn(
    tokenizer: Tokenizer, places: Sequence[Place], turn: _Turn, whole: Rendered
) -> list[int]:
    """The numbers of the tokens that lie in a turn, if only in part, up to the first that ends an answer; all of them
    where the template marks it."""
    inside = [
        n for n, (_, (start, stop)) in enumerate(places) if start < turn.stop and stop > turn.start
    ]
    if whole.told:
        return inside
    if (
        inside
        and places[inside[0]][1][0] < turn.start
        and tokenizer.is_special(places[inside[0]][0])
    ):
        del inside[0]  # a token of the template's that takes the blanks behind it along
    ending = next((at for at, n in enumerate(inside) if places[n][0] in tokenizer.stop_ids), None)
    if ending is None and not turn.ends:
        raise EdgeError("the chat template ends the assistant's turn by no token", fix=_TEMPLATE)
    if ending is None:
        after = inside[-1] + 1 if inside else len(places)
        ends_it = after < len(places) and places[after][0] in tokenizer.stop_ids
        return [*inside, after] if ends_it else inside  # whoever speaks next ends the answer
    beyond = inside[ending + 1 :] if turn.ends or len(turn.messages) > 1 else []
    for token, (start, stop) in (places[n] for n in beyond):
        if token not in tokenizer.stop_ids and whole.text[start:stop].strip():
            raise EdgeError(
                "the assistant's turn goes on after a token that ends it",
                fix="take the token out of what is said, and make one message of several of the assistant's",
            )
    return inside[: ending + 1]


def _assistants(talk: Conversation) -> list[int]:
    return [number for number, message in enumerate(talk.messages) if message.role == ASSISTANT]
