"""Losses of a detector against transformers' Deformable DETR's, on equal numbers: values and gradients."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("scipy")

import torch
from detrs import Detr
from networks import inputs_of
from test_proposer import CLOSE, SPEC, by_our_names, detr, far
from transformers.loss.loss_deformable_detr import (
    DeformableDetrHungarianMatcher,
    DeformableDetrImageLoss,
)

from edge.net import NetSpec
from edge.nn.networks import define
from edge.nn.regions.proposer import ProposerSpec, TaughtSpec, taught
from edge.train.regions.detection import Costs
from edge.train.regions.small_groma import learning
from edge_runtimes.torch.net import TorchNetOps
from edge_runtimes.torch.regions.losses import PARTS, costs_of, matched

COSTS = Costs()
Tensor = Any


def made(
    seed: int, pictures: int = 3, queries: int = 12, most: int = 5
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Logits, boxes, and what is there; one picture may show nothing."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(pictures, queries, generator=rng) * 2
    boxes = torch.rand(pictures, queries, 4, generator=rng) * 0.6 + 0.1
    counts = torch.randint(0, most + 1, (pictures,), generator=rng).tolist()
    wanted = [torch.rand(count, 4, generator=rng) * 0.5 + 0.2 for count in counts]
    return logits, boxes, wanted


def theirs(logits: Tensor, boxes: Tensor, wanted: list[Tensor], costs: Costs) -> dict[str, Tensor]:
    matcher = DeformableDetrHungarianMatcher(
        class_cost=costs.score, bbox_cost=costs.sides, giou_cost=costs.overlap
    )
    criterion = DeformableDetrImageLoss(matcher, 1, costs.alpha, ["labels", "boxes"])
    targets = [{"class_labels": torch.zeros(len(w), dtype=torch.long), "boxes": w} for w in wanted]
    found = criterion({"logits": logits[..., None], "pred_boxes": boxes}, targets)
    names = {"score": "loss_ce", "sides": "loss_bbox", "overlap": "loss_giou"}
    return {name: found[names[name]] for name in PARTS}


@given(seed=st.integers(0, 10**6))
def test_each_loss_is_transformers(seed: int) -> None:
    logits, boxes, wanted = made(seed)
    count = max(1, sum(map(len, wanted)))
    ours = [logits.clone().requires_grad_(), boxes.clone().requires_grad_()]
    other = [logits.clone().requires_grad_(), boxes.clone().requires_grad_()]
    got = costs_of(*ours, wanted, COSTS, count)
    want = theirs(*other, wanted, COSTS)
    for name in PARTS:
        torch.testing.assert_close(got[name], want[name], rtol=1e-5, atol=1e-6)
    for costs in (got, want):
        sum(getattr(COSTS, name) * costs[name] for name in PARTS).backward()
    for mine, its in zip(ours, other, strict=True):
        torch.testing.assert_close(mine.grad, its.grad, rtol=1e-4, atol=1e-6)


@given(seed=st.integers(0, 10**6), score=st.floats(0.1, 5), sides=st.floats(0.1, 9))
def test_things_are_matched_as_transformers_matches_them(
    seed: int, score: float, sides: float
) -> None:
    costs = Costs(score=score, sides=sides)
    logits, boxes, wanted = made(seed, pictures=1)
    matcher = DeformableDetrHungarianMatcher(
        class_cost=score, bbox_cost=sides, giou_cost=costs.overlap
    )
    targets = [{"class_labels": torch.zeros(len(w), dtype=torch.long), "boxes": w} for w in wanted]
    ((proposals, things),) = matcher({"logits": logits[..., None], "pred_boxes": boxes}, targets)
    got = matched(logits[0], boxes[0], wanted[0], costs)
    assert [one.tolist() for one in got] == [proposals.tolist(), things.tolist()]


def test_a_box_found_exactly_costs_nothing_but_its_score() -> None:
    wanted = [torch.rand(4, 4, generator=torch.Generator().manual_seed(2)) * 0.4 + 0.3]
    got = costs_of(torch.full((1, 4), 30.0), wanted[0].flip(0)[None], wanted, COSTS, 4)
    for name in PARTS:
        assert abs(float(got[name])) < 1e-6
    away = costs_of(torch.full((1, 4), -30.0), wanted[0].flip(0)[None], wanted, COSTS, 4)
    assert float(away["score"]) == pytest.approx(30 * COSTS.alpha, rel=1e-4)


def test_a_picture_of_nothing_and_boxes_without_area_cost_numbers() -> None:
    """Both make nan elsewhere (mmdetection#5525)."""
    boxes = torch.tensor([[[0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.2, 0.2]]]).requires_grad_()
    logits = torch.zeros(1, 2).requires_grad_()
    for wanted in ([torch.zeros(0, 4)], [torch.tensor([[0.5, 0.5, 0.0, 0.0]])]):
        found = costs_of(logits, boxes, wanted, COSTS, 1)
        assert all(value.isfinite() for value in found.values())
        sum(found.values()).backward()
        assert boxes.grad is None or boxes.grad.isfinite().all()


def test_what_is_no_number_is_not_matched() -> None:
    """Not a crash of an assignment that nobody understands (mmdetection#4902, RT-DETR#527)."""
    logits, boxes, _ = made(3, pictures=1)
    with pytest.raises(FloatingPointError, match="no number"):
        costs_of(logits, boxes * torch.nan, [torch.full((1, 4), 0.5)], COSTS, 1)


@pytest.mark.parametrize("follows", [False, True])
def test_what_is_taught_is_what_is_found(follows: bool) -> None:
    """The last layer's boxes are the network's, and so are its scores, once the heads' are put together."""
    spec, weights, inputs = learner(follows)
    first, layers = told(spec, weights, inputs)
    assert len(layers) == SPEC.decoder
    assert first.boxes.shape[1:] == (SPEC.pixels, 4)
    ops = TorchNetOps(weights)
    with torch.no_grad():
        found = define(
            ops, NetSpec(kind="proposer", config=replace(SPEC, follows=follows)), **inputs
        )
        chances = [
            x[..., 0].sigmoid() ** p for x, p in zip(layers[-1].logits, SPEC.powers, strict=True)
        ]
        torch.testing.assert_close(layers[-1].boxes, found["boxes"])
        torch.testing.assert_close(torch.stack(chances).prod(0), found["scores"])


@pytest.mark.parametrize("follows", [False, True])
def test_every_part_is_taught_what_transformers_says(follows: bool) -> None:
    """Logits and boxes of each layer and of all pixels, as transformers computes them for its losses; as Groma's code
    has it, a layer's box is its step from what the step of the layer before it makes of the proposal.
    """
    oracle = detr(SPEC)
    spec, weights, inputs = learner(follows, oracle)
    first, layers = told(spec, weights, inputs)
    want = expected(oracle, np.asarray(inputs["features"]), follows)
    got = {"first": first.boxes, "score": first.logits[0]}
    for number, layer in enumerate(layers):
        got |= {f"boxes.{number}": layer.boxes}
        got |= {f"logits.{number}.{head}": x for head, x in enumerate(layer.logits)}
    assert far({name: x.detach().numpy() for name, x in got.items()}, want) <= 2 * CLOSE


def test_no_gradient_goes_through_where_queries_look() -> None:
    spec, weights, inputs = learner(False)
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    _, layers = told(spec, leaves, inputs)
    sum(layer.boxes.sum() for layer in layers).backward()
    at = f"steps.{SPEC.decoder}."  # the step of a proposal
    assert all(weight.grad is None for name, weight in leaves.items() if name.startswith(at))
    assert all(
        weight.grad is not None for name, weight in leaves.items()
        if name.startswith(("steps.0", "decoder.0.look"))
    )  # fmt: skip


def learner(
    follows: bool, oracle: Detr | None = None
) -> tuple[NetSpec, dict[str, Tensor], dict[str, Tensor]]:
    plain = NetSpec(kind="proposer", config=replace(SPEC, follows=follows))
    spec = learning(plain)
    assert isinstance(spec.config, TaughtSpec)
    assert spec.config.shapes().keys() > plain.config.shapes().keys()
    weights = by_our_names(spec, dict((oracle or detr(SPEC)).state))
    inputs = {name: torch.from_numpy(x) for name, x in inputs_of(plain).items()}
    return spec, {name: torch.from_numpy(np.array(x)) for name, x in weights.items()}, inputs


def told(spec: NetSpec, weights: dict[str, Tensor], inputs: dict[str, Tensor]) -> Any:
    assert isinstance(spec.config, ProposerSpec)
    return taught(TorchNetOps(weights), spec.config, inputs["features"], torch.detach)  # type: ignore[arg-type]


def expected(oracle: Detr, features: np.ndarray, follows: bool) -> dict[str, np.ndarray]:
    """By transformers' modules, from the hidden states that its own forward pass leaves."""
    oracle.first, oracle.follows = None, follows
    given = torch.tensor(features).transpose(1, 2).reshape(len(features), -1, *oracle.grid)
    model = oracle.detr
    with torch.no_grad():
        out = model(given)
        want = {"first": out.enc_outputs_coord_logits.sigmoid(), "score": out.enc_outputs_class}
        before = out.init_reference_points
        for layer in range(oracle.last + 1):
            hidden = out.intermediate_hidden_states[:, layer]
            step = model.bbox_embed[layer](hidden)
            box = (step + (before / (1 - before)).log()).sigmoid()
            start = out.init_reference_points
            before = box if follows else (step + (start / (1 - start)).log()).sigmoid()
            want[f"boxes.{layer}"] = box
            want[f"logits.{layer}.0"] = model.class_embed[layer](hidden)
            want[f"logits.{layer}.1"] = oracle.second[layer](hidden)
    return {name: np.asarray(x) for name, x in want.items()}
