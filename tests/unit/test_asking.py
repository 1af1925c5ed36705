"""A model at an address: what it is asked, whom nothing else reaches, and what becomes of odd answers."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from engines import adds_up, lines, prose, rejected, rows, run

from edge.data.asking import Address, open_asked
from edge.data.frame.step import Means
from edge.data.steps import rating
from edge.errors import EdgeError

MODELS = {"data": [{"id": "one"}]}


class Server(ThreadingHTTPServer):
    """Answers as it is told, and keeps what it was asked."""

    say: Callable[[Any], tuple[int, Any]]
    asked: list[tuple[str, dict[str, str], Any]]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        self.server.asked.append((self.path, dict(self.headers), body))
        status, said = (200, MODELS) if body is None else self.server.say(body)
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(say: Callable[[Any], tuple[int, Any]]) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.say, server.asked = say, []  # type: ignore[method-assign]
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


def said(content: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}}]}


def by_length(body: Any) -> tuple[int, Any]:
    """A rating that the text decides."""
    text = body["messages"][0]["content"].partition("Text:\n")[2]
    return 200, said(json.dumps({"rating": len(text) % 6}))


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("edge.data.asking._WAIT", 0.0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "a.jsonl").write_bytes(lines([prose(seed, 60 + seed) for seed in range(12)]))
    return tmp_path / "a.jsonl"


def test_texts_are_kept_by_what_a_model_says(source: Path, tmp_path: Path) -> None:
    with serving(by_length) as server:
        report = run(
            [source], tmp_path / "out", means=Means(model=server.address), least_rating="2"
        )
    texts = [prose(seed, 60 + seed) for seed in range(12)]
    want = [{"text": text, "rating": len(text) % 6} for text in texts if len(text) % 6 >= 2]
    assert rows(tmp_path / "out") == want
    assert adds_up(report)
    assert report["reasons"] == {"rating": {"low rating": 12 - len(want)}}
    assert [path for path, _, _ in server.asked[:3]] == [
        "/v1/models",
        "/v1/models",
        "/v1/chat/completions",
    ]
    rest = server.asked[2:]
    path, headers, body = rest[0]
    assert (path, len(rest)) == ("/v1/chat/completions", 12)
    assert "Authorization" not in headers
    assert (body["model"], body["temperature"]) == ("one", 0)
    assert body["response_format"]["json_schema"]["schema"] == rating.SCHEMA
    assert body["messages"][0]["content"].endswith(texts[0])


def test_a_key_comes_from_the_environment_and_goes_nowhere_else(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of others")
    monkeypatch.setenv("EDGE_API_KEY", "s3cret")
    with serving(by_length) as server:
        run([source], tmp_path / "out", means=Means(model=server.address))
    assert {headers["Authorization"] for _, headers, _ in server.asked} == {"Bearer s3cret"}
    assert b"s3cret" not in b"".join(file.read_bytes() for file in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("key", ["s3cret\nx", "s3cr€t"])
def test_what_is_no_key_is_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("EDGE_API_KEY", key)
    with (
        serving(by_length) as server,
        pytest.raises(EdgeError, match="EDGE_API_KEY holds is no key") as refused,
    ):
        open_asked(server.address).answer("a", rating.SCHEMA, 8)
    assert "s3cr" not in str(refused.value)


@pytest.mark.parametrize(
    "answer",
    [
        "4",
        "not JSON",
        "",
        None,
        '{"rating": 9}',
        '{"rating": true}',
        '{"rating": "5"}',
        '{"rate": 1}',
        "[" * 9999,
    ],
    ids=lambda given: str(given)[:20],
)
def test_an_answer_of_no_form_is_counted(source: Path, tmp_path: Path, answer: Any) -> None:
    """Not every server holds the form that it is asked for."""
    with serving(lambda _: (200, said(answer))) as server:
        report = run([source], tmp_path / "out", means=Means(model=server.address))
    assert report["reasons"] == {"rating": {"no rating": 12}}
    assert adds_up(report)
    assert rejected(tmp_path / "out")[0].get("detail", "") == (answer or "")[:200]


def test_a_server_that_is_busy_is_asked_again(source: Path, tmp_path: Path) -> None:
    """SkillSpector#303: there, what was refused for a while was left out of the result."""
    turns = iter(range(1000))
    with serving(
        lambda body: by_length(body) if next(turns) % 3 == 2 else (503, b"busy")
    ) as server:
        assert run([source], tmp_path / "out", means=Means(model=server.address))["read"] == 12
    assert len(server.asked) == 2 + 36


