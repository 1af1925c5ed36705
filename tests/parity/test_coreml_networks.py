"""Networks of others, that decode nothing: torch modules through coremltools' own converter, then evaluated.

Torch is the oracle of each, at every size that its package takes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("coremltools")

from mil import ct  # noqa: E402

from edge_runtimes.coreml.evaluator import Evaluator  # noqa: E402
from edge_runtimes.coreml.program import Program  # noqa: E402

nn, F = torch.nn, torch.nn.functional
TARGETS = {"iOS17": ct.target.iOS17, "iOS18": ct.target.iOS18}


class Residual(nn.Module):
    """An image network: strided, depthwise and plain convolutions, norms, pools, a sum, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 7, 2, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.body = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.GroupNorm(4, 16), nn.SiLU(),
            nn.Conv2d(16, 16, 3, 1, 2, dilation=2), nn.Hardswish(),
        )  # fmt: skip
        self.head = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x = F.relu(x + self.body(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1)).softmax(-1)


class Patches(nn.Module):
    """A block of a vision transformer over patches of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.place = nn.Parameter(torch.randn(1, 17, 32))
        self.first = nn.Parameter(torch.randn(1, 1, 32))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(2))
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, image: Any) -> Any:
        x = self.patch(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(2, -1, -1), x], 1) + self.place
        q, k, v = self.qkv(self.norms[0](x)).reshape(2, 17, 3, 4, 8).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return (x + self.mlp(self.norms[1](x)))[:, 0]


class Wave(nn.Module):
    """A network over a sequence of any length: convolutions, gelu of tanh, a mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv1d(4, 12, 5, 2, 2), nn.GELU(approximate="tanh"),
            nn.Conv1d(12, 12, 3, 1, 4, dilation=4, groups=3), nn.Tanh(),
            nn.Conv1d(12, 12, 3, padding=1, groups=12), nn.Softplus(),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        x = self.convs(F.pad(x, (3, 1)))
        centred = x - x.mean(-1, keepdim=True)
        return torch.cat([x.amax(-1), centred.square().mean(-1).sqrt()], -1)


class Words(nn.Module):
    """An encoder of ids, of which 0 fills up: embeddings, attention under a mask, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.qkv = nn.Linear(16, 48)

    def forward(self, ids: Any) -> Any:
        mask, x = (ids > 0).float(), self.words(ids)
        q, k, v = (part.unsqueeze(1) for part in self.qkv(x).chunk(3, -1))
        away = (1 - mask)[:, None, None, :] * -1e4
        x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=away).squeeze(1)
        weight = mask[..., None]
        return F.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)


def converted(
    module: Any, folder: Path, inputs: list[Any], example: Any, *, target: str
) -> Program:
    model = ct.convert(
        torch.jit.trace(module, example),
        inputs=inputs,
        minimum_deployment_target=TARGETS[target],
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    model.save(str(folder))
    return Program.open(folder)


def same(program: Program, module: Any, **inputs: np.ndarray) -> None:
    (got,) = Evaluator(program, "fp32").call("main", inputs).values()
    (given,) = inputs.values()
    with torch.no_grad():
        want = module(torch.tensor(given)).numpy()
    assert got.shape == want.shape
    assert np.abs(want).max() > 1e-2  # or nothing was compared
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-5)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def made(kind: type) -> Any:
    """Random weights, and norms that have seen data."""
    torch.manual_seed(0)
    module = kind().eval()
    for name, held in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            held.uniform_(0.5, 1.5)
    return module


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", [Residual, Patches])
def test_a_network_of_images_is_what_torch_makes_of_it(
    kind: type, target: str, tmp_path: Path
) -> None:
    module, image = made(kind), noise(2, 3, 32, 32)
    inputs = [ct.TensorType("image", image.shape)]
    folder = tmp_path / "it.mlpackage"
    program = converted(module, folder, inputs, torch.tensor(image), target=target)
    same(program, module, image=image)


@pytest.mark.parametrize("target", TARGETS)
def test_a_network_of_sequences_takes_a_range_of_lengths(target: str, tmp_path: Path) -> None:
    module = made(Wave)
    inputs = [ct.TensorType("x", ct.Shape((1, 4, ct.RangeDim(16, 128, default=40))))]
    folder = tmp_path / "it.mlpackage"
    program = converted(module, folder, inputs, torch.tensor(noise(1, 4, 40)), target=target)
    for length in (16, 40, 41, 128):
        same(program, module, x=noise(1, 4, length))


@pytest.mark.parametrize("target", TARGETS)
def test_an_encoder_takes_the_shapes_that_are_enumerated(target: str, tmp_path: Path) -> None:
    module, lengths = made(Words), [8, 16, 32]
    shapes = ct.EnumeratedShapes([(1, length) for length in lengths], default=(1, 8))
    inputs = [ct.TensorType("ids", shapes, dtype=np.int32)]
    ids = np.random.default_rng(2).integers(1, 50, (1, 32)).astype(np.int32)
    example, folder = torch.tensor(ids[:, :8]), tmp_path / "it.mlpackage"
    program = converted(module, folder, inputs, example, target=target)
    for length in lengths:
        filled = ids[:, :length] * (np.arange(length) < length * 5 // 8)
        same(program, module, ids=filled.astype(np.int32))
