"""A voice from the command line: a text into a file, onto stdout, into takes and a picture; and what is refused."""

import io
import json
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("misaki", reason="needs '.[speech]'")

import voices
from conftest import Edge
from support import environment, tiny

import edge as package
from edge.audio.sound import Sound, open_sound
from edge.audio.wav import SYNTHETIC
from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.pipelines.options.pictures import ImageOptions
from edge.pipelines.options.speech import SPEAKER, SpeechOptions
from edge.source import registry

TEXT = "Good morning, Dr. Lee."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voices.write(tmp_path_factory.mktemp("voice") / "it")


@pytest.fixture(scope="module")
def artifact(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("artifact") / "it"
    return convert_pipeline(source, out, Options(target="torch", quant="fp32")).folder


@pytest.fixture(scope="module")
def me(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voices.recorded(tmp_path_factory.mktemp("me") / "me.wav", voices.hum())


def test_a_text_becomes_a_file(edge: Edge, artifact: Path, me: Path, tmp_path: Path) -> None:
    """Whose head says how long it is (pocket-tts#229), and that a program made it."""
    out = tmp_path / "out.wav"
    given = ("--steps", "1", "--alpha", "0.2", "--speed", "1.1", "--seed", "7")
    done = edge("run", artifact, TEXT, "--voice", me, "-o", out, *given, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert {"seconds", "rtf", "first_sound_seconds", "phonemes", "words"} <= said.keys()
    assert [set(one) for one in (*said["phonemes"], *said["words"])] == [
        {"text", "start", "end"}
    ] * (len(said["phonemes"]) + 4)
    assert [word["text"] for word in said["words"]] == ["Good", "morning", "Dr.", "Lee"]
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert file.getnframes() == round(said["seconds"] * 16_000)
    assert SYNTHETIC.encode() in out.read_bytes()[:200]
    speech = package.load(artifact)
    same = speech.speak(TEXT, voice=me, steps=1, alpha=0.2, speed=1.1, seed=7)
    np.testing.assert_allclose(open_sound(out).samples, same.samples, atol=2 / 32768)


def test_it_streams_onto_stdout(edge: Edge, artifact: Path, me: Path, tmp_path: Path) -> None:
    """All of it, though a pipe cannot go back to say how long it is (piper#815, #796)."""
    text, out = f"{TEXT} It is late. Good night!", tmp_path / "out.wav"
    words = ["-m", "edge", "run", str(artifact), text, "--voice", str(me), "-o", "-"]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, check=True, env=environment(), timeout=120
    )
    sound = open_sound(done.stdout)
    assert edge("run", artifact, text, "--voice", me, "-o", out).code == 0
    # Another process may round the last bit of 16 otherwise.
    assert_allclose(sound.samples, open_sound(out).samples, rtol=0, atol=1.01 / 2**15)
    assert SYNTHETIC.encode() in done.stdout[:200]


def test_takes_differ_and_can_be_had_again(
    edge: Edge, artifact: Path, me: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.wav"
    done = edge("run", artifact, TEXT, "--voice", me, "--takes", "3", "-o", out, "--json")
    takes = json.loads(done.out)["takes"]
    assert [Path(take["file"]).name for take in takes] == ["out-1.wav", "out-2.wav", "out-3.wav"]
    assert [take["seed"] for take in takes] == [0, 1, 2]
    sounds = [Path(take["file"]).read_bytes() for take in takes]
    assert len(set(sounds)) == 3
    edge("run", artifact, TEXT, "--voice", me, "--seed", "1", "-o", out)
    assert out.read_bytes() == sounds[1]
    assert {path.name for path in tmp_path.iterdir()} - {"home"} == {
        "out.wav",
        *(f"out-{i}.wav" for i in (1, 2, 3)),
    }


def test_a_recording_is_said_again_and_changed(
    edge: Edge, artifact: Path, me: Path, tmp_path: Path
) -> None:
    """The recognizer is random: that it hears something is enough here."""
    out, talk = tmp_path / "out.wav", voices.recorded(tmp_path / "talk.wav", voices.hum(3.0))
    done = edge("run", artifact, TEXT, "--from", talk, "--voice", me, "-o", out, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["seconds"] == pytest.approx(3.0)
    done = edge(
        "run", artifact, TEXT, "--from", talk, "--edit", "morning=>evening", "-o", out, "--json"
    )
    assert done.code == 0, done.err
    words = [word["text"] for word in json.loads(done.out)["words"]]
    assert words == ["Good", "evening", "Dr.", "Lee"]


def test_a_picture_of_it(edge: Edge, artifact: Path, me: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "out.wav", tmp_path / "out.svg"
    done = edge("run", artifact, TEXT, "--voice", me, "-o", out, "--picture", picture)
    assert done.code == 0, done.err
    drawn = picture.read_text(encoding="utf-8")
    assert drawn.startswith("<svg ")
    assert all(f">{word}</text>" in drawn for word in ("Good", "morning", "Dr.", "Lee", "ɹ"))


def test_a_checkpoint_is_converted_first(
    edge: Edge, source: Path, me: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.wav"
    done = edge("run", source, TEXT, "--voice", me, "-o", out, "--runtime", "torch")
    assert done.code == 0, done.err
    assert "out.wav" in done.out
    assert out.is_file()


def test_text_from_stdin(edge: Edge, artifact: Path, me: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    assert edge("run", artifact, "-", "--voice", me, "-o", out, stdin="One.\nTwo.\n").code == 0
    assert open_sound(out).seconds > 0.1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("Hi.", "-o", "out.wav"), "no voice of its own"),
        (("Hi.", "--voice", "me.wav"), "where the sound goes"),
        (("--voice", "me.wav", "-o", "out.wav"), "nothing to say"),
        (("", "--voice", "me.wav", "-o", "out.wav"), "the prompt is empty"),
        (("…", "--voice", "me.wav", "-o", "out.wav"), "nothing to say"),  # CosyVoice#710
        (("😀 日本語", "--voice", "me.wav", "-o", "out.wav"), "nothing to say but"),
        (("Hi.", "--voice", "no.wav", "-o", "out.wav"), "there is no file no.wav"),
        (("Hi.", "--voice", "me.wav", "-o", "out.mp3"), "out.mp3 is no .wav file"),
        (("Hi.", "--voice", "me.wav", "-o", "no/out.wav"), "no place for a file"),
        (("Hi.", "--voice", "me.wav", "-o", "-", "--json"), "stdout takes the sound"),
        (("Hi.", "--voice", "me.wav", "-o", "-", "--takes", "2"), "stdout takes the sound"),
        (("Hi.", "--voice", "me.wav", "-o", "out.wav", "--picture", "a.png"), "no .svg file"),
        (("Hi.", "--voice", "me.wav", "-o", "out.wav", "--alpha", "3"), "alpha 3"),
        (("Hi.", "--voice", "me.wav", "-o", "out.wav", "--alpha", "nan"), "alpha nan"),
        (("Hi.", "--voice", "me.wav", "-o", "out.wav", "--speed", "0"), "speed 0"),
        (("Hi.", "--voice", "me.wav", "-o", "out.wav", "--seed", "-1"), "seed is -1"),
        (("Hi.", "--voice", "me.wav", "-o", "out.wav", "--steps", "0"), "--steps 0 is not a whole"),
        (("--from", "me.wav", "-o", "out.wav", "--edit", "a=>b"), "--edit is of a recording"),
        (("Hi.", "-o", "out.wav", "--edit", "Hi=>Ho"), "--edit is of a recording"),
        (("Hi.", "--from", "me.wav", "-o", "out.wav", "--edit", "Hi"), "what becomes what"),
        (("Hi.", "--from", "me.wav", "-o", "out.wav", "--edit", "Ho=>Hi"), "not in the text"),
        (("Hi.", "--from", "no.wav", "-o", "out.wav"), "there is no file no.wav"),
        (("Hi.", "--from", "me.wav", "-o", "out.wav", "--speed", "2"), "--speed: a recording"),
        (("Hi.", "--from", "me.wav", "-o", "out.wav", "--alpha", "1"), "--alpha: a recording"),
        (("Hi.", "--voice", "me.wav", "-o", "out.wav", "--snapkv", "99"), "--snapkv: a voice"),
        (
            ("Hi.", "--voice", "me.wav", "-o", "out.wav", "--draft-by", "lookup"),
            "--draft-by: a voice",
        ),
        (
            ("Hi.", "--voice", "me.wav", "-o", "out.wav", "--temperature", "1"),
            "--temperature: not of",
        ),
        (
            ("Hi.", "--voice", "me.wav", "-o", "out.wav", "--raw"),
            "--raw: not of a model that speaks",
        ),
        (("Hi.", "--voice", "me.wav", "-o", "out.wav", "--image", "a.png"), "--image: not of"),
        (("Hi.", "--voice", "me.wav", "-o", "out.wav", "--adapter", "a"), "--adapter: not of"),
    ],
)
def test_what_is_refused_writes_nothing(
    words: tuple[str, ...],
    problem: str,
    edge: Edge,
    artifact: Path,
    me: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me.wav").write_bytes(me.read_bytes())
    (tmp_path / "out.wav").write_bytes(b"what was there")
    done = edge("run", artifact, *words)
    assert done.code == 2
    assert problem in done.err
    assert "fix: " in done.err
    assert (tmp_path / "out.wav").read_bytes() == b"what was there"
    assert {path.name for path in tmp_path.iterdir()} <= {"me.wav", "out.wav", "home"}


@pytest.mark.parametrize(
    "option", ["--steps", "--alpha", "--speed", "--takes", "--voice", "--picture"]
)
def test_a_model_that_does_not_speak_refuses_by_name(
    option: str, edge: Edge, tmp_path: Path
) -> None:
    folder = tiny(tmp_path / "it")
    done = edge("run", folder, "Hi.", option, "1")
    assert done.code == 2
    assert f"{option}: of a model that speaks, which {folder} is not" in done.err
    assert not (tmp_path / "home").exists()  # nothing was converted for it


def test_without_a_model_it_is_the_packaged_one(
    edge: Edge, artifact: Path, me: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (SpeechOptions.MODEL, ImageOptions.MODEL) == (SPEAKER, registry.READER)
    if registry.find(SPEAKER) is None:
        for given in (("--voice", me), ("-o", tmp_path / "x.wav")):
            done = edge("run", "Good morning.", *given)
            assert done.code == 2
            assert f"{SPEAKER} does not come with this edge yet" in done.err


def test_help_lists_them_under_their_own_title(edge: Edge) -> None:
    out = edge("run", "--help").out
    of_speech = out.partition("Options of a model that speaks:")[2]
    assert all(option in of_speech for option in ("--voice", "-o, --out", "--alpha", "--takes"))
    assert "--image" in out.partition("Options of a model that sees:")[2].partition("Options of")[0]
    assert "--voice" not in out.partition("\nOptions of a model")[0].partition("\nOptions:")[2]


# Recordings that people have.


def sound_file(sound: Sound, channels: int = 1, width: int = 2) -> bytes:
    """By the standard library."""
    whole = np.clip(sound.samples, -1, 1).repeat(channels)
    scaled: Any = {
        1: lambda x: (128 + 127 * x).astype(np.uint8),
        2: lambda x: (32767 * x).astype("<i2"),
        4: lambda x: (2147483000 * x.astype(np.float64)).astype("<i4"),
    }[width](whole)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(sound.rate)
        file.writeframes(scaled.tobytes())
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (sound_file(voices.hum(), 2), ""),
        (sound_file(voices.hum(), 6), ""),
        (sound_file(voices.hum(), 1, 1), ""),
        (sound_file(voices.hum(), 1, 4), ""),
        (sound_file(voices.hum(rate=96_000)), ""),
        (sound_file(voices.hum(rate=8_000)), ""),
        (sound_file(voices.hum(70.0)), "60 seconds of it were taken"),
        (sound_file(voices.hum(3.0))[:60_000], "it is cut off"),
    ],
)
def test_recordings_of_any_kind(
    content: bytes, note: str, edge: Edge, artifact: Path, tmp_path: Path
) -> None:
    """Others want one channel (ZipVoice#27), or one rate (MahaTTS#10)."""
    (tmp_path / "me.wav").write_bytes(content)
    done = edge("run", artifact, "Hi.", "--voice", tmp_path / "me.wav", "-o", tmp_path / "o.wav")
    assert done.code == 0, done.err
    assert note in done.err


@pytest.mark.parametrize(
    ("content", "code", "problem"),
    [
        (sound_file(voices.hum(0.1)), 2, "speaks for 0.1 seconds"),
        (sound_file(Sound(samples=np.zeros(48_000, np.float32), rate=16_000)), 2, "is silent"),
        (sound_file(voices.hum())[:40], 4, "no samples"),
        (sound_file(voices.hum())[:44], 4, "no samples"),
        (b"", 4, "is empty"),
        (b"RIFF" + bytes(200), 3, "none of WAV"),
        (b"fLaC" + bytes(200), 4, "cannot be decoded"),
        (b"\0\0\0\x20ftypM4A " + bytes(99), 3, "MP4 or M4A"),
    ],
)
def test_what_is_no_voice_is_one_error(
    content: bytes, code: int, problem: str, edge: Edge, artifact: Path, tmp_path: Path
) -> None:
    if b"fLaC" in content:
        pytest.importorskip("soundfile")
    (tmp_path / "me.wav").write_bytes(content)
    done = edge("run", artifact, "Hi.", "--voice", tmp_path / "me.wav", "-o", tmp_path / "o.wav")
    assert done.code == code, done.err
    assert problem in done.err
    assert not (tmp_path / "o.wav").exists()


def test_how_fast_it_is_here(edge: Edge, artifact: Path) -> None:
    done = edge("bench", artifact, "--rounds", "2", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert {
        "rtf",
        "first_sound_seconds",
        "short_seconds",
        "voice_seconds",
        "peak_rss_mb",
    } <= said.keys()
    assert len(said["rtf_all"]) == said["rounds"] == 2
    assert 0 < said["first_sound_seconds"] <= said["rtf"] * said["spoken_seconds"]
    assert edge("bench", artifact / "denoiser", "--rounds", "1").code == 0
    for option in ("--tiles", "--new", "--prompt"):
        assert f"{option}: what a voice says" in edge("bench", artifact, option, "5").err


def test_what_all_of_it_takes(edge: Edge, source: Path) -> None:
    """A process takes a runtime once, not once a network."""
    said = json.loads(edge("plan", source, "--to", "onnx", "--json").out)
    alone = [one["run_bytes"] for one in said["networks"].values()]
    assert max(alone) < said["run_bytes"] < sum(alone)
    assert 150e6 < said["run_bytes"] < 250e6


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("app", "-o", "app"), "answers nothing in words"),
        (("eval", "--text", "me.wav"), "several networks, not one"),
    ],
)
def test_what_a_voice_is_not_for(
    words: tuple[str, ...], problem: str, edge: Edge, artifact: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me.wav").write_text("a text")
    done = edge(words[0], artifact, *words[1:])
    assert done.code == 3
    assert problem in done.err


def test_a_proof_of_every_network(
    edge: Edge, source: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge.prove import networks

    monkeypatch.setattr(networks, "WORK", 1 << 22)
    done = edge("verify", artifact, "--against", source, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert len(said["networks"]) == 10
    assert said["whole"]["passed"]
    assert 0 < said["whole"]["error"] < said["whole"]["tolerance"] <= 1e-3
    assert "no greedy tokens" in edge("verify", artifact, "--against", source, "--tokens", "4").err


def test_every_target_takes_it_as_it_is(
    edge: Edge, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody says how it is rounded, also such whose groups divide none of its rows."""
    monkeypatch.chdir(tmp_path)
    done = edge("convert", source, "--to", "mlx,torch", "--json")
    assert done.code == 0, done.err
    made = sorted(path.name for path in (tmp_path / "artifacts").iterdir())
    assert made == ["it-mlx", "it-torch"]
    said = json.loads((tmp_path / "artifacts" / "it-mlx" / "denoiser" / "edge.json").read_text())
    assert said["recipe"] == "fp32"
