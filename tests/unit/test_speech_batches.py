"""Batches that FlashSpeech learns from: who imitates whom, and that it is the same for any number of processes."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy_speech
import yaml

from edge.data.utterances import Utterance, Utterances, write
from edge.errors import EdgeError
from edge.net import NetSpec
from edge.train import reading
from edge.train.fields import read_as
from edge.train.speech import batches, model, recognizer, vocoder
from edge.train.speech.recipe import SpeechRecipe, UtterancesTable, of_table, read

RECIPES = Path(reading.__file__).parent / "recipes"
TABLE = UtterancesTable(batch=4, crop=40, prompt_least=16, prompt_most=30)


def marked(folder: Path, voices: int, each: int) -> Utterances:
    """Every frame of every row is a number of its own, so that one sees where it comes from."""
    rng = np.random.default_rng(1)
    rows = [
        toy_speech.utterance(v, rng, int(rng.integers(5, 12)))
        for v in range(voices)
        for _ in range(each)
    ]
    write(folder, rows)
    return Utterances(folder)


def examples(rows: Utterances, table: UtterancesTable = TABLE, seed: int = 3) -> batches.Examples:
    made = batches.Examples(rows, table, seed, lambda mel: mel)
    made._latent = lambda row: (
        (1000 * row + np.arange(rows.lengths[row]))[:, None] * np.ones((1, 80), np.float32)
    )
    return made


def test_a_batch_of_parts_is_the_batch(tmp_path: Path) -> None:
    made = examples(marked(tmp_path, 3, 4))
    for step in range(6):
        whole = made.take(step, range(4))
        for numbers in (range(2), range(2, 4)):
            part = made.take(step, numbers)
            for i, n in enumerate(numbers):
                length = int(part.frame_mask[i].sum())
                assert length == int(whole.frame_mask[n].sum())
                np.testing.assert_array_equal(part.latent[i, :length], whole.latent[n, :length])
                assert (whole.latent[n, length:] == 0).all()


def test_random_numbers_are_of_one_step_one_example_and_one_kind_alone(tmp_path: Path) -> None:
    made = examples(marked(tmp_path, 1, 2))
    drawn = [
        made.rng(step, number, kind).random()
        for step in range(3)
        for number in range(3)
        for kind in range(3)
    ]
    assert len(set(drawn)) == len(drawn)
    assert drawn[4] == made.rng(0, 1, 1).random()


def test_every_utterance_is_learned_once_an_epoch(tmp_path: Path) -> None:
    rows = marked(tmp_path, 3, 4)
    made = examples(rows)
    for epoch in range(3):
        seen = [row for step in range(3 * epoch, 3 * epoch + 3) for row in made.batch(step)]
        assert sorted(seen) == list(range(12))
    lengths = [[int(rows.lengths[row]) for row in made.batch(step)] for step in range(3)]
    assert sum(max(one) - min(one) for one in lengths) <= int(np.ptp(rows.lengths))


def test_fewer_utterances_than_a_batch_are_said_again(tmp_path: Path) -> None:
    made = examples(marked(tmp_path, 1, 2), replace(TABLE, batch=7))
    assert sorted(set(made.batch(0))) == [0, 1]
    assert len(made.batch(5)) == 7


@pytest.mark.parametrize("step", range(8))
def test_a_prompt_is_another_utterance_of_the_same_voice(step: int, tmp_path: Path) -> None:
    rows = marked(tmp_path, 3, 3)
    made = examples(rows)
    for n, row in enumerate(made.batch(step)):
        one = made.example(row, made.rng(step, n))
        (other,) = {int(frame // 1000) for frame in one.prompt[:, 0]}
        assert other != row
        assert rows.voices[other] == rows.voices[row]
        assert TABLE.prompt_least <= len(one.prompt) <= TABLE.prompt_most
        assert sum(one.frames) == len(one.latent) == len(one.log_pitch) <= TABLE.crop
        spoken = rows[row]
        at = (
            int(one.latent[0, 0]) % 1000
        )  # where the piece begins, which must be where its first symbol does
        first = int(np.searchsorted(np.cumsum(spoken.frames), at, side="right"))
        assert (one.symbols == spoken.symbols[first : first + len(one.symbols)]).all()
        assert (one.latent[:, 0] - 1000 * row == np.arange(at, at + len(one.latent))).all()


def test_a_voice_of_one_utterance_is_parted_and_hears_no_frame_that_it_makes(
    tmp_path: Path,
) -> None:
    rows = marked(tmp_path, 5, 1)
    made = examples(rows)
    for step in range(20):
        for n, row in enumerate(made.batch(step)):
            one = made.example(row, made.rng(step, n))
            assert not {*one.prompt[:, 0]} & {*one.latent[:, 0]}
            assert sum(one.frames) == len(one.latent) > 0


@pytest.mark.parametrize(
    "frames", [[0, 0, 50, 3], [90], [0, 60, 0, 1, 1], [1] * 60, [0, 5, 0, 60, 4]]
)
def test_a_piece_has_frames_and_no_more_than_it_may(frames: list[int]) -> None:
    """A silence longer than a crop, symbols that take no time: the piece is cut, never empty."""
    many, ends = np.array(frames), np.concatenate([[0], np.cumsum(frames)])
    for seed in range(30):
        first, last = batches.piece(many, 40, np.random.default_rng(seed))
        assert 0 <= first < last <= len(frames)
        lasts = ends[last] - ends[first]
        assert lasts > 0
        assert lasts <= 40 or lasts == max(frames)


def test_what_is_too_short_is_left_out_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    short = toy_speech.utterance(0, rng)
    cut = Utterance(
        text="a", voice="voice-0", symbols=short.symbols[:1], frames=np.array([10]),
        hertz=short.hertz[:10], samples=short.samples[:2000],
    )  # fmt: skip
    write(tmp_path / "some", [cut, short, cut])
    assert examples(Utterances(tmp_path / "some")).usable == [1]
    write(tmp_path / "none", [cut, cut])
    with pytest.raises(EdgeError, match=r"no utterance lasts 0\.2 seconds"):
        batches.usable(Utterances(tmp_path / "none"))


def test_latents_have_the_deviation_that_noise_is_scaled_for() -> None:
    rng = np.random.default_rng(0)
    mels = [(rng.standard_normal((n, 80)) * 2.2 - 5.9).astype(np.float32) for n in (50, 90, 10)]
    mean, scale = model.statistics(iter(mels))
    latents = (np.concatenate(mels) - mean) / scale
    assert latents.mean() == pytest.approx(0, abs=1e-4)
    assert latents.std() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("name", ["speaks", "flashspeech"])
def test_recipes_of_the_package_are_read(name: str) -> None:
    made = read(RECIPES / f"{name}.yaml")
    assert isinstance(reading.read(RECIPES / f"{name}.yaml"), SpeechRecipe)
    assert made.steps == sum(made.stages)
    assert all(made.stages)


def sizes(name: str) -> dict[str, int]:
    specs = model.speech_model(read(RECIPES / f"{name}.yaml").model, {}, (0.0, 1.0)).specs
    return {part: weights(spec) for part, spec in specs.items()}


def weights(spec: NetSpec) -> int:
    return sum(math.prod(shape) for shape in spec.config.shapes().values())


def test_the_small_voice_has_four_million_weights_and_the_large_one_the_paper_s() -> None:
    """Eight megabytes of halves, with a vocoder and a recognizer; 378.4 M less 176 channels of a latent."""
    others = (
        vocoder.read(RECIPES / "vocoder.yaml").vocoder,
        recognizer.read(RECIPES / "recognizer.yaml").recognizer,
    )
    every = sum(sizes("speaks").values()) + sum(weights(o.origin().spec) for o in others)
    assert 2 * every + 60_000 <= 8_000_000  # bytes, with what names them
    large = sizes("flashspeech")
    assert sum(large[name] for name in model.LEARNED) == 378_136_658


def test_steps_are_of_stages_and_rates_of_what_learns_together() -> None:
    made = toy_speech.recipe(steps=5)
    refined = replace(made, refinement=replace(made.consistency, steps=3))
    assert [refined.stage(step) for step in (0, 4, 5, 7, 8)] == [
        (0, 0),
        (0, 4),
        (2, 0),
        (2, 2),
        (2, 3),
    ]
    assert [refined.span(step) for step in (0, 4, 5, 7)] == [(0, 5), (0, 5), (5, 8), (5, 8)]
    assert [made.stage(step) for step in (0, 4)] == [(0, 0), (0, 4)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"utterances": {"batch": 4, "crop": 40, "prompt_least": 30, "prompt_most": 20}}, "turn them round"),
        ({"splits": 3}, "no 3 equal splits"),
        ({"adversarial": {"steps": 5}}, "it needs features, or a recognizer"),
        ({"refinement": {"steps": 5}}, "the model has no refiner"),
        ({"consistency": {"steps": 5, "first": 20, "last": 10}}, "turn them round"),
        ({"consistency": {"steps": 5, "norm": "huber"}}, "none of whole, element"),
        ({"consistency": {"steps": 5, "threshold": 0}}, "above zero"),
        ({"consistency": {"steps": 0}}, "no number from 1"),
        ({"model": None}, "model is no table"),
        ({"frequency": 3}, "frequency"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_is_refused(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    table = {
        "seed": 1,
        "model": {"model_type": "edge_speech"},
        "utterances": {"batch": 4, "crop": 40, "prompt_least": 16, "prompt_most": 20},
        "rates": {"matrix": 0.1, "other": 0.1, "shrink": 0.0, "warmup": 1, "decay": 0.5},
        "consistency": {"steps": 5},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(table))
    assert read(file) == of_table(table)
    file.write_text(yaml.safe_dump({**table, **changes}))
    with pytest.raises(EdgeError, match=said):
        read_as(file, of_table)
