"""`edge plan`: disk to the byte, memory that grows with tokens, the longest context that fits."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Edge
from support import config_of, converted, safetensors, spec_of, tiny, weights_of

from edge import targets
from edge.artifact.manifest import Artifact
from edge.convert.options import Options
from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.config import Config
from edge.files.safetensors import header_size, parse_header
from edge.measure import plan as planning
from edge.measure.plan import Plan, plan
from edge.quant.recipe import parse
from edge.source.headers import Headers

CONFIG = config_of("llama", max_position_embeddings=1000)


@pytest.fixture(autouse=True)
def _a_machine_of_ten_gbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast this one reads is of no matter here, and takes seconds to find out."""
    monkeypatch.setattr(planning, "read_bandwidth", lambda _threads: 10.0)


def headers(config: dict[str, Any]) -> Headers:
    """As the headers of its checkpoint would give it."""
    content = safetensors(weights_of(config))
    length = header_size(content[:8], len(content), "here")
    entries = parse_header(content[8 : 8 + length], len(content), "here")
    return Headers(Config(config, "config.json"), {"model.safetensors": entries})


@pytest.mark.parametrize("quant", ["fp32", "fp16", "int8", "int4", "int4-g64"])
@pytest.mark.parametrize("family", ["llama", "openelm"])
def test_the_weights_take_what_was_planned(tmp_path: Path, family: str, quant: str) -> None:
    source = tiny(tmp_path / "source", family)
    artifact = Artifact.open(converted(tmp_path / "it", source, quant))
    found = plan(Headers.of(source), "onnx", Options(quant=quant), threads=1)
    assert found.disk_bytes == (artifact.folder / "model.onnx.data").stat().st_size


def test_the_largest_context_is_the_last_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = 600

    def planned(tokens: int) -> Plan:
        return plan(headers(CONFIG), "onnx", Options(quant="int4", context=tokens), threads=1)

    room = planned(wanted).run_bytes
    monkeypatch.setattr(planning, "machine_memory", lambda: int(room / planning.SPARE) + 1)
    assert planned(wanted).fits
    largest = planned(wanted).largest_context
    assert wanted <= largest < 1000
    assert planned(largest).run_bytes <= room + 1
    assert planned(largest + 1).run_bytes > room + 1
    assert not planned(largest + 1).fits


def test_memory_grows_with_tokens_and_precision() -> None:
    spec, runtime = spec_of(CONFIG), targets.runtime("onnx")
    sizes = [runtime.memory(spec, parse("int4"), tokens=count) for count in (1, 10, 100, 1000)]
    assert sizes == sorted(set(sizes))
    assert runtime.memory(spec, parse("int8"), tokens=10) > sizes[1]


def test_a_context_that_grows_is_planned_as_it_will_be_converted() -> None:
    """Past the published context a second table lies on the disk, and more tokens may fit."""
    scaling = {"type": "dynamic", "factor": 3.0}
    model = headers(config_of("llama", max_position_embeddings=1000, rope_scaling=scaling))
    plain, grown = (
        plan(model, "onnx", Options(quant="int4", context=count), threads=1)
        for count in (1000, 2500)
    )
    assert grown.disk_bytes > plain.disk_bytes
    assert (plain.largest_context, grown.largest_context) == (1000, 2500)
    with pytest.raises(Unsupported, match="the model has 3000"):
        plan(model, "onnx", Options(quant="int4", context=3001), threads=1)


def test_tensors_of_another_config_are_found_before_anything_is_done(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(Damaged, match=r"9 .*missing"):
        plan(Headers.of(source), "onnx", Options(quant="int4"), threads=1)


def test_a_quantized_checkpoint_is_refused() -> None:
    weights = weights_of(CONFIG)
    name = next(name for name, values in weights.items() if values.ndim == 2)
    content = safetensors({**weights, name: weights[name].astype("int8")})
    length = header_size(content[:8], len(content), "here")
    entries = parse_header(content[8 : 8 + length], len(content), "here")
    seen = Headers(Config(CONFIG, "config.json"), {"model.safetensors": entries})
    with pytest.raises(Unsupported, match="quantized already"):
        plan(seen, "onnx", Options(quant="int4"), threads=1)


def test_more_than_the_model_has_is_refused() -> None:
    with pytest.raises(EdgeError, match="1001 tokens was asked for, the model has 1000"):
        plan(headers(CONFIG), "onnx", Options(quant="int4", context=1001), threads=1)


def test_on_the_command_line(tmp_path: Path, edge: Edge) -> None:
    source = tiny(tmp_path / "source")
    found = edge("plan", source, "--quant", "int8", "--json").json
    assert json.dumps(found)
    assert {"disk_bytes", "convert_bytes", "run_bytes", "largest_context", "bound_tps"} <= set(
        found
    )
    assert (found["dtypes"], found["tensors"], found["download_bytes"]) == (["F32"], 21, 0)
    told = edge("plan", source).out
    assert "F32" in told
    assert "21 tensors" in told
