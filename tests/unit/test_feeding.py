"""What networks are asked about while they are proved: what those before them make, by the same masks."""

from typing import Any

import numpy as np
import pytest
from networks import NETWORKS

from edge.families import Pipeline, Stage, Wire
from edge.families._fields import Fields
from edge.prove import feeding
from edge.prove.feeding import Feeding
from edge.prove.networks import seeded

SPECS = {
    "prompt": NETWORKS["prompt encoder"],
    "phonemes": NETWORKS["phoneme encoder"],
    "duration": NETWORKS["durations"],
}
PIPELINE = Pipeline(
    name="some",
    model_types=("some",),
    fields=Fields(),
    stages=tuple(Stage(name=name, prefix=f"{name}.", config=lambda c: c) for name in SPECS),
    wires=(
        Wire(("prompt", "style"), ("phonemes", "style")),
        Wire(("prompt", "rows"), ("duration", "rows")),
        Wire(("phonemes", "hidden"), ("duration", "hidden")),
        Wire(("duration", "features"), ("prompt", "prompt")),  # back
    ),
)
SIZES = {"batch": 2, "phonemes": 5, "prompt_frames": 7}


class Asked:
    """An oracle that gives a network's first input's shape of ones, times what number it is."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str) -> Any:
        def net(**inputs: np.ndarray) -> dict[str, np.ndarray]:
            self.calls.append((name, inputs))
            known = {size: next(x.shape[p.shape.index(size)] for p in SPECS[name].config.inputs
                                if size in p.shape for x in [inputs[p.name]])
                     for size in (s.name for s in SPECS[name].config.sizes)}  # fmt: skip
            return {
                port.name: np.full(
                    [known.get(n, n) for n in port.shape], 1 + list(SPECS).index(name)
                )
                for port in SPECS[name].config.outputs
            }

        return net


def test_a_network_gets_what_those_before_it_make() -> None:
    asked = Asked()
    found = Feeding(PIPELINE, SPECS, asked).inputs("duration", SIZES, 3)
    own = seeded(SPECS["duration"], SIZES, 3)
    assert found.keys() == own.keys()
    assert (found["rows"] == 1).all()
    assert (found["hidden"] == 2).all()
    assert found["rows"].shape == own["rows"].shape
    np.testing.assert_array_equal(found["phoneme_mask"], own["phoneme_mask"])
    assert [name for name, _ in asked.calls] == ["prompt", "phonemes"]  # each is asked once
    inputs = {name: given for name, given in asked.calls if given.get("style") is not None}
    assert (inputs["phonemes"]["style"] == 1).all()
    for name, given in asked.calls:  # masks of one name are one, where they are as long
        for mask in ("phoneme_mask", "prompt_mask"):
            if mask in given and given[mask].shape == own[mask].shape:
                np.testing.assert_array_equal(given[mask], own[mask], err_msg=f"{name} {mask}")


def test_what_leads_back_or_is_too_much_work_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    feed = Feeding(PIPELINE, SPECS, asked)
    sizes = {"batch": 2, "prompt_frames": 7}
    for name, x in seeded(SPECS["prompt"], sizes, 3).items():
        np.testing.assert_array_equal(feed.inputs("prompt", sizes, 3)[name], x)
    monkeypatch.setattr(feeding, "WORK", 0)
    for name, x in seeded(SPECS["duration"], SIZES, 3).items():
        np.testing.assert_array_equal(feed.inputs("duration", SIZES, 3)[name], x)
    assert not asked.calls


def test_seeded_integers_are_numbers_of_rows_that_there_are() -> None:
    """Of a table's, all of them; of a call's, those that it has."""
    vocab = SPECS["phonemes"].config.vocab  # type: ignore[attr-defined]
    drawn = seeded(SPECS["phonemes"], {"batch": 40, "phonemes": 50}, 1)["phonemes"]
    assert set(drawn.reshape(-1)) == set(range(vocab))
    places = seeded(
        NETWORKS["pitch"], {"batch": 9, "phonemes": 5, "frames": 40, "prompt_frames": 7}, 1
    )["alignment"]
    assert set(places.reshape(-1)) == set(range(5))
