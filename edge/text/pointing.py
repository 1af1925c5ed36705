"""What a model that points at regions is told (Groma, arXiv 2404.13013): its tokens by name, the turns in which it
gets a picture and the regions, and a question that refers to some.

Rows of networks stand where the text has `PLACE`, in this order: the picture's, one of each region after its name,
and then of each region that a question refers to its own once more.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from edge.errors import EdgeError, Unsupported
from edge.text.chat import Message
from edge.text.conversations import Form

PLACE = "<image>"  # of any row: what stands there is not looked up
BOX = "<box>"  # where a user's question says that a box belongs; no token
GROUND = "[grounding]"  # before a question: answer with regions
PHRASE, PHRASE_END = "<p>", "</p>"
REGIONS, REGIONS_END = "<roi>", "</roi>"
MOST = 100  # regions that have a name
# Tokens of training, and places of other rows, which nobody writes.
_INNER = (
    *("[PAD]", "<sep>", "<img>", "</img>", PLACE, "<region>"),
    *("<refer_box>", "<ground_box>", "<refer_feat>"),
)
_INSIDE = re.compile("|".join(map(re.escape, (*_INNER, "<s>", "</s>", "<unk>"))))
_NAME = re.compile(r"<r([0-9]+)>")
_GROUP = re.compile(f"{REGIONS}(.*?)(?:{REGIONS_END}|$)", re.DOTALL)
_NAMES = re.compile(r"(?:\s*<r[0-9]+>)+\s*")

# Vicuna's, of version 1.
FORM = Form("{} ", "USER: {} ", "ASSISTANT: {}</s>", "ASSISTANT:", "</s>")
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


def name(region: int) -> str:
    return f"<r{region}>"


TOKENS = (
    *("[PAD]", "<sep>", "<img>", "</img>", REGIONS, REGIONS_END, PHRASE, PHRASE_END, PLACE),
    *("<region>", "<refer_box>", "<ground_box>", "<refer_feat>", GROUND),
    *map(name, range(MOST)),
)


def ids(id_of: Callable[[str], int | None]) -> Mapping[str, int]:
    """Of each token its id, by a tokenizer's own; refuses one in which any is none, or two are one."""
    found = {token: id_of(token) for token in TOKENS}
    known = {token: at for token, at in found.items() if at is not None}
    missing = [token for token in TOKENS if token not in known]
    if missing:
        raise Unsupported(
            f"the tokenizer has no {missing[0]}, which a model that points needs",
            fix="use the tokenizer that was published with the model",
        )
    if len(set(known.values())) < len(known):
        raise Unsupported(
            "the tokenizer has one id for several tokens that a model points with",
            fix="use the tokenizer that was published with the model",
        )
    return known


def shown(rows: int, regions: int) -> tuple[Message, Message]:
    """The turns that come before the first question: a picture of so many rows, so many regions; what the model was
    trained to say to it.
    """
    named = "".join(f"{name(at)}{PLACE}" for at in range(regions))
    return (
        Message(
            "user",
            f"Here is an image with region crops from it. Image: {PLACE * rows}. Regions: {named}.",
        ),
        Message("assistant", "Thank you for the image! How can I assist you with it?"),
    )


def asked(question: str, referred: Sequence[int], regions: int) -> str:
    """A user's question, in which regions of boxes stand where it has `<box>`, in their order, and otherwise at its
    end. It may name regions itself, as an answer does, and phrases; EdgeError for one that is not there, for more
    marks than boxes, and for tokens that are not a user's.
    """
    inner = _INSIDE.search(question)
    if inner:
        raise EdgeError(
            f"the question holds {inner[0]}, which stands for something else",
            fix=f"leave it out; {BOX} stands for a --box",
        )
    for found in _NAME.finditer(question):
        if len(found[1]) > 3 or int(found[1]) >= regions:
            raise EdgeError(
                f"the question names {found[0]!r:.40}, and there are {regions} regions",
                fix=f"name one from {name(0)} to {name(regions - 1)}, or give a --box",
            )
    for group in _GROUP.finditer(question):
        if not _NAMES.fullmatch(group[1]):
            raise EdgeError(
                f"the question holds {group[0]!r:.60}, which names no regions",
                fix=f"write {BOX}, and give its sides in pixels with --box",
            )
    first, *rest = question.split(BOX)
    if len(rest) > len(referred):
        raise EdgeError(
            f"the question has {len(rest)} times {BOX}, and there are {len(referred)} boxes",
            fix="give a --box for each",
        )
    marks = [f"{REGIONS}{name(at)}{REGIONS_END}{PLACE}" for at in referred]
    inside, after = marks[: len(rest)], marks[len(rest) :]
    text = first + "".join(mark + part for mark, part in zip(inside, rest, strict=True))
    return " ".join([text, *after]) if text else " ".join(after)


def phrase_asked(question: str) -> str:
    """What a question asks for, if it marks one phrase: an answer to it need not say it again."""
    found = re.findall(f"{PHRASE}(.*?){PHRASE_END}", question, re.DOTALL)
    return found[0].strip() if len(found) == 1 else ""
