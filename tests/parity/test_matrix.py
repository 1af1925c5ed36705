"""Every family on every target in every precision: converted, then proved by `edge verify` itself.

`pytest tests/parity/test_matrix.py --record docs/parity.json` keeps the errors for the README.
"""

from pathlib import Path

import pytest
from cases import CASES
from conftest import Recorder
from support import CONFIGS, dividing, nothing_left, tiny

from edge import targets
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import Unsupported
from edge.families import decoders
from edge.prove.verify import verify

COMMON = ("fp32", "fp16", "int8", "int4")
OWN = {
    "coreml": ("lut4-g1-fp16", "nf4-g32-fp16"),
    "onnx": ("bf16", "int2-g64-asym", "int4-g64", "int4-asym", "int8-asym", "q4_0", "q8_0"),
    "mlx": ("bf16", "rtn-int4-g32", "rtn-int3-g32-min-bf16", "q4_1"),
    "torch": ("bf16", "int3-g32-min", "int4-asym", "int8-g64-min-bf16", "q4_0", "nf4"),
    "gguf": ("bf16", "q4_1", "q5_0", "q5_1"),
}
# What a target cannot hold of a family, in its own words.
REFUSED = {
    (family, target): words
    for family, case in CASES.items()
    for target, words in case.refused.items()
}
MATRIX = [
    (family, target, recipe)
    for family in sorted(CONFIGS)
    for target in targets.names("converters")
    for recipe in (*COMMON, *OWN.get(target, ()))
    if (family, target) not in REFUSED
]


def test_every_family_is_in_the_matrix() -> None:
    assert {family.name for family in decoders()} == set(CONFIGS)


@pytest.mark.parametrize(("family", "target", "recipe"), MATRIX)
def test_a_target_is_its_source(
    family: str, target: str, recipe: str, tmp_path: Path, record: Recorder
) -> None:
    source = tiny(tmp_path / "source", family, **(dividing(family) if target == "mlx" else {}))
    options = Options(target=target, quant=recipe)
    artifact = convert(source, tmp_path / "out", options)
    tokens = min(24, artifact.manifest.spec.context - 3)  # a window may end what a target computes
    report = verify(artifact, source, tokens=tokens)
    record(family=family, target=target, recipe=recipe, error=report.logits_error)
    assert report.passed, report


@pytest.mark.parametrize(("family", "target"), REFUSED)
def test_what_a_target_cannot_hold_is_refused_with_its_reason(
    family: str, target: str, tmp_path: Path
) -> None:
    source = tiny(tmp_path / "source", family)
    with pytest.raises(Unsupported, match=REFUSED[family, target]):
        convert(source, tmp_path / "out", Options(target=target, quant="fp16"))
    assert nothing_left(tmp_path / "out")


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
