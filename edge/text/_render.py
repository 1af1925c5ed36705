"""Renders one chat template in a process of its own, which the parent may kill.

Run as a script, never imported. A template is code from a stranger. The sandbox keeps it from
Python; limits of the operating system keep it from time and memory, which no sandbox inside the
process can: one multiplication may ask for gigabytes.
stdin: {"path", "template", "chats", "variables", "limits"}; stdout: {"texts"} or {"error"}.
"""

import contextlib
import json
import sys
from datetime import datetime
from typing import Any


def main() -> None:
    """Read the request, render every chat of it, write the answer."""
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    environment = _environment()  # imports before the limits
    _limit(**request["limits"])
    try:
        template = environment.from_string(request["template"])
        answer: dict[str, Any] = {
            "texts": [_render(template, chat, request) for chat in request["chats"]]
        }
    except (Exception, RecursionError, MemoryError) as error:
        answer = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
    json.dump(answer, sys.stdout)


def _render(template: Any, chat: Any, request: Any) -> str:
    parts, left = [], request["limits"]["characters"]
    for part in template.generate(messages=chat, **request["variables"]):
        left -= len(part)
        if left < 0:
            raise OverflowError(
                f"the text has more than {request['limits']['characters']} characters"
            )
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

    def to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        # Jinja's own escapes for HTML, which no model was trained on.
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = fail
    environment.globals["strftime_now"] = lambda style: datetime.now().strftime(style)
    return environment


def _limit(seconds: int, megabytes: int, characters: int) -> None:
    """Processor time, memory and files of this process; the parent watches the clock beside it."""
    with contextlib.suppress(ImportError):  # Windows has none of these: there the clock decides
        import resource

        wanted = {
            resource.RLIMIT_CPU: seconds,
            resource.RLIMIT_AS: megabytes << 20,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_CORE: 0,
        }
        for what, value in wanted.items():
            # macOS refuses a limit of the address space.
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(what, (value, value))


if __name__ == "__main__":
    main()
