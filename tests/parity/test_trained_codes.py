"""Codes that are trained by a text: proved on every target, the same every time, whole or killed."""

import errno
import sys
from pathlib import Path

import numpy as np
import pytest
from support import nothing_left, tiny

from edge.api import verify_artifact
from edge.artifact.manifest import Artifact
from edge.convert.calibrated import Reading
from edge.convert.calibration import Calibration
from edge.convert.conversion import convert, convert_all
from edge.convert.options import Options
from edge.convert.tuning import Course
from edge.errors import EdgeError, Unsupported
from edge.nn.decoder import decoder
from edge.quant.methods import Training, methods
from edge.quant.recipe import parse
from edge.quant.tensor import QTensor
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.typing import F32

torch = pytest.importorskip("torch")

from edge_runtimes.torch import tuning  # noqa: E402 - where there is torch
from edge_runtimes.torch.ops import TorchOps  # noqa: E402

RECIPES = {
    "onnx": "efficientqat-int2-g32-min",
    "torch": "efficientqat-int3-g32-asym-bf16",
    "mlx": "efficientqat-int2-g64-min-fp16",
    "gguf": "efficientqat-int4-g32-min-fp16",
    "coreml": "efficientqat-int4-g32",
}


def asked(world_text: Path, target: str = "torch", *, quant: str = "", **more: object) -> Options:
    text = Calibration.of(world_text, 300)
    return Options(target=target, quant=quant or RECIPES[target], calibrate=text, **more)  # type: ignore[arg-type]


def contents(artifact: Artifact) -> dict[str, str]:
    return dict(artifact.files)


