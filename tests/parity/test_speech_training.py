"""FlashSpeech is trained: its losses beside slow numpy and closed forms, its stages each alone, a run that goes on, and
the checkpoint that it ends in. Reports of neighbours' trainers are cited where they are held.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_speech
import yaml
from test_ranks import torchrun

from edge.audio.sound import open_sound
from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.data.utterances import Utterances, write
from edge.errors import EdgeError
from edge.nn.speech.noise import LEAST, MOST, chances, curriculum, grid
from edge.source.checkpoint import Checkpoint
from edge.train.speech.model import LEARNED, REFINERS
from edge.train.speech.recipe import AdversarialTable, ConsistencyTable, SpeechRecipe

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from edge.train.course import STATE  # noqa: E402
from edge_runtimes.torch.speech import adversarial, looks, speaking  # noqa: E402
from edge_runtimes.torch.speech.consistency import (  # noqa: E402
    Noise,
    consistency,
    distance,
    drawn,
)
from edge_runtimes.torch.speech.networks import Batch  # noqa: E402
from edge_runtimes.torch.speech.run import SpeechRun  # noqa: E402
from edge_runtimes.torch.train import train  # noqa: E402

RECOGNIZER = {
    "model_type": "edge_recognizer", "input_channels": 80, "dim": 8, "intermediate_dim": 12,
    "num_layers": 1, "num_sounds": 20, "mel": "edge", "symbols": "edge-96",
}  # fmt: skip
VOCODER = {
    "model_type": "vocos", "input_channels": 80, "dim": 8, "intermediate_dim": 12, "num_layers": 1,
    "n_fft": 800, "hop_length": 200, "padding": "same",
}  # fmt: skip
ADVERSARIAL = AdversarialTable(steps=4, width=4)


def checkpoint(folder: Path, config: dict[str, Any]) -> str:
    """A network of small random weights under the names that its family has."""
    from edge.families import family_of
    from edge.files.config import Config

    family = family_of(Config(config, "config.json"))
    places = family.names.places(family.spec(Config(config, "config.json")))
    rng, tensors = torch.Generator().manual_seed(1), {}
    for place in places.values():
        for name, shape in place.tensors.items():
            tensors[name] = torch.randn(shape, generator=rng) * 0.3
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [str(toy_speech.prepared(tmp_path_factory.mktemp("speech") / "data"))]


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return checkpoint(tmp_path_factory.mktemp("speech") / "recognizer", RECOGNIZER)


def three(recognizer: str, **changes: Any) -> SpeechRecipe:
    """All three stages, four steps each."""
    made = toy_speech.recipe(steps=4)
    given: dict[str, Any] = {
        "adversarial": ADVERSARIAL,
        "refinement": replace(made.consistency, steps=4, last=4),
        "recognizer": recognizer,
        **changes,
    }
    return replace(made, **given)


def tensors(run: SpeechRun) -> dict[str, Any]:
    return {name: weight.detach().clone() for name, weight in run.weights.items()}


# Losses, beside a number at a time.


@pytest.mark.parametrize("norm", ["whole", "element"])
@pytest.mark.parametrize("channels", [None, 3])
def test_distance_is_pseudo_huber_of_what_counts(norm: Any, channels: int | None) -> None:
    rng = np.random.default_rng(0)
    shape = (2, 5) if channels is None else (2, 5, channels)
    a, b = rng.standard_normal((2, *shape))
    lengths = (5, 2)
    mask = (np.arange(5) < np.array(lengths)[:, None]).astype(np.float64)
    got = distance(*map(torch.tensor, (a, b, mask)), norm=norm, threshold=0.03)
    for example, length in enumerate(lengths):
        apart = (a - b)[example, :length].flatten()
        if norm == "whole":
            want = math.sqrt(sum(x * x for x in apart) + 0.03**2) - 0.03
        else:
            want = sum(math.sqrt(x * x + 0.03**2) - 0.03 for x in apart) / len(apart)
        assert float(got[example]) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("norm", ["whole", "element"])
@pytest.mark.parametrize("clean", [0.0, 0.7])
def test_the_cost_and_its_gradient_are_those_of_a_teacher_that_stands_still(
    norm: Any, clean: float
) -> None:
    """A network of one number w, f(x, s) = x / (1 + w s): what w learns is written out by hand."""
    table = ConsistencyTable(steps=1, norm=norm, clean=clean)
    rng = np.random.default_rng(1)
    x, noise = rng.standard_normal((2, 2, 4, 3))
    low, high = np.array([0.3, 2.0]), np.array([0.5, 2.6])
    w = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    parts = Noise(noise=torch.tensor(noise), low=torch.tensor(low), high=torch.tensor(high))

    def network(noisy: Any, sigma: Any) -> Any:
        return noisy / (1 + w * sigma.view(-1, 1, 1))

    mask = torch.ones(2, 4, dtype=torch.float64)
    _, cost = consistency(table, network, torch.tensor(x), mask, parts)
    cost.sum().backward()

    def slow(student: float) -> float:
        total = 0.0
        for i in range(2):
            made = (x[i] + high[i] * noise[i]) / (1 + student * high[i])
            still = (x[i] + low[i] * noise[i]) / (1 + 0.8 * low[i])
            total += huber(made - still, norm) / (high[i] - low[i]) + clean * huber(
                made - x[i], norm
            )
        return total

    assert float(cost.detach().sum()) == pytest.approx(slow(0.8), rel=1e-9)
    assert float(w.grad) == pytest.approx((slow(0.8 + 1e-6) - slow(0.8 - 1e-6)) / 2e-6, rel=1e-6)


def huber(apart: np.ndarray, norm: str) -> float:
    if norm == "whole":
        return float(np.sqrt((apart**2).sum() + 9e-4) - 0.03)
    return float((np.sqrt(apart**2 + 9e-4) - 0.03).mean())


@pytest.mark.parametrize("step", [0, 3, 7])
def test_noise_is_of_neighbours_and_the_same_however_a_batch_is_padded(step: int) -> None:
    table = ConsistencyTable(steps=8, first=2, last=8)

    def draw(i: int) -> np.random.Generator:
        return np.random.default_rng((5, i))

    one = drawn(table, step, torch.Size((3, 6, 2)), draw, torch.device("cpu"))
    two = drawn(table, step, torch.Size((2, 9, 2)), draw, torch.device("cpu"))
    assert torch.equal(one.noise[:2], two.noise[:, :6])
    assert torch.equal(one.low[:2], two.low)
    points = grid(curriculum(step, 8, first=2, last=8)).astype(np.float32)
    at = [int(np.abs(points - float(low)).argmin()) for low in one.low]
    assert [float(points[i + 1]) for i in at] == one.high.tolist()
    assert points[[0, -1]] == pytest.approx([LEAST, MOST])


@pytest.mark.parametrize("middle", [0.1, 0.33, 3.0])
def test_half_of_all_noise_is_below_the_recipe_s_middle(middle: float) -> None:
    points = grid(2001)
    below = np.cumsum(chances(2001, mean=math.log(middle), deviation=1.0))
    assert points[int(np.searchsorted(below, 0.5))] == pytest.approx(middle, rel=0.02)


def test_balance_is_its_closed_form() -> None:
    """Of w . a and w . b the gradients are a and b, whatever w is."""
    a, b = (
        [torch.tensor([3.0, 0.0]), torch.tensor([4.0])],
        [torch.tensor([0.0, 0.6]), torch.tensor([0.8])],
    )
    assert adversarial.balance(a, b, share=0.5, most=1e4) == pytest.approx(0.5 * 5 / 1.0001)
    nothing = [torch.zeros(2), torch.zeros(1)]
    assert adversarial.balance(a, nothing, share=0.5, most=100.0) == 50.0
    assert adversarial.balance(nothing, b, share=0.5, most=100.0) == 0.0


@pytest.mark.parametrize("projection", [True, False])
def test_a_discriminator_is_what_is_said_of_it(projection: bool) -> None:
    """Convolutions by hand; without a projection the prompt is nothing to it."""
    table = replace(ADVERSARIAL, projection=projection, width=3)
    weights = {k: w.double() for k, w in adversarial.initial(table, 5, seed=2).items()}
    weights["0.length"] = weights["0.length"] * 2  # so that a length matters
    judge = adversarial.Discriminator(table, 5, weights)
    rng = np.random.default_rng(0)
    heard, prompt = rng.standard_normal((1, 7, 5)), rng.standard_normal((1, 4, 5))
    given = [torch.tensor(a) for a in (heard, np.ones((1, 7)), prompt, np.ones((1, 4)))]
    x = heard[0] * prompt[0].mean(0) / math.sqrt(5) if projection else heard[0]
    for i in range(5):
        v = weights[f"{i}.direction"].numpy()
        kernel = v * (weights[f"{i}.length"].numpy() / np.sqrt((v**2).sum((1, 2))))[:, None, None]
        side = kernel.shape[2] // 2
        wide = np.pad(x, [(side, side), (0, 0)])
        rows = [
            [
                sum((kernel[o, :, k] * wide[t + k]).sum() for k in range(kernel.shape[2]))
                for o in range(len(kernel))
            ]
            for t in range(len(x))
        ]
        x = np.array(rows) + weights[f"{i}.bias"].numpy()
        x = np.where(x > 0, x, 0.1 * x) if i < 4 else x
    np.testing.assert_allclose(judge.judge(*given)[0].numpy(), x[:, 0], rtol=1e-9)


def test_frames_that_do_not_count_are_not_judged() -> None:
    weights = adversarial.initial(ADVERSARIAL, 5, seed=2)
    judge = adversarial.Discriminator(ADVERSARIAL, 5, weights)
    rng = torch.Generator().manual_seed(0)
    heard, prompt = (torch.randn(1, n, 5, generator=rng) for n in (6, 4))
    short = judge.judge(heard, torch.ones(1, 6), prompt, torch.ones(1, 4))
    padded = torch.cat([heard, torch.zeros(1, 3, 5)], 1)
    mask = torch.cat([torch.ones(1, 6), torch.zeros(1, 3)], 1)
    long = judge.judge(padded, mask, prompt, torch.ones(1, 4))
    torch.testing.assert_close(long[:, :6], short)
    assert not long[:, 6:].any()


# Stages.


def test_each_stage_changes_its_own_weights_and_no_others(
    data: list[str], recognizer: str, tmp_path: Path
) -> None:
    """The generator and its discriminator in turn; refiners at last, while all else is frozen to the bit."""
    made = three(recognizer, rates=replace(toy_speech.ADAM, warmup=1, decay=0.0))
    made = replace(made, adversarial=replace(ADVERSARIAL, rate=0.5))
    run, rates = SpeechRun(made, tmp_path / "run", data=data), (1.0, 0.5, 1.0)
    expected = [set(LEARNED)] * 4 + [set(LEARNED), {adversarial.NAME}] * 2 + [set(REFINERS)] * 4
    for step, wanted in enumerate(expected):
        before = tensors(run)
        run.step()
        changed = {
            n.partition("/")[0] for n, w in run.weights.items() if not torch.equal(w, before[n])
        }
        # What begins with an output of zeros tells those before it nothing in the first step of all.
        assert changed == wanted if step else changed <= wanted, step
        assert run.at.stage == (0, 1, 2)[step // 4]
        if step in (
            0,
            5,
            8,
        ):  # Adam's first: as far as the rate, whatever the gradient, by a count of its own
            moved = max(float((w - before[n]).abs().max()) for n, w in run.weights.items())
            assert moved == pytest.approx(rates[step // 4] * toy_speech.ADAM.other, rel=1e-3), step
    assert run.at.tokens == run.total == 48


def test_a_step_is_the_gradient_of_the_costs_in_sum(data: list[str], tmp_path: Path) -> None:
    """By finite differences, along a random direction of all weights, of an objective whose teacher is kept."""
    run = SpeechRun(toy_speech.recipe(), tmp_path / "run", data=data)
    with torch.no_grad():
        for name, weight in run.weights.items():
            weight.add_(torch.randn_like(weight) * 0.02 * ("output" in name))
    part = run.part(range(4))
    run.stages[0].step(0, [part])
    rng = torch.Generator().manual_seed(1)
    ahead = {
        n: torch.randn(w.shape, generator=rng) / w.numel() ** 0.5
        for n, w in run.weights.items()
        if w.grad is not None
    }
    slope = sum(float((run.weights[n].grad * d).sum()) for n, d in ahead.items())
    still = {n: w.detach().clone() for n, w in run.weights.items()}

    def cost(eps: float) -> float:
        """The student's weights are moved; the teacher's, which is the second call, are those from before."""
        calls = []
        clean = run.networks.clean

        def both(*given: Any) -> Any:
            calls.append(1)
            with torch.no_grad():
                for n in ahead:
                    moved = still[n].double() + (eps * ahead[n].double() if len(calls) == 1 else 0)
                    run.weights[n].copy_(moved.float())
            return clean(*given)

        with torch.no_grad():
            for n in ahead:
                run.weights[n].copy_(still[n] + eps * ahead[n])
        run.networks.clean = both  # type: ignore[method-assign]
        try:
            from edge_runtimes.torch.speech.stages import of_part

            with torch.no_grad():
                found = of_part(run.stages[0]._means, run.recipe.consistency, 0, part)  # type: ignore[attr-defined]
            return float(sum(c.double().sum() for c in found.costs.values())) / 4
        finally:
            run.networks.clean = clean  # type: ignore[method-assign]

    eps = 2e-3
    assert slope == pytest.approx((cost(eps) - cost(-eps)) / (2 * eps), rel=0.05)


def test_refinement_costs_what_is_written(data: list[str], recognizer: str, tmp_path: Path) -> None:
    """Of networks that give nothing yet: durations and pitch are all residual, and a refiner is c_skip of what it
    gets.
    """
    run = SpeechRun(three(recognizer), tmp_path / "run", data=data)
    part = run.part(range(4))
    costs = run.stages[2].step(1, [part])
    points = grid(curriculum(1, 4, first=2, last=4))
    spoken = {
        "duration_refiner": (
            np.log1p(part.batch.durations.numpy()),
            part.batch.phoneme_mask.numpy(),
            2,
        ),
        "pitch_refiner": (part.batch.log_pitch.numpy(), part.batch.frame_mask.numpy(), 3),
    }
    for name, (x, mask, kind) in spoken.items():
        total = 0.0
        for i in range(4):
            rng = run.examples.rng(0, i, kind)
            at = rng.choice(len(points) - 1, size=1, p=chances(len(points)))[0]
            noise, low, high = (
                rng.standard_normal(x.shape[1], np.float32),
                points[at],
                points[at + 1],
            )
            made = [
                0.25 / ((s - 0.002) ** 2 + 0.25) * (x[i] + s * noise) * mask[i] for s in (low, high)
            ]
            total += huber(made[1] - made[0], "whole") / (high - low)
        assert costs[name] == pytest.approx(total / 4, rel=1e-4), name


def test_a_small_net_learns(data: list[str], tmp_path: Path) -> None:
    """In a few seconds: what it costs falls below a bar, and one step comes nearer to what was spoken."""
    made = toy_speech.recipe(
        model=toy_speech.model(32),
        samples=10**6,
        utterances=replace(toy_speech.recipe().utterances, batch=8),
    )
    steps = 60
    made = replace(
        made, consistency=replace(made.consistency, steps=steps, norm="element", clean=1.0)
    )
    run = SpeechRun(made, tmp_path / "run", data=data)
    assert sum(w.numel() for w in run.weights.values()) < 1_000_000
    begun = run.looks.measured()
    for _ in range(steps):
        run.step()
    ended = run.looks.measured()
    assert ended["one step"] < 0.8 * begun["one step"], (begun, ended)
    assert ended["duration"] < 0.3 * begun["duration"]
    assert ended["pitch"] < 0.1 * begun["pitch"]


def test_pitch_without_a_voice_costs_no_infinity(tmp_path: Path) -> None:
    """Amphion#148: the logarithm of 0 Hz."""
    rng = np.random.default_rng(0)
    rows = [
        replace(one, hertz=np.zeros_like(one.hertz))
        for one in (toy_speech.utterance(0, rng) for _ in range(4))
    ]
    write(tmp_path / "data", rows)
    run = SpeechRun(toy_speech.recipe(steps=2), tmp_path / "run", data=[str(tmp_path / "data")])
    run.step()
    assert math.isfinite(run.at.loss)
    assert run.at.loss > 0


