"""Networks that learn to tell sound that a vocoder made from sound that was recorded, and what their opinion costs.

One sees every p-th sample, as p sounds of their own (arXiv 2010.05646); one sees spectra, real and imaginary parts,
pressed so that what is soft is seen beside what is loud (arXiv 2210.13438). Each is a few convolutions of matrices of
unit rows times a length (weight normalization, arXiv 1602.07868), and a leaky rectifier.

B sounds, N samples, C channels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F

from edge.train.speech.vocoder import Adversary
from edge_runtimes.torch.speech.spectra import spectrum

PREFIX = "adversary/"
Weights = Mapping[str, torch.Tensor]
_LEAK = 0.1
_PRESS = 0.3  # the power of a magnitude that is left of it
_LOUD = 1e-6  # squared: below it nothing is pressed further


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution: kernel and stride along each axis."""

    into: int
    out: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Opinion:
    """Of some sounds by one judge: a number at each place [B, …], and what it saw on the way there."""

    said: torch.Tensor
    seen: Sequence[torch.Tensor]


def judges(adversary: Adversary) -> dict[str, tuple[Layer, ...]]:
    """The convolutions of each judge, by name."""
    wide = adversary.width
    steps = (1, wide, 2 * wide, 4 * wide)
    comb = tuple(Layer(a, b, (5,), (3,)) for a, b in pairwise(steps))
    comb += (Layer(4 * wide, 4 * wide, (5,), (1,)), Layer(4 * wide, 1, (3,), (1,)))
    steps = (2, wide, wide, 2 * wide)
    seen = tuple(Layer(a, b, (3, 5), (1, 2)) for a, b in pairwise(steps))
    seen += (Layer(2 * wide, 2 * wide, (3, 3), (1, 1)), Layer(2 * wide, 1, (3, 3), (1, 1)))
    combs = {f"period.{period}": comb for period in adversary.periods}
    return combs | {f"window.{window}": seen for window in adversary.windows}


def initial_adversary(adversary: Adversary, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Random weights by name."""
    rng = torch.Generator().manual_seed(seed)
    for name, layers in judges(adversary).items():
        for number, layer in enumerate(layers):
            at = f"{PREFIX}{name}.{number}"
            weight = torch.randn(layer.out, layer.into, *layer.kernel, generator=rng)
            yield at, weight / weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
            yield f"{at}.length", torch.ones(layer.out)
            yield f"{at}.bias", torch.zeros(layer.out)


def opinions(weights: Weights, adversary: Adversary, sound: torch.Tensor) -> list[Opinion]:
    """Of every judge, of sounds [B, N]."""
    found = []
    for name, layers in judges(adversary).items():
        kind, _, number = name.partition(".")
        x, seen = _SIGHTS[kind](sound, int(number)), []
        for place, layer in enumerate(layers):
            x = _conv(x, weights, f"{PREFIX}{name}.{place}", layer)
            if place + 1 < len(layers):
                x = F.leaky_relu(x, _LEAK)
                seen.append(x)
        found.append(Opinion(x.reshape(len(sound), -1).float(), [one.float() for one in seen]))
    return found


def learned(adversary: Adversary, real: Sequence[Opinion], made: Sequence[Opinion]) -> torch.Tensor:
    """What the judges' errors cost them."""
    pairs = zip(real, made, strict=True)
    if adversary.loss == "hinge":
        costs = [F.relu(1 - a.said).mean() + F.relu(1 + b.said).mean() for a, b in pairs]
    else:
        costs = [(1 - a.said).square().mean() + b.said.square().mean() for a, b in pairs]
    return torch.stack(costs).mean()


def told(adversary: Adversary, made: Sequence[Opinion]) -> torch.Tensor:
    """What it costs that the judges tell sound that was made."""
    if adversary.loss == "hinge":
        return torch.stack([-b.said.mean() for b in made]).mean()
    return torch.stack([(1 - b.said).square().mean() for b in made]).mean()


def unlike(real: Sequence[Opinion], made: Sequence[Opinion]) -> torch.Tensor:
    """How different what judges see in it is, in parts of how large that is."""
    costs = [
        (x.detach() - y).abs().mean() / x.detach().abs().mean().clamp(min=1e-6)
        for a, b in zip(real, made, strict=True)
        for x, y in zip(a.seen, b.seen, strict=True)
    ]
    return torch.stack(costs).mean()


def _conv(x: torch.Tensor, weights: Weights, at: str, layer: Layer) -> torch.Tensor:
    weight = weights[at]
    length = weights[f"{at}.length"] / weight.flatten(1).norm(dim=1)
    weight = weight * length.view(-1, *[1] * (weight.ndim - 1))
    pad = tuple(size // 2 for size in layer.kernel)
    call = F.conv1d if len(layer.kernel) == 1 else F.conv2d
    return call(x, weight, weights[f"{at}.bias"], stride=layer.stride, padding=pad)


def _combed(sound: torch.Tensor, period: int) -> torch.Tensor:
    """[B, N] -> [B period, 1, N / period]; at the end it is reflected to a whole number of periods."""
    lacking = -sound.shape[1] % period
    if lacking:
        sound = F.pad(sound[:, None], (0, lacking), mode="reflect")[:, 0]
    return sound.view(len(sound), -1, period).mT.flatten(0, 1)[:, None]


def _pressed(sound: torch.Tensor, window: int) -> torch.Tensor:
    """[B, N] -> [B, 2, T, F], real and imaginary parts, windows half of themselves apart."""
    found = torch.view_as_real(spectrum(sound, window, window // 2))  # [B, F, T, 2]
    power = found.square().sum(-1, keepdim=True) + _LOUD
    return (found * power ** ((_PRESS - 1) / 2)).permute(0, 3, 2, 1)


_SIGHTS = {"period": _combed, "window": _pressed}
