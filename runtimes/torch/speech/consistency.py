"""Stage 1: consistency training (arXiv 2310.14189) as FlashSpeech has it (arXiv 2404.14700), and the predictors of
durations and pitch, all at once.

Two neighbours of a grid of noise sizes are added to one latent with one noise: what the network makes of the noisier
should be what it makes itself, held still, of the other. No network drops anything, so that both see the same.

B examples, P symbols, T frames, C channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np
import torch

from edge.nn.speech.noise import curriculum, pairs
from edge.train.speech.recipe import ConsistencyTable, Norm
from edge_runtimes.torch.speech.networks import Batch, Networks, Seen

Clean = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """noise [B, …]; how much of it, the less and the more: [B]."""

    noise: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor


def drawn(
    table: ConsistencyTable, step: int, shape: torch.Size,
    draw: Callable[[int], np.random.Generator], device: torch.device,
) -> Noise:  # fmt: skip
    """For [B, …], in a step of the table's: `draw` has the random numbers of each example."""
    points = curriculum(step, table.steps, first=table.first, last=table.last)
    given = {"mean": log(table.middle), "deviation": table.deviation}
    count, *rest = shape
    rngs = [draw(i) for i in range(count)]
    sigmas = np.array([pairs(points, 1, rng, **given) for rng in rngs], np.float32)[..., 0]
    low, high = torch.from_numpy(sigmas.T.copy()).to(device)
    noise = np.stack([rng.standard_normal(rest, np.float32) for rng in rngs])
    return Noise(noise=torch.from_numpy(noise).to(device), low=low, high=high)


def distance(
    made: torch.Tensor, wanted: torch.Tensor, mask: torch.Tensor, *, norm: Norm, threshold: float
) -> torch.Tensor:
    """Pseudo-Huber between [B, N, C] or [B, N], of rows that the mask [B, N] counts -> [B]: of the whole, or the mean
    of each element's.
    """
    keep = mask.view(*mask.shape, *[1] * (made.ndim - mask.ndim))
    squares = ((made - wanted) * keep).square()
    if norm == "whole":
        return (squares.flatten(1).sum(1) + threshold**2).sqrt() - threshold
    each = ((squares + threshold**2).sqrt() - threshold) * keep
    return each.flatten(1).sum(1) / (mask.sum(1) * (made[0].numel() // mask.shape[1]))


def consistency(
    table: ConsistencyTable, clean: Clean, x: torch.Tensor, mask: torch.Tensor, noise: Noise
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network makes of the noisier [B, …], and what that costs [B]."""

    def at(sigma: torch.Tensor) -> torch.Tensor:
        return x + sigma.view(-1, *[1] * (x.ndim - 1)) * noise.noise

    made = clean(at(noise.high), noise.high)
    with torch.no_grad():
        wanted = clean(at(noise.low), noise.low)
    kind = {"norm": table.norm, "threshold": table.threshold}
    cost = distance(made, wanted, mask, **kind) / (noise.high - noise.low)  # type: ignore[arg-type]
    if table.clean:
        cost = cost + table.clean * distance(made, x, mask, **kind)  # type: ignore[arg-type]
    return made, cost


def absolute(log_made: torch.Tensor, log_wanted: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean difference of log(1 + x) [B, N] where the mask counts -> [B]."""
    return ((log_made - log_wanted).abs() * mask).sum(1) / mask.sum(1)


def prosody(seen: Seen, batch: Batch) -> dict[str, torch.Tensor]:
    """What durations and pitch cost, as they are predicted: [B] each."""
    spoken = batch.durations.log1p()
    return {
        "duration": absolute(seen.log_duration, spoken, batch.phoneme_mask),
        "pitch": absolute(seen.log_pitch, batch.log_pitch, batch.frame_mask),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """Of a batch: what was made [B, T, C], and what it costs, [B] by name."""

    made: torch.Tensor
    costs: dict[str, torch.Tensor]


def learned(networks: Networks, table: ConsistencyTable, batch: Batch, noise: Noise) -> Learned:
    seen = networks.seen(batch)
    made, cost = consistency(
        table,
        lambda noisy, sigma: networks.clean(noisy, sigma, seen, batch),
        batch.latent,
        batch.frame_mask,
        noise,
    )
    return Learned(made=made, costs={"consistency": cost, **prosody(seen, batch)})
