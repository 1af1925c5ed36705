"""The official Python client: chat, streams and their helper, parsing, retries, errors as its exceptions."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from serving import served, slowed, talking

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")
openai = pytest.importorskip("openai")
from pydantic import BaseModel  # noqa: E402 - fastapi brings it

from edge.serve.requests import ChatAsk  # noqa: E402

ASK: Any = [{"role": "user", "content": "Lily found a ball."}]
SAID = {"model": "it", "messages": ASK, "temperature": 0, "max_tokens": 24}
LONGEST = 64


class Who(BaseModel):
    """What the model is asked to fill in."""

    who: Literal["Lily", "Tom"]


@pytest.fixture(scope="module")
def folder(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking(assets, tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with served(folder, tokens=LONGEST, body=30_000) as (url, _):
        yield url


def client_of(url: str, **options: Any) -> "openai.OpenAI":
    return openai.OpenAI(base_url=url + "/v1", api_key="x", **({"max_retries": 0} | options))


@pytest.fixture
def client(url: str) -> "openai.OpenAI":
    return client_of(url)


@pytest.fixture(scope="module")
def text(url: str) -> str:
    """What it says, without any client."""
    found = httpx.post(url + "/v1/chat/completions", json=SAID).json()
    return str(found["choices"][0]["message"]["content"])


def test_the_stream_helper(client: "openai.OpenAI", text: str) -> None:
    with client.chat.completions.stream(**SAID, stop=["."]) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_completion().choices[0].message
    assert (message.role, message.content) == ("assistant", text.partition(".")[0])
    assert kinds.count("content.delta") > 3
    assert kinds[-1] == "content.done"


def test_the_role_comes_once_and_the_usage_where_it_is_asked_for(
    client: "openai.OpenAI", text: str
) -> None:
    for options in ({}, {"stream_options": {"include_usage": True}}):
        sent = list(client.chat.completions.create(**SAID, stream=True, **options))
        choices = [choice for chunk in sent for choice in chunk.choices]
        deltas = [choice.delta for choice in choices]
        assert [delta.role for delta in deltas] == ["assistant", *[None] * (len(deltas) - 1)]
        assert "".join(delta.content or "" for delta in deltas) == text
        assert [choice.finish_reason for choice in choices][-2:] == [None, "length"]
        assert len({chunk.id for chunk in sent}) == 1
        raw = [chunk.model_dump(exclude_unset=True) for chunk in sent]
        if options:
            assert [chunk["usage"] for chunk in raw[:-1]] == [None] * (len(raw) - 1)
            assert raw[-1]["choices"] == []
            assert raw[-1]["usage"]["completion_tokens"] == 24
        else:
            assert not [chunk for chunk in raw if "usage" in chunk or not chunk["choices"]]


def test_parsing(client: "openai.OpenAI") -> None:
    ask = SAID | {"response_format": Who, "max_tokens": LONGEST}
    parsed = client.chat.completions.parse(**ask).choices[0].message.parsed
    assert isinstance(parsed, Who)
    with client.chat.completions.stream(**ask) as stream:
        streamed = stream.get_final_completion().choices[0].message.parsed
    assert streamed == parsed


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
def test_an_answer_is_sent_back_as_the_client_keeps_it(client: "openai.OpenAI") -> None:
    """Whole, with every field that is null or empty; it says what its text alone says."""
    ask = SAID | {"response_format": Who, "max_tokens": LONGEST}
    said = client.chat.completions.parse(**ask).choices[0].message
    plain = {"role": "assistant", "content": said.content}
    kept = [
        said,
        said.model_dump(),
        said.model_dump(exclude_unset=True),
        {**plain, "tool_calls": []},
    ]
    found = [
        client.chat.completions.create(**SAID | {"messages": [*ASK, message, *ASK]}).choices[0]
        for message in (plain, *kept)
    ]
    assert {choice.message.content for choice in found} == {found[0].message.content}


INERT: dict[str, Any] = {
    "frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": False, "top_logprobs": None, "tools": [],
    "tool_choice": "none", "functions": [], "function_call": "auto", "n": 1, "logit_bias": {}, "user": "me",
    "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "parallel_tool_calls": True,
    "stream_options": None, "response_format": {"type": "text"}, "audio": None, "modalities": ["text"],
    "seed": None, "stop": None, "top_p": None, "max_completion_tokens": 24, "prompt_cache_key": "k",
    "safety_identifier": "s", "verbosity": "medium", "reasoning_effort": "none", "stream": None,
    "prediction": {"type": "content", "content": "x"}, "prompt_cache_retention": "24h", "moderation": None,
    "prompt_cache_options": {"mode": "implicit"}, "web_search_options": None,
}  # fmt: skip


def test_what_changes_nothing_is_taken(client: "openai.OpenAI", text: str) -> None:
    """All at once by the server, and each alone by what it asks of a request."""
    found = client.chat.completions.create(**SAID | INERT)
    assert found.choices[0].message.content == text
    others = [{"tool_choice": "auto"}, {"service_tier": "default"}, {"frequency_penalty": None}]
    for ask in (*({name: value} for name, value in INERT.items()), *others):
        assert ChatAsk.model_validate(SAID | ask).wish(LONGEST).max_tokens == 24


def test_what_changes_nothing_in_a_completion(client: "openai.OpenAI") -> None:
    ask = {"model": "it", "temperature": 0, "max_tokens": 8}
    want = client.completions.create(**ask, prompt="Once").choices[0].text
    inert = {"best_of": 1, "echo": False, "suffix": None, "logprobs": None, "n": 1, "user": "me"}
    assert client.completions.create(**ask, prompt=["Once"], **inert).choices[0].text == want
    streamed = client.completions.create(**ask, prompt="Once", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == want


TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
BROKEN = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "^(unclosed$"}},
}
SCHEMALESS = {"type": "json_schema", "json_schema": {"name": "x"}}
REFUSED: list[tuple[dict[str, Any], str, str]] = [  # what is asked, the field, a part of what is said
    ({"frequency_penalty": 0.5}, "frequency_penalty", "no such penalty"),
    ({"frequency_penalty": False}, "frequency_penalty", "no such penalty"),
    ({"presence_penalty": -1}, "presence_penalty", "no such penalty"),
    ({"logprobs": True}, "logprobs", "not given here"),
    ({"top_logprobs": 3}, "top_logprobs", "not given here"),
    ({"tools": [TOOL]}, "tools", "no tools"),
    ({"tool_choice": "required"}, "tool_choice", "no tools"),
    ({"functions": [{"name": "f"}]}, "functions", "no tools"),
    ({"n": 2}, "n", "one answer"),
    ({"n": True}, "n", "one answer"),
    ({"logit_bias": {"5": 1}}, "logit_bias", "favoured"),
    ({"store": True}, "store", "nothing is stored"),
    ({"service_tier": "flex"}, "service_tier", "one tier"),
    ({"modalities": ["text", "audio"]}, "modalities", "no model here speaks"),
    ({"audio": {"voice": "alloy", "format": "wav"}}, "audio", "no model here speaks"),
    ({"modalities": ["audio"], "audio": {"voice": "alloy", "format": "wav"}}, "modalities", "no model here speaks"),
    ({"modalities": []}, "modalities", "name both"),
    ({"reasoning_effort": "high"}, "reasoning_effort", "do not reason"),
    ({"verbosity": "low"}, "verbosity", "say in a message"),
    ({"web_search_options": {}}, "web_search_options", "nothing is searched"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "json_schema"),
    ({"response_format": SCHEMALESS}, "response_format.json_schema.schema", "needed"),
    ({"response_format": {"type": "json_schema", "schema": {}}}, "response_format.schema", "no such field"),
    ({"response_format": {"type": "text", "json_schema": {"name": "x", "schema": {}}}}, "response_format", "no other"),
    ({"max_tokens": LONGEST + 1}, "max_tokens", f"at most {LONGEST} tokens"),
    ({"max_completion_tokens": LONGEST + 1, "max_tokens": None}, "max_completion_tokens", f"at most {LONGEST} tokens"),
    ({"max_completion_tokens": 5}, "max_tokens", "send one of them"),
    ({"max_tokens": -1}, "max_tokens", "it should be greater"),
    ({"stop": 5}, "stop", "a list of texts"),
    ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages", "sees no pictures"),
    ({"messages": [{"role": "user", "content": [SOUND]}]}, "messages.0.content.0.type", "only text and pictures"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0", "has text"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content", "a list of parts"),
    ({"messages": [*ASK, {"role": "assistant", "content": None}]}, "messages.1.content", "needed"),
    ({"messages": [*ASK, {"role": "assistant", "tool_calls": [CALL]}]}, "messages.1.tool_calls", "no tools"),
    ({"messages": [*ASK, {"role": "tool", "content": "1", "tool_call_id": "1"}]}, "messages.1.role", "it should be"),
    ({"messages": [{"role": "user", "content": "x", "name": "Tom"}]}, "messages.0.name", "into the content"),
    ({"extra_body": {"guided_json": {}}}, "guided_json", "no such field"),
    ({"response_format": BROKEN}, "response_format", "regex parse error"),
    ({"stream_options": {"x": 1}}, "stream_options.x", "no such field"),
    ({"messages": [{"role": "user", "content": "ball " * 2000}]}, "messages", "shorten it"),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "field", "said"), REFUSED)
@pytest.mark.parametrize("stream", [False, True])
def test_what_would_change_the_answer_is_refused_by_name(
    client: "openai.OpenAI", ask: dict[str, Any], field: str, said: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as found:
        client.chat.completions.create(**SAID | {"stream": stream} | ask)
    assert (found.value.param, found.value.type) == (field, "invalid_request_error")
    assert said in found.value.body["message"]


def test_a_completion_goes_on_in_the_text_of_its_prompt(client: "openai.OpenAI") -> None:
    """A blank between the prompt's last word and the first of the answer belongs to the answer."""
    ask: dict[str, Any] = {"model": "it", "prompt": "Once", "temperature": 0, "max_tokens": 5}
    assert client.completions.create(**ask).choices[0].text.startswith(" upon a time")
    chunks = list(client.completions.create(**ask, stream=True))
    assert chunks[0].choices[0].text == " upon"


