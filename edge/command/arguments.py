"""What a command's arguments say, once they are looked at together: a model or a prompt, tables, forms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import EdgeError
from edge.pipelines.options import Asked as Options
from edge.system import units

if TYPE_CHECKING:
    from edge.convert.calibration import Calibration
    from edge.decode.grammar import Grammar


def split_prompt(first: str | None, second: str | None) -> tuple[str | None, str | None]:
    """The two positional arguments of `run` -> model and prompt, either of which may be missing."""
    from edge.source import registry

    if first is None or second is not None:
        return first, second
    if first == "-" or not _may_be_a_name(first):
        return None, first
    if registry.find(first) or Path(first).exists():
        return first, None
    if len(first.split()) > 1:
        return None, first
    nearest = registry.nearest(first)
    hint = "a prompt for the packaged model must hold a space"
    raise EdgeError(nearest.problem, fix=f"{nearest.fix}; {hint}")


def _may_be_a_name(text: str) -> bool:
    """Whether a file could have it as its path: an empty or a long text cannot be one."""
    whole = text.encode(errors="replace")
    return bool(text.strip()) and len(whole) < 4096 and max(map(len, whole.split(b"/"))) < 256


def packaged(options: Options) -> str:
    """The model that a pipeline's options mean where they are given and no model is."""
    from edge.source import registry

    if registry.find(options.MODEL) is None:
        raise EdgeError(
            f"no model is named, and {options.MODEL} does not come with this edge yet",
            fix=f"name one: edge run FOLDER {' '.join(list(options.given())[:1])} …",
        )
    return options.MODEL


def refuse(given: Mapping[str, object], why: str) -> None:
    """Options that were given where they mean nothing are not ignored."""
    names = [name for name, value in given.items() if value not in (None, False, [])]
    if names:
        raise EdgeError(f"{' and '.join(names)}: {why}", fix="leave it out")


def read_prompt(prompt: str | None, *, raw: bool) -> str | None:
    """The text of a prompt, of which `-` means all of stdin; None: a chat."""
    from edge.files.texts import from_stdin

    text = from_stdin() if prompt == "-" else prompt
    if text is not None and not text.strip() and not raw:
        raise EdgeError("the prompt is empty", fix="write one, or leave it out for a chat")
    return text


def pairs(given: Sequence[str], form: str) -> dict[str, str]:
    """`NAME=VALUE` arguments as a table."""
    out = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise EdgeError(f"{text!r} is not of the form {form}", fix=f"write it as {form}")
        out[name] = value
    return out


def numbers(given: str, option: str) -> list[int]:
    """Whole numbers of 1 or more, by commas."""
    words = [word.strip() for word in given.split(",")]
    if not all(word.isdecimal() and len(word) < 10 and int(word) for word in words):
        raise EdgeError(f"{option} {given}", fix=f"write whole numbers, as {option} 1,5")
    return [int(word) for word in words]


def nbytes(text: str | None, option: str) -> int | None:
    """A size that a user wrote, in bytes."""
    if text is None:
        return None
    try:
        return units.nbytes(text)
    except ValueError as wrong:
        raise EdgeError(f"{option} {text}: no size", fix=f"write it as {option} 2.0GB") from wrong


def calibration(text: Path | None, tokens: int | None) -> "Calibration | None":
    """A text to round by, from the options of a command; None: what the recipe needs."""
    from edge.convert.calibration import TOKENS, Calibration

    if text is None:
        return None if tokens is None else Calibration.packaged(tokens)
    return Calibration.of(text, tokens or TOKENS)


def answer_form(
    *, json_schema: Path | None, regex: str | None, lark: Path | None
) -> "Grammar | None":
    """The form that an answer must have; a bad one is found before any model is loaded."""
    given = [form for form in (json_schema, regex, lark) if form is not None]
    if not given:
        return None
    if len(given) > 1:
        raise EdgeError(
            "an answer has one form", fix="give one of --json-schema, --regex and --grammar"
        )
    from edge.decode.grammar import Grammar
    from edge.files.texts import text_of

    if regex is not None:
        return Grammar.of_regex(regex)
    if json_schema is not None:
        return Grammar.of_schema(text_of(json_schema))
    assert lark is not None
    return Grammar.of_lark(text_of(lark))
