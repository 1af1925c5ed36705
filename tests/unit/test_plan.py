"""`edge plan`: disk to the byte, memory that grows with tokens, the longest context that fits."""

import json
from pathlib import Path

import pytest
from conftest import Edge
from support import config_of, converted, spec_of, tiny

from edge import plan as planning
from edge import targets
from edge.artifact import Artifact
from edge.config import Config
from edge.errors import EdgeError
from edge.plan import plan
from edge.quant.recipe import parse

CONFIG = Config(config_of("llama", max_position_embeddings=1000), "config.json")


@pytest.mark.parametrize("quant", ["fp32", "fp16", "int8", "int4", "int4-g64"])
@pytest.mark.parametrize("family", ["llama", "openelm"])
def test_the_weights_take_what_was_planned(tmp_path: Path, family: str, quant: str) -> None:
    source = tiny(tmp_path / "source", family)
    artifact = Artifact.open(converted(tmp_path / "it", source, quant))
    found = plan(Config.load(source / "config.json"), "onnx", parse(quant), context=None, threads=1)
    assert found.disk_bytes == (artifact.folder / "model.onnx.data").stat().st_size


def test_the_largest_context_is_the_last_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, recipe, runtime = spec_of(CONFIG.data), parse("int4"), targets.runtime("onnx")
    wanted = 777
    room = runtime.memory(spec, recipe, tokens=wanted)
    monkeypatch.setattr(planning, "_memory", lambda: int(room / planning._SPARE) + 1)
    found = plan(CONFIG, "onnx", recipe, context=wanted, threads=1)
    assert found.fits
    assert runtime.memory(spec, recipe, tokens=found.largest_context) <= room + 1
    assert runtime.memory(spec, recipe, tokens=found.largest_context + 1) > room + 1
    assert found.largest_context >= wanted


def test_memory_grows_with_tokens_and_precision() -> None:
    spec, runtime = spec_of(CONFIG.data), targets.runtime("onnx")
    sizes = [runtime.memory(spec, parse("int4"), tokens=count) for count in (1, 10, 100, 1000)]
    assert sizes == sorted(set(sizes))
    assert runtime.memory(spec, parse("int8"), tokens=10) > sizes[1]


def test_more_than_the_model_has_is_refused() -> None:
    with pytest.raises(EdgeError, match="1001 tokens was asked for, the model has 1000"):
        plan(CONFIG, "onnx", parse("int4"), context=1001, threads=1)


def test_on_the_command_line(tmp_path: Path, edge: Edge) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").unlink()  # only the config is read
    found = edge("plan", source, "--quant", "int8", "--json").json
    assert json.dumps(found)
    assert {"disk_bytes", "convert_bytes", "run_bytes", "largest_context", "bound_tps"} <= set(
        found
    )
