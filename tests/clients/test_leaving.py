"""Clients that leave: real sockets, closed at every moment of a request. The model is free at once."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serving import Dawdler, served, slowed, talking

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

LONG = {"model": "it", "prompt": "Lily", "max_tokens": 400, "temperature": 0}  # takes eight seconds
CHAT = {"model": "it", "messages": [{"role": "user", "content": "Lily"}], "max_tokens": 400}
SOON = 1.0  # seconds; a turn of the slow model takes none


@pytest.fixture(scope="module")
def folder(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking(assets, tmp_path_factory.mktemp("leaving"))


@pytest.fixture
def server(folder: Path) -> Iterator[tuple[str, Dawdler]]:
    with served(folder, queue=2, tokens=400) as (url, model):
        yield url, slowed(model)


def asking(url: str, ask: dict[str, object], path: str = "/v1/completions") -> socket.socket:
    """A connection over which a whole request went."""
    body = json.dumps(ask).encode()
    line = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    line.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return line


def until(done: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not done():
        assert time.monotonic() < end, "it never happens"
        time.sleep(0.005)


def seconds_of_a_short_answer(url: str) -> float:
    start = time.monotonic()
    short = {"model": "it", "prompt": "Tom", "max_tokens": 1, "temperature": 0}
    found = httpx.post(url + "/v1/completions", json=short, timeout=30)
    assert found.status_code == 200, found.text
    return time.monotonic() - start


@pytest.mark.parametrize("stream", [False, True])
def test_between_two_tokens(server: tuple[str, Dawdler], stream: bool) -> None:
    url, model = server
    line = asking(url, LONG | {"stream": stream})
    until(lambda: model.tokens > 3)
    line.close()
    assert seconds_of_a_short_answer(url) < SOON
    assert model.tokens < 60


@pytest.mark.parametrize("stream", [False, True])
def test_in_the_queue(server: tuple[str, Dawdler], stream: bool) -> None:
    """Those who wait and leave give their places to others at once, and are never answered."""
    url, model = server
    first = asking(url, LONG)
    until(lambda: model.tokens)
    for _ in range(4):  # twice as many as there are places
        lines = [asking(url, LONG | {"stream": stream}) for _ in range(2)]
        time.sleep(0.1)
        for line in lines:
            line.close()
        time.sleep(0.1)
    assert model.prompts == 1
    last = asking(url, LONG | {"max_tokens": 1})
    time.sleep(0.1)
    first.close()
    assert last.recv(12) == b"HTTP/1.1 200"
    assert (model.prompts, model.tokens < 150) == (2, True)


@pytest.mark.parametrize("stream", [False, True])
def test_while_the_prompt_is_read(server: tuple[str, Dawdler], stream: bool) -> None:
    """A short prompt is one call, which nothing interrupts: no token follows it."""
    url, model = server
    model.prompt = 0.4
    line = asking(url, LONG | {"stream": stream})
    until(lambda: model.prompts)
    line.close()
    assert seconds_of_a_short_answer(url) < 0.8 + SOON
    assert (model.prompts, model.tokens) == (2, 0)


def test_while_the_template_is_rendered(server: tuple[str, Dawdler]) -> None:
    url, model = server
    for _ in range(6):
        asking(url, CHAT, "/v1/chat/completions").close()
    assert seconds_of_a_short_answer(url) < 3 * SOON
    assert model.tokens < 60


def test_a_few_who_leave_block_nobody(server: tuple[str, Dawdler]) -> None:
    url, model = server
    lines = [asking(url, LONG) for _ in range(3)]
    until(lambda: model.tokens > 3)
    for line in lines:
        line.close()
    assert seconds_of_a_short_answer(url) < SOON
    assert model.tokens < 60
