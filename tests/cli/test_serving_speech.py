"""Speech by the server: what the openai client gets, streams, voices, and what is refused by name. `parrot` speaks."""

import base64
import io
import json
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import parrot
import pytest
from parrot import RATE, Parrot, heard
from serving import serving, talking

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")
openai = pytest.importorskip("openai")

from edge.audio import encoding  # noqa: E402
from edge.audio.encoding import PCM_RATE, encodings  # noqa: E402
from edge.audio.resampling import resampled  # noqa: E402
from edge.audio.sound import open_sound  # noqa: E402
from edge.errors import EdgeError  # noqa: E402
from edge.run.model import load  # noqa: E402
from edge.serve.app import create  # noqa: E402 - only with the extra
from edge.serve.guard import Limits  # noqa: E402
from edge.serve.recordings import OPENAI, URL, Recordings, check  # noqa: E402
from edge.serve.speeches import LONGEST  # noqa: E402
from edge.serve.texts import Texts  # noqa: E402
from edge.serve.voices import Voices  # noqa: E402

TEXT = "Good morning to all of you"
WANT = heard(TEXT)
ASK = {"model": "tts-1", "input": TEXT, "voice": "alloy", "response_format": "wav"}
ROUTE = "/v1/audio/speech"


def recorded(file: Path, loud: float) -> Path:
    """A recording that `parrot` speaks by at 200 Hz and a thousand times as much as it is loud."""
    from edge.audio.wav import WavWriter

    with file.open("wb") as stream, WavWriter(stream, RATE) as writer:
        writer.write(parrot.tone(200, 2.0) * np.float32(2 * loud))
    return file


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("voices") / "mine.wav", 0.3)


@pytest.fixture(scope="module")
def speaker() -> Parrot:
    return Parrot()


@pytest.fixture(scope="module")
def url(speaker: Parrot, mine: Path) -> Iterator[str]:
    voices = Voices("parrot", speaker, Recordings.of(speaker, {"mine": mine, "nova": mine}))
    with serving(create(voices, hosts=(), key=None)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def client(url: str) -> "openai.OpenAI":
    return openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0, timeout=30)


def post(url: str, **changes: Any) -> "httpx.Response":
    ask = {name: value for name, value in (ASK | changes).items() if value is not ...}
    return httpx.post(url + ROUTE, json=ask, timeout=30)


def samples(content: bytes) -> "np.ndarray[Any, Any]":
    return open_sound(content).samples


def data_url(content: bytes, kind: str = "audio/wav") -> dict[str, str]:
    return {"audio": f"data:{kind};base64,{base64.b64encode(content).decode()}"}


def error(found: "httpx.Response", status: int = 400) -> dict[str, Any]:
    assert found.status_code == status, found.text
    said: dict[str, Any] = found.json()["error"]
    assert set(said) == {"message", "type", "param", "code"}
    return said


def test_the_client_gets_a_file(client: "openai.OpenAI", tmp_path: Path) -> None:
    found = client.audio.speech.create(**ASK)
    np.testing.assert_allclose(samples(found.content), WANT, atol=2**-15)
    assert found.response.headers["content-type"] == "audio/wav"
    with client.audio.speech.with_streaming_response.create(**ASK) as streamed:
        streamed.stream_to_file(tmp_path / "out.wav")
    assert (tmp_path / "out.wav").read_bytes() == found.content


def test_without_a_format_it_is_mp3_as_openai_has_it(
    client: "openai.OpenAI", tmp_path: Path
) -> None:
    """mlx-audio#353: WAV under the name of MP3."""
    pytest.importorskip("soundfile")
    found = client.audio.speech.create(model="tts-1", input=TEXT, voice="alloy")
    assert found.response.headers["content-type"] == "audio/mpeg"
    assert found.content[:3] == b"ID3" or found.content[0] == 0xFF, "MPEG audio"
    assert abs(open_sound(found.content).seconds - WANT.size / RATE) < 0.2


