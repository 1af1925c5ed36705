"""The generated parts of docs/serve.md: what becomes of every field of OpenAI's API, read from the requests'
types, and what many clients at once got.

    python tests/serve_page.py --write      the parts between `<!-- NAME -->` and `<!-- end -->`

docs/serve.json is kept by `python tests/bench/serve.py --out docs/serve.json`.
"""

import json
import re
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pydantic import BaseModel  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from edge.serve.fields import Inert, Only  # noqa: E402
from edge.serve.requests import Ask, ChatAsk, CompletionAsk, Turn  # noqa: E402
from edge.serve.speeches import SpeechAsk  # noqa: E402

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


def load() -> str:
    """Each route as it was measured: medians, and least to most of the rounds."""
    file = ROOT / "docs" / "serve.json"
    if not file.exists():
        return ""
    found = json.loads(file.read_text())
    lines = [
        "| route | one after another | all at once | longer by | lost | memory |",
        "|---" * 6 + "|",
    ]
    for route, rounds in found["rounds"].items():
        alone, crowd = (_spread([r[key] for r in rounds]) for key in ("alone_rps", "crowd_rps"))
        cost = _spread([r["alone_rps"] / r["crowd_rps"] for r in rounds])
        lost, asked = sum(r["lost"] for r in rounds), sum(r["lost"] + r["answered"] for r in rounds)
        memory = f"{rounds[0]['before_mb']:.0f} MB, then {rounds[-1]['after_mb']:.0f}"
        cells = (
            f"`{route}`",
            f"{alone}/s",
            f"{crowd}/s",
            f"{cost} ×",
            f"{lost} of {asked}",
            memory,
        )
        lines.append(f"| {' | '.join(cells)} |")
    said = (
        f"{found['clients']} clients, {found['requests']} requests a round of {found['tokens']} tokens, "
        f"{len(next(iter(found['rounds'].values())))} rounds; {found['machine']}."
    )
    return "\n".join([*lines, "", said])


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


PARTS = {
    "load": load(),
    "both": table(Ask),
    "chat": table(ChatAsk, without=Ask),
    "completion": table(CompletionAsk, without=Ask),
    "message": table(Turn),
    "speech": table(SpeechAsk),
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
        sys.exit("docs/serve.md is not up to date: python tests/serve_page.py --write")
