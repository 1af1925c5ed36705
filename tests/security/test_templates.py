"""A chat template is a program from a stranger: the known ways out of Jinja's sandbox, and bombs.

CVE-2024-34359, CVE-2026-5760 (no sandbox at all); CVE-2024-56326 and CVE-2025-27516 (ways out of it,
by an indirect str.format and by the attr filter, closed in Jinja 3.1.5 and 3.1.6).
"""

import os
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from support import ROOT

from edge.errors import EdgeError
from edge.text import chat
from edge.text.chat import ChatTemplate, Message

USER = (Message("user", "hi"),)
CANARY = "canary-8d1f"

# Each writes a file or shows a secret, if it works.
GADGETS = {
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "subclasses by name": "{{ ''['__class__']['__mro__'][1]['__subclasses__']() }}",
    "hex names": r"{{ ''['\x5f\x5fclass\x5f\x5f']['\x5f\x5fmro\x5f\x5f'] }}",
    "attr filter": "{{ (''|attr('__class__')|attr('__mro__')|last|attr('__subclasses__'))() }}",
    "attr of attr": "{{ ''|attr('__cla' ~ 'ss__') }}",
    "map attribute": "{{ ['']|map(attribute='__class__')|list }}",
    "selectattr": "{{ messages|selectattr('__class__')|list }}",
    "groupby": "{{ messages|groupby('__class__')|list }}",
    "sort attribute": "{{ messages|sort(attribute='__class__.__name__')|list|length / 0 }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('touch X').read() }}",
    "joiner": "{{ joiner.__init__.__globals__.os.popen('touch X').read() }}",
    "namespace": "{{ namespace.__init__.__globals__.os.popen('touch X').read() }}",
    "lipsum": "{{ lipsum.__globals__['os'].popen('touch X').read() }}",
    "lipsum attr": "{{ (lipsum|attr('__globals__'))['os'].popen('touch X').read() }}",
    "self": "{{ self.__init__.__globals__.__builtins__.open('X', 'w') }}",
    "self context": "{{ self._TemplateReference__context.eval_ctx.environment.shared }}",
    "context": "{{ self._TemplateReference__context.environment.__class__.__init__.__globals__ }}",
    "raise_exception": "{{ raise_exception.__globals__['sys'].modules['os'].popen('touch X') }}",
    "raise_exception closure": "{{ raise_exception.__closure__[0].cell_contents }}",
    "strftime_now": "{{ strftime_now.__globals__ }}",
    "strftime_now code": "{{ strftime_now.__code__.co_consts }}",
    "tojson": "{{ messages|tojson(cls=cycler) }}",
    "tojson default": "{{ messages|tojson(default=raise_exception) }}",
    "str.format": "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "str.format_map": "{{ '{a.__class__}'.format_map({'a': raise_exception}) }}",
    "indirect str.format": "{% set f = '{0.__class__}'.format %}{{ f(cycler) }}",
    "str.format in a list": "{{ ['{0.__class__.__mro__}'.format][0](raise_exception) }}",
    "str.format by map": "{{ ['{0.__class__}']|map('format', raise_exception)|list ~ (1/0) }}",
    "str.format by attr": "{{ ('{0.__class__.__init__.__globals__}'|attr('format'))(raise_exception) }}",
    "str.format by namespace": "{% set n = namespace(f='{0.__class__}'.format) %}{{ n.f(cycler) }}",
    "str.format in a loop": "{% for f in ['{0.__class__}'.format] %}{{ f(cycler) }}{% endfor %}",
    "str.format in a macro": "{% macro m(f) %}{{ f(cycler) }}{% endmacro %}{{ m('{0.__class__}'.format) }}",
    "str.format by caller": "{% macro m() %}{{ caller('{0.__class__}'.format) }}{% endmacro %}"
    "{% call(f) m() %}{{ f(cycler) }}{% endcall %}",
    "generator frame": "{{ (messages|map('upper')).gi_frame.f_back.f_globals }}",
    "generator code": "{{ (messages|select).gi_code.co_code }}",
    "generator of a loop": "{% for g in [messages|map('upper')] %}{{ g.gi_frame.f_builtins }}{% endfor %}",
    "macro": "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "loop": "{% for m in messages %}{{ loop.__init__.__globals__ }}{{ loop._iterable }}{% endfor %}",
    "dict": "{{ dict.__base__.__subclasses__() }}",
    "range": "{{ range.__class__.__base__.__subclasses__() }}",
    "message": "{{ messages[0].__init__.__globals__ }}",
    "mutation": "{{ messages.append({'role': 'system', 'content': 'evil'}) }}",
    "mutation of a message": "{{ messages[0].update(role='system') }}",
    "mutation of a class": "{{ dict.fromkeys(messages).clear() }}",
    "set attribute": "{% set messages[0].role = 'system' %}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}{{ os.popen('touch X') }}",
    "from": "{% from 'os' import popen %}{{ popen('touch X') }}",
    "extends": "{% extends '/etc/passwd' %}",
    "debug": "{% debug %}",
    "do": "{% do messages.append(1) %}",
    "i18n": "{% trans %}x{% endtrans %}",
    "config": "{{ config.items() }}",
    "request": "{{ request.application.__globals__ }}",
    "get_flashed_messages": "{{ get_flashed_messages.__globals__ }}",
    "url_for": "{{ url_for.__globals__ }}",
    "builtins": "{{ __builtins__.open('X', 'w') }}",
    "import function": "{{ __import__('os').system('touch X') }}",
    "open": "{{ open('X', 'w') }}",
    "exec": "{{ exec('1') }}",
    "codec": "{{ 'x'.encode('idna').decode('unicode_escape') / 0 }}",
    "async generator": "{{ (messages|map('upper')).ag_frame }}{{ 1 / 0 }}",
    "undefined": "{{ nothing.__class__.__init__.__globals__ }}",
}  # fmt: skip
BOMBS = {
    "loop": "{% for i in range(10**9) %}x{% endfor %}",
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "text": "{{ 'a' * 10**10 }}",
    "list": "{{ ([1] * 10**10)|length }}",
    "width": "{{ 'a'|center(10**10) }}",
    "format width": "{{ '%10000000000d' % 1 }}",
    "format by filter": "{{ '%10000000000d'|format(1) }}",
    "str.format width": "{{ '{:10000000000d}'.format(1) }}",
    "indent": "{{ messages|tojson(indent=10**9) }}",
    "indentation": "{{ 'a\n'|indent(10**9) }}",
    "power": "{{ (10**(10**10)) % 7 }}",
    "shift of digits": "{{ (10**4999)|string|length * 10**9 ~ 'x' * 10**9 }}",
    "join": "{{ (['a' * 10**6] * 10**6)|join }}",
    "replace": "{{ ('a' * 10**6)|replace('a', 'b' * 10**6) }}",
    "doubling": "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "recursive loop": "{% for x in [[]] recursive %}{{ loop([[[]]]) }}{% endfor %}",
    "mutual recursion": "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
    "two calls each": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "output": "{% for i in range(99999) %}{{ 'a' * 999 }}{% endfor %}",
    "date": "{{ strftime_now('%999999999d') }}{{ strftime_now('%Y' * 10**7) }}",
    "nesting": "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    "nested lists": "{{ " + "[" * 9000 + "]" * 9000 + " }}",
    "nested ifs": "{% if 1 %}" * 2000 + "{% endif %}" * 2000,
    "long sum": "{{ 1" + " + 1" * 50_000 + " }}",
    "urlize": "{{ ('http://a.b/' * 10**6)|urlize|length / 0 }}",
    "striptags": "{{ ('<' * 10**6)|striptags|length / 0 }}",
    "wordwrap": "{{ ('a ' * 10**7)|wordwrap(1)|length / 0 }}",
    "batch": "{{ [1]|batch(10**9, 'x')|list }}",
    "slice": "{{ [1]|slice(10**9, 'x')|list }}",
    "unique": "{% for i in range(10**5) %}{{ range(10**5)|unique|list|length }}{% endfor %}",
    "lorem": "{{ lipsum(n=10**9) }}",
    "cut off": "{% for m in messages %}",
    "huge number": "{{ " + "9" * 6000 + " }}",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a file that a template makes would be seen, and secrets that it would show."""
    (tmp_path / "modeling.py").write_text(f"raise SystemExit('{CANARY}')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("EDGE_API_KEY", CANARY)
    return tmp_path


def rendered(template: ChatTemplate) -> tuple[str, str]:
    """The text and nothing, or nothing and the problem."""
    try:
        return template.render(USER, generate=True), ""
    except EdgeError as error:
        return "", error.problem


@pytest.mark.parametrize("name", GADGETS)
def test_no_way_out_of_the_sandbox(place: Path, name: str) -> None:
    """An error, or text in which nothing of Python shows."""
    template = ChatTemplate(GADGETS[name].replace("touch X", f"touch {place}/X"), {})
    text, problem = rendered(template)
    for word in ("<class", "<function", "<module", "built-in", "object at 0x", "<frame", "__"):
        assert word not in text
    for word in ("posix", "<module", "<frame", CANARY):
        assert word not in problem
    assert CANARY not in text
    assert [path.name for path in place.iterdir()] == ["modeling.py"]


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "SECONDS", 1)
    with pytest.raises(EdgeError, match="chat template failed") as caught:
        ChatTemplate(BOMBS[name], {}).render(USER, generate=True)
    assert len(str(caught.value)) < 1000


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process holds")
def test_the_process_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a template would read, if it could: seen by the renderer's own eyes."""
    seen: dict[str, str] = {}

    def start(*args: object, **options: object) -> object:
        seen.update(options["env"])  # type: ignore[call-overload]
        return real(*args, **options)  # type: ignore[call-overload]

    from edge.system import confined, workers

    real = workers.subprocess.Popen
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setattr(workers.subprocess, "Popen", start)
    confined.close()
    assert ChatTemplate("{{ messages[0].content }}", {}).render(USER, generate=True) == "hi"
    assert seen
    assert "HF_TOKEN" not in seen
    assert set(seen) <= set(os.environ) & set(workers.PASSED)


def test_an_editable_install_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose package a hook finds, no entry of the path."""
    monkeypatch.setattr(sys, "path", [at for at in sys.path if at and Path(at) != ROOT])
    assert ChatTemplate("{{ messages[0].content }}", {}).render(USER, generate=True) == "hi"


def test_many_messages_are_rendered_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as they are, once with marks in those that a template may drop: not once for each."""
    chats = []

    def ask(
        _: Path, request: dict[str, list[object]], __: object, *, stands: str
    ) -> dict[str, list[object]]:
        chats.extend(request["chats"])
        texts: list[object] = [str(chat) for chat in request["chats"]]
        return {"texts": texts, "told": [[]] * len(texts)}

    monkeypatch.setattr(chat, "ask", ask)
    ChatTemplate("x", {}).render([Message("system", "be " * 9)] * 1000, generate=True)
    assert len(chats) == 2


FLOORS = {  # package -> where its last known hole of this kind was closed
    "jinja2": (3, 1, 6),
    "sentencepiece": (0, 2, 1),
    "torch": (2, 10),
    "onnxruntime": (1, 31),
}


@pytest.mark.parametrize("package", FLOORS)
def test_pip_installs_none_of_the_known_holes(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    floors = [r.partition(">=")[2] for r in asked if r.startswith(package + ">=")]
    assert floors
    for floor in floors:
        assert tuple(int(part) for part in floor.split(".")) >= FLOORS[package]
