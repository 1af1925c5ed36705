"""A text that torch reads on a device, to round by it: as numpy reads it, the same alone and shared out, whole or
killed. On a CPU; of CUDA's way through the code what can be known without one.
"""

import errno
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from support import CONFIGS, config_of, environment, nothing_left, run, tiny, weights_of
from support import checkpoint as written
from test_shared_reading import shared

from edge import targets
from edge.api import eval_text, plan_conversion, plan_model, verify_artifact
from edge.artifact.manifest import Artifact
from edge.artifact.publishing import partial_of
from edge.convert import calibrated, conversion
from edge.convert.calibrated import Reading
from edge.convert.calibration import Calibration, measure
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import Damaged, EdgeError, Unsupported
from edge.names import shapes
from edge.source.checkpoint import Checkpoint
from edge.system import graphics
from edge.system.team import Parts, Threads
from edge.typing import F32

torch = pytest.importorskip("torch")

from edge_runtimes.torch import arithmetic  # noqa: E402 - where there is torch
from edge_runtimes.torch import ops as torch_ops  # noqa: E402
from edge_runtimes.torch.attention import blocks, fused  # noqa: E402
from edge_runtimes.torch.calibrating import Calibrator  # noqa: E402
from edge_runtimes.torch.walk import Walk, Weights, through  # noqa: E402

TOKENS = 700  # of two windows


def asked(text: Path, on: str | None, quant: str = "gptq-int4-g64", **more: Any) -> Options:
    """On ONNX, by this text."""
    by = Calibration.of(text, TOKENS)
    return Options(target="onnx", quant=quant, calibrate=by, calibrate_on=on, **more)


def contents(artifact: Artifact) -> dict[str, str]:
    return dict(artifact.files)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_walk_hears_and_passes_on_what_numpy_s_does(family: str, tmp_path: Path) -> None:
    ids = [[int(i) for i in np.random.default_rng(n).integers(0, 90, 33 - n)] for n in range(2)]
    with Checkpoint.open(tiny(tmp_path / "it", family)) as checkpoint:
        pure, found = (targets.calibrator(on).walk(checkpoint, ids) for on in ("numpy", "cpu"))
        assert isinstance(found, Walk)
        while pure.layer < len(checkpoint.decoder.layers):
            heard: list[list[tuple[tuple[str, ...], F32]]] = [[], []]
            for window in range(2):
                made = [
                    walk.one(window, lambda *it, to=to: to.append(it))
                    for walk, to in zip((pure, found), heard, strict=True)
                ]
                near(made[1], made[0])
            assert [names for names, _ in heard[0]] == [names for names, _ in heard[1]]
            for (_, want), (_, got) in zip(*heard, strict=True):
                near(got, want)
            for walk in (pure, found):
                walk.forget()
                name = f"layers.{walk.layer}.attn.q"
                walk.replace(name, np.zeros(checkpoint.shape(name), np.float32))
                walk.arrive(walk.through(None, lambda _: None))
            near(found.streams[1], pure.streams[1])
        last: list[list[F32]] = [[], []]
        pure.last(lambda _, x: last[0].append(x))
        found.last(lambda _, x: last[1].append(x))
        for want, got in zip(*last, strict=True):
            near(got, want)


