"""A published context is no damage, however long: it is taken where it costs nothing, and asked for where
its tables of positions would take gigabytes.
"""

from pathlib import Path
from typing import Any

import pytest
from conftest import Edge
from support import config_of, converted, spec_of, tiny

from edge.artifact.manifest import Artifact
from edge.errors import Damaged, Unsupported
from edge.gguf.foreign import artifact_at
from edge.prove.verify import verify
from edge.run import opening
from edge.source.checkpoint import LONGEST, Checkpoint
from edge.spec import parts
from edge.train.origin import fitting

HUGE = 4_194_304  # gradientai/Llama-3-8B-Instruct-Gradient-4194k
FIELDS = {
    "llama": "max_position_embeddings",
    "mistral": "max_position_embeddings",
    "phi3": "max_position_embeddings",
    "internlm2": "max_position_embeddings",
    "phi3small": "max_position_embeddings",
    "openelm": "max_context_length",
}
LONG: dict[str, Any] = {
    "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8},
    "original_max_position_embeddings": 4096,
}


@pytest.mark.parametrize("family", FIELDS)
def test_it_is_read_in_every_family(family: str) -> None:
    assert spec_of(config_of(family, **{FIELDS[family]: HUGE})).context == HUGE
    with pytest.raises(Damaged, match=FIELDS[family]):
        spec_of(config_of(family, **{FIELDS[family]: 1 << 40}))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny(tmp_path / "huge", max_position_embeddings=HUGE)


@pytest.mark.parametrize("target", ["onnx", "gguf", "mlx"])
def test_a_conversion_is_of_the_context_that_was_asked_for(source: Path, target: str) -> None:
    pytest.importorskip({"onnx": "onnx_ir", "gguf": "numpy"}.get(target, target))
    with pytest.raises(Unsupported, match=r"--context 131072"):
        converted(source.with_name("no"), source, target=target)
    assert not source.with_name("no").exists()
    made = Artifact.open(converted(source.with_name("it"), source, target=target, context=128))
    assert made.manifest.spec.context == 128
    assert made.nbytes < 2_000_000


def test_a_short_one_of_it_is_proved(source: Path) -> None:
    artifact = Artifact.open(converted(source.with_name("it"), source, context=128))
    assert verify(artifact, source, tokens=8).passed


def test_a_file_of_anyones_may_say_it(source: Path) -> None:
    """A GGUF file has no tables, and a cache grows with its tokens."""
    pytest.importorskip("llama_cpp")
    made = converted(source.with_name("it"), source, target="gguf", context=HUGE)
    found = artifact_at(next(made.glob("*.gguf")))
    assert found.manifest.spec.context == HUGE
    assert opening.open_decoder(found, threads=1, exact=True).prefill([1, 2, 3]).shape == (97,)


def test_on_the_command_line(source: Path, edge: Edge) -> None:
    for command in (["plan", source], ["run", source, "Once"], ["convert", source, "--to", "onnx"]):
        refused = edge(*command)
        assert refused.code == 3, refused.err
        assert "4,194,304 tokens" in refused.err
        assert "--context" in refused.err
    planned = edge("plan", source, "--quant", "fp32", "--context", "8192", "--json").json
    made = converted(source.with_name("it"), source, context=8192)
    assert planned["disk_bytes"] == (made / "model.onnx.data").stat().st_size
    assert planned["tokens"] == 8192
    assert edge("inspect", source, "--json").json["context"] == HUGE


def test_training_makes_tables_of_its_rows(source: Path) -> None:
    with Checkpoint.open(source) as found:
        assert fitting(found.spec, 512).context == LONGEST
    long = spec_of(config_of("phi3", max_position_embeddings=HUGE, **LONG))
    assert [fitting(long, length).context for length in (4096, 4097)] == [4096, LONGEST]
    assert [part.context for part in parts(long).values()] == [4096, HUGE]
    short = spec_of(config_of("llama"))
    assert fitting(short, 8) == short
