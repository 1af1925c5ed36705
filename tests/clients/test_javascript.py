"""The official JavaScript client: what `client.mjs` gets beside what the model says without any client.

Its packages are pinned by package-lock.json. Where node, npm or the network is missing these tests
skip with that reason; EDGE_REQUIRE=node makes it a failure, as CI does.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import npm
import pytest
from serving import served, slowed, talking
from support import lacking

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """client.mjs beside its packages."""
    folder = tmp_path_factory.mktemp("javascript")
    shutil.copy(HERE / "client.mjs", folder)
    npm.beside(HERE, folder)
    return folder / "client.mjs"


@pytest.fixture(scope="module")
def urls(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    folder = talking(assets, tmp_path_factory.mktemp("clients"))
    with served(folder) as (url, _), served(folder, queue=0) as (slow_url, model):
        slowed(model)
        yield [url, slow_url]


@pytest.fixture(scope="module")
def found(program: Path, urls: list[str]) -> dict[str, Any]:
    command = ["node", str(program), *urls]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


@pytest.fixture(scope="module")
def text(urls: list[str]) -> str:
    """Of 64 tokens; the first 24 of them are what `client.mjs` asks for most often."""
    ask = {"model": "it", "messages": [{"role": "user", "content": "Lily found a ball."}]}
    body = httpx.post(
        urls[0] + "/v1/chat/completions", json=ask | {"temperature": 0, "max_tokens": 64}
    )
    return str(body.json()["choices"][0]["message"]["content"])


def test_a_chat(found: dict[str, Any], text: str) -> None:
    message = found["chat"]["message"]
    assert (message["role"], found["chat"]["finish_reason"]) == ("assistant", "length")
    assert len(message["content"]) > 20
    assert text.startswith(message["content"])


def test_a_stream(found: dict[str, Any]) -> None:
    pieces = found["pieces"]
    assert pieces["text"] == found["chat"]["message"]["content"]
    assert pieces["roles"] == ["assistant", *[None] * (len(pieces["roles"]) - 1)]
    assert pieces["usage"]["completion_tokens"] == 24


def test_the_stream_helper(found: dict[str, Any], text: str) -> None:
    message = found["helper"]["message"]
    assert (message["role"], message["content"]) == ("assistant", text.partition(".")[0])
    assert found["helper"]["grown"] > 3


def test_parsing_by_zod(found: dict[str, Any]) -> None:
    assert found["parsing"]["whole"]["who"] in ("Lily", "Tom")
    assert found["parsing"]["streamed"] == found["parsing"]["whole"]


def test_an_answer_is_sent_back_as_the_client_keeps_it(found: dict[str, Any]) -> None:
    kept, plain = found["backAgain"]
    assert kept == plain


def test_errors_are_the_client_s_own(found: dict[str, Any]) -> None:
    assert found["errors"] == [
        ["NotFoundError", "model_not_found", "model"],
        ["NotFoundError", "unknown_url", None],
        ["BadRequestError", None, "tools"],
        ["BadRequestError", None, "max_tokens"],
    ]


def test_a_full_queue_and_the_client_s_own_retries(found: dict[str, Any]) -> None:
    assert found["retries"] == {"status": 503, "wait": "1", "ending": "length"}


def test_who_aborts_frees_the_model(found: dict[str, Any]) -> None:
    assert found["leaving"] < 4, "the answer that was left would have taken eight seconds"


def test_what_ci_requires_is_never_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception):
        lacking("node", "no node")
    monkeypatch.setenv("EDGE_REQUIRE", "other,node")
    with pytest.raises(pytest.fail.Exception):
        lacking("node", "no node")