def test_a_completion_takes_one_text(client: "openai.OpenAI") -> None:
    for prompt in (["a", "b"], [1, 2], [[1]], []):
        with pytest.raises(openai.BadRequestError, match="one text a request") as found:
            client.completions.create(model="it", prompt=prompt)
        assert found.value.param == "prompt"


def test_a_prompt_that_is_too_long_has_the_code_that_clients_know(client: "openai.OpenAI") -> None:
    with pytest.raises(openai.BadRequestError, match="512 fit") as found:
        client.completions.create(model="it", prompt="ball " * 2000)
    assert (found.value.code, found.value.param) == ("context_length_exceeded", "prompt")


def test_models(client: "openai.OpenAI") -> None:
    assert client.models.retrieve("talking").id == "talking"
    assert client.chat.completions.create(**SAID | {"model": "gpt-4o"}).model == "talking"
    with pytest.raises(openai.NotFoundError) as found:
        client.models.retrieve("other/model")
    assert (found.value.code, found.value.param) == ("model_not_found", "model")


def test_errors_are_the_client_s_own(client: "openai.OpenAI", url: str) -> None:
    with pytest.raises(openai.NotFoundError) as found:
        client.embeddings.create(model="it", input="x")
    assert (found.value.code, found.value.type) == ("unknown_url", "invalid_request_error")
    with pytest.raises(openai.PermissionDeniedError, match="--name evil") as found:
        client.with_options(default_headers={"Host": "evil.example:80"}).models.list()
    assert found.value.code == "unknown_host"


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("GET", "/v1/nothing", b"", 404, "unknown_url"),
        ("GET", "/v1/chat/completions", b"", 405, "method_not_supported"),
        ("POST", "/v1/models", b"{}", 405, "method_not_supported"),
        ("POST", "/v1/completions", b"{", 400, None),
        ("POST", "/v1/completions", b'{"model": ' + b"9" * 9000 + b"}", 400, None),
        ("POST", "/v1/completions", b"[]", 400, None),
        ("POST", "/v1/completions", b"", 400, None),
        ("POST", "/v1/completions", b"x" * 40_000, 413, None),
    ],
)
def test_the_shape_of_every_error(
    url: str, method: str, path: str, content: bytes, status: int, code: str | None
) -> None:
    headers = {"Content-Type": "application/json"}
    found = httpx.request(method, url + path, content=content, headers=headers)
    assert found.status_code == status
    error = found.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert status != 405 or found.headers["allow"]


