"""The server: what the openai client gets, who is refused, and that nothing brings it down."""

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Edge
from serving import serving
from serving import talking as make

from edge.decode.snapkv import CompactingDecoder, SnapKV
from edge.run.model import Model, Wish, load
from edge.text.chat import Message

FastAPI = pytest.importorskip("fastapi").FastAPI
httpx = pytest.importorskip("httpx")
openai = pytest.importorskip("openai")
pytest.importorskip("uvicorn")

from edge.serve.app import create  # noqa: E402 - only with the extra
from edge.serve.guard import Limits  # noqa: E402
from edge.serve.texts import Texts  # noqa: E402

KEY = "a key"
ASK = [{"role": "user", "content": "Lily found a ball."}]
LIMITS = Limits(body=20_000, queue=2, tokens=64, seconds=20)


@pytest.fixture(scope="module")
def talking(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(assets, tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def url(talking: Path) -> Iterator[str]:
    app = create(Texts(load(talking, threads=1)), hosts=("edge.test",), key=KEY, limits=LIMITS)
    with serving(app) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def client(url: str) -> "openai.OpenAI":
    return openai.OpenAI(base_url=url + "/v1", api_key=KEY, max_retries=0, timeout=30)


@pytest.fixture(scope="module")
def want(talking: Path) -> str:
    """What the model says without a server."""
    model: Model = load(talking, threads=1)
    ids = model.encode([Message("user", "Lily found a ball.")])
    return "".join(model.reply(ids, Wish(max_tokens=24)))


def test_a_chat(client: "openai.OpenAI", want: str) -> None:
    found = client.chat.completions.create(model="it", messages=ASK, temperature=0, max_tokens=24)
    assert found.choices[0].message.content == want
    assert found.choices[0].finish_reason == "length"
    assert found.usage.completion_tokens == 24


def test_a_stream(client: "openai.OpenAI", want: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model="it",
            messages=ASK,
            temperature=0,
            max_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert "".join(texts) == want
    assert len(texts) > 5
    assert chunks[-1].usage.completion_tokens == 24
    assert chunks[-2].choices[0].finish_reason == "length"


def test_a_conversation_reads_only_what_is_new(client: "openai.OpenAI") -> None:
    first = client.chat.completions.create(model="it", messages=ASK, temperature=0, max_tokens=8)
    more = [
        *ASK,
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "And then?"},
    ]
    second = client.chat.completions.create(model="it", messages=more, temperature=0, max_tokens=8)
    assert second.usage.prompt_tokens_details.cached_tokens > 10


def test_a_schema(client: "openai.OpenAI") -> None:
    schema = {
        "type": "object",
        "properties": {"who": {"enum": ["Lily", "Tom"]}},
        "required": ["who"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
    found = client.chat.completions.create(model="it", messages=ASK, response_format=form, seed=1)
    assert json.loads(found.choices[0].message.content)["who"] in ("Lily", "Tom")
    assert found.choices[0].finish_reason == "stop"


def test_a_completion_and_the_models(client: "openai.OpenAI") -> None:
    found = client.completions.create(
        model="it", prompt="Once upon a time", temperature=0, max_tokens=12
    )
    assert found.choices[0].text.startswith(", there was a little girl")
    assert [model.id for model in client.models.list()] == ["talking"]


def test_clients_that_leave_free_the_model(client: "openai.OpenAI", want: str) -> None:
    for _ in range(10):
        stream = client.chat.completions.create(
            model="it", messages=ASK, max_tokens=64, stream=True, timeout=20
        )
        next(iter(stream))
        stream.close()
    test_a_chat(client, want)


def test_requests_take_turns(client: "openai.OpenAI", want: str) -> None:
    found: list[str] = []

    def ask() -> None:
        made = client.chat.completions.create(
            model="it", messages=ASK, temperature=0, max_tokens=24
        )
        found.append(made.choices[0].message.content)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [want] * 3


def post(url: str, body: object, **headers: str) -> "httpx.Response":
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"} | headers
    return httpx.post(url + "/v1/chat/completions", content=content, headers=given, timeout=30)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": ""}, 401),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8080"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "edge.test"}, 200),
        ({"Host": "EDGE.Test.:80"}, 200),
        ({"Authorization": f"bearer {KEY}"}, 200),
    ],
)
def test_who_may_ask(url: str, headers: dict[str, str], status: int) -> None:
    assert (
        post(url, {"model": "it", "messages": ASK, "max_tokens": 1}, **headers).status_code
        == status
    )


def test_a_wrong_key_is_the_client_s_own_error(url: str) -> None:
    with pytest.raises(openai.AuthenticationError) as found:
        openai.OpenAI(base_url=url + "/v1", api_key="wrong").models.list()
    assert (found.value.code, found.value.type) == ("invalid_api_key", "invalid_request_error")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 2}, "n"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"logit_bias": {"1": 100}}, "logit_bias"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"stop": ["x"] * 99}, "stop"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused(
    url: str, change: dict[str, object], field: str
) -> None:
    found = post(url, {"model": "it", "messages": ASK, "max_tokens": 1} | change)
    assert found.status_code == 400
    assert field in found.json()["error"]["message"]


def test_what_does_not_fit_is_refused(url: str) -> None:
    long = post(url, {"model": "it", "messages": [{"role": "user", "content": "word " * 2000}]})
    assert (long.status_code, "fit" in long.json()["error"]["message"]) == (400, True)
    assert post(url, b"x" * 30_000).status_code == 413
    bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "objct"}}}
    found = post(url, {"model": "it", "messages": ASK, "response_format": bad, "stream": True})
    assert (found.status_code, "invalid" in found.json()["error"]["message"]) == (400, True)


def test_1000_malformed_requests_leave_it_serving(
    url: str, client: "openai.OpenAI", want: str
) -> None:
    rng = random.Random(0)
    whole = json.dumps({"model": "it", "messages": ASK, "max_tokens": 1}).encode()
    with httpx.Client(timeout=30) as http:
        for _ in range(1000):
            body = bytearray(whole)
            for _ in range(rng.randint(1, 8)):
                body[rng.randrange(len(body))] = rng.randrange(256)
            del body[rng.randint(1, len(body)) :]
            found = http.post(
                url + rng.choice(["/v1/chat/completions", "/v1/completions", "/nowhere"]),
                content=bytes(body),
                headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
            )
            assert 400 <= found.status_code < 500 or found.status_code == 200, found.text
    test_a_chat(client, want)


def test_the_page_is_served(url: str) -> None:
    assert "<title>edge</title>" in httpx.get(url + "/").text


def test_a_server_compacts_as_it_is_told(
    edge: Edge, talking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Model] = []
    monkeypatch.setattr("edge.serve.run.run", lambda offer, **_: served.append(offer._model))
    done = edge("serve", talking, "--snapkv", "64", "--snapkv-for", "reuse")
    assert (done.code, "a second question sees what the first saw" in done.err) == (0, True)
    compact = served[0].decoder
    assert isinstance(compact, CompactingDecoder)
    assert compact.options == SnapKV(capacity=64, purpose="reuse")
    assert edge("serve", talking, "--snapkv-for", "reuse").code == 2
    assert edge("serve", talking).code == 0
    assert not isinstance(served[1].decoder, CompactingDecoder)


def test_idle_connections_outlive_those_of_usual_clients() -> None:
    """One that is closed while a client keeps it breaks that client's next request; Go keeps 90 s."""
    from edge.serve.run import config

    assert config(FastAPI()).timeout_keep_alive > 90
