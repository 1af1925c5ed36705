"""The proposer of boxes against transformers' deformable DETR: whole, and as Groma's code has it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from detrs import Detr
from networks import NETWORKS, inputs_of, weights_of
from on_targets import TARGETS, on_numpy

from edge.families import families
from edge.names import NameMap
from edge.net import NetSpec
from edge.nn.networks import define
from edge.nn.regions.proposer import ProposerSpec
from edge_runtimes.reference.net import NumpyNetOps

CLOSE = 5e-6  # of the largest number
SPEC = ProposerSpec(
    grid=(5, 4), channels=12, width=32, heads=2, points=3, encoder=2, decoder=3, ffn_width=24, queries=9,
    powers=(0.4, 0.6), follows=False,
)  # fmt: skip
FORMS: dict[str, dict[str, Any]] = {
    "Groma's": {},
    "following": {"follows": True},
    "one head": {"follows": True, "powers": (1.0,)},
    "pixels at the edge": {"grid": (52, 2), "queries": 40, "follows": True},
    "pixels on the edge": {"grid": (2, 50), "queries": 40, "follows": True},
    "four layers": {"encoder": 1, "decoder": 4, "heads": 4, "points": 1},
}


def names() -> NameMap:
    return next(family.names for family in families() if family.name == "groma_proposer")


def detr(spec: ProposerSpec) -> Detr:
    fields = {
        "d_model": spec.width, "encoder_layers": spec.encoder, "decoder_layers": spec.decoder,
        "encoder_attention_heads": spec.heads, "decoder_attention_heads": spec.heads,
        "encoder_ffn_dim": spec.ffn_width, "decoder_ffn_dim": spec.ffn_width,
        "encoder_n_points": spec.points, "decoder_n_points": spec.points,
        "num_feature_levels": 1, "two_stage": True, "two_stage_num_proposals": spec.queries,
        "with_box_refine": True, "num_labels": 1,
    }  # fmt: skip
    return Detr(fields, spec.channels, spec.grid)


def by_our_names(spec: NetSpec, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = {}
    for name, place in names().places(spec).items():
        if place.made is not None:
            out[name] = place.make(state[place.tensor])
        elif place.rows:
            out[name] = np.concatenate([state[place.tensor][rows] for rows in place.rows])
        else:
            out[name] = state[place.tensor]
    return out


def far(got: Any, want: Any) -> float:
    assert got.keys() == want.keys()
    assert {name: x.shape for name, x in got.items()} == {n: x.shape for n, x in want.items()}
    return max(float(np.abs(got[n] - x).max() / np.abs(x).max()) for n, x in want.items())


@pytest.mark.parametrize("form", FORMS)
def test_proposer_is_transformers(form: str) -> None:
    config = replace(SPEC, **FORMS[form])
    spec, oracle = NetSpec(kind="proposer", config=config), detr(config)
    weights, inputs = by_our_names(spec, dict(oracle.state)), inputs_of(spec)
    got = define(NumpyNetOps(weights.__getitem__), spec, **inputs)
    assert far(got, oracle(**inputs, powers=config.powers, follows=config.follows)) <= CLOSE


def test_faint_rows_are_transformers() -> None:
    """As small as what their norm adds."""
    spec, oracle = NetSpec(kind="proposer", config=SPEC), detr(SPEC)
    oracle.state["input_proj.0.0.bias"][:] = 0
    weights = by_our_names(spec, dict(oracle.state))
    inputs = {name: 1e-3 * x for name, x in inputs_of(spec).items()}
    got = define(NumpyNetOps(weights.__getitem__), spec, **inputs)
    assert far(got, oracle(**inputs, powers=SPEC.powers, follows=False)) <= CLOSE


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("proposer")])
def test_a_target_computes_what_numpy_does(name: str, target: str, tmp_path: Path) -> None:
    spec, weights = NETWORKS[name], weights_of(NETWORKS[name])
    oracle, run = (make(spec, weights, tmp_path) for make in (on_numpy, TARGETS[target]))
    for batch in (1, 2):
        inputs = inputs_of(spec, batch=batch, seed=batch)
        assert far(run(**inputs), oracle(**inputs)) <= CLOSE


def test_forms_are_not_each_others() -> None:
    """Each changes the answer: the proof can fail."""
    oracle, spec = detr(SPEC), NetSpec(kind="proposer", config=SPEC)
    inputs = inputs_of(spec)
    want = oracle(**inputs, powers=SPEC.powers, follows=False)
    for other in ({"powers": (0.6, 0.4)}, {"follows": True}):
        assert (
            far(want, oracle(**inputs, **{"powers": SPEC.powers, "follows": False, **other})) > 1e-3
        )
