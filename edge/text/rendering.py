"""Chat templates at work: compiled once, rendered for each turn, in processes apart."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from edge.system.confined import Limits, ask, warm

SCRIPT = Path(__file__).with_name("_render.py")
CODE = 16 << 20  # bytes that a template may become


def get_ready() -> None:
    """Start what renders, which takes a tenth of a second, while there is other work to do."""
    warm(SCRIPT)


@lru_cache(maxsize=8)
def compiled(source: str, seconds: int, patience: float, megabytes: int) -> str:
    """A template's code, for that script alone. No conversation was there when it was made."""
    limits = Limits(seconds=seconds, patience=patience, megabytes=megabytes, answer=CODE)
    code = answered(ask(SCRIPT, {"template": source}, limits), "code")
    if not isinstance(code, str):
        raise failed("it gave no answer")
    return code


def answered(answer: dict[str, Any], what: str) -> object:
    """What an answer holds; its error is the template's."""
    if "error" in answer:
        raise failed(str(answer["error"])[:600])
    return answer.get(what)


def failed(problem: str) -> EdgeError:
    return EdgeError(
        f"the model's chat template failed: {problem}",
        fix="change the messages as it says, use another template, or run with --raw",
    )