def test_a_loss_that_is_no_number_stops_the_run(data: list[str], tmp_path: Path) -> None:
    """StyleTTS2#11, #193: others go on with it, and save it."""
    run = SpeechRun(toy_speech.recipe(), tmp_path / "run", data=data)
    with torch.no_grad():
        run.weights["denoiser/output.bias"].fill_(math.nan)
    before = tensors(run)
    with pytest.raises(EdgeError, match="training diverged"):
        run.step()
    assert all(
        torch.equal(w, before[n]) or n == "denoiser/output.bias" for n, w in run.weights.items()
    )


# Runs that go on.


@pytest.mark.parametrize("stopped", [3, 5, 6, 10])
def test_a_run_goes_on_as_if_it_had_not_been_stopped(
    stopped: int, data: list[str], recognizer: str, tmp_path: Path
) -> None:
    """In each stage, also between a generator's step and its discriminator's: weights, moments, rates, curves
    (speechbrain#1824, fairseq#2018, CosyVoice#282: rates began anew; TTS#1039: so did steps).
    """
    made = three(recognizer)
    whole = SpeechRun(made, tmp_path / "whole", data=data)
    whole.go()
    first = SpeechRun(made, tmp_path / "some", data=data)
    for _ in range(stopped):
        first.step()
    first.save()
    first.step()  # which is lost, and what was seen after it
    first.step()
    second = SpeechRun(made, tmp_path / "some", data=data)
    second.restore()
    assert second.at.step == stopped
    second.go()
    kept, gone_on = (load_file(tmp_path / name / STATE) for name in ("whole", "some"))
    assert kept.keys() == gone_on.keys()
    for name, tensor in kept.items():
        assert torch.equal(tensor, gone_on[name]), name
    curves = [(tmp_path / name / looks.LINES).read_text() for name in ("whole", "some")]
    assert curves[0] == curves[1]
    told = [json.loads(line) for line in curves[0].splitlines()]
    assert [line["step"] for line in told] == [2, 4, 6, 8, 10, 12]
    assert "told apart" in told[2] or "balance" in told[2]
    for file in (tmp_path / "whole" / looks.SAMPLES).iterdir():
        np.testing.assert_array_equal(
            np.load(file), np.load(tmp_path / "some" / looks.SAMPLES / file.name)
        )
    assert (tmp_path / "whole" / looks.PICTURE).read_text().startswith("<svg")


