"""Renders chat templates in a process of its own, which the parent may kill.

Run as a script, never imported. A template is code from a stranger. The sandbox keeps it from
Python; limits of the operating system keep it from time and memory, which no sandbox inside the
process can: one multiplication may ask for gigabytes.

To compile a template takes ten times as long as to render it, so it is done once, in a process that
sees no conversation: {"template"} -> {"code"}, which is loaded nowhere but here: by a process that is
confined as the one that made it. With that code standing, {"chats", "variables", "characters"} ->
{"texts", "told"}: for all of which there are so many characters, and where in each is what
`{% generation %}` encloses. Or {"error"}.
"""

import base64
import json
import marshal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

Answer = dict[str, Any]
FAILURES = (Exception, RecursionError, MemoryError)


def main() -> None:
    """Answer requests."""
    sys.path[:], forks = json.loads(sys.stdin.buffer.readline())
    from edge.system.child import serve

    serve(_prepared, forks=forks)


def _prepared() -> Callable[[str | None], Callable[[Any], Answer]]:
    environment = _environment()
    with suppress(Exception):  # whatever is imported late
        environment.from_string("{{ strftime_now('%c') }}{{ raise_exception('') }}").render()

    def begin(code: str | None) -> Callable[[Any], Answer]:
        try:
            template = None if code is None else _loaded(environment, code)
        except FAILURES as error:
            problem = _said(error)
            return lambda _: problem
        return partial(_answer, environment, template)

    return begin


def _loaded(environment: Any, code: str) -> Any:
    compiled = marshal.loads(base64.b64decode(code))
    variables = environment.make_globals(None)
    return environment.template_class.from_code(environment, compiled, variables)


def _answer(environment: Any, template: Any, request: Any) -> Answer:
    try:
        if template is None:
            compiled = marshal.dumps(environment.compile(request["template"]))
            return {"code": base64.b64encode(compiled).decode()}
        return _rendered(environment, template, request)
    except FAILURES as error:
        return _said(error)


def _said(error: BaseException) -> Answer:
    return {"error": f"{type(error).__name__}: {str(error)[:500]}"}


def _rendered(environment: Any, template: Any, request: Any) -> Answer:
    texts, told, left = list[str](), list[Any](), request["characters"]
    for chat in request["chats"]:
        parts: list[str] = []
        spans: list[tuple[int, int]] = []
        environment.told = spans
        environment.said = lambda parts=parts: sum(map(len, parts))
        for part in template.generate(messages=chat, **request["variables"]):
            left -= len(part)
            if left < 0:
                raise OverflowError(f"the text has more than {request['characters']} characters")
            parts.append(part)
        texts.append("".join(parts))
        told.append(spans)
    return {"texts": texts, "told": told}


def _environment() -> Any:
    """What transformers gives to a template, and nothing else."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} marks what a model is trained on: where it lies is told, and its body shown."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain attribute

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = self.call_method("show")
            return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

        def show(self, caller: Any) -> Any:
            environment: Any = self.environment
            text, start = caller(), environment.said()
            environment.told.append((start, start + len(text)))
            return text

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