@pytest.mark.parametrize("name", encodings())
@pytest.mark.parametrize("stream", [False, True])
def test_a_file_is_what_its_type_says(url: str, name: str, stream: bool) -> None:
    """pocket-tts-openai_streaming_server#3: plain numbers under the name of MP3 where it streamed."""
    found = post(url, response_format=name, stream=stream)
    assert found.headers["content-type"] == encoding.ENCODINGS[name].media
    assert found.headers["content-type"] == found.headers["content-type"].lower(), "mlx-audio#301"
    assert ("content-length" in found.headers) == (not stream)
    if name == "pcm":
        numbers = np.frombuffer(found.content, "<i2") / 32768
        np.testing.assert_allclose(numbers, resampled(WANT, RATE, PCM_RATE), atol=2**-14)
    else:
        assert abs(open_sound(found.content).seconds - WANT.size / RATE) < 0.2


def test_a_whole_wav_has_its_length_in_its_head(url: str) -> None:
    with wave.open(io.BytesIO(post(url, stream=False).content)) as file:
        assert file.getnframes() == WANT.size


def test_sound_comes_while_it_is_made(tmp_path: Path) -> None:
    """The first words are heard before the last is made: speaches#493, mlx-audio#484."""
    slow = Parrot(slow=0.05)
    voices = Voices("parrot", slow, Recordings.of(slow, {}))
    with serving(create(voices, hosts=(), key=None)) as port:
        ask = ASK | {"input": "word " * 20}
        with httpx.stream("POST", f"http://127.0.0.1:{port}{ROUTE}", json=ask, timeout=30) as found:
            pieces = found.iter_raw()
            first = next(pieces)
            assert first.startswith(b"RIFF")
            assert slow.made < 5
            content = first + b"".join(pieces)
    np.testing.assert_allclose(samples(content), heard("word " * 20), atol=2**-15)


def events(url: str, **changes: Any) -> list[dict[str, Any]]:
    ask = ASK | {"stream_format": "sse"} | changes
    found = httpx.post(url + ROUTE, json=ask, timeout=30)
    assert found.headers["content-type"].startswith("text/event-stream"), found.text
    lines = [line for line in found.text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line[6:]) for line in lines]


@pytest.mark.parametrize("name", encodings())
def test_events_are_openai_s(url: str, name: str) -> None:
    found = events(url, response_format=name, input=TEXT + " \u65e5")
    assert [one["type"] for one in found[:-1]] == ["speech.audio.delta"] * (len(found) - 1)
    assert [set(one) for one in found[:-1]] == [{"type", "audio"}] * (len(found) - 1)
    content = b"".join(base64.b64decode(one["audio"]) for one in found[:-1])
    same = post(url, response_format=name).content
    assert len(content) == len(same), "Ogg has a number of its own, by chance"
    assert content == same or name == "opus"
    assert found[-1]["type"] == "speech.audio.done"
    letters = len(TEXT.replace(" ", ""))
    assert found[-1]["usage"] == {
        "input_tokens": letters,
        "output_tokens": round(100 * WANT.size / RATE),
        "total_tokens": letters + round(100 * WANT.size / RATE),
    }
    assert [word["text"] for word in found[-1]["words"]] == TEXT.split()
    assert found[-1]["words"][1]["start"] == pytest.approx(parrot.WORD)
    assert found[-1]["notes"] == ["not spoken: \u65e5"]


def test_what_is_asked_reaches_the_voice(url: str, speaker: Parrot) -> None:
    """audio.cpp#611: a speed that nobody reads."""
    half = post(url, speed=2, seed=7, steps=2, alpha=1)
    np.testing.assert_allclose(samples(half.content), heard(TEXT, speed=2.0), atol=2**-15)
    assert speaker.asked[-1] == {
        "text": TEXT, "voice": 200.0, "speed": 2.0, "seed": 7, "steps": 2, "alpha": 1.0
    }  # fmt: skip
    post(url)
    assert [speaker.asked[-1][name] for name in ("speed", "seed", "steps", "alpha")] == [None] * 4