@pytest.mark.parametrize("target", RECIPES)
def test_every_target_holds_what_was_trained(
    target: str, world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    ends = {"embed": "q8_0", "head": "q8_0"} if target == "gguf" else {}
    options = asked(world_text, target, **ends)
    artifact = convert(short_stories, tmp_path / "it", options)
    report = verify_artifact(artifact.folder, str(short_stories), tokens=16)
    assert report.passed, report
    assert all(one.near for one in report.matrices)  # type: ignore[attr-defined]


def test_it_is_the_same_again_together_and_killed(
    world_text: Path, tmp_path: Path, short_stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """auto-round#671 is another model each time. What layers were trained are not trained again."""
    options = asked(world_text, quant="efficientqat-int2-g64-min-fp16")
    alone = convert(short_stories, tmp_path / "alone", options)
    outs = {"mlx": tmp_path / "mlx", "torch": tmp_path / "torch"}
    assert contents(convert_all(short_stories, outs, options)[1]) == contents(alone)
    keep, trained, left = Reading.keep, Course._train, [2]

    def stopping(self: Reading, *given: object) -> object:
        if left == [0]:
            raise OSError(errno.ENOSPC, "full")
        left[0] -= 1
        return keep(self, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Reading, "keep", stopping)
        with pytest.raises(OSError, match="full"):
            convert(short_stories, tmp_path / "killed", options)
    begun: list[int] = []

    def counted(self: Course, index: int, *given: object) -> None:
        begun.append(index)
        trained(self, index, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Course, "_train", counted)
    assert contents(convert(short_stories, tmp_path / "killed", options)) == contents(alone)
    assert begun == [2]
    assert not list(tmp_path.rglob("*trained-*"))


def test_codes_are_trained_again_by_their_text(
    world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    artifact = convert(short_stories, tmp_path / "it", asked(world_text))
    source, folder = str(short_stories), artifact.folder
    report = verify_artifact(folder, source, tokens=4, remake=True, calibrate=world_text)
    assert (report.passed, report.differing_bytes) == (True, 0)  # type: ignore[attr-defined]


def test_other_weights_of_a_layer_stay_as_they_are(
    world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    """Some are trained beside floats and codes that are not."""
    some = {
        "layers.0.*": "fp16",
        "layers.*.attn.o": "rtn-int8-g32",
        "layers.1.mlp.up": "gptq-int4-g32",
    }
    options = asked(world_text, "torch", quant="efficientqat-int2-g32-min", overrides=some)
    artifact = convert(short_stories, tmp_path / "it", options)
    assert verify_artifact(artifact.folder, str(short_stories), tokens=8).passed


def test_without_torch_it_is_said_before_anything_is_begun(
    world_text: Path, tmp_path: Path, short_stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("edge_runtimes.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Unsupported, match=r"needs the package torch(.|\n)*edge-toolkit\[torch\]"):
        convert(short_stories, tmp_path / "it", asked(world_text, "onnx"))
    assert nothing_left(tmp_path / "it")


def test_a_text_that_is_too_short_or_missing_is_said(
    world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    few = tmp_path / "few.txt"
    few.write_text("a few")
    with pytest.raises(EdgeError, match=r"is of \d tokens"):
        convert(short_stories, tmp_path / "it", asked(few))
    source = tiny(tmp_path / "source", "llama")
    with pytest.raises(EdgeError, match="no tokenizer to read the text that"):
        convert(source, tmp_path / "it", Options(target="torch", quant="efficientqat-int2-g32"))
    assert nothing_left(tmp_path / "it")


def likely(source: Checkpoint, weights: dict[str, F32], ids: list[int]) -> torch.Tensor:
    """Logarithms of chances [T, V], by the model's definition."""
    ops = TorchOps({name: torch.from_numpy(weight) for name, weight in weights.items()})
    with torch.no_grad():
        return decoder(ops, source.decoder, torch.tensor([ids]))[0].log_softmax(-1)


def test_a_layer_comes_nearer_and_then_the_whole_model(short_stories: Path) -> None:
    """Of noise as a text: the layer's own error falls, and the divergence of all of them."""
    training = Training(passes=12, weights=0.01, steps=0.001, zeros=0.002, rounds=12, scales=3e-3)
    scheme = parse("efficientqat-int2-g32-min").body
    rng = np.random.default_rng(0)
    with Checkpoint.open(short_stories) as source:
        spec, floats = source.decoder, {name: whole(source, name) for name in source.places}
        ids = [[int(i) for i in rng.integers(3, 1300, length)] for length in (40, 40, 17)]
        streams = [floats["embed"][window] for window in ids]

        def out(weights: dict[str, F32], x: F32, index: int) -> F32:
            ops = TorchOps({name: torch.from_numpy(weight) for name, weight in weights.items()})
            with torch.no_grad():
                made = tuning._through(ops, spec, index, torch.from_numpy(x[None]))
            return made[0].numpy()

        def off(codes: dict[str, QTensor]) -> float:
            meant = floats | {name: one.dequantize() for name, one in codes.items()}
            pairs = ((out(meant, x, 0), out(floats, x, 0)) for x in streams)
            return float(
                np.mean([(((a - b) ** 2).sum(1) / (b**2).sum(1)).mean() for a, b in pairs])
            )

        every = {
            name: methods()["efficientqat"].quantize(weight, scheme)
            for name, weight in floats.items()
            if name.startswith("layers.") and weight.ndim == 2
        }
        first = {name: one for name, one in every.items() if name.startswith("layers.0.")}
        own = {name: weight for name, weight in floats.items() if name.startswith("layers.0.")}
        pairs = [(x, out(floats, x, 0)) for x in streams]
        trained = tuning.layer(spec, 0, own, first, pairs, training, lambda _: None, "cpu")
        assert off(trained) < 0.8 * off(first)

        full = []
        for x in streams:
            for index in range(len(spec.layers)):
                x = out(floats, x, index)
            full.append(x)
        rest = {name: weight for name, weight in floats.items() if name not in every}
        pairs = list(zip(streams, full, strict=True))
        scaled = tuning.scales(
            spec, rest, every, pairs, floats["embed"], training, lambda _: None, "cpu"
        )

        def apart(codes: dict[str, QTensor]) -> float:
            meant = floats | {name: one.dequantize() for name, one in codes.items()}
            found = [
                (likely(source, floats, window), likely(source, meant, window)) for window in ids
            ]
            return float(np.mean([(a.exp() * (a - b)).sum(-1).mean() for a, b in found]))

        assert all((scaled[name].codes == one.codes).all() for name, one in every.items())
        assert apart(scaled) < 0.9 * apart(every)
