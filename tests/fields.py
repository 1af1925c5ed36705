"""The tables of docs/serve.md: what becomes of every field of OpenAI's API, read from the requests' types.

python tests/fields.py --write      the parts between `<!-- NAME -->` and `<!-- end -->`
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pydantic import BaseModel  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from edge.serve.fields import Inert, Only  # noqa: E402
from edge.serve.requests import Ask, ChatAsk, CompletionAsk, Turn  # noqa: E402

PAGE = ROOT / "docs" / "serve.md"


def named(kind: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by the names that clients send."""
    return {info.alias or name: info for name, info in kind.model_fields.items()}


def rule(info: FieldInfo) -> Inert | Only | None:
    """What a field that is not honoured does; None of one that is."""
    return next((rule for rule in info.metadata if isinstance(rule, Inert | Only)), None)


def table(kind: type[BaseModel], *, without: type[BaseModel] = BaseModel) -> str:
    fields = {name: info for name, info in named(kind).items() if name not in named(without)}
    honoured = [f"`{name}`" for name, info in fields.items() if rule(info) is None]
    lines = [f"Honoured: {', '.join(honoured)}.", ""]
    lines += ["| field | taken | anything else |", "|---|---|---|"]
    for name, info in sorted(fields.items()):
        match rule(info):
            case Inert(why=why):
                lines.append(f"| `{name}` | always: {why} | |")
            case Only(values=values, instead=instead):
                taken = [f"`{json.dumps(value)}`" for value in values]
                lines.append(f"| `{name}` | {', '.join([*taken, '`null`'])} | {instead} |")
    return "\n".join(lines)


PARTS = {
    "both": table(Ask),
    "chat": table(ChatAsk, without=Ask),
    "completion": table(CompletionAsk, without=Ask),
    "message": table(Turn),
}


def generated(text: str) -> str:
    """The page's text with its tables made anew."""
    for name, made in PARTS.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda m, made=made: f"{m[1]}{made}\n{m[2]}", text, flags=re.DOTALL)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(generated(PAGE.read_text()))
    elif generated(PAGE.read_text()) != PAGE.read_text():
        sys.exit("docs/serve.md is not up to date: python tests/fields.py --write")