@pytest.mark.parametrize(
    ("status", "content", "why", "times"),
    [
        (401, b"no key", "does not answer: 401 no key", 1),
        (404, b"", "does not answer: 404", 1),
        (302, b"", "does not answer: 302", 1),  # nobody else is asked
        (500, b"broken", "does not answer: 500 broken", 5),
        (200, b"<html>", "does not speak OpenAI's API", 1),
        (200, b"[]", "does not speak OpenAI's API", 1),
        (200, b'{"choices": []}', "does not speak OpenAI's API", 1),
        (200, b"[" * 100_000, "does not speak OpenAI's API", 1),
    ],
)
def test_a_server_that_fails_is_one_error_and_the_run_goes_on_later(
    source: Path, tmp_path: Path, status: int, content: bytes, why: str, times: int
) -> None:
    with serving(lambda _: (status, content)) as server:
        means = Means(model=server.address)
        with pytest.raises(EdgeError, match=why):
            run([source], tmp_path / "out", means=means)
        assert [path for path, _, _ in server.asked] == ["/v1/models"] * 2 + [
            "/v1/chat/completions"
        ] * times
        server.say = by_length  # type: ignore[method-assign]
        assert run([source], tmp_path / "out", means=means, resume=True)["read"] == 12


def test_nobody_there(source: Path, tmp_path: Path) -> None:
    with serving(by_length) as server:
        address = server.address
    with pytest.raises(EdgeError, match="does not answer"):
        run([source], tmp_path / "out", means=Means(model=address))
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    with pytest.raises(EdgeError, match=r"does not answer: .*refused"):
        open_asked(address).answer("a", rating.SCHEMA, 8)


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with serving(by_length) as server:
        assert open_asked(server.address).answer("Text:\nab", rating.SCHEMA, 8) == '{"rating": 2}'


def test_one_of_several_models_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "data", [{"id": "one"}, {"id": "a/b c"}])
    with serving(by_length) as server:
        with pytest.raises(EdgeError, match="serves 2 models: one, a/b c"):
            open_asked(server.address).answer("a", rating.SCHEMA, 8)
        open_asked(f"{server.address}#a/b%20c").answer("a", rating.SCHEMA, 8)
        assert server.asked[-1][2]["model"] == "a/b c"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://", "is no address of a model"),
        ("http://host:99999/v1", "is no address of a model"),
        ("http://[::1/v1", "is no address of a model"),
        ("http://host/v1?key=1", "is no address of a model"),
        ("http://user:secret@host/v1", "holds no password"),
    ],
)
def test_what_is_no_address_is_refused(address: str, why: str) -> None:
    with pytest.raises(EdgeError, match=why) as refused:
        Address.of(address)
    assert "secret" not in str(refused.value)


def test_addresses() -> None:
    made = Address.of("https://example.org:8443/v1/")
    assert (made.secure, made.host, made.port, made.path, made.name) == (
        True,
        "example.org",
        8443,
        "/v1",
        None,
    )
    assert Address.of("HTTP://[::1]:80/v1#x").host == "::1"


def test_a_model_that_is_none(source: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="is no artifact"):
        run([source], tmp_path / "out", means=Means(model=str(tmp_path)))
    assert not (tmp_path / "out").exists()
