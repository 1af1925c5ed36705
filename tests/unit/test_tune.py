"""What tuning chooses, and what it makes of a tuning file."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge.decode.snapkv import SnapKV
from edge.errors import Unsupported
from edge.measure import tune
from edge.measure.tune import Tried
from edge.run.strategy import PLAIN, Strategy


@pytest.mark.parametrize(
    ("speeds", "chosen"), [((10.0, 9.0, 10.4), 0), ((10.0, 9.0, 10.6), 2), ((10.0, 30.0, 20.0), 1)]
)
def test_what_is_hardly_faster_is_not_chosen(speeds: tuple[float, ...], chosen: int) -> None:
    strategy = [PLAIN, Strategy(layerskip=2), Strategy(drafting="lookup")]
    tried = [Tried(strategy=m, decode_tps=s) for m, s in zip(strategy, speeds, strict=True)]
    assert tune._best(tried) is tried[chosen]


@pytest.mark.parametrize(
    "strategy",
    [
        PLAIN,
        Strategy(layerskip=3, draft=6),
        Strategy(drafting="lookup", draft=8),
        Strategy(drafting="snapkv", snapkv=SnapKV(), draft=3),
    ],
)
def test_a_choice_reads_back(strategy: Strategy, tmp_path: Path) -> None:
    from dataclasses import asdict

    file = tmp_path / tune.TUNING
    tune._write(file, {"here": asdict(strategy)})
    assert tune._strategy(tune._read(file)["here"]) == strategy


@pytest.mark.parametrize(
    "row",
    [
        {"drafting": 3},
        {"drafting": "lookup", "draft": "many"},
        {"drafting": "snapkv", "draft": 4},
        {"drafting": None, "draft": 99},
        {"drafting": None, "draft": 4, "layerskip": "x"},
    ],
)
def test_a_row_that_lies_is_plain_decoding(row: dict[str, object]) -> None:
    assert tune._strategy(row) == PLAIN


@pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({"a": 3, "b": {}})])
def test_a_broken_file_is_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / tune.TUNING
    file.write_text(text)
    assert tune._read(file) == {}


@pytest.mark.parametrize("lacking", [Strategy(layerskip=1), PLAIN])
def test_a_strategy_that_an_artifact_lacks_is_left_out(
    lacking: Strategy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(_artifact: Any, strategy: Strategy, *_rest: Any) -> Tried:
        if strategy == lacking:
            raise Unsupported("it has none", fix="convert again")
        return Tried(strategy=strategy, decode_tps=20.0 if strategy.drafting else 10.0)

    found = [PLAIN, Strategy(layerskip=1), Strategy(drafting="lookup")]
    monkeypatch.setattr(tune, "candidates", lambda *_: iter(found))
    monkeypatch.setattr(tune, "_try", measured)
    artifact: Any = SimpleNamespace(folder=tmp_path, branches=None)
    if lacking == PLAIN:
        with pytest.raises(Unsupported, match="it has none"):
            tune.fastest(artifact, [1], threads=1, say=lambda _: None)
    else:
        assert tune.fastest(artifact, [1], threads=1, say=lambda _: None) == found[2]
