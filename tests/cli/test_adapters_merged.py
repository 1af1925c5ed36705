"""edge convert --adapter: what is converted are the weights that PEFT merges, and edge verify proves it."""

import json
from pathlib import Path

import numpy as np
import pytest
from adapting import saved
from conftest import Edge
from support import shortened

from edge.adapters import peft

TARGETS = ["q_proj", "o_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A checkpoint, an adapter of it, and the checkpoint that PEFT makes of both."""
    home = tmp_path_factory.mktemp("tuned")
    source = shortened(home / "model", 2)
    model = saved(home / "adapter", source, r=4, use_dora=True, target_modules=TARGETS)
    model.merge_and_unload().save_pretrained(home / "merged")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (home / "merged" / name).write_bytes((source / name).read_bytes())
    return source, home / "adapter", home / "merged"


def logits(folder: Path) -> np.ndarray:
    import edge as library

    return library.load(folder).decoder.score([1, 5, 9, 12])  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("quant", ["fp32", "rtn-int8-g32"])
@pytest.mark.parametrize("target", ["onnx", "torch", "mlx"])
def test_merged_while_it_streams(
    target: str, quant: str, tuned: tuple[Path, Path, Path], edge: Edge, tmp_path: Path
) -> None:
    source, adapter, merged = tuned
    out, want = tmp_path / "out", tmp_path / "want"
    args = ("--to", target, "--quant", quant, "--json")
    made = edge("convert", source, "--adapter", adapter, "-o", out, *args)
    assert made.code == 0, made.err
    assert edge("convert", merged, "-o", want, *args).code == 0
    got = logits(out)
    assert abs(logits(want) - got).max() <= (1e-4 if quant == "fp32" else 0.1) * abs(got).max()

    kept = json.loads((out / "edge.json").read_text())
    assert set(kept["adapter"]) == {peft.CONFIG, peft.WEIGHTS}
    assert not set(kept["adapter"]) & set(kept["source"])
    given = ("--against", source, "--tokens", "4", "--json")
    proof = edge("verify", out, *given, "--adapter", adapter)
    assert proof.code == 0, proof.out
    assert proof.json["differing_bytes"] == 0
    other = edge("verify", out, *given)
    assert other.code == 2
    assert "--adapter" in other.err


def test_another_adapter_is_found_out(
    tuned: tuple[Path, Path, Path], edge: Edge, tmp_path: Path
) -> None:
    source, adapter, _ = tuned
    out, plain, other = tmp_path / "out", tmp_path / "plain", tmp_path / "other"
    args = ("--to", "torch", "--quant", "fp32")
    assert edge("convert", source, "--adapter", adapter, "-o", out, *args).code == 0
    assert edge("convert", source, "-o", plain, *args).code == 0
    saved(other, source, seed=1, r=4, use_dora=True, target_modules=TARGETS)
    proof = edge("verify", out, "--against", source, "--adapter", other, "--tokens", "4", "--json")
    assert proof.code == 1
    assert proof.json["differing_bytes"]

    files = edge("verify", out, "--files", "--against", source, "--adapter", other, "--json")
    assert files.code == 1
    assert files.json["changed_inputs"] == [peft.WEIGHTS]
    files = edge("verify", out, "--files", "--against", source, "--adapter", adapter, "--json")
    assert files.code == 0
    assert edge("verify", out, "--files").code == 0
    assert "--against" in edge("verify", out, "--files", "--adapter", adapter).err
    wrong = edge("verify", plain, "--files", "--against", source, "--adapter", adapter)
    assert wrong.code == 2
    assert "without one" in wrong.err
    twice = edge("run", out, "Hi there.", "--adapter", adapter)
    assert twice.code == 2
    assert "was merged into the weights" in twice.err


def test_wrong_adapters_leave_nothing(
    tuned: tuple[Path, Path, Path], edge: Edge, tmp_path: Path
) -> None:
    source, adapter, _ = tuned
    (tmp_path / "base").mkdir()
    for given, words in ((tmp_path / "not", "there is no"), (tmp_path / "base", "holds no")):
        made = edge("convert", source, "--adapter", given, "-o", tmp_path / "out", "--to", "torch")
        assert made.code in (2, 4)
        assert words in made.err
    reads = Path(__file__).parents[2] / "edge" / "models" / "edge-reads"
    made = edge("convert", reads, "--adapter", adapter, "-o", tmp_path / "out")
    assert made.code == 2
    assert "--adapter" in made.err
    other = shortened(tmp_path / "one", 1)
    made = edge("convert", other, "--adapter", adapter, "-o", tmp_path / "out", "--to", "torch")
    assert made.code == 4
    assert "layers.1" in made.err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_reads_the_adapter(
    tuned: tuple[Path, Path, Path], edge: Edge, tmp_path: Path
) -> None:
    source, adapter, _ = tuned
    said = edge(
        "convert", source, "--adapter", adapter, "--to", "onnx,torch", "--dry-run", "--json"
    )
    assert said.code == 0
    assert "model-adapter-" in said.out
    said = edge("convert", source, "--adapter", tmp_path / "not", "--dry-run")
    assert said.code == 2
