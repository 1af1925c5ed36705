"""Every parameter of the official client has its place: honoured, inert, or refused by name."""

import inspect
from collections.abc import Callable
from typing import Any, get_args

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("openai")
from openai.resources.audio.speech import Speech
from openai.resources.chat.completions import Completions as Chats
from openai.resources.completions import Completions
from openai.types import chat, shared_params
from openai.types.audio import speech_create_params
from pydantic import BaseModel, ValidationError
from serve_page import PAGE, generated, named, rule

from edge.serve.recordings import OPENAI, VoiceAsk
from edge.serve.requests import (
    AudioAsk,
    ChatAsk,
    CompletionAsk,
    Format,
    Part,
    Schema,
    StreamOptions,
    Turn,
)
from edge.serve.speeches import SpeechAsk

OWN = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}  # the client keeps these
SHARED = {"model", "max_tokens", "temperature", "top_p", "seed", "stop", "stream", "stream_options"}
SPOKEN = {"model", "input", "voice", "response_format", "speed", "stream_format"}
OURS = {"top_k", "min_p"}  # in no client's signature
HONOURED = {  # by hand: a field that is in neither set nor table would be ignored
    ChatAsk: SHARED
    | OURS
    | {"messages", "max_completion_tokens", "response_format", "modalities", "audio", "regions"},
    CompletionAsk: SHARED | OURS | {"prompt", "max_completion_tokens", "response_format"},
    SpeechAsk: SPOKEN | {"stream", "steps", "alpha", "seed"},
}


@pytest.mark.parametrize(
    ("call", "kind", "least"),
    [
        (Chats.create, ChatAsk, 15),
        (Completions.create, CompletionAsk, 15),
        (Speech.create, SpeechAsk, 6),
    ],
)
def test_every_parameter_of_the_client_is_listed(
    call: Callable[..., object], kind: type[BaseModel], least: int
) -> None:
    parameters = set(inspect.signature(call).parameters) - OWN
    assert len(parameters) > least, "the signature says what it takes"
    assert not parameters - set(named(kind))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (chat.ChatCompletionMessage.model_fields, Turn),
        (chat.ParsedChatCompletionMessage.model_fields, Turn),
        (chat.ChatCompletionAssistantMessageParam.__annotations__, Turn),
        (chat.ChatCompletionUserMessageParam.__annotations__, Turn),
        (chat.ChatCompletionDeveloperMessageParam.__annotations__, Turn),
        (chat.ChatCompletionContentPartTextParam.__annotations__, Part),
        (chat.ChatCompletionStreamOptionsParam.__annotations__, StreamOptions),
        (shared_params.ResponseFormatJSONSchema.__annotations__, Format),
        (shared_params.response_format_json_schema.JSONSchema.__annotations__, Schema),
        (speech_create_params.SpeechCreateParams.__annotations__, SpeechAsk),
        (speech_create_params.VoiceID.__annotations__, VoiceAsk),
        (chat.ChatCompletionAudioParam.__annotations__, AudioAsk),
    ],
)
def test_every_field_within_is_listed(theirs: Any, ours: type[BaseModel]) -> None:
    assert theirs
    assert not set(theirs) - set(named(ours))


def test_every_voice_of_openai_is_known() -> None:
    assert set(OPENAI) == set(get_args(get_args(speech_create_params.Voice)[1]))


@pytest.mark.parametrize("kind", [ChatAsk, CompletionAsk, SpeechAsk])
def test_what_is_in_no_table_is_honoured(kind: type[BaseModel]) -> None:
    assert {name for name, info in named(kind).items() if rule(info) is None} == HONOURED[kind]


def test_a_value_is_compared_as_json() -> None:
    ask = {"model": "it", "prompt": "x"}
    for taken in ({"n": 1}, {"n": 1.0}, {"echo": False}, {"logit_bias": {}}):
        CompletionAsk.model_validate(ask | taken)
    for refused in ({"n": True}, {"echo": 0}, {"logit_bias": []}, {"n": "1"}):
        with pytest.raises(ValidationError):
            CompletionAsk.model_validate(ask | refused)


def test_the_page_says_it() -> None:
    assert generated(PAGE.read_text()) == PAGE.read_text(), (
        "run: python tests/serve_page.py --write"
    )
