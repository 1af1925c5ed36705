"""Every family on every target in every precision: converted, then proved by `edge verify` itself.

`pytest tests/parity/test_matrix.py --record docs/parity.json` keeps the errors for the README.
"""

from pathlib import Path

import pytest
from conftest import Recorder
from support import CONFIGS, tiny

from edge import targets
from edge.convert import Options, convert
from edge.families import families
from edge.verify import verify

RECIPES = ("fp32", "fp16", "int8", "int4", "int4-g64")


def test_every_family_is_in_the_matrix() -> None:
    assert {family.name for family in families()} == set(CONFIGS)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("target", targets.names("converters"))
@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_a_target_is_its_source(
    family: str, target: str, recipe: str, tmp_path: Path, record: Recorder
) -> None:
    source = tiny(tmp_path / "source", family)
    options = Options(target=target, quant=recipe)
    report = verify(convert(source, tmp_path / "out", options), source, tokens=24)
    record(family=family, target=target, recipe=recipe, error=report.logits_error)
    assert report.passed, report
