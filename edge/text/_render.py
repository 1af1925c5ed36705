"""Renders one chat template in a process of its own, which the parent may kill.

Run as a script, never imported. A template is code from a stranger. The sandbox keeps it from
Python; limits of the operating system keep it from time and memory, which no sandbox inside the
process can: one multiplication may ask for gigabytes.
stdin: {"path", "seconds", "megabytes", "template", "chats", "variables", "characters"};
stdout: {"texts"} or {"error"}.
"""

import json
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any


def main() -> None:
    """Read the request, render every chat of it, write the answer."""
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    from edge.confined import limit

    environment = _environment()  # imports before the limits
    with suppress(Exception):  # and whatever is imported late
        environment.from_string("{{ strftime_now('%c') }}{{ raise_exception('') }}").render()
    limit(request["seconds"], request["megabytes"])
    try:
        template = environment.from_string(request["template"])
        answer: dict[str, Any] = {
            "texts": [_render(template, chat, request) for chat in request["chats"]]
        }
    except (Exception, RecursionError, MemoryError) as error:
        answer = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
    json.dump(answer, sys.stdout)


def _render(template: Any, chat: Any, request: Any) -> str:
    parts, left = [], request["characters"]
    for part in template.generate(messages=chat, **request["variables"]):
        left -= len(part)
        if left < 0:
            raise OverflowError(f"the text has more than {request['characters']} characters")
        parts.append(part)
    return "".join(parts)


def _environment() -> Any:
    """What transformers gives to a template, and nothing else."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} marks what a model is trained on; here it shows its body."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain attribute

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Sandbox(ImmutableSandboxedEnvironment):
        """No attribute that starts with an underscore, on any object."""

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            return not attr.startswith("_") and super().is_safe_attribute(obj, attr, value)

    def fail(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        # Jinja's own escapes for HTML, which no model was trained on.
        options: dict[str, Any] = {
            "indent": indent,
            "separators": separators,
            "sort_keys": sort_keys,
        }
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = fail
    environment.globals["strftime_now"] = lambda style: datetime.now().strftime(style)
    return environment


if __name__ == "__main__":
    main()
