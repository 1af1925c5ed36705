"""Every method on every target: converted and proved by `edge verify`, or refused with the target's own reason.

`pytest tests/parity/test_methods_matrix.py --record docs/methods.json` does all of them, and keeps what came out for
docs/recipes.md; without it, each method is proved on one target, and refused where it is.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from conftest import Recorder
from support import nothing_left, shortened

from edge import targets
from edge.convert.calibration import Calibration
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import Unsupported
from edge.prove.verify import verify
from edge.quant.methods import methods
from edge.quant.recipe import Recipe, parse, word
from edge.quant.tensor import FP16, Scheme
from edge.source.checkpoint import Checkpoint

TARGETS = targets.names("converters")
BITS = (1, 2, 3, 4, 6, 8)  # those of the study
NARROW = 32  # columns of a group: they divide every row
ROWS = [
    (name, bits)
    for name, method in methods().items()
    for bits in BITS
    if any(scheme.bits == bits for scheme in method.schemes)
]


@cache
def held(method: str, bits: int, target: str, source: Path) -> Scheme | str:
    """The first scheme of a method that a target holds in a layer; or why it holds none."""
    every = [scheme for scheme in methods()[method].schemes if scheme.bits == bits]
    alike = [scheme for scheme in every if scheme.group == NARROW] or every
    reason = ""
    with Checkpoint.open(source) as checkpoint:
        for scheme in alike:
            try:
                targets.layout(
                    target, checkpoint.decoder, Recipe(body=scheme, embed=FP16, head=FP16)
                )
            except Unsupported as refused:
                reason = reason or str(refused)
            else:
                return scheme
    return reason


@pytest.fixture(scope="module")
def one_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shortened(tmp_path_factory.mktemp("source") / "stories", 1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    every = metafunc.config.getoption("--record") is not None
    cells = [
        (*row, target)
        for i, row in enumerate(ROWS)
        for j, target in enumerate(TARGETS)
        if every or i % len(TARGETS) == j
    ]
    metafunc.parametrize(("method", "bits", "target"), cells)


def test_it_is_proved_or_refused(
    method: str,
    bits: int,
    target: str,
    one_layer: Path,
    world_text: Path,
    tmp_path: Path,
    record: Recorder,
) -> None:
    found = held(method, bits, target, one_layer)
    options = Options(target=target, embed="fp16", head="fp16")
    if isinstance(found, str):
        record(family=method, target=target, recipe=f"{bits}", refused=[found])
        scheme = next(one for one in methods()[method].schemes if one.bits == bits)
        with pytest.raises(Unsupported, match=rf"{target} cannot hold layers\.0\.attn\.\w+ as"):
            convert(one_layer, tmp_path / "it", replace(options, quant=word(scheme)))
        assert nothing_left(tmp_path / "it")
        return
    recipe = parse(word(found), embed="fp16", head="fp16")
    text = Calibration.of(world_text, 400) if recipe.by_inputs or recipe.balanced else None
    options = replace(options, quant=word(found), calibrate=text)
    artifact = convert(one_layer, tmp_path / "it", options)
    report = verify(artifact, one_layer, tokens=16)
    assert report.passed, report
    record(
        family=method, target=target, recipe=f"{bits}", error=report.logits_error, as_=[word(found)]
    )