def test_a_run_may_get_stages_that_it_has_not_come_to(
    data: list[str], recognizer: str, tmp_path: Path
) -> None:
    rates = replace(toy_speech.ADAM, warmup=1, decay=0.0)
    all_three, out = three(recognizer, rates=rates), tmp_path / "some"
    whole = SpeechRun(all_three, tmp_path / "whole", data=data)
    whole.go()
    SpeechRun(toy_speech.recipe(steps=4, rates=rates), out, data=data).go()
    second = SpeechRun(all_three, out, data=data)
    second.restore()
    second.go()
    assert second.at.step == 12
    for name, weight in whole.weights.items():
        assert torch.equal(weight, second.weights[name]), name


def test_two_processes_train_as_one(data: list[str], recognizer: str, tmp_path: Path) -> None:
    """Of all three stages (TensorFlowTTS#455: parts of a batch were padded to lengths of their own)."""
    made = three(recognizer, splits=2)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(plain(asdict(made))))
    done = torchrun(file, tmp_path / "two", "--data", *data)
    assert done.returncode == 0, done.stderr
    one = SpeechRun(made, tmp_path / "one", data=data)
    one.go()
    alone, shared = load_file(tmp_path / "one" / STATE), load_file(tmp_path / "two" / STATE)
    assert alone.keys() == shared.keys()
    for name, tensor in alone.items():
        if name.startswith("weight/") and not name.endswith(("k.bias", "input.bias")):
            torch.testing.assert_close(tensor, shared[name], rtol=1e-3, atol=2e-4, msg=name)
    assert Path(json.loads(done.stdout)["path"]) == tmp_path / "two" / "model"


