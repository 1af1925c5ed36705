"""Stage 2: a discriminator tells what the network makes from what was spoken (arXiv 2404.14700), by the features of a
frozen network that hears both. Ours takes log mel bands, so that no sound is made for it.

What is heard is multiplied with the mean of what is heard of the prompt (a projection, arXiv 1802.05637), then goes
through a few convolutions. Least squares, as in the public code: 1 for what was spoken, 0 for what was made.

B examples, T frames, F features, W width.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from edge.errors import EdgeError
from edge.nn.networks import define
from edge.train.speech.model import Joined, takes_mel
from edge.train.speech.recipe import AdversarialTable
from edge_runtimes.torch.net import TorchNetOps
from edge_runtimes.torch.shared import wide

NAME = "discriminator"
SLOPE = 0.1
LITTLE = 1e-4  # that a gradient's length is never less than


class Listener:
    """A frozen network that hears. Its gradients reach what it is given, not its weights. `mean`, `scale`: of
    latents.
    """

    def __init__(self, part: Joined, mean: float, scale: float, device: torch.device) -> None:
        self.spec, self._mel = part.spec, takes_mel(part)
        ports = {port.name: port for port in part.spec.config.outputs}
        self.width = int(ports["features"].shape[-1])
        masks = [port.name for port in part.spec.config.inputs if port.values == "mask"]
        if len(masks) != 1 or len(part.spec.config.inputs) != 2:
            raise EdgeError(
                f"{part.folder} takes more than frames and which of them count",
                fix="name a recognizer that edge train recognizer made",
            )
        self._mask = masks[0]
        weights = {name: torch.from_numpy(weight).to(device) for name, weight in part.weights()}
        self._ops = TorchNetOps(weights, device=device)
        self._mean, self._scale = mean, scale

    def hear(self, latent: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """[B, T, C], [B, T] -> [B, T, F], zero in frames that do not count."""
        given = {self._mel: latent * self._scale + self._mean, self._mask: mask}
        return wide(define(self._ops, self.spec, **given)["features"]) * mask[:, :, None]


class Discriminator:
    """Convolutions whose rows have a length of their own (weight norm, arXiv 1602.07868)."""

    def __init__(
        self, table: AdversarialTable, features: int, weights: Mapping[str, torch.Tensor]
    ) -> None:
        self._projects, self._features, self._weights = table.projection, features, weights
        self._layers = len(sizes(table, features))

    def judge(
        self,
        heard: torch.Tensor,
        mask: torch.Tensor,
        prompt: torch.Tensor,
        prompt_mask: torch.Tensor,
    ) -> torch.Tensor:
        """heard [B, T, F] and prompt [B, R, F] of frames that count -> [B, T], about 1 where it was spoken."""
        x = heard
        if self._projects:
            whole = prompt.sum(1, keepdim=True) / prompt_mask.sum(1)[:, None, None]
            x = x * whole * (self._features**-0.5)
        x = x.mT  # [B, F, T]
        for i in range(self._layers):
            kernel = self._kernel(i)
            x = F.conv1d(
                x * mask[:, None], kernel, self._weights[f"{i}.bias"], padding=kernel.shape[2] // 2
            )
            x = F.leaky_relu(x, SLOPE) if i < self._layers - 1 else x
        return x[:, 0] * mask

    def _kernel(self, i: int) -> torch.Tensor:
        direction = self._weights[f"{i}.direction"]
        norm = direction.flatten(1).norm(dim=1)
        return direction * (self._weights[f"{i}.length"] / norm)[:, None, None]


def sizes(table: AdversarialTable, features: int) -> tuple[tuple[int, int, int], ...]:
    """Of each convolution: channels out and in, and its kernel."""
    wide = table.width
    widths = (features, wide, 2 * wide, 4 * wide, 4 * wide, 1)
    kernels = (1, 5, 5, 5, 3)
    return tuple(zip(widths[1:], widths[:-1], kernels, strict=True))


def initial(table: AdversarialTable, features: int, seed: int) -> dict[str, torch.Tensor]:
    rng, out = torch.Generator().manual_seed(seed), dict[str, torch.Tensor]()
    for i, (rows, columns, kernel) in enumerate(sizes(table, features)):
        direction = torch.randn(rows, columns, kernel, generator=rng) * (columns * kernel) ** -0.5
        out[f"{i}.direction"], out[f"{i}.length"] = direction, direction.flatten(1).norm(dim=1)
        out[f"{i}.bias"] = torch.zeros(rows)
    return out


def told(judged: torch.Tensor, mask: torch.Tensor, wanted: float) -> torch.Tensor:
    """How far from it: [B, T] -> [B], the mean of what counts."""
    return ((judged - wanted).square() * mask).sum(1) / mask.sum(1)


def balance(
    first: Sequence[torch.Tensor], second: Sequence[torch.Tensor], *, share: float, most: float
) -> float:
    """How much the second of two losses counts so that its gradients of one layer are as long as the first's (VQGAN's
    rule, arXiv 2012.09841), and of that a share.
    """
    lengths = [
        float(torch.stack([gradient.square().sum() for gradient in each]).sum().sqrt())
        for each in (first, second)
    ]
    return share * min(most, lengths[0] / (lengths[1] + LITTLE))
