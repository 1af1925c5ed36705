"""A recognizer learns from prepared speech, on torch: what CTC costs, that it learns and aligns what it has not heard,
and that a run that was stopped goes on as if it had not been.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from engines import rejected
from engines import run as make_data
from utterances import prepared

from edge.audio.alignment import BLANK, aligned, spread
from edge.audio.wav import WavWriter
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.data.frame.step import Means
from edge.data.steps.hearing import Hearing
from edge.data.utterances import TEXT, Utterances
from edge.errors import EdgeError
from edge.prove.networks import verify
from edge.text.spoken.symbols import START, table
from edge.train import reading
from edge.train.recipe import Rates
from edge.train.speech.prepared import Prepared
from edge.train.speech.recognizer import Hearing as Table
from edge.train.speech.recognizer import RecognizerRecipe, RecognizerShape
from edge_runtimes.torch.speech.recognizer import Batch, RecognizerRun, sounds_of
from edge_runtimes.torch.train import train

RECIPE = RecognizerRecipe(
    seed=1,
    recognizer=RecognizerShape(width=16, ffn_width=32, layers=2),
    hearing=Table(batch=8, seen=640, known=1.0, louder=0.5),
    rates=Rates(matrix=0.02, other=0.01, shrink=0.0, warmup=0.05, decay=0.5, optimizer="muon"),
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("speech"), voices=("ann", "bob", "cy"), each=16)


def run(speech: Path, out: Path, recipe: RecognizerRecipe = RECIPE) -> RecognizerRun:
    return RecognizerRun(recipe, out, speech=Prepared([str(speech)]))


@pytest.fixture(scope="module")
def learned(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run came to."""
    trained = run(speech, tmp_path_factory.mktemp("learned"))
    trained.go()
    model = trained.export()
    assert model is not None
    return model


def heard(path: tuple[int, ...]) -> list[int]:
    """What CTC reads: of sounds that follow themselves one, and no blanks."""
    read = [now for before, now in zip((BLANK, *path), path, strict=False) if now != before]
    return [sound for sound in read if sound != BLANK]


def test_a_loss_is_that_of_every_path_that_reads_so(speech: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    log_probs = torch.tensor(rng.standard_normal((2, 5, 3))).log_softmax(-1)
    batch = Batch(
        mel=torch.zeros(2, 5, 80),
        mask=torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
        frames=torch.tensor([[0, 1, 1, 2, 0], [2, 0, 1, 0, 0]]),
        sounds=torch.tensor([1, 2, 2, 1]),
        counts=torch.tensor([2, 2]),
        known=torch.tensor([1.0, 0.0]),
    )
    recipe = replace(RECIPE, hearing=replace(RECIPE.hearing, known=0.5))
    found = run(speech, tmp_path / "run", recipe).losses(log_probs, batch)
    for row, (frames, sounds) in enumerate([(5, [1, 2]), (3, [2, 1])]):
        paths = [path for path in product(range(3), repeat=frames) if heard(path) == sounds]
        at = np.arange(frames)
        each = log_probs[row].numpy()
        likely = np.logaddexp.reduce([each[at, path].sum() for path in paths])
        known = each[at, batch.frames[row, :frames].numpy()].mean()
        assert float(found[row]) == pytest.approx(
            -likely / 2 - (0.5 * known if not row else 0), abs=1e-6
        )


def test_learns_what_it_then_hears_and_aligns_in_others(
    speech: Path, learned: Path, tmp_path: Path
) -> None:
    artifact = convert(learned, tmp_path / "onnx", Options(target="onnx", quant="fp32"))
    assert verify(artifact, learned).passed
    hear = Hearing(str(tmp_path / "onnx"))
    wrong, far = [], []
    held = Utterances(speech, TEXT)
    for number in range(len(held)):
        one = held[number]
        log_probs, sounds = hear(one.mel()), sounds_of(one)
        np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, atol=1e-5)
        wrong.append((log_probs.argmax(1) != np.repeat(sounds, one.frames)).mean())
        found = aligned(log_probs, sounds[sounds != BLANK].tolist())
        lasting = spread(found, (sounds == BLANK).tolist(), len(log_probs))
        far.append(np.abs(np.cumsum(lasting) - np.cumsum(one.frames)).mean())
        evenly = np.linspace(0, len(log_probs), len(lasting) + 1)[1:]
        far[-1] /= np.abs(evenly - np.cumsum(one.frames)).mean()
    assert np.mean(wrong) < 0.3
    assert np.mean(far) < 0.6, far  # of what it is if each lasts as long as any


