"""The voice in the package: said by its name and without it, understood by its own ear, the same from every target."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Edge
from support import ROOT

import edge as package
from edge import api
from edge.audio.sound import Sound, open_sound
from edge.convert.options import Options
from edge.pipelines.listening import Listener
from edge.pipelines.options.speech import SPEAKER
from edge.pipelines.speech import Speech
from edge.source import registry
from edge.text.spoken.symbols import bare, ids, is_sound, table

pytest.importorskip("onnxruntime")
pytest.importorskip("misaki", reason="needs '.[speech]'")

LINES = (
    "The old man walked slowly down the road to the river.",
    "She opened the window and looked at the garden.",
    "Nobody had told him that the train was late.",
)
WRONG = 0.35  # of phonemes, by the voice's own ear, at most
FOLDER = ROOT / "edge" / "models" / SPEAKER


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    out = tmp_path_factory.mktemp("speaks") / "it"
    api.convert_model(SPEAKER, "onnx", out, Options())
    loaded = package.load(out)
    assert isinstance(loaded, Speech)
    return loaded


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """How many are missing, more or other, in the cheapest way (Levenshtein)."""
    costs = np.arange(len(heard) + 1)
    for symbol in said:
        kept = costs[:-1] + [symbol != other for other in heard]
        costs = np.concatenate([costs[:1] + 1, np.minimum(kept, costs[1:] + 1)])
        for at in range(1, len(costs)):
            costs[at] = min(costs[at], costs[at - 1] + 1)
    return int(costs[-1])


def test_it_is_understood(voice: Speech) -> None:
    """By its recognizer, which heard neither these sentences nor these sounds; noise is not."""
    ear = Listener(voice.nets["recognizer"], voice.mel)
    symbols = table().symbols

    def read(samples: np.ndarray) -> list[str]:
        found = ear.read(ear.heard(Sound(samples=samples, rate=voice.rate)).bands).symbols
        return [bare(symbols[i]) for i in found if is_sound(int(i))]

    wrong = asked = lost = 0
    rng = np.random.default_rng(1)
    for line in LINES:
        said = voice.speak(line, seed=1)
        samples = said.samples  # what is said, and when, is known afterwards
        want = [bare(one.text) for one in said.phonemes if is_sound(ids((one.text,))[0])]
        wrong, asked = wrong + errors(want, read(samples)), asked + len(want)
        noise = rng.normal(size=samples.size).astype(np.float32) * 0.1
        lost += errors(want, read(noise))
    assert wrong < WRONG * asked < lost, (wrong, lost, asked)


def test_it_needs_no_name_and_no_voice(edge: Edge, tmp_path: Path) -> None:
    done = edge("run", "Good morning.", "-o", tmp_path / "a.wav", "--seed", "7", "--json")
    assert done.code == 0, done.err
    assert 0.4 < done.json["seconds"] < 3
    named = edge("run", SPEAKER, "Good morning.", "-o", tmp_path / "b.wav", "--seed", "7", "--json")
    assert named.code == 0, named.err
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    own = edge(
        "run", "Good morning.", "--voice", FOLDER / "voice.wav", "-o", tmp_path / "c.wav", "--seed", "7"
    )  # fmt: skip
    assert own.code == 0, own.err
    assert (tmp_path / "c.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


def test_it_imitates(voice: Speech) -> None:
    """A higher voice is said higher, and a low one lower: by its own recordings, moved as a tape is."""
    own = open_sound(FOLDER / "voice.wav")
    heights = []
    for share in (0.8, 1.25):
        count = int(own.samples.size / share)
        places = np.linspace(0, own.samples.size - 1, count)
        moved = np.interp(places, np.arange(own.samples.size), own.samples).astype(np.float32)
        said = voice.speak(LINES[0], voice=Sound(samples=moved, rate=own.rate), seed=1, alpha=0)
        ear = Listener(voice.nets["recognizer"], voice.mel)
        hertz = ear.heard(Sound(samples=said.samples, rate=voice.rate)).hertz
        heights.append(np.median(hertz[hertz > 0]))
    assert heights[0] * 1.05 < heights[1], heights


def test_it_is_small_and_says_what_it_is() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 8_000_000
    card = (FOLDER / "README.md").read_text("utf-8")
    assert "consent" in card
    entry = registry.find(SPEAKER)
    assert entry is not None
    assert entry.package == SPEAKER


def test_other_targets_say_the_same(voice: Speech, tmp_path: Path) -> None:
    """In float32, within a thousandth of full scale."""
    pytest.importorskip("torch")
    made = []
    for target in ("onnx", "torch"):
        api.convert_model(SPEAKER, target, tmp_path / target, Options(quant="fp32"))
        loaded = package.load(tmp_path / target)
        assert isinstance(loaded, Speech)
        made.append(loaded.speak("Good morning.", seed=3).samples)
    np.testing.assert_allclose(made[0], made[1], atol=1e-3)