def test_names_of_voices(url: str) -> None:
    """A name of OpenAI's is the default voice, as programs have one built in, unless the server gave it to another."""
    named = {"default": 200, "alloy": 200, "mine": 500, "nova": 500}
    for name, hertz in named.items():
        for voice in (name, {"id": name}):
            found = post(url, voice=voice)
            np.testing.assert_allclose(samples(found.content), heard(TEXT, hertz), atol=2**-15)
            assert found.headers["edge-voice"] == ("default" if name == "alloy" else name)
    assert post(url, voice=...).headers["edge-voice"] == "default"
    assert {post(url, voice=name).status_code for name in OPENAI} == {200}


PATHS = [
    "mine.wav",
    "/etc/passwd",
    "../mine",
    "file:///etc/passwd",
    "http://evil.example/a.wav",
    "",
    " ",
    "Mine",
]


@pytest.mark.parametrize("name", PATHS)
def test_a_voice_that_is_not_there_is_refused_and_no_path_is_one(
    url: str, name: str, mine: Path
) -> None:
    """litellm#38755: an error of the server's own."""
    for voice in (name, str(mine), {"id": name}):
        said = error(post(url, voice=voice))
        assert said["param"] == "voice"
        assert "default, mine, nova" in said["message"]


def test_a_recording_in_the_request(url: str, mine: Path) -> None:
    found = post(url, voice=data_url(mine.read_bytes()))
    np.testing.assert_allclose(samples(found.content), heard(TEXT, 500), atol=2**-15)
    assert found.headers["edge-voice"] == "sent"


def silent() -> bytes:
    return (
        b"RIFF\x24\x7d\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\x7d\0\0"
        + bytes(32000)
    )


RECORDINGS: list[tuple[Any, str]] = [
    (data_url(b""), "empty"),
    (data_url(b"RIFF"), "none of"),
    (data_url(b"\0" * 500), "none of"),
    (data_url(silent()), "silent"),
    (data_url(silent()[:40]), "no samples"),
    ({"audio": "data:audio/wav;base64,!!!"}, "no base64"),
    ({"audio": "data:image/png;base64,AAAA"}, "nothing is fetched"),
    ({"audio": "https://evil.example/me.wav"}, "nothing is fetched"),
    ({"audio": "/etc/passwd"}, "nothing is fetched"),
    ({"audio": "data:audio/wav;base64," + "A" * URL}, "at most"),
    ({"audio": "data:audio/wav;base64,AAAA", "id": "mine"}, "a name, or a recording"),
    ({}, "a name, or a recording"),
    ({"path": "/etc/passwd"}, "no such field"),
    ([], "voice"),
    (5, "voice"),
]


@pytest.mark.parametrize(("voice", "said"), RECORDINGS)
def test_recordings_that_are_none(url: str, voice: Any, said: str) -> None:
    found = error(post(url, voice=voice))
    assert found["param"].startswith("voice")
    assert said in found["message"]


def test_an_hour_of_a_voice_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, speaker: Parrot
) -> None:
    """VoiceStudio#1600: three minutes of a recording took all of the memory."""
    from edge.serve.recordings import LISTENED, VoiceAsk, recording

    rows = silent()[:44] + bytes(4 << 20)
    sound = recording(
        VoiceAsk(audio=data_url(rows[:40] + b"\xff\xff\xff\xff" + rows[44:])["audio"][:URL])
    )
    assert sound.seconds == LISTENED