def test_learns_without_times(speech: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, hearing=replace(RECIPE.hearing, known=0.0, seen=160))
    before, after = run(speech, tmp_path / "none", recipe), run(speech, tmp_path / "run", recipe)
    after.go()
    rows = list(range(8))
    costs = []
    for one in (before, after):
        batch = one.batch(rows, 0)
        loss, _, _ = one.part(batch)
        costs.append(loss)
    assert costs[1] < 0.4 * costs[0]


def test_a_run_that_was_stopped_ends_the_same(speech: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, hearing=replace(RECIPE.hearing, seen=48))
    whole = run(speech, tmp_path / "whole", recipe)
    whole.go()
    first = run(speech, tmp_path / "parts", recipe)
    for _ in range(3):
        first.step()
    first.save()
    second = run(speech, tmp_path / "parts", recipe)
    second.restore()
    second.go()
    for name, weight in whole.weights.items():
        torch.testing.assert_close(second.weights[name], weight, rtol=0, atol=0)


def test_splits_add_up(speech: Path, tmp_path: Path) -> None:
    """Each utterance counts the same, whatever it is padded to."""
    recipe = replace(RECIPE, hearing=replace(RECIPE.hearing, louder=0.0))
    whole, parts = run(speech, tmp_path / "a", recipe), run(speech, tmp_path / "b", recipe)
    rows = whole.rows()
    whole.part(whole.batch(rows, 0))
    for at in range(0, len(rows), 2):
        parts.part(parts.batch(rows[at : at + 2], 0))
    for name, weight in whole.weights.items():
        want, got = weight.grad, parts.weights[name].grad
        assert want is not None, name
        apart = 1e-4 * float(
            want.abs().max()
        )  # sums of either are rounded by a processor's own order
        torch.testing.assert_close(got, want, rtol=0, atol=apart)


def test_every_utterance_is_heard_once_an_epoch(speech: Path, tmp_path: Path) -> None:
    one = run(speech, tmp_path / "run")
    seen = []
    for step in range(96):  # eight epochs of 48 utterances in two windows
        one.at.step = step
        seen += one.rows()
    assert sorted(seen) == sorted(list(range(48)) * 16)


def test_the_recipe_goes_by_its_name(speech: Path, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    raw = yaml.safe_load((Path(reading.__file__).parent / "recipes/recognizer.yaml").read_text())
    raw["recognizer"] = {"width": 8, "ffn_width": 8, "layers": 1}
    raw["hearing"] |= {"batch": 4, "seen": 8}
    file.write_text(yaml.safe_dump(raw))
    model = train(file, tmp_path / "run", data=[str(speech)])
    assert model == tmp_path / "run/model"
    again = train(file, tmp_path / "more", data=[str(speech), str(speech)], start=str(model))
    assert again is not None
    raw["recognizer"]["width"] = 16
    file.write_text(yaml.safe_dump(raw))
    with pytest.raises(EdgeError, match="not of the recipe's shape"):
        train(file, tmp_path / "other", data=[str(speech)], start=str(model))
    with pytest.raises(EdgeError, match="was given none"):
        train(file, tmp_path / "other", data=[])
    assert not (tmp_path / "other").exists()


def test_times_are_found_by_a_recognizer(speech: Path, learned: Path, tmp_path: Path) -> None:
    """From WAV files and texts alone; a text that is not what is said is rejected, and its last word not stretched
    (Montreal-Forced-Aligner#966).
    """
    convert(learned, tmp_path / "onnx", Options(target="onnx", quant="fp32"))
    one = Utterances(speech, TEXT)[0]
    folder = tmp_path / "wavs"
    folder.mkdir()
    names = [table().symbols[at] for at in one.symbols]
    said = "".join(name for name in names if name not in (START, "."))
    for name, text in (("right", f"[[{said}]]."), ("wrong", "[[mɑmɑmɑmɑ]].")):
        with (folder / f"{name}.wav").open("wb") as file, WavWriter(file, 16_000) as wav:
            wav.write(one.samples)
        (folder / f"{name}.txt").write_text(text)
    out = tmp_path / "out"
    means = Means(model=str(tmp_path / "onnx"))
    make_data([folder], out, engine="speech", means=means, shortest="0.1", least_fit="-0.5")
    found = Utterances(out)
    assert len(found) == 1
    assert found[0].symbols.tolist() == one.symbols.tolist()
    far = np.abs(np.cumsum(found[0].frames) - np.cumsum(one.frames))[:-1]
    assert far.mean() < 4  # silence at the ends was cut
    assert [row["reason"] for row in rejected(out)] == ["not what is said"]
    with pytest.raises(EdgeError, match="not at an address"):
        make_data([folder], out, engine="speech", means=Means(model="http://127.0.0.1:1/v1"))
