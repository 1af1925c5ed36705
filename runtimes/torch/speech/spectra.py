"""Spectra on torch, differentiable: those of `edge.audio.spectra`, of many sounds at once.

B sounds, N samples, T frames, F frequencies, M mel bands.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F

from edge.audio.spectra import Mel, filter_bank

QUIET = 1e-3  # a magnitude below which nobody hears: about what 16 bits round to


def log_mel(samples: torch.Tensor, mel: Mel) -> torch.Tensor:
    """[B, N] -> [B, T, M]: `edge.audio.spectra.log_mel` of each."""
    framing = mel.framing
    count = framing.frames(samples.shape[1])
    centred = framing.padding == "center"
    before = mel.transform // 2 if centred else (mel.transform - framing.hop) // 2
    after = max(0, (count - 1) * framing.hop + mel.transform - before - samples.shape[1])
    padded = F.pad(samples[:, None], (before, after), mode="reflect")[:, 0]
    window = torch.hann_window(framing.window, device=samples.device)
    found = torch.stft(
        padded, mel.transform, framing.hop, framing.window, window,
        center=False, return_complex=True,
    )  # fmt: skip
    filters = _filters(mel).to(samples.device)
    bands = (found[:, :, :count].abs() ** mel.power).mT @ filters
    return bands.clamp(min=mel.floor).log()


def spectrum(samples: torch.Tensor, window: int, hop: int) -> torch.Tensor:
    """[B, N] -> complex [B, F, T], its frames around every `hop`-th sample."""
    shape = torch.hann_window(window, device=samples.device)
    found: torch.Tensor = torch.stft(samples, window, hop, window=shape, return_complex=True)
    return found


def apart(made: torch.Tensor, wanted: torch.Tensor, window: int) -> torch.Tensor:
    """How far the spectra of sounds [B, N] are from those they should have, of windows a quarter of themselves apart:
    the share of the magnitude that is wrong, and the mean difference of logarithms (arXiv 1910.11480).
    """
    with torch.no_grad():
        right = spectrum(wanted, window, window // 4).abs()
    got = spectrum(made, window, window // 4).abs()
    wrong = torch.linalg.vector_norm(got - right, dim=(1, 2))
    share = wrong / torch.linalg.vector_norm(right, dim=(1, 2)).clamp(min=QUIET)
    return share.mean() + F.l1_loss(got.clamp(min=QUIET).log(), right.clamp(min=QUIET).log())


@lru_cache(maxsize=8)
def _filters(mel: Mel) -> torch.Tensor:
    return torch.from_numpy(filter_bank(mel)).float()
