"""Every family on every target in every precision: converted, then proved by `edge verify` itself.

`pytest tests/parity/test_matrix.py --record docs/parity.json` keeps the errors for the README.
"""

from pathlib import Path

import pytest
from conftest import Recorder
from support import CONFIGS, dividing, tiny

from edge import targets
from edge.convert import Options, convert
from edge.errors import Unsupported
from edge.families import families
from edge.verify import verify

COMMON = ("fp32", "fp16", "int8", "int4")
OWN = {
    "onnx": ("bf16", "int4-g64", "int4-asym", "int8-asym", "q4_0", "q8_0"),
    "mlx": ("bf16", "rtn-int4-g32", "rtn-int3-g32-min-bf16", "q4_1"),
}
MATRIX = [
    (family, target, recipe)
    for family in sorted(CONFIGS)
    for target in targets.names("converters")
    for recipe in (*COMMON, *OWN.get(target, ()))
]


def test_every_family_is_in_the_matrix() -> None:
    assert {family.name for family in families()} == set(CONFIGS)


@pytest.mark.parametrize(("family", "target", "recipe"), MATRIX)
def test_a_target_is_its_source(
    family: str, target: str, recipe: str, tmp_path: Path, record: Recorder
) -> None:
    source = tiny(tmp_path / "source", family, **(dividing(family) if target == "mlx" else {}))
    options = Options(target=target, quant=recipe)
    report = verify(convert(source, tmp_path / "out", options), source, tokens=24)
    record(family=family, target=target, recipe=recipe, error=report.logits_error)
    assert report.passed, report


@pytest.mark.parametrize("target", targets.names("converters"))
def test_precisions_may_be_mixed(target: str, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama", **dividing("llama"))
    overrides = {"layers.0.attn.v": "fp16", "layers.*.mlp.down": "int8"}
    options = Options(target=target, quant="int4", embed="int8", head="fp16", overrides=overrides)
    artifact = convert(source, tmp_path / "out", options)
    assert set(artifact.manifest.overrides) == set(overrides)
    report = verify(artifact, source, tokens=24)
    assert report.passed, report


@pytest.mark.parametrize(
    "target", [name for name in targets.names("converters") if name != "coreml"]
)
def test_tables_of_values_are_refused_by_name(target: str, tmp_path: Path) -> None:
    """Only Core ML has them."""
    source = tiny(tmp_path / "source", "llama")
    with pytest.raises(Unsupported, match=f"{target} cannot hold .* as kmeans-lut4-g32"):
        convert(source, tmp_path / "out", Options(target=target, quant="lut4"))