def plain(table: Any) -> Any:
    """As YAML has it: no key without a value, lists for tuples."""
    if isinstance(table, dict):
        return {key: plain(value) for key, value in table.items() if value is not None}
    return list(table) if isinstance(table, tuple) else table


# What it writes.


def test_what_is_written_is_one_checkpoint_with_vocoder_recognizer_and_voice(
    data: list[str], recognizer: str, tmp_path: Path
) -> None:
    vocoder = checkpoint(tmp_path / "vocoder", VOCODER)
    made = three(recognizer, vocoder=vocoder)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(plain(asdict(made))))
    folder = train(file, tmp_path / "run", data=data)
    assert folder is not None
    state = load_file(tmp_path / "run" / STATE)
    for stage in (*LEARNED, *REFINERS):
        with Checkpoint.open(folder, stage=stage) as found:
            for name in found.places:
                want = state[f"weight/{stage}/{name}"].half().float().numpy()
                np.testing.assert_array_equal(found[name], want, err_msg=f"{stage}/{name}")
    for stage, where in (("vocoder", vocoder), ("recognizer", recognizer)):
        with Checkpoint.open(folder, stage=stage) as found, Checkpoint.open(Path(where)) as own:
            for name in own.places:
                np.testing.assert_array_equal(
                    found[name], own[name].astype(np.float16), err_msg=name
                )
    config = json.loads((folder / "config.json").read_text())
    mels = np.concatenate([one.mel() for one in Utterances(Path(data[0]))])
    assert config["latent"]["mean"] == pytest.approx(float(mels.mean()), abs=1e-3)
    assert config["latent"]["scale"] == pytest.approx(2 * float(mels.std()), rel=1e-3)
    assert open_sound(folder / "voice.wav").rate == 16_000
    artifact = convert_pipeline(folder, tmp_path / "art", Options(target="torch", quant="fp32"))
    assert {"voice.wav", *LEARNED, *REFINERS} <= {*artifact.files, *artifact.stages}
    samples = sorted(file.name for file in (tmp_path / "run" / looks.SAMPLES).iterdir())
    assert samples[0] == "0000002-0.wav"
    heard = open_sound(tmp_path / "run" / looks.SAMPLES / samples[-1])
    assert np.isfinite(heard.samples).all()