REFUSED: list[
    tuple[dict[str, Any], str, str]
] = [  # what is asked, the field, a part of what is said
    ({"input": ""}, "", "nothing to say"),
    ({"input": "  \n "}, "", "nothing to say"),
    ({"input": "\u65e5\u672c"}, "", "nothing to say"),
    ({"input": "a" * (LONGEST + 1)}, "input", "at most 4096 characters"),
    ({"input": ...}, "input", "needed"),
    ({"input": ["a", "b"]}, "input", "string"),
    ({"input": 5}, "input", "string"),
    ({"model": ...}, "model", "needed"),
    ({"response_format": "aac"}, "response_format", "aac cannot be written here"),
    ({"response_format": "WAV"}, "response_format", "cannot be written here"),
    ({"response_format": "../x"}, "response_format", "cannot be written here"),
    ({"speed": 0.2}, "speed", "greater than or equal to 0.25"),
    ({"speed": 4.1}, "speed", "less than or equal to 4"),
    ({"speed": "1"}, "speed", "number"),
    ({"speed": True}, "speed", "number"),
    ({"instructions": "Cheerfully."}, "instructions", "not followed here"),
    ({"stream_format": "websocket"}, "stream_format", "'audio' or 'sse'"),
    ({"stream_format": "sse", "stream": False}, "", "events come while"),
    ({"steps": 0}, "steps", "greater"),
    ({"steps": 1000}, "steps", "less"),
    ({"alpha": -1}, "alpha", "greater"),
    ({"seed": -1}, "seed", "greater"),
    ({"ref_audio": "/etc/passwd"}, "ref_audio", "no such field"),
    ({"lang_code": "a"}, "lang_code", "no such field"),
]


