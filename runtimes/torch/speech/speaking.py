"""What the networks can say so far: a sentence from its symbols and a voice, in as many steps as one likes.

P symbols, T frames, C channels.
"""

from dataclasses import replace

import numpy as np
import torch

from edge.nn.speech.noise import sizes, speak
from edge.train.speech.batches import Example, padded
from edge.typing import F32
from edge_runtimes.torch.speech.networks import Batch, Networks, Seen

SEED = 20_260_101
MOST = 4096  # frames of an utterance
REFINED = 80.0  # how much noise a residual is made from


@torch.no_grad()
def said(
    networks: Networks, example: Example, device: torch.device,
    *, steps: int = 1, seed: int = SEED, alpha: float = 0.0,
) -> F32:  # fmt: skip
    """The latent [T, C] of an example's symbols in its prompt's voice, by durations and pitch as they are predicted,
    and `alpha` of what the refiners add.
    """
    batch = timed(networks, example, device, seed=seed, alpha=alpha)
    return resaid(networks, batch, networks.seen(batch), steps=steps, seed=seed)[0]


@torch.no_grad()
def timed(
    networks: Networks, example: Example, device: torch.device,
    *, seed: int = SEED, alpha: float = 0.0,
) -> Batch:  # fmt: skip
    """The same before its latent is made: with durations [1, P] and log_pitch [1, T] of the networks' own."""
    batch, rng = Batch.of(padded([example]), device), np.random.default_rng((seed, 1))
    seen = networks.seen(batch)
    given = (seen.duration_features, batch.phoneme_mask)
    long = seen.log_duration + alpha * _added(networks, "duration_refiner", *given, rng, alpha)
    frames = long.expm1().round().clamp(min=0)
    if not frames.sum():
        frames = torch.ones_like(frames)
    silent = torch.zeros(1, min(int(frames.sum()), MOST), device=device)
    batch = replace(
        batch,
        durations=frames,
        alignment=torch.arange(frames.shape[1], device=device).repeat_interleave(frames[0].long())[
            None, :MOST
        ],
        frame_mask=torch.ones_like(silent),
        log_pitch=silent,
    )
    seen = networks.seen(batch)
    given = (seen.pitch_features, batch.frame_mask)
    high = seen.log_pitch + alpha * _added(networks, "pitch_refiner", *given, rng, alpha)
    return replace(batch, log_pitch=high)


@torch.no_grad()
def resaid(
    networks: Networks, batch: Batch, seen: Seen, *, steps: int = 1, seed: int = SEED
) -> F32:
    """The latents [B, T, C] of a batch by durations and pitch of its own."""
    rng, device = np.random.default_rng(seed), batch.frame_mask.device
    shape = (*batch.frame_mask.shape, batch.latent.shape[-1])

    def clean(noisy: F32, sigma: float) -> F32:
        given, much = torch.from_numpy(noisy), torch.full((len(noisy),), sigma)
        made: F32 = networks.clean(given.to(device), much.to(device), seen, batch).cpu().numpy()
        return made

    at = sizes(steps)
    return speak(clean, (rng.standard_normal(shape, np.float32) for _ in at), at)


def _added(
    networks: Networks, name: str, features: torch.Tensor, mask: torch.Tensor,
    rng: np.random.Generator, alpha: float,
) -> torch.Tensor:  # fmt: skip
    """What a refiner makes of noise [1, N]; nothing where it is not wanted."""
    if not alpha:
        return torch.zeros_like(mask)
    noise = torch.from_numpy(rng.standard_normal(mask.shape, np.float32)).to(mask.device)
    sigma = torch.full((len(mask),), REFINED, device=mask.device)
    return networks.residual(name, noise * sigma[:, None], sigma, features, mask)
