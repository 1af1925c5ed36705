"""What proposals of boxes cost beside what is there, each thing matched to one of them (arXiv 2005.12872), with a focal
loss of scores (arXiv 1708.02002) and the generalized overlap of boxes (arXiv 1902.09630): DETR's losses, by its
matching.

B pictures, Q proposals, T things of a picture, M of them matched. Boxes are middles and sizes as parts of the picture.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from edge.train.regions.assignment import assigned
from edge.train.regions.detection import Costs

GAMMA = 2.0  # of the focal loss: how little an easy answer counts
_TINY = 1e-8
Pairs = tuple[torch.Tensor, torch.Tensor]  # proposals and things [M]
PARTS = ("score", "sides", "overlap")


def costs_of(
    logits: torch.Tensor,
    boxes: torch.Tensor,
    wanted: Sequence[torch.Tensor],
    costs: Costs,
    count: float,
) -> dict[str, torch.Tensor]:
    """Logits [B, Q] and boxes [B, Q, 4], and of each picture the boxes of its things [T, 4] -> what each part costs, in
    sum over pictures by `count`, the number of all things. FloatingPointError where a proposal is no number.
    """
    logits, boxes = logits.float(), boxes.float()
    pairs = [matched(*one, costs) for one in zip(logits, boxes, wanted, strict=True)]
    there = torch.zeros_like(logits)
    for row, (proposals, _) in enumerate(pairs):
        there[row, proposals] = 1
    found = torch.cat([boxes[row, proposals] for row, (proposals, _) in enumerate(pairs)])
    right = torch.cat([box[things] for box, (_, things) in zip(wanted, pairs, strict=True)])
    sums = {
        "score": focal(logits, there, costs.alpha).sum(),
        "sides": (found - right).abs().sum(),
        "overlap": (1 - _generalized(corners(found), corners(right))).sum(),
    }
    return {name: value / count for name, value in sums.items()}


@torch.no_grad()
def matched(logits: torch.Tensor, boxes: torch.Tensor, wanted: torch.Tensor, costs: Costs) -> Pairs:
    """Of one picture [Q], [Q, 4] and [T, 4]: the proposals of its things that cost the least together, in order."""
    there = logits.sigmoid()
    hit = costs.alpha * (1 - there) ** GAMMA * -(there + _TINY).log()
    miss = (1 - costs.alpha) * there**GAMMA * -(1 - there + _TINY).log()
    table = (
        costs.score * (hit - miss)[:, None]
        + costs.sides * (boxes[:, None] - wanted).abs().sum(-1)
        - costs.overlap * _generalized(corners(boxes)[:, None], corners(wanted)[None])
    )
    if not table.isfinite().all():
        raise FloatingPointError("a proposal is no number")
    proposals, things = assigned(table.double().cpu().numpy())
    return torch.from_numpy(proposals).to(boxes.device), torch.from_numpy(things).to(boxes.device)


def focal(logits: torch.Tensor, there: torch.Tensor, alpha: float) -> torch.Tensor:
    """Of each score, as wide as it was given."""
    chance = logits.sigmoid()
    right = chance * there + (1 - chance) * (1 - there)
    share = alpha * there + (1 - alpha) * (1 - there)
    each = F.binary_cross_entropy_with_logits(logits, there, reduction="none")
    return share * (1 - right) ** GAMMA * each


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """Middles and sizes [..., 4] -> left, top, right, bottom."""
    middle, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([middle - size / 2, middle + size / 2], dim=-1)


def _generalized(some: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Of corners [..., 4] that are one beside the other: their overlap, less what is empty of the box around both."""
    common = _area(
        torch.maximum(some[..., :2], others[..., :2]), torch.minimum(some[..., 2:], others[..., 2:])
    )
    around = _area(
        torch.minimum(some[..., :2], others[..., :2]), torch.maximum(some[..., 2:], others[..., 2:])
    )
    union = _area(some[..., :2], some[..., 2:]) + _area(others[..., :2], others[..., 2:]) - common
    # Of a box without area that lies in one without area there is nothing to divide by.
    return common / union.clamp(min=_TINY) - (around - union) / around.clamp(min=_TINY)


def _area(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    return (high - low).clamp(min=0).prod(-1)
