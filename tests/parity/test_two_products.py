"""Weights that are sums of two, or of rotated columns, on the targets that compute so, and refused elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from support import dividing, tiny

import edge
from edge import targets
from edge.api import verify_artifact
from edge.convert.calibration import Calibration
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.safetensors import SafetensorsFile
from edge.quant.recipe import parse

RECIPES = ("billm-int1-g32", "dbllm-int2-g64-fp16", "pbllm-int2-g32", "pbllm-int1-g32-bf16")
ABLE = ("mlx", "torch")
ROTATED = {"mlx": "quip-int3-g32-min-fp16", "torch": "quip-int3-g64", "onnx": "quip-int2-g32-asym"}
ORDERS = {"mlx": "model.layers.0.self_attn.q_proj.order", "torch": "layers.0.attn.q.order"}
STORIES = Path(edge.__file__).parent / "models" / "edge-stories"


def made(place: Path, recipe: str, target: str, family: str = "llama") -> tuple[Path, Path]:
    """Random weights, with the words of the packaged model."""
    source = tiny(place / "source", family, **dividing(family), vocab_size=1408)
    for file in STORIES.glob("tokenizer*.json"):
        (source / file.name).write_bytes(file.read_bytes())
    options = Options(target=target, quant=recipe, calibrate=Calibration.packaged(200))
    return source, convert(source, place / "it", options).folder


@pytest.mark.parametrize("family", ["llama", "phi3"])  # fused tensors, too
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("target", ABLE)
def test_a_target_is_its_source(target: str, recipe: str, family: str, tmp_path: Path) -> None:
    source, folder = made(tmp_path, recipe, target, family)
    report = verify_artifact(folder, str(source), tokens=12)
    assert report.passed, report


@pytest.mark.parametrize("family", ["llama", "phi3"])
@pytest.mark.parametrize("target", ROTATED)
def test_inputs_are_rotated_where_a_model_runs(target: str, family: str, tmp_path: Path) -> None:
    source, folder = made(tmp_path, ROTATED[target], target, family)
    report = verify_artifact(folder, str(source), tokens=12)
    assert report.passed, report


@pytest.mark.parametrize("target", ["coreml", "gguf"])
def test_where_nothing_rotates_it_is_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="quip-int4-g32-fp16"):
        made(tmp_path, "quip-int4-g32-fp16", target)


@pytest.mark.parametrize("target", ABLE)
def test_by_a_text(target: str, short_stories: Path, world_text: Path, tmp_path: Path) -> None:
    asked = Options(target=target, quant=RECIPES[2], calibrate=Calibration.of(world_text, 600))
    folder = convert(short_stories, tmp_path / "it", asked).folder
    report = verify_artifact(folder, str(short_stories), tokens=12)
    assert report.passed, report


@pytest.mark.parametrize("target", sorted(set(targets.names("converters")) - set(ABLE)))
def test_where_there_is_one_product_a_sum_is_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="billm-int1-g32-fp16") as caught:
        made(tmp_path, "billm-int1-g32-fp16", target)
    assert parse(caught.value.fix.split()[1].rstrip(",")), "the nearest that it holds"
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize("part", ["embed", "head"])
@pytest.mark.parametrize("target", ABLE)
def test_a_sum_is_of_a_layer(target: str, part: str, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama", **dividing("llama"))
    options = Options(target=target, quant="rtn-int8-g32", **{part: RECIPES[0]})  # type: ignore[arg-type]
    with pytest.raises(EdgeError, match=f"{part} as billm-int1-g32"):
        convert(source, tmp_path / "it", options)


@pytest.mark.parametrize("recipe", [*RECIPES[:3], ROTATED["mlx"]])
def test_mlx_lm_does_not_load_what_it_would_misread(recipe: str, tmp_path: Path) -> None:
    """The first term alone would be another model: its loader must fail."""
    utils = pytest.importorskip("mlx_lm.utils")
    _, folder = made(tmp_path, recipe, "mlx")
    with pytest.raises(Exception, match=r"added|rotated|parameters"):
        utils.load_model(folder)


def broken(file: Path, name: str, order: list[int], size: int = 4) -> None:
    """Another order of columns in a file."""
    with SafetensorsFile(file) as opened:
        entry = opened.entries[name]
    content = bytearray(file.read_bytes())
    content[entry.start : entry.start + size * len(order)] = np.array(order, f"<u{size}").tobytes()
    file.write_bytes(content)


@pytest.mark.parametrize("target", ORDERS)
@pytest.mark.parametrize("order", [[0, 0], [1 << 31, 1]])
def test_an_order_that_is_none(target: str, order: list[int], tmp_path: Path) -> None:
    source, folder = made(tmp_path, "billm-int1-g32", target)
    (file,) = folder.glob("*.safetensors")
    broken(file, ORDERS[target], order)
    with pytest.raises(Damaged, match="does not name each column once"):
        verify_artifact(folder, str(source), tokens=4)


@pytest.mark.parametrize(
    "change", [{"added": None}, {"ordered": False}, {"bits": 8}, {"added": {"bits": 8}}]
)
def test_a_config_that_lies_of_a_sum(change: dict[str, object], tmp_path: Path) -> None:
    source, folder = made(tmp_path, "pbllm-int2-g32", "mlx")
    file = folder / "config.json"
    data = json.loads(file.read_text())
    for key in ("quantization", "quantization_config"):
        own = data[key]["model.layers.0.self_attn.q_proj"]
        for what, value in change.items():
            if value is None:
                del own[what]
            else:
                own[what] = {**own[what], **value} if isinstance(value, dict) else value
        if change == {"added": {"bits": 8}}:
            own["added"]["bits"] = 1
    file.write_text(json.dumps(data))
    with pytest.raises((Damaged, Unsupported)):
        verify_artifact(folder, str(source), tokens=4)
