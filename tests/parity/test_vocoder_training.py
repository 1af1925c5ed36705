"""A vocoder is trained: what it costs is what numpy says, its run goes on to the same bytes, alone and shared out, and
what it writes is a checkpoint that targets take. Cited: what others' users met.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import utterances
import yaml
from speaking import SPEAKING
from test_ranks import torchrun

from edge.audio import spectra
from edge.audio.sound import open_sound
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.data.utterances import HOP, Utterance, write
from edge.errors import EdgeError
from edge.prove.networks import verify
from edge.run.opening import open_net_proof
from edge.source.checkpoint import Checkpoint
from edge.train import fields
from edge.train.recipe import Average, Rates
from edge.train.speech.prepared import Prepared
from edge.train.speech.vocoder import (
    Adversary,
    Costs,
    Crops,
    VocoderRecipe,
    VocoderShape,
    read,
)

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from edge.train.course import STATE  # noqa: E402
from edge_runtimes.torch.speech import adversary as judging  # noqa: E402
from edge_runtimes.torch.speech.spectra import QUIET, apart, log_mel, spectrum  # noqa: E402
from edge_runtimes.torch.speech.vocoder import VocoderRun  # noqa: E402
from edge_runtimes.torch.train import train  # noqa: E402

PACKAGED = fields.EXAMPLE.with_name("vocoder.yaml")
SMALL = Adversary(after=0.5, width=2, rate=1e-3, periods=(2, 3), windows=(64, 128))


pytestmark = pytest.mark.usefixtures("one_thread")


def a_recipe(**changes: Any) -> VocoderRecipe:
    given: dict[str, Any] = {
        "seed": 3,
        "vocoder": VocoderShape(width=16, ffn_width=24, layers=2),
        "crops": Crops(frames=8, batch=4, seen=24, louder=6.0),
        "costs": Costs(mel=1.0, spectra=1.0, windows=(64, 256)),
        "rates": Rates(matrix=5e-3, other=5e-3, shrink=0.0, warmup=1, decay=0.3),
        "adversary": SMALL,
        "splits": 2,
    }
    return VocoderRecipe(**given | changes)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return utterances.prepared(tmp_path_factory.mktemp("speech"))


def a_run(out: Path, speech: Path, **changes: Any) -> VocoderRun:
    return VocoderRun(a_recipe(**changes), out, speech=Prepared([str(speech)]))


def gone(run: VocoderRun, steps: int) -> VocoderRun:
    for _ in range(steps):
        run.step()
    return run


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    made: np.ndarray = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return made * 0.1


@pytest.mark.parametrize("name", spectra.MELS)
@pytest.mark.parametrize("length", [2400, 4099])
def test_mel_bands_are_those_of_the_front_end(name: str, length: int) -> None:
    """Another transform, scale or area, and a vocoder hums: audio#1058, NeMo#2469."""
    sounds, mel = noise(2, length), spectra.MELS[name]
    got = log_mel(torch.from_numpy(sounds), mel).numpy()
    for one, sound in zip(got, sounds, strict=True):
        np.testing.assert_allclose(one, spectra.log_mel(sound, mel), atol=2e-4)


