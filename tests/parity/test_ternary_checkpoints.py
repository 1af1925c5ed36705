"""Checkpoints that were trained to be ternary, in groups of 128 as some are published: their values reach ONNX
Runtime's 2-bit kernel unchanged. The file's codes are unpacked here by what the operator's documentation says.
"""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import checkpoint, config_of, weights_of

from edge.api import verify_artifact
from edge.convert.conversion import convert
from edge.convert.options import Options

onnx = pytest.importorskip("onnx")

GROUP = 128


def ternary(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    config = config_of("llama", hidden_size=128, intermediate_size=256)
    rng, weights = np.random.default_rng(7), weights_of(config)
    inner = {n: w for n, w in weights.items() if ".layers." in n and w.ndim == 2}
    for name, w in inner.items():
        signs = rng.integers(-1, 2, w.shape)
        sizes = rng.integers(1, 256, (len(w), w.shape[1] // GROUP)) / 2048
        weights[name] = (signs * np.repeat(sizes, GROUP, axis=1)).astype(np.float32)
    return checkpoint(folder, config, weights), {name: weights[name] for name in inner}


def unpacked(file: Path) -> list[np.ndarray]:
    """What the weights of every MatMulNBits of two bits are, [N, K]: (code - zero point) * scale, codes from the
    lowest bits of a byte on.
    """
    graph = onnx.load(file).graph
    held = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    out = []
    for node in graph.node:
        about = {each.name: each.i for each in node.attribute}
        if node.op_type != "MatMulNBits" or about["bits"] != 2:
            continue
        packed = held[node.input[1]]
        codes = np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1)
        codes = codes.reshape(about["N"], -1, about["block_size"]).astype(np.float32)
        assert len(node.input) < 4 or not node.input[3], "the middle is zero"
        weights = (codes - 2) * held[node.input[2]].reshape(about["N"], -1, 1)
        out.append(weights.reshape(about["N"], -1))
    return out


def test_every_value_is_what_it_was(tmp_path: Path) -> None:
    source, weights = ternary(tmp_path / "source")
    options = Options(target="onnx", quant="ternary-g128", embed="fp32", head="fp32")
    artifact = convert(source, tmp_path / "it", options)
    found = unpacked(artifact.folder / "model.onnx")
    assert found
    assert verify_artifact(artifact.folder, str(source), tokens=16).passed
    rows = {row.tobytes() for each in found for row in each}
    for name, w in weights.items():
        assert all((row + 0.0).tobytes() in rows for row in w), name


def narrow(source: Path) -> None:
    """One weight, in a row that nobody looks at first, becomes a fourth value of its group."""
    file = source / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("layers.1.mlp.up_proj.weight"))
    weights[name][-1, 3] = 1 / 3
    save_file(weights, file)


@pytest.mark.parametrize(
    ("target", "spoilt", "recipe"),
    [
        ("onnx", False, "ternary-g128"),
        ("mlx", False, "ternary-g128-fp16"),
        ("gguf", False, "search-int4-g32-fp16"),  # which holds no three values as they are
        ("onnx", True, "search-int4-g128"),
    ],
)
def test_it_is_found_where_nobody_says_so(
    target: str, spoilt: bool, recipe: str, tmp_path: Path
) -> None:
    source, _ = ternary(tmp_path / "source")
    if spoilt:
        narrow(source)
    artifact = convert(source, tmp_path / "it", Options(target=target, quant="int4"))
    assert artifact.manifest.recipe == recipe
    assert artifact.manifest.overrides == {}
    own = convert(source, tmp_path / "own", Options(target=target, quant="rtn-int4-g32-fp16"))
    assert own.manifest.recipe == "rtn-int4-g32-fp16", "what is asked for is made"