def test_an_error_of_ours_says_nothing_of_it(folder: Path) -> None:
    with served(folder) as (url, model):
        model.reply = lambda *_: 1 // 0  # type: ignore[method-assign,assignment]
        with pytest.raises(openai.InternalServerError) as found:
            client_of(url).chat.completions.create(**SAID)
        assert (found.value.type, found.value.code) == ("server_error", None)
        assert "division" not in json.dumps(found.value.body)


def test_a_stream_that_fails_in_the_middle_says_so(folder: Path) -> None:
    """The status was sent long before: the client raises what the event says."""
    from edge.errors import EdgeError

    with served(folder) as (url, model):
        slow = slowed(model, token=0.0)

        def fail(_: int) -> Any:
            raise EdgeError("the grammar cannot go on", fix="simplify it")

        pieces = iter(
            client_of(url).chat.completions.create(**SAID | {"stream": True, "stop": "zz"})
        )
        slow.step = fail  # type: ignore[method-assign]
        with pytest.raises(openai.APIError, match="cannot go on"):
            list(pieces)


def test_a_full_queue_and_the_client_s_own_retries(folder: Path) -> None:
    with served(folder, queue=0) as (url, model):
        slow = slowed(model)
        busy = threading.Thread(target=client_of(url).completions.create, kwargs={
            "model": "it", "prompt": "Lily", "max_tokens": 30, "temperature": 0,
        })  # fmt: skip
        busy.start()
        while not slow.tokens:
            time.sleep(0.005)
        ask = {"model": "it", "prompt": "Tom", "max_tokens": 1}
        found = httpx.post(url + "/v1/completions", json=ask)
        assert (found.status_code, found.headers["retry-after"]) == (503, "1")
        assert found.json()["error"]["type"] == "server_error"
        assert found.json()["error"]["code"] == "queue_full"
        start = time.monotonic()
        assert client_of(url, max_retries=2).completions.create(**ask).choices[0].text
        assert time.monotonic() - start > 0.5, "it waited as it was told"
        busy.join()


def test_too_many_at_once_are_told_when_to_come_back(folder: Path) -> None:
    with served(folder, requests=1) as (url, model):
        slow = slowed(model)
        stream = client_of(url).completions.create(model="it", prompt="Lily", stream=True)
        next(iter(stream))
        found = httpx.get(url + "/v1/models")
        assert (found.status_code, found.headers["retry-after"]) == (503, "1")
        stream.close()
        assert slow.tokens