@pytest.mark.parametrize(("ask", "field", "said"), REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(
    url: str, ask: dict[str, Any], field: str, said: str
) -> None:
    found = error(post(url, **ask))
    assert said in found["message"]
    assert (found["param"] or "") == field


def test_what_changes_nothing_is_taken(url: str) -> None:
    inert = {
        "instructions": None,
        "speed": None,
        "stream_format": None,
        "seed": None,
        "stream": True,
    }
    assert post(url, **inert, response_format="wav").content == post(url).content
    assert post(url, instructions="").content == post(url).content


def test_an_error_after_the_first_sound(url: str) -> None:
    """No file that looks whole: the connection ends before its end is told; events say what it is."""
    with pytest.raises(httpx.RemoteProtocolError):
        post(url, input="one two broken three")
    last = events(url, input="one two broken three")[-1]
    assert last["error"]["message"].startswith("it breaks")
    assert "it breaks" in error(post(url, input="broken one"))["message"]
    assert "it breaks" in error(post(url, input="one two broken", stream=False))["message"]
    assert post(url).status_code == 200, "it goes on serving"


def served(speaker: Parrot, **limits: Any) -> Any:
    voices = Voices("parrot", speaker, Recordings.of(speaker, {}))
    return serving(create(voices, hosts=(), key=None, limits=Limits(**limits)))


def test_what_takes_too_long_is_no_whole_answer() -> None:
    """vllm-omni#6333: words that are missing from what looks whole."""
    with served(Parrot(slow=0.05), seconds=0.4) as port, pytest.raises(httpx.RemoteProtocolError):
        post(f"http://127.0.0.1:{port}", input="word " * 50)
    with served(Parrot(slow=0.05), seconds=0.4) as port:
        found = error(post(f"http://127.0.0.1:{port}", input="word " * 50, stream=False))
        assert "the time is up" in found["message"]


def test_who_leaves_frees_the_voice() -> None:
    slow = Parrot(slow=0.02)
    with served(slow) as port:
        ask = ASK | {"input": "word " * 500}
        with httpx.stream("POST", f"http://127.0.0.1:{port}{ROUTE}", json=ask, timeout=30) as found:
            next(found.iter_raw())
        start = time.monotonic()
        assert post(f"http://127.0.0.1:{port}", input="one").status_code == 200
        assert time.monotonic() - start < 3
    assert slow.made < 200


def test_a_full_queue_says_when_to_come_back() -> None:
    slow = Parrot(slow=0.05)
    with served(slow, queue=0) as port:
        url = f"http://127.0.0.1:{port}"
        busy = threading.Thread(target=post, args=(url,), kwargs={"input": "word " * 20})
        busy.start()
        while not slow.made:
            time.sleep(0.005)
        found = post(url)
        assert (found.status_code, found.headers["retry-after"]) == (503, "1")
        assert found.json()["error"]["code"] == "queue_full"
        busy.join()


def test_a_key_and_a_name_are_wanted_as_for_chats(speaker: Parrot) -> None:
    voices = Voices("parrot", speaker, Recordings.of(speaker, {}))
    with serving(create(voices, hosts=(), key="mine")) as port:
        url = f"http://127.0.0.1:{port}"
        assert error(post(url), 401)["code"] == "invalid_api_key"
        assert httpx.get(url + "/v1/audio/voices").status_code == 401
        given = {"Authorization": "Bearer mine"}
        assert httpx.post(url + ROUTE, json=ASK, headers=given).status_code == 200
        found = httpx.post(
            url + ROUTE, json=ASK, headers={**given, "Origin": "http://evil.example"}
        )
        assert error(found, 403)["code"] == "other_origin"


def test_models_and_voices(client: "openai.OpenAI", url: str) -> None:
    (model,) = client.models.list()
    assert model.id == "parrot"
    assert model.output_modalities == ["audio"]
    assert model.voices == ["default", "mine", "nova"]
    assert model.response_formats == list(encodings())
    found = httpx.get(url + "/v1/audio/voices").json()
    assert [voice["id"] for voice in found["voices"]] == ["default", "mine", "nova"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_voice_answers_no_chats(url: str, path: str) -> None:
    said = error(httpx.post(url + path, json={"model": "x", "messages": []}), 404)
    assert (said["code"], said["type"]) == ("unknown_url", "invalid_request_error")
    assert "parrot" in said["message"]
    assert ROUTE in said["message"]


def test_a_model_of_text_does_not_speak_and_both_do(assets: Path, tmp_path: Path) -> None:
    texts = Texts(load(talking(assets, tmp_path), threads=1))
    with serving(create(texts, hosts=(), key=None)) as port:
        said = error(post(f"http://127.0.0.1:{port}"), 404)
        assert "/v1/chat/completions" in said["message"]
    bird = Parrot()
    with serving(
        create(texts, Voices("parrot", bird, Recordings.of(bird, {})), hosts=(), key=None)
    ) as port:
        url = f"http://127.0.0.1:{port}"
        assert post(url).status_code == 200
        ask = {"model": "x", "prompt": "Once", "max_tokens": 2, "temperature": 0}
        assert httpx.post(url + "/v1/completions", json=ask).json()["model"] == "talking"
        found = httpx.get(url + "/v1/models").json()["data"]
        assert [one["output_modalities"] for one in found] == [["text"], ["audio"]]


def test_recordings_of_the_server(mine: Path, tmp_path: Path) -> None:
    known = Recordings.of(
        Parrot(own=False), {"mine": mine, "other": recorded(tmp_path / "b.wav", 0.1)}
    )
    assert known.voices == {"default": 500.0, "mine": 500.0, "other": 300.0}, (
        "the first is the default"
    )
    with pytest.raises(EdgeError, match="no voice of its own"):
        Recordings.of(Parrot(own=False), {})
    for name in ("default", "", "a/b", "..", "a b", "x" * 65, "\u00e9"):
        with pytest.raises(EdgeError, match="cannot be called"):
            check({name: mine})
    with pytest.raises(EdgeError, match="there is no file"):
        check({"mine": tmp_path / "none.wav"})
    check({"mine": mine})


def test_without_the_library_what_there_is_is_said(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_soundfile", lambda: None)
    said = error(post(url, response_format=...))
    assert said["param"] == "response_format"
    assert "wav or pcm" in said["message"]
    assert post(url).status_code == 200


# A chat that is heard while it is written.

CHAT: dict[str, Any] = {
    "model": "x",
    "messages": [{"role": "user", "content": "Lily found a ball."}],
    "max_tokens": 24,
    "temperature": 0,
    "modalities": ["text", "audio"],
}


@pytest.fixture(scope="module")
def heard_url(assets: Path, mine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    bird = Parrot()
    voices = Voices("parrot", bird, Recordings.of(bird, {"mine": mine}))
    texts = Texts(load(talking(assets, tmp_path_factory.mktemp("heard")), threads=1), voices)
    with serving(create(texts, voices, hosts=(), key=None)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def chats(heard_url: str) -> "openai.OpenAI":
    return openai.OpenAI(base_url=heard_url + "/v1", api_key="x", max_retries=0, timeout=30)


def test_an_answer_is_text_and_sound(chats: "openai.OpenAI") -> None:
    plain = chats.chat.completions.create(**CHAT | {"modalities": ["text"]}).choices[0].message
    audio = {"voice": "mine", "format": "wav"}
    found = chats.chat.completions.create(**CHAT, audio=audio)
    message = found.choices[0].message
    assert message.content is None
    assert message.audio.transcript == plain.content
    assert found.choices[0].finish_reason == "length"
    assert found.usage.completion_tokens == 24
    content = base64.b64decode(message.audio.data)
    with wave.open(io.BytesIO(content)) as file:
        assert file.getnframes() == heard(plain.content).size
    np.testing.assert_allclose(samples(content), heard(plain.content, 500), atol=2**-15)


def test_a_stream_of_text_and_sound(chats: "openai.OpenAI") -> None:
    """A sentence is heard before the text is over."""
    plain = chats.chat.completions.create(**CHAT | {"modalities": ["text"]}).choices[0].message
    audio = {"voice": "alloy", "format": "pcm16"}
    chunks = list(chats.chat.completions.create(**CHAT, audio=audio, stream=True))
    deltas = [chunk.choices[0].delta.audio for chunk in chunks[1:]]
    parts = [one.model_dump(exclude_unset=True) for one in deltas]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(part.get("transcript", "") for part in parts) == plain.content
    assert len({part["id"] for part in parts}) == 1
    kinds = ["data" in part for part in parts]
    written = max(i for i, part in enumerate(parts) if "transcript" in part)
    assert kinds.index(True) < written, "between the words"
    content = b"".join(base64.b64decode(part.get("data", "")) for part in parts)
    numbers = np.frombuffer(content, "<i2") / 32768
    want = resampled(heard(plain.content), RATE, PCM_RATE)
    np.testing.assert_allclose(numbers, want, atol=2**-14)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert "expires_at" in parts[-1]


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({}, "audio", "send both"),
        (
            {"modalities": ["text"], "audio": {"voice": "mine", "format": "wav"}},
            "modalities",
            "both",
        ),
        (
            {"modalities": ["audio"], "audio": {"voice": "mine", "format": "wav"}},
            "modalities",
            "both",
        ),
        ({"audio": {"voice": "nobody", "format": "wav"}}, "voice", "no voice"),
        ({"audio": {"voice": "mine", "format": "aac"}}, "audio.format", "cannot be written"),
        ({"audio": {"voice": "mine"}}, "audio.format", "needed"),
        ({"modalities": ["text", "video"]}, "modalities.1", "text"),
    ],
)
def test_what_cannot_be_heard_is_refused(
    heard_url: str, change: dict[str, Any], field: str, said: str
) -> None:
    for stream in (False, True):
        asked = CHAT | {"stream": stream} | change
        found = error(httpx.post(heard_url + "/v1/chat/completions", json=asked, timeout=30))
        assert found["param"] == field
        assert said in found["message"]