def near(found: F32, wanted: F32) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("quant", ["gptq-int4-g64", "awq-int4-g64", "quip-int4-g64"])
def test_codes_are_numpy_s_but_for_ties(
    quant: str, world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    """Of the first layer; what becomes of a tie goes through all later ones, and no loss with it."""
    made = [
        convert(short_stories, tmp_path / on, replace(asked(world_text, on, quant), target="torch"))
        for on in ("numpy", "cpu")
    ]
    one, other = (packed(it, 0) for it in made)
    assert (one == other).mean() >= 0.999
    text = tmp_path / "some.txt"
    text.write_text(world_text.read_text()[:2000])
    lost = [eval_text(it.folder, text, window=None, threads=1).nats_per_token for it in made]
    assert lost[1] == pytest.approx(lost[0], abs=1e-3)
    told = made[1].manifest.calibration
    assert told is not None
    assert (told["on"], told["by"]) == ("cpu", f"torch {torch.__version__} on a CPU")
    assert verify_artifact(made[1].folder, str(short_stories), tokens=8).passed


def packed(artifact: Artifact, layer: int) -> "np.ndarray[Any, Any]":
    """Codes of a layer's matrices, two a byte."""
    every = load_file(artifact.folder / "model.safetensors")
    names = [n for n in every if n.startswith(f"layers.{layer}.") and n.endswith(".codes")]
    return np.concatenate([every[name].ravel() for name in names])


def test_it_is_the_same_every_time_and_remade(
    world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    """As mlx-lm#1759 is not; and on a device that is not there nothing is remade by another."""
    one, other = (convert(short_stories, tmp_path / n, asked(world_text, "cpu")) for n in "ab")
    assert contents(one) == contents(other)

    def again() -> Any:
        return verify_artifact(
            one.folder, str(short_stories), tokens=4, remake=True, calibrate=world_text
        )

    report = again()
    assert (report.passed, report.differing_bytes) == (True, 0)
    file = one.folder / "edge.json"
    for device, why in (("cuda", "sees no device cuda"), ("tpu", "nothing is calibrated on")):
        told = json.loads(file.read_text())
        told["calibration"]["on"] = device
        file.write_text(json.dumps(told))
        with pytest.raises(Unsupported, match=f"was read on '{device}'.*{why}"):
            again()


@pytest.mark.parametrize(("processes", "quant"), [(2, "gptq-int4-g64"), (4, "awq-int4-g64")])
def test_processes_make_what_one_makes(
    processes: int, quant: str, world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    alone = convert(short_stories, tmp_path / "alone", asked(world_text, "cpu", quant))
    out = tmp_path / "shared"
    found = shared(processes, short_stories, world_text, quant, out, "--calibrate-on", "cpu")
    assert contents(found) == contents(alone)
    assert found.manifest == alone.manifest


class Others(Threads):
    """A team whose first process has another numpy."""

    def told(self, parts: Parts) -> Parts:
        return {"by": np.array(["numpy 1.0"])}


def test_processes_that_compute_otherwise_than_the_first_are_refused(
    world_text: Path, short_stories: Path
) -> None:
    """What each of them made would be put together to what none makes."""
    task = SimpleNamespace(calibration=Calibration.of(world_text, 200))
    works: Any = [SimpleNamespace(task=task, folder=short_stories)]
    with (
        Checkpoint.open(short_stories) as checkpoint,
        pytest.raises(EdgeError, match=r"round by numpy .*, and the first by numpy 1\.0"),
    ):
        conversion._Text.of(checkpoint, works, Others())


def test_killed_it_goes_on_where_it_was_read_and_nowhere_else(
    world_text: Path, tmp_path: Path, short_stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of hours is not lost (AutoGPTQ#765), nor gone on with by what computes otherwise (GPTQModel#3057)."""
    whole = {
        on: convert(short_stories, tmp_path / on, asked(world_text, on)) for on in ("cpu", "numpy")
    }
    keep, codes = Reading.keep, calibrated._codes
    for on, again in (("cpu", 1), ("numpy", 3)):
        left, begun = [2], list[int]()

        def stopping(self: Reading, *given: Any, left: list[int] = left) -> Any:
            if not left[0]:
                raise OSError(errno.ENOSPC, "full")
            left[0] -= 1
            return keep(self, *given)

        def counted(*given: Any, begun: list[int] = begun) -> Any:
            begun.append(1)
            return codes(*given)

        out = tmp_path / f"killed-{on}"
        with monkeypatch.context() as patch:
            patch.setattr(Reading, "keep", stopping)
            with pytest.raises(OSError, match="full"):
                convert(short_stories, out, asked(world_text, "cpu"))
        resumes = [
            plan_conversion(str(short_stories), "onnx", out, asked(world_text, to))[0]["resumes"]
            for to in ("cpu", "numpy")
        ]
        assert resumes == [True, False]
        with monkeypatch.context() as patch:
            patch.setattr(calibrated, "_codes", counted)
            made = convert(short_stories, out, asked(world_text, on))
        assert len(begun) == again + 1, "and the head"
        assert contents(made) == contents(whole[on])
        assert not partial_of(out).exists()


def test_what_is_not_here_is_refused_before_anything_is_written(
    world_text: Path, tmp_path: Path, short_stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(on: str, quant: str = "gptq-int4-g64") -> EdgeError:
        with pytest.raises(EdgeError) as found:
            convert(
                short_stories,
                tmp_path / "it",
                Options(target="onnx", quant=quant, calibrate_on=on),
            )
        assert nothing_left(tmp_path / "it")
        return found.value

    assert "nothing is calibrated on 'tpu'" in refused("tpu").problem
    if not torch.cuda.is_available():
        error = refused("cuda")
        assert "sees no device cuda here" in error.problem
        assert "--calibrate-on cpu" in error.fix
    assert "--calibrate-on would change nothing" in refused("cpu", "rtn-int4-g32").problem
    for name in [name for name in sys.modules if name.startswith("edge_runtimes.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "needs the package torch" in refused("cpu").problem


def test_the_command_says_where(world_text: Path, tmp_path: Path, short_stories: Path) -> None:
    """The user chooses (quantkit#7), and a CPU is one of the choices (lmdeploy#1729)."""
    command = ["convert", str(short_stories), "--to", "gguf", "--quant", "q2_k", "--calibrate"]
    command += [str(world_text), "--calibrate-tokens", "200", "-o", str(tmp_path / "it"), "--json"]
    done = run(*command, "--calibrate-on", "gpu")
    assert done.returncode == 2
    assert "--calibrate-on gpu is not one of 'numpy', 'cpu', 'cuda'" in done.stderr
    done = run("convert", str(short_stories), "--via", "optimum", "--calibrate-on", "cpu")
    assert done.returncode == 2
    assert "--calibrate-on" in done.stderr


@pytest.mark.parametrize(
    ("driver", "torch_there", "sees", "want"),
    [
        (False, True, True, "numpy"),
        (True, False, True, "numpy"),
        (True, True, False, "numpy"),
        (True, True, True, "cuda"),
    ],
)
def test_left_out_it_is_a_gpu_that_torch_sees(
    driver: bool, torch_there: bool, sees: bool, want: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphics, "may_have_cuda", lambda: driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: sees)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(sees))
    monkeypatch.delenv("EDGE_DEVICE", raising=False)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: found(name) if torch_there else None
    )
    assert targets.calibrates_on(None) == want
    assert targets.calibrates_on("numpy") == "numpy"
    monkeypatch.setenv("EDGE_DEVICE", "cpu")
    assert targets.calibrates_on(None) == "numpy"


def test_without_a_driver_torch_is_not_loaded_to_be_asked() -> None:
    code = (
        "import sys; from edge import targets; from edge.system import graphics; "
        "graphics.may_have_cuda = lambda: False; "
        "print(targets.calibrator().told, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout.split() == ["numpy", np.__version__, "False"], done.stderr


class Watched(list[F32]):
    """Windows of which it is known how many were taken."""

    taken = 0

    def __getitem__(self, at: Any) -> Any:
        self.taken += 1
        return super().__getitem__(at)


def test_a_device_holds_one_layer_and_one_window(tmp_path: Path) -> None:
    """Not all of the text (AutoAWQ#423 wants 156 GB for it), nor more with each layer (llm-awq#144)."""
    with Checkpoint.open(tiny(tmp_path / "it")) as checkpoint:
        walk = targets.calibrator("cpu").walk(checkpoint, [[1, 2, 3]] * 4)
        assert isinstance(walk, Walk)
        walk.streams = watched = Watched(walk.streams)
        walk.one(2, None)
        assert watched.taken == 1
        held = set(walk.weights._read)
        assert held
        assert all(name.startswith("layers.0.") or name == "norm" for name in held)
        walk.arrive(list(watched))
        assert not walk.weights._read
        walk.one(0, None)
        assert all(n.startswith("layers.1.") or n == "norm" for n in walk.weights._read)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("attention", [blocks, fused])
def test_every_tensor_of_a_layer_is_on_its_device(
    family: str,
    attention: Callable[..., torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rotary tables, masks and biases are where weights are (AutoGPTQ#729, AutoGPTQ#370): of a device that has no
    numbers, which is not the CPU; by either attention, the second one CUDA's.
    """
    monkeypatch.setattr(torch_ops, "blocks", attention)
    with Checkpoint.open(tiny(tmp_path / "it", family)) as checkpoint:
        spec = checkpoint.decoder
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes(spec).items()}
    x = torch.empty(20, spec.width, device="meta")
    for layer in range(len(spec.layers)):
        x = through(weights, spec, layer, x, None)
        assert x.shape == (20, spec.width)
        assert x.device.type == "meta"


def test_a_device_s_sums_and_factors_stay_there() -> None:
    sums = arithmetic.Sums(300, torch.device("meta"))
    sums.add(np.ones((4, 300), np.float32))
    assert {sums._part(0).device.type, sums._sizes.device.type} == {"meta"}


def test_a_gpu_that_is_too_small_is_said(
    world_text: Path, tmp_path: Path, short_stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a traceback of torch's (AutoAWQ#482)."""

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 156.00 GiB")

    monkeypatch.setattr(Walk, "one", full)
    with pytest.raises(EdgeError, match="too little free memory for one layer"):
        convert(short_stories, tmp_path / "it", asked(world_text, "cpu"))


def test_a_weight_that_is_no_number_is_found_by_its_name(tmp_path: Path) -> None:
    """ik_llama.cpp#1664 says that one is, and not which row."""
    weights = weights_of(config_of("llama"))
    name = next(n for n in weights if "layers.0" in n and "q_proj" in n)
    weights[name][3, 2] = np.nan
    source = written(tmp_path / "it", config_of("llama"), weights)
    with Checkpoint.open(source) as checkpoint:
        walk = targets.calibrator("cpu").walk(checkpoint, [[1, 2, 3]])
        with pytest.raises(Damaged, match="holds NaN in row 3"):
            walk.one(0, None)


def test_what_torch_was_set_to_is_as_it_was() -> None:
    by = Calibrator("cpu")
    torch.set_float32_matmul_precision("medium")
    try:
        with by.steadily():
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_float32_matmul_precision() == "medium"
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_float32_matmul_precision("highest")


def test_an_importance_matrix_is_numpy_s(world_text: Path, short_stories: Path) -> None:
    with Checkpoint.open(short_stories) as checkpoint:
        windows = Calibration.of(world_text, 300).windows(short_stories, 512)
        one, other = (
            measure(checkpoint, windows, by=targets.calibrator(on)) for on in ("numpy", "cpu")
        )
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("quant", ["smoothquant-w8a8", "efficientqat-int2-g64-min"])
def test_whatever_reads_a_text_reads_it_there(
    quant: str, world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    """Also what balances weights (llm-compressor#107), and what trains them."""
    options = Options(
        target="onnx",
        quant=quant,
        calibrate=Calibration.of(world_text, 200),
        calibrate_on="cpu",
    )
    made = convert(short_stories, tmp_path / "it", options)
    assert verify_artifact(made.folder, str(short_stories), tokens=8).passed


def test_bits_are_chosen_there(world_text: Path, tmp_path: Path, short_stories: Path) -> None:
    made = [
        convert(
            short_stories,
            tmp_path / on,
            Options(target="onnx", quant="rtn-int4-g64", size=7_000_000, calibrate_on=on),
        ).manifest.overrides
        for on in ("numpy", "cpu")
    ]
    assert made[0] == made[1]


def test_a_plan_counts_what_torch_takes(short_stories: Path) -> None:
    plans = [
        plan_model(
            str(short_stories),
            "onnx",
            Options(target="onnx", quant="gptq-int4-g64", calibrate_on=on),
            threads=1,
        )[0].convert_bytes
        for on in ("numpy", "cpu")
    ]
    assert plans[1] > plans[0]


def test_a_checkpoint_is_read_to_a_device_once(tmp_path: Path) -> None:
    with Checkpoint.open(tiny(tmp_path / "it")) as checkpoint:
        weights = Weights(checkpoint, torch.device("cpu"))
        assert len(weights) == len(list(weights)) == len(shapes(checkpoint.decoder))
        name = "layers.0.attn.q"
        assert weights[name] is weights[name]
        np.testing.assert_array_equal(
            weights[name].numpy(), np.concatenate(list(checkpoint.blocks(name)))
        )
