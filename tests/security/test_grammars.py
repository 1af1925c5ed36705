"""Grammars come from clients: a form that would crash its library, or keep it busy, is refused.

llguidance 1.9 crashes the process on some numbers of 64 bits: without a process apart, one request
would have ended the server.
"""

import json
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from attack import refused
from conftest import Edge

from edge.decode import grammar
from edge.decode.grammar import Grammar
from edge.errors import EdgeError
from edge.system import confined, workers

DEEP = '{"type": "array", "items": ' * 5000 + "{}" + "}" * 5000
REFS = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
LAUGHS: dict[str, Any] = {
    "$ref": "#/$defs/a0",
    "$defs": {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 9} for i in range(40)}
    | {"a40": {}},
}
SCHEMAS: dict[str, str] = {
    "the smallest number": '{"enum": [-9223372036854775808]}',
    "the next number": '{"const": -9223372036854775807}',
    "a range of all numbers": '{"type": "integer", "minimum": -9223372036854775808}',
    "not json": "{",
    "a list": "[]",
    "a text": '"object"',
    "true": "true",
    "null": "null",
    "a number": "7",
    "unknown type": '{"type": "objct"}',
    "deep": DEEP,
    "deeper": "[" * 500_000,
    "large": json.dumps({"enum": ["x" * 300_000]}),
    "a reference elsewhere": '{"$ref": "http://127.0.0.1:9/evil.json"}',
    "a reference to a file": '{"$ref": "file:///etc/passwd"}',
    "a reference to nothing": '{"$ref": "#/$defs/none"}',
    "half a character": '{"const": "\ud800"}',
    "a pattern that is none": '{"type": "string", "pattern": "(a"}',
    "a pattern that looks back": '{"type": "string", "pattern": "(a)\\\\1"}',
    "a pattern too deep": json.dumps({"type": "string", "pattern": "(" * 5000 + ")" * 5000}),
}


@pytest.mark.parametrize("text", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_schemas_that_are_hostile(text: str) -> None:
    with refused(EdgeError, "the JSON schema is invalid"):
        Grammar.of_schema(text)


REGEXES = [
    "(" * 5000 + ")" * 5000,
    "(a",
    "(?=a)b",
    r"(a)\1",
    "a{3,2}",
    "[z-a]",
    "\ud800",
    "x" * 300_000,
]


@pytest.mark.parametrize("text", REGEXES, ids=lambda text: repr(text)[:20])
def test_expressions_that_are_hostile(text: str) -> None:
    with refused(EdgeError, "the regular expression is invalid"):
        Grammar.of_regex(text)


LARKS = {
    "ignored for ever": 'start: "a" b*\nb: /[0-9]+/ | "(" start ")"\n%ignore /(a+)+/\n',
    "no start": 'a: "b"',
    "a file": '%import .evil.rule\nstart: "a"',
    "a file elsewhere": '%import "/etc/passwd"\nstart: "a"',
    "nothing": "",
    "deep": "start: " + "(" * 5000 + '"a"' + ")" * 5000,
}


@pytest.mark.parametrize("text", LARKS.values(), ids=LARKS.keys())
def test_grammars_that_are_hostile(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "LIMITS", replace(grammar.LIMITS, seconds=1))
    with refused(EdgeError, "the Lark grammar is invalid"):
        Grammar.of_lark(text)


@pytest.mark.parametrize(
    "text", ["(a+)+$", "(a*)*b", "(a|aa)*b", "(x+x+)+y", "((a{1,100}){1,100}){1,100}", "(.*a){20}", ".*b.{500}"]
)  # fmt: skip
def test_expressions_that_would_backtrack(text: str) -> None:
    """Derivatives do not: each is compiled in a moment, or refused."""
    start = time.monotonic()
    with suppress(EdgeError):
        Grammar.of_regex(text)
    assert time.monotonic() - start < grammar.LIMITS.patience + 5


@pytest.mark.parametrize("schema", [REFS, LAUGHS], ids=["circle", "laughs"])
def test_references_end(schema: dict[str, Any]) -> None:
    start = time.monotonic()
    with suppress(EdgeError):
        Grammar.of_schema(json.dumps(schema))
    assert time.monotonic() - start < grammar.LIMITS.patience + 5


def test_honest_forms_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = '{"type": "object", "properties": {"once": {"type": "integer"}}}'
    first = Grammar.of_schema(schema)
    monkeypatch.setattr(grammar, "ask", lambda *_: pytest.fail("tried again"))
    assert Grammar.of_schema(schema) == first


def test_what_crashes_on_the_command_line(edge: Edge, tmp_path: Path) -> None:
    (tmp_path / "crash.json").write_text(SCHEMAS["the smallest number"])
    result = edge("run", "edge-stories", "hello there", "--json-schema", tmp_path / "crash.json")
    assert (result.code, "the JSON schema is invalid" in result.err) == (2, True)


SCRIPT = """
import json, os, socket, subprocess, sys
sys.path[:], forks = json.loads(sys.stdin.buffer.readline())
from edge.system.child import serve

def attempts():
    found = []
    for name, attempt in {
        "read": lambda: open("/etc/passwd").read(),
        "write": lambda: open("escaped", "w").write("x"),
        "read where stdin was": lambda: [os.close(0), open("/etc/passwd").read()],
        "socket": lambda: socket.socket(),
        "process": lambda: subprocess.run(["/bin/true"]),
        "fork": lambda: os.environ["ROOT"] if not os.getuid() else os.fork() or os._exit(0),
        "memory": lambda: bytearray(1 << 30),
        "environment": lambda: os.environ["EDGE_API_KEY"],
        "home": lambda: os.environ["HF_TOKEN"],
    }.items():
        try:
            attempt()
            found.append(name)
        except (OSError, MemoryError, KeyError):
            pass
    return {"found": found}

def answer(request):
    LINE
    return attempts()

serve(lambda: lambda stands: answer, forks=forks)
"""


def script(folder: Path, line: str = "pass") -> Path:
    (folder / "script.py").write_text(SCRIPT.replace("LINE", line))
    return folder / "script.py"


@pytest.fixture(params=[True, False], ids=["a fork", "a process"])
def _forks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, wherever this runs."""
    if request.param and sys.platform != "linux":
        pytest.skip("requests are answered by forks on Linux alone")
    monkeypatch.setattr(workers, "FORKS", request.param)


@pytest.mark.usefixtures("_forks")
def test_the_process_apart_can_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hostile template would find, if it escaped from its sandbox."""
    monkeypatch.setenv("EDGE_API_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.chdir(tmp_path)
    limits = confined.Limits(seconds=1, patience=10, megabytes=512)
    assert confined.ask(script(tmp_path), {}, limits) == {"found": []}
    assert not (tmp_path / "escaped").exists()


@pytest.mark.usefixtures("_forks")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("while True: pass", "more than 1 seconds"),
        ("import time; time.sleep(9)", "still running after 2 seconds"),
        ("import os; os.abort()", "more than 1 seconds or"),
    ],
)
def test_the_process_apart_is_ended(tmp_path: Path, line: str, words: str) -> None:
    limits = confined.Limits(seconds=1, patience=2 if "sleep" in line else 30, megabytes=512)
    assert words in confined.ask(script(tmp_path, line), {}, limits)["error"]