def test_it_goes_on_from_what_it_wrote(data: list[str], tmp_path: Path) -> None:
    """With the same latents, whatever the new data are like (Matcha-TTS#133: statistics of other bands), and new
    refiners where there were none.
    """
    bare = {key: value for key, value in toy_speech.model().items() if key != "refiner"}
    first = SpeechRun(toy_speech.recipe(steps=2, model=bare), tmp_path / "first", data=data)
    first.go()
    folder = first.export()
    other = toy_speech.prepared(tmp_path / "other", voices=2, each=3, seed=9)
    second = SpeechRun(
        toy_speech.recipe(), tmp_path / "second", start=str(folder), data=[str(other)]
    )
    assert second.origin.model.mean == first.origin.model.mean
    for name, weight in first.weights.items():
        torch.testing.assert_close(second.weights[name], weight, rtol=1e-3, atol=1e-4)
    assert any(name.startswith("pitch_refiner/") for name in second.weights)
    third = toy_speech.recipe(model=toy_speech.model(8))
    with pytest.raises(EdgeError, match="another prompt network than the recipe's model"):
        SpeechRun(third, tmp_path / "third", start=str(folder), data=data)
    assert not (tmp_path / "third").exists()


def test_a_run_is_resumed_by_its_own_recipe_alone(data: list[str], tmp_path: Path) -> None:
    """StyleTTS2#254: weights whose names did not fit were passed over."""
    run = SpeechRun(toy_speech.recipe(), tmp_path / "run", data=data)
    run.step()
    run.save()
    with pytest.raises(EdgeError, match="the state of another model"):
        SpeechRun(
            toy_speech.recipe(model=toy_speech.model(8)), tmp_path / "run", data=data
        ).restore()
    other = [str(toy_speech.prepared(tmp_path / "other", seed=4))]
    with pytest.raises(EdgeError, match="is a run on other texts"):
        SpeechRun(toy_speech.recipe(), tmp_path / "run", data=other).restore()


