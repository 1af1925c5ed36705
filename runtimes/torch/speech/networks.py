"""The networks that are learned, by name, and what they make of a batch before anything is noisy.

B examples, P symbols, T frames, R prompt frames, C channels, D width, N tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import torch

from edge.net import NetSpec
from edge.nn.networks import define
from edge.train.speech import batches
from edge_runtimes.torch.net import TorchNetOps
from edge_runtimes.torch.shared import wide

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """`edge.train.speech.batches.Batch` on a device."""

    phonemes: torch.Tensor
    phoneme_mask: torch.Tensor
    durations: torch.Tensor
    alignment: torch.Tensor
    frame_mask: torch.Tensor
    log_pitch: torch.Tensor
    latent: torch.Tensor
    prompt: torch.Tensor
    prompt_mask: torch.Tensor

    @classmethod
    def of(cls, drawn: batches.Batch, device: torch.device) -> Self:
        return cls(
            **{
                field.name: torch.from_numpy(getattr(drawn, field.name)).to(device)
                for field in fields(drawn)
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What is known before a latent is made: log durations [B, P] and log pitch [B, T] as they are predicted, and what
    they are products of; condition [B, T, D] and tokens [B, N, D].
    """

    log_duration: torch.Tensor
    duration_features: torch.Tensor
    log_pitch: torch.Tensor
    pitch_features: torch.Tensor
    condition: torch.Tensor
    tokens: torch.Tensor


class Networks:
    """`weights`: NETWORK/WEIGHT -> what it is."""

    def __init__(
        self, specs: Mapping[str, NetSpec], weights: Tensors, device: torch.device
    ) -> None:
        self.specs = specs
        self._ops = {name: TorchNetOps(own(weights, name), device=device) for name in specs}

    def call(self, name: str, **given: torch.Tensor) -> Tensors:
        return define(self._ops[name], self.specs[name], **given)

    def seen(self, batch: Batch) -> Seen:
        """Of durations and pitch as they were spoken: what is predicted is only learned beside it."""
        prompt = self.call("prompt", prompt=batch.prompt, prompt_mask=batch.prompt_mask)
        looked = {"rows": prompt["rows"], "prompt_mask": batch.prompt_mask}
        hidden = self.call(
            "phonemes",
            phonemes=batch.phonemes,
            phoneme_mask=batch.phoneme_mask,
            style=prompt["style"],
        )["hidden"]
        long = self.call("duration", hidden=hidden, phoneme_mask=batch.phoneme_mask, **looked)
        high = self.call(
            "pitch",
            hidden=hidden,
            alignment=batch.alignment,
            frame_mask=batch.frame_mask,
            **looked,
        )
        condition = self.call(
            "condition",
            repeated=high["repeated"],
            log_pitch=batch.log_pitch,
            frame_mask=batch.frame_mask,
        )["condition"]
        return Seen(
            log_duration=wide(long["log"]),
            duration_features=long["features"],
            log_pitch=wide(high["log"]),
            pitch_features=high["features"],
            condition=condition,
            tokens=prompt["tokens"],
        )

    def clean(
        self, noisy: torch.Tensor, sigma: torch.Tensor, seen: Seen, batch: Batch
    ) -> torch.Tensor:
        """A latent [B, T, C] without its noise, of sigma [B]."""
        out = self.call(
            "denoiser",
            latent=noisy,
            sigma=sigma[:, None],
            condition=seen.condition,
            tokens=seen.tokens,
            frame_mask=batch.frame_mask,
        )["clean"]
        return wide(out)

    def residual(
        self, name: str, noisy: torch.Tensor, sigma: torch.Tensor,
        features: torch.Tensor, mask: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """What a refiner adds [B, N], of noisy [B, N] and sigma [B]: as far as it goes, to nothing."""
        out = self.call(
            name,
            noisy=noisy,
            sigma=sigma[:, None],
            features=features,
            initial=torch.zeros_like(noisy),
            alpha=torch.ones_like(sigma[:, None]),
            mask=mask,
        )["refined"]
        return wide(out)


def own(weights: Tensors, name: str) -> dict[str, torch.Tensor]:
    """The weights of one network."""
    at = f"{name}/"
    return {key.removeprefix(at): weight for key, weight in weights.items() if key.startswith(at)}
