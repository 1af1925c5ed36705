"""A chat that speaks: `edge run --speak`, and a server that writes and speaks, with a small voice of random weights."""

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("misaki", reason="needs '.[speech]'")
pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx
import voices
from conftest import Edge
from serving import serving, talking

import edge as package
from edge.audio.sound import open_sound
from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.pipelines.speech import Speech

STORY = "Lily found a ball."
SHORT = ("--max-tokens", "24")


@pytest.fixture(scope="module")
def writer(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking(assets, tmp_path_factory.mktemp("writer"))


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voice")
    source = voices.write(folder / "it")
    return convert_pipeline(source, folder / "out", Options(target="torch", quant="fp32")).folder


@pytest.fixture(scope="module")
def me(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voices.recorded(tmp_path_factory.mktemp("me") / "me.wav", voices.hum())


def test_an_answer_is_written_and_said(
    edge: Edge, writer: Path, voice: Path, me: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.wav"
    given = ("--speak", voice, "--voice", me, "-o", out, *SHORT, "--seed", "7")
    done = edge("run", writer, STORY, *given, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["text"] == edge("run", writer, STORY, *SHORT, "--seed", "7").out.rstrip("\n")
    speech = said["speech"]
    assert speech["file"] == str(out)
    assert [word["text"] for word in speech["words"]] == [
        word.strip('.,!?"') for word in said["text"].split()
    ]
    starts = [word["start"] for word in speech["words"]]
    assert starts == sorted(starts)
    assert speech["words"][-1]["end"] <= speech["seconds"] + 0.1
    with wave.open(str(out)) as file:
        assert file.getnframes() == round(speech["seconds"] * 16_000)
    assert 0 < speech["first_sound_seconds"] < 60
    # The sentences, each as the voice says it alone.
    alone: Speech = package.load(voice)
    first = said["text"].partition(".")[0].strip() + "."
    want = alone.speak(first, voice=me, seed=7).samples
    np.testing.assert_allclose(open_sound(out).samples[: want.size], want, atol=2 / 32768)


def test_each_answer_of_a_chat_has_its_file(
    edge: Edge, writer: Path, voice: Path, me: Path, tmp_path: Path
) -> None:
    given = ("--speak", voice, "--voice", me, "-o", tmp_path / "out.wav", "--max-tokens", "8")
    done = edge("run", writer, *given, stdin="Lily found a ball.\nAnd then?\n\n")
    assert done.code == 0, done.err
    files = sorted(tmp_path.glob("*.wav"))
    assert [file.name for file in files] == ["out-1.wav", "out-2.wav"]
    assert all(open_sound(file).seconds > 0.1 for file in files)


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("--speak", "VOICE"), "where the sound goes"),
    (("--speak", "VOICE", "-o", "-"), "stdout has the text"),
    (("--speak", "VOICE", "-o", "out.mp3"), "no .wav file"),
    (("--speak", "VOICE", "-o", "out.wav", "--takes", "2"), "--takes"),
    (("--speak", "VOICE", "-o", "out.wav", "--picture", "out.svg"), "--picture"),
    (("--speak", "VOICE", "-o", "out.wav", "--speed", "9"), "speed"),
    (("--speak", "WRITER", "-o", "out.wav"), "does not speak"),
    (("-o", "out.wav"), "--speak names one"),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_what_cannot_be_is_refused_before_a_word(
    edge: Edge, writer: Path, voice: Path, tmp_path: Path, given: tuple[str, ...], said: str
) -> None:
    names = {"VOICE": str(voice), "WRITER": str(writer), "out.wav": str(tmp_path / "out.wav")}
    done = edge("run", writer, STORY, *(names.get(word, word) for word in given))
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not list(tmp_path.iterdir())


def test_a_voice_has_no_voice(edge: Edge, voice: Path, tmp_path: Path) -> None:
    done = edge("run", voice, "Hello.", "--speak", voice, "-o", tmp_path / "out.wav")
    assert (done.code, "--speak" in done.err) == (2, True)


def test_a_voice_is_served(
    edge: Edge, voice: Path, me: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command to the sound that the voice makes without a server."""
    from edge.serve.app import create

    offers: list[Any] = []
    monkeypatch.setattr("edge.serve.run.run", lambda *given, **_: offers.extend(given))
    done = edge("serve", voice, "--voice", f"me={me}")
    assert done.code == 0, done.err
    alone: Speech = package.load(voice)
    want = alone.speak("Good morning, Dr. Lee.", voice=me, seed=3).samples
    with serving(create(*offers, hosts=(), key=None)) as port:
        url = f"http://127.0.0.1:{port}"
        (model,) = httpx.get(url + "/v1/models").json()["data"]
        assert model["voices"] == ["default", "me"]
        ask = {"model": "x", "input": "Good morning, Dr. Lee.", "voice": "me", "seed": 3}
        for more in ({}, {"stream": False}, {"voice": "alloy"}):
            asked = ask | more | {"response_format": "wav"}
            found = httpx.post(url + "/v1/audio/speech", json=asked, timeout=60)
            np.testing.assert_allclose(open_sound(found.content).samples, want, atol=2 / 32768)
        events = (
            httpx.post(url + "/v1/audio/speech", json=ask | {"stream_format": "sse"}, timeout=60)
            .text.strip()
            .split("\n\n")
        )
        assert [word["text"] for word in json.loads(events[-1][6:])["words"]][:2] == [
            "Good",
            "morning",
        ]


def test_both_are_served(
    edge: Edge, writer: Path, voice: Path, me: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers: list[Any] = []
    monkeypatch.setattr("edge.serve.run.run", lambda *given, **_: offers.extend(given))
    assert edge("serve", writer, "--speak", voice, "--voice", f"me={me}").code == 0
    assert [type(offer).__name__ for offer in offers] == ["Texts", "Voices"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("WRITER", "--voice", "me=ME"), "--speak, too"),
        (("VOICE", "--speak", "VOICE", "--voice", "me=ME"), "leave out --speak"),
        (("VOICE", "--voice", "ME"), "NAME=FILE"),
        (("VOICE", "--voice", "me=ME", "--voice", "me=ME"), "one name"),
        (("VOICE", "--voice", "default=ME"), "cannot be called"),
        (("VOICE", "--voice", "../me=ME"), "cannot be called"),
        (("VOICE", "--voice", "me=NONE"), "no file"),
        (("VOICE",), "no voice of its own"),
        (("WRITER", "--speak", "WRITER"), "does not speak"),
    ],
)
def test_what_cannot_be_served_is_refused(
    edge: Edge, writer: Path, voice: Path, me: Path, given: tuple[str, ...], said: str
) -> None:
    names = {"VOICE": str(voice), "WRITER": str(writer)}
    done = edge("serve", *(names.get(word, word.replace("ME", str(me))) for word in given))
    assert done.code == 2
    assert said in done.err