# Speaking.


def test_durations_are_whole_and_alpha_alone_changes_them(data: list[str], tmp_path: Path) -> None:
    run = SpeechRun(toy_speech.recipe(), tmp_path / "run", data=data)
    example = run.origin.sentences(1)[0]
    device = torch.device("cpu")
    with torch.no_grad():
        run.weights["duration/output.bias"].fill_(math.log(1 + 5))
        for name in ("duration/output", "duration_refiner/output"):
            run.weights[name].zero_()
        run.weights["duration_refiner/output.bias"].fill_(0.5)
    said = speaking.said(run.networks, example, device)
    assert said.shape == (5 * len(example.symbols), 80)
    np.testing.assert_array_equal(said, speaking.said(run.networks, example, device))
    # At the most noise c_out is 0.5 but for a thousandth: what is added to log(1 + 5) is 0.25 alpha.
    longer = speaking.said(run.networks, example, device, alpha=2.0)
    assert len(longer) == round(6 * math.exp(0.5) - 1) * len(example.symbols)
    two = speaking.said(run.networks, example, device, steps=2)
    assert two.shape == said.shape


def test_a_long_sound_is_the_same_in_pieces(data: list[str], tmp_path: Path) -> None:
    from edge.train.speech.model import joined_network

    part = joined_network(Path(checkpoint(tmp_path / "vocoder", VOCODER)))
    mel = np.random.default_rng(0).standard_normal((90, 80)).astype(np.float32)
    vocoder = looks.Vocoder(part, torch.device("cpu"))
    whole = vocoder.sound(mel)
    looks_piece, looks._PIECE = looks._PIECE, 32
    try:
        np.testing.assert_allclose(vocoder.sound(mel), whole, atol=1e-5)
    finally:
        looks._PIECE = looks_piece
    assert whole.shape == (90 * 200,)