def test_spectra_apart_is_its_closed_form() -> None:
    """Frame by frame in float64."""
    made, wanted, window, hop = noise(2, 500), noise(2, 500, seed=1), 64, 16
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)

    def magnitudes(sound: np.ndarray) -> np.ndarray:
        padded = np.pad(sound.astype(np.float64), window // 2, mode="reflect")
        starts = range(0, len(sound) + 1, hop)
        return np.abs([np.fft.rfft(padded[at : at + window] * shape) for at in starts])

    shares, logs = [], []
    for a, b in zip(made, wanted, strict=True):
        x, y = magnitudes(a), magnitudes(b)
        shares.append(np.sqrt(((x - y) ** 2).sum() / (y**2).sum()))
        logs.append(np.abs(np.log(np.maximum(x, QUIET)) - np.log(np.maximum(y, QUIET))).mean())
    got = apart(torch.from_numpy(made), torch.from_numpy(wanted), window)
    assert float(got) == pytest.approx(np.mean(shares) + np.mean(logs), rel=1e-4)


def of_torch(kind: str, number: int, weights: dict[str, Any], sound: np.ndarray) -> list[Any]:
    """A judge by torch's modules, its weights normed by torch's own parametrization; a comb is a convolution over
    time and phase.
    """
    if kind == "period":
        lacking = -sound.shape[1] % number
        x = torch.from_numpy(np.pad(sound, ((0, 0), (0, lacking)), mode="reflect"))
        x = x.view(len(sound), 1, -1, number)
    else:
        found = spectrum(torch.from_numpy(sound), number, number // 2)
        found = found * (found.abs() ** 2 + 1e-6) ** -0.35
        x = torch.stack([found.real, found.imag], 1).transpose(2, 3)
    seen = []
    layers = judging.judges(SMALL)[f"{kind}.{number}"]
    for place, layer in enumerate(layers):
        at = f"{judging.PREFIX}{kind}.{number}.{place}"
        kernel = layer.kernel if kind == "window" else (*layer.kernel, 1)
        stride = layer.stride if kind == "window" else (*layer.stride, 1)
        pad = tuple(size // 2 for size in kernel)
        conv = torch.nn.Conv2d(layer.into, layer.out, kernel, stride, pad)
        conv.weight.data = weights[at].detach().view(conv.weight.shape)
        conv.bias.data = weights[f"{at}.bias"].detach()
        torch.nn.utils.parametrizations.weight_norm(conv)
        lengths = weights[f"{at}.length"].detach()
        conv.parametrizations.weight.original0.data = lengths.view(-1, 1, 1, 1)
        x = conv(x)
        if place + 1 < len(layers):
            x = torch.nn.functional.leaky_relu(x, 0.1)
        seen.append(x.detach())
    return seen


def test_judges_are_torchs_own_layers() -> None:
    rng = torch.Generator().manual_seed(7)
    weights = {
        name: weight + 0.3 * torch.randn(weight.shape, generator=rng)
        for name, weight in judging.initial_adversary(SMALL, 1)
    }
    sound = noise(2, 1601)
    got = judging.opinions(weights, SMALL, torch.from_numpy(sound))
    for name, opinion in zip(judging.judges(SMALL), got, strict=True):
        kind, _, number = name.partition(".")
        want = of_torch(kind, int(number), weights, sound)
        said = want.pop()
        assert sorted(opinion.said.flatten().tolist()) == pytest.approx(
            sorted(said.flatten().tolist()), rel=1e-4, abs=1e-5
        )
        for mine, theirs in zip(opinion.seen, want, strict=True):
            assert float(mine.abs().mean()) == pytest.approx(float(theirs.abs().mean()), rel=1e-4)


def test_costs_of_opinions_are_their_closed_forms() -> None:
    real = [judging.Opinion(torch.tensor([[1.0, 0.5]]), [torch.tensor([2.0, -2.0])])]
    made = [judging.Opinion(torch.tensor([[0.0, -2.0]]), [torch.tensor([1.0, -2.0])])]
    hinge = dataclasses.replace(SMALL, loss="hinge")
    assert float(judging.learned(SMALL, real, made)) == pytest.approx(0.25 / 2 + 4 / 2)
    assert float(judging.learned(hinge, real, made)) == pytest.approx(0.5 / 2 + 1 / 2)
    assert float(judging.told(SMALL, made)) == pytest.approx((1 + 9) / 2)
    assert float(judging.told(hinge, made)) == pytest.approx(1.0)
    assert float(judging.unlike(real, made)) == pytest.approx(0.5 / 2)


def test_it_learns_and_the_judges_wait(speech: Path, tmp_path: Path) -> None:
    crops = Crops(frames=8, batch=4, seen=4 * 60)
    run = a_run(tmp_path, speech, crops=crops)
    first = {name: run.weights[name].detach().clone() for name in run.judges}
    mel, real = run.drawn(0)
    begun = run.costs(real, run.sound(mel))["mel"]
    gone(run, 30)
    assert run.costs(real, run.sound(mel))["mel"] < 0.8 * begun
    assert all(torch.equal(weight, run.weights[name]) for name, weight in first.items())
    assert all(not run.optimizer.state[f"mean/{name}"].any() for name in run.judges)
    learns = run.rate()
    gone(run, 1)
    assert run.at.stage == 1
    for (
        name,
        weight,
    ) in first.items():  # Adam's first step is its rate, whatever step of the run it is
        moved = (run.weights[name] - weight).abs().max()
        assert float(moved) == pytest.approx(SMALL.rate * learns, rel=2e-2), name
    assert run.told.keys() == {"mel", "spectra", "told", "unlike", "judges"}


@pytest.mark.parametrize("at", [2, 4])
def test_it_goes_on_to_the_same_bytes(at: int, speech: Path, tmp_path: Path) -> None:
    """Before the judges begin, as they do, and after: TensorFlowTTS#409 restored theirs with the step of the whole."""
    changes = {"average": Average(last=2, every=8)}
    whole = gone(a_run(tmp_path / "whole", speech, **changes), 5)
    gone(a_run(tmp_path / "parts", speech, **changes), at).save()
    rest = a_run(tmp_path / "parts", speech, **changes)
    rest.restore()
    gone(rest, 5 - at)
    for run in (whole, rest):
        run.save()
        run.export()
    for file in (STATE, "model/model.safetensors"):
        one, two = (load_file(run.out / file) for run in (whole, rest))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one), file


def written(recipe: VocoderRecipe, file: Path) -> Path:
    table = {k: v for k, v in dataclasses.asdict(recipe).items() if v is not None}
    file.write_text(yaml.safe_dump(json.loads(json.dumps(table))))
    assert read(file) == recipe
    return file


def test_two_processes_do_what_one_does(speech: Path, tmp_path: Path) -> None:
    """A batch is a batch, however many share it: TTS#976, ParallelWaveGAN#377."""
    recipe = written(a_recipe(), tmp_path / "recipe.yaml")
    done = torchrun(recipe, tmp_path / "two", "--data", str(speech))
    assert done.returncode == 0, done.stderr[-2000:]
    train(recipe, tmp_path / "one", data=[str(speech)])
    one, two = (load_file(tmp_path / name / "model/model.safetensors") for name in ("one", "two"))
    for name, weight in one.items():  # others' threads add up in another order
        torch.testing.assert_close(weight, two[name], rtol=1e-3, atol=2e-4)
    assert (tmp_path / "two/model/config.json").is_file()
    assert len(list((tmp_path / "two/samples").glob("1-*.wav"))) > 2


def test_what_it_writes_is_a_vocos_that_speaks_elsewhere(speech: Path, tmp_path: Path) -> None:
    """As many samples as frames have: hifi-gan#33. Padding is that of its mel bands: vocos#18."""
    run = gone(a_run(tmp_path / "run", speech), 6)
    folder = run.export()
    assert folder is not None
    said = json.loads((folder / "config.json").read_text())
    assert (said["model_type"], said["padding"], said["sampling_rate"]) == ("vocos", "same", 16_000)
    mel = spectra.log_mel(noise(13 * HOP + 77), spectra.MELS["edge"])[None]
    want = run.sound(torch.from_numpy(mel)).detach().numpy()
    assert want.shape == (1, 13 * HOP)
    pytest.importorskip("onnxruntime")
    artifact = convert(folder, tmp_path / "artifact", Options(target="onnx", quant="fp32"))
    assert verify(artifact, folder).passed
    got = open_net_proof(artifact, exact=True)(mel=mel, frame_mask=np.ones((1, 13), np.float32))
    np.testing.assert_allclose(got["audio"].reshape(1, -1), want, atol=1e-4)


def test_it_joins_a_voice_by_a_prefix(speech: Path, tmp_path: Path) -> None:
    folder = gone(a_run(tmp_path / "run", speech), 2).export() or Path()
    whole = tmp_path / "whole"
    said = json.loads((folder / "config.json").read_text())
    SPEAKING["edge_speech"].write(whole, vocoder=said)
    tensors = load_file(whole / "model.safetensors")
    own = load_file(folder / "model.safetensors")
    assert {f"vocoder.{name}" for name in own} <= tensors.keys()
    tensors |= {f"vocoder.{name}": tensor for name, tensor in own.items()}
    save_file(tensors, whole / "model.safetensors")
    with Checkpoint.open(whole, stage="vocoder") as joined, Checkpoint.open(folder) as alone:
        for name in alone.places:
            np.testing.assert_array_equal(joined[name], alone[name])


def test_samples_and_costs_are_there_while_it_runs(speech: Path, tmp_path: Path) -> None:
    run = a_run(tmp_path, speech)
    run.go()
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line["costs"].keys() == {"mel", "spectra", "told", "unlike", "judges"}
    picture = (tmp_path / "curves.svg").read_text()
    assert all(f">{name}<" in picture for name in ("mel", "told", "judges"))
    recorded, *made = sorted((tmp_path / "samples").glob("2-*.wav"), reverse=True)
    assert recorded.name == "2-recorded.wav"
    assert made[0].name == "2-000000024.wav"
    lengths = {open_sound(file).samples.size for file in (recorded, *made)}
    assert len(lengths) == 1


def test_it_starts_from_a_vocoder_of_its_shape(speech: Path, tmp_path: Path) -> None:
    folder = gone(a_run(tmp_path / "first", speech), 2).export()
    recipe = written(a_recipe(adversary=None), tmp_path / "recipe.yaml")
    data = Prepared([str(speech)])
    run = VocoderRun(read(recipe), tmp_path / "second", speech=data, start=folder)
    with Checkpoint.open(folder or Path()) as checkpoint:
        for name, weight in run.weights.items():
            np.testing.assert_array_equal(checkpoint[name], weight.detach().numpy())
    other = a_recipe(vocoder=VocoderShape(width=16, ffn_width=24, layers=1))
    with pytest.raises(EdgeError, match="not of the recipe's shape"):
        VocoderRun(other, tmp_path / "third", speech=data, start=folder)


def silent(folder: Path, *samples: np.ndarray) -> Path:
    """Utterances of these samples."""
    made = [
        Utterance(
            text="…",
            voice="ann",
            symbols=np.array([1]),
            frames=np.array([one.size // HOP]),
            hertz=np.zeros(one.size // HOP, np.float32),
            samples=one,
        )
        for one in samples
    ]
    write(folder, made)
    return folder


def test_silence_is_no_division_by_zero(tmp_path: Path) -> None:
    """Perfect silence made others' losses NaN: hifigan#4, waveglow#123, ddsp-singing-vocoders#9."""
    folder = silent(tmp_path / "data", np.zeros(20 * HOP, np.float32))
    run = gone(a_run(tmp_path / "run", folder), 6)
    assert run.at.stage == 1
    assert all(bool(weight.isfinite().all()) for weight in run.weights.values())


def test_judges_that_diverge_end_the_run_before_they_spoil_it(speech: Path, tmp_path: Path) -> None:
    """Retrieval-based-Voice-Conversion-WebUI#135 went on with judges of NaN beside bands that were finite."""
    run = gone(a_run(tmp_path, speech), 3)
    run.save()
    kept = (tmp_path / STATE).read_bytes()
    with torch.no_grad():
        run.weights[f"{judging.PREFIX}period.2.0.bias"].fill_(float("nan"))
    with pytest.raises(EdgeError, match="training diverged"):
        run.step()
    assert all(bool(run.weights[name].isfinite().all()) for name in run.makes)
    assert (tmp_path / STATE).read_bytes() == kept


def test_half_precision_is_for_networks_alone(speech: Path, tmp_path: Path) -> None:
    """Bands and costs are of float32: NaN and noise of others' half precision, waveglow#123, FluidAudio#569."""
    runs = [a_run(tmp_path, speech, precision=kind) for kind in ("fp32", "bf16")]
    (mel, real), (same, _) = (run.drawn(0) for run in runs)
    assert torch.equal(mel, same)
    for run in runs:
        run.at.stage = 1
    wide, half = (run.costs(real, run.sound(mel)) for run in runs)
    for name, cost in wide.items():
        assert half[name].dtype == torch.float32
        assert float(half[name]) == pytest.approx(float(cost), rel=0.05), name
    made = runs[0].sound(mel)
    assert torch.equal(*(run.costs(real, made)["spectra"] for run in runs))
    gone(runs[1], 5)


def test_short_utterances_are_no_crops(tmp_path: Path) -> None:
    """Others met a tensor of another size within the run: hifi-gan#112, glow-tts#66, melgan#11, CosyVoice#1659."""
    long, short = (np.full(n * HOP, 0.5, np.float32) for n in (8, 7))
    folder = silent(tmp_path / "data", short, long)
    run = gone(a_run(tmp_path / "run", folder), 6)
    assert run.drawn(0)[1].shape == (2, 8 * HOP)
    only = silent(tmp_path / "short", short)
    with pytest.raises(EdgeError, match="none of 1 utterances lasts the 8 frames of a crop"):
        a_run(tmp_path / "other", only)


def test_louder_crops_are_never_clipped(tmp_path: Path) -> None:
    """opus-recorder#152: what is beyond full scale wraps around elsewhere."""
    folder = silent(tmp_path / "data", np.linspace(-1, 1, 8 * HOP).astype(np.float32))
    run = a_run(tmp_path / "run", folder, crops=Crops(frames=8, batch=4, seen=24, louder=20.0))
    tops = [float(one.abs().max()) for split in range(2) for one in run.drawn(split)[1]]
    assert max(tops) <= 1.0 + 1e-6
    assert min(tops) < 0.9


def test_whatever_comes_in_sound_is_bounded(speech: Path, tmp_path: Path) -> None:
    """exp without a bound is a bang: iSTFTNet-pytorch#5."""
    run = a_run(tmp_path, speech)
    for value in (-1e4, 1e4, 88.0):
        made = run.sound(torch.full((1, 12, 80), value))
        assert bool(made.isfinite().all())
        assert float(made.abs().max()) < 1e3


def test_pieces_with_enough_around_them_are_the_whole(speech: Path, tmp_path: Path) -> None:
    """Pieces joined without what is around them click: hifi-gan#132, audio.cpp#429. A convolution of 7 sees 3 frames
    each way, and a window reaches into 3 hops beyond its own.
    """
    run, rng = a_run(tmp_path, speech), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in run.weights.values():
            weight += 0.3 * torch.randn(weight.shape, generator=rng)
    layers, parts = run.recipe.vocoder.layers, 800 // HOP
    around = 3 * (layers + 1) + parts - 1
    mel = torch.from_numpy(spectra.log_mel(noise(90 * HOP), spectra.MELS["edge"]))[None]
    whole = run.sound(mel)[0].detach()
    piece = run.sound(mel[:, 40 - around : 50 + around])[0].detach()[around * HOP :][: 10 * HOP]
    torch.testing.assert_close(piece, whole[40 * HOP : 50 * HOP], atol=1e-5, rtol=0)
    less = around - 3
    piece = run.sound(mel[:, 40 - less : 50 + less])[0].detach()[less * HOP :][: 10 * HOP]
    assert float((piece - whole[40 * HOP : 50 * HOP]).abs().max()) > 1e-5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocoder": {"mel": "hifi-gan-22k"}}, "none of edge: prepared speech has 16,000"),
        ({"vocoder": {"width": 0}}, "width is 0"),
        ({"crops": {"batch": 3}}, "no 2 equal splits"),
        ({"crops": {"frames": 4}}, "at least 8 frames"),
        ({"crops": {"louder": 50}}, "40 dB"),
        ({"costs": {"windows": [130]}}, "multiples of 4"),
        ({"costs": {"windows": [16384]}}, "shorter than a window of 16384"),
        ({"costs": {"windows": "wide"}}, "no list of numbers"),
        ({"costs": {"windows": [0]}}, "no list of numbers"),
        ({"costs": {"mel": 0, "spectra": 0}}, "neither mel nor spectra"),
        ({"adversary": {"after": 2}}, "no share"),
        ({"adversary": {"loss": "log"}}, "none of squares, hinge"),
        ({"adversary": {"periods": [3, 3]}}, "periods differ"),
        ({"adversary": {"windows": [4]}}, "from 16"),
        ({"adversary": {"speed": 1}}, "speed"),
    ],
)
def test_recipes_that_cannot_be_are_refused(
    changes: dict[str, dict[str, Any]], said: str, tmp_path: Path
) -> None:
    table = json.loads(json.dumps(dataclasses.asdict(a_recipe())))
    del table["average"]
    for key, value in changes.items():
        table[key] = table[key] | value
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(table))
    with pytest.raises(EdgeError, match=said):
        read(file)


def test_data_is_one_folder_or_several(speech: Path, tmp_path: Path) -> None:
    more = utterances.prepared(tmp_path / "more", voices=("cat",), each=3, seed=1)
    both = Prepared([str(speech), str(more)])
    assert len(both) == len(both.lengths) == 11
    np.testing.assert_array_equal(both[9].samples, Prepared([str(more)])[1].samples)
    assert [both[i].samples.size // HOP for i in range(11)] == both.lengths.tolist()
    assert both.digest != Prepared([str(more), str(speech)]).digest
    with pytest.raises(EdgeError, match="was given none"):
        train(PACKAGED, tmp_path / "run")
    with pytest.raises(EdgeError, match="no folder of prepared speech"):
        train(PACKAGED, tmp_path / "run", data=[str(tmp_path / "nothing")])
    assert not (tmp_path / "run").exists()


def test_the_packaged_recipe_fits_a_phone() -> None:
    recipe = read(PACKAGED)
    spec = recipe.vocoder.origin().spec
    assert sum(int(np.prod(shape)) for shape in spec.config.shapes().values()) <= 800_000