# Refused, before anything is written.

CASES: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "a vocoder of other frames (vocos#39)": (
        lambda at: {"vocoder": checkpoint(at / "v", {**VOCODER, "hop_length": 400})},
        "makes sound of 80 mel bands, 400 samples a frame",
    ),
    "a vocoder of other bands (VoiceFlow-TTS#5)": (
        lambda at: {"vocoder": checkpoint(at / "v", {**VOCODER, "input_channels": 100})},
        "makes sound of 100 mel bands, 200 samples a frame",
    ),
    "a listener that hears no mel bands": (
        lambda at: {
            "adversarial": ADVERSARIAL,
            "features": checkpoint(at / "v", VOCODER),
        },
        "no network from frames of 80 mel bands to features",
    ),
    "another mel": (
        lambda _: {"model": toy_speech.model(latent_dim=100)},
        "100 bands of the mel 'edge', and prepared speech has 80",
    ),
    "nobody of that name": (lambda _: {"voice": "Anna"}, "nobody is called 'Anna'"),
    "no kind of model": (lambda _: {"model": {"model_type": "gpt"}}, "of no kind whose networks speak"),
    "heads that divide no width": (
        lambda _: {"model": toy_speech.model(query_emb={"query_token_num": 4, "hidden_size": 16, "head_num": 3})},
        "3 heads do not divide",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_learned_is_refused(case: str, data: list[str], tmp_path: Path) -> None:
    make, said = CASES[case]
    with pytest.raises(EdgeError, match=said):
        SpeechRun(toy_speech.recipe(**make(tmp_path)), tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", [0, 2])
def test_speech_lies_in_one_folder(count: int, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=f"was given {count}"):
        SpeechRun(toy_speech.recipe(), tmp_path / "run", data=[str(tmp_path)] * count)


def test_durations_that_are_not_the_sound_s_are_refused(tmp_path: Path) -> None:
    """TensorFlowTTS#107, VoiceFlow-TTS#16: one frame more than the sound has."""
    folder = toy_speech.prepared(tmp_path / "data")
    file = folder / "data-00000.jsonl"
    lines = file.read_text().splitlines()
    row = json.loads(lines[1])
    row["frames"][-1] += 1
    file.write_text("\n".join([lines[0], json.dumps(row), *lines[2:]]) + "\n")
    with pytest.raises(EdgeError, match="line 2"):
        SpeechRun(toy_speech.recipe(), tmp_path / "run", data=[str(folder)])


def test_a_batch_on_a_device_is_the_batch(data: list[str], tmp_path: Path) -> None:
    run = SpeechRun(toy_speech.recipe(), tmp_path / "run", data=data)
    drawn_one = run.examples.take(0, range(4))
    batch = Batch.of(drawn_one, torch.device("cpu"))
    np.testing.assert_array_equal(batch.latent.numpy(), drawn_one.latent)
    assert float(batch.frame_mask.sum()) == float(batch.durations.sum())
