"""`edge.contracts.Tuner`: codes that are trained (EfficientQAT, arXiv 2407.11062). A layer by itself: weights, steps
and zeros, rounded anew at each step, straight through: a gradient passes a rounding as if it were none. Then the
scales of all layers, codes as they are, by how far the whole model's distribution is from that of the model in floats.

The maths is the model's own definition. N rows, K columns, J groups of G columns, T tokens, D width, V vocabulary.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from edge.errors import EdgeError
from edge.nn.decoder import head_name, segment
from edge.quant.methods import Training
from edge.quant.rtn import in_groups
from edge.quant.search import Steps
from edge.quant.tensor import QTensor, rounded
from edge.spec import DecoderSpec
from edge.typing import F32
from edge_runtimes.torch.decoder import device_on
from edge_runtimes.torch.ops import TorchOps
from edge_runtimes.torch.optim import Tensors
from edge_runtimes.torch.threads import together

Advance = Callable[[int], None]
Pairs = Sequence[tuple[F32, F32]]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_SEED = 0  # of the order of windows
_INSIDE = 0.49  # of a step from a code, where its weights begin
_BETAS = (0.9, 0.95)
_WARM = 5  # steps over which rates rise


def layer(
    spec: DecoderSpec,
    index: int,
    weights: Mapping[str, F32],
    codes: Mapping[str, QTensor],
    pairs: Pairs,
    training: Training,
    advance: Advance,
    device: str,
) -> dict[str, QTensor]:
    """The error of each token counts in units of what it should be: the norm that comes next divides by that."""
    where = _where(device)
    with together():
        some = {name: Rounded(weights[name], made, where) for name, made in codes.items()}
        fixed = _there(weights, codes, where)
        fixed["norm"] = torch.ones(spec.width, device=where)  # says where tables lie, no more

        def loss(x: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
            ops = TorchOps(fixed | {name: one.weights() for name, one in some.items()})
            off = _through(ops, spec, index, x) - wanted
            sizes = wanted.square().sum(-1).clamp_min(torch.finfo(torch.float32).tiny)
            return (off.square().sum(-1) / sizes).mean()

        rates = [
            (training.weights, [one.place for one in some.values()]),
            (training.steps, [one.wider for one in some.values()]),
            (training.zeros, [one.shift for one in some.values()]),
        ]
        _descend(rates, loss, pairs, training.passes, advance)
        return {name: one.codes() for name, one in some.items()}


def scales(
    spec: DecoderSpec,
    weights: Mapping[str, F32],
    codes: Mapping[str, QTensor],
    pairs: Pairs,
    head: F32,
    training: Training,
    advance: Advance,
    device: str,
) -> dict[str, QTensor]:
    """A group's zero is a code, and stays: its minimum goes with its scale. A layer's floats are made when it is come
    to, and again when its gradients are.
    """
    where = _where(device)
    with together():
        fixed = _there(weights, codes, where)
        ends = {name: w for name, w in fixed.items() if name.startswith("norm")}
        floats = TorchOps({**ends, head_name(spec): torch.from_numpy(head).to(where)})
        stored = TorchOps(fixed)
        wider = {
            name: torch.zeros(*made.scales.shape, 1, device=where).requires_grad_()
            for name, made in codes.items()
        }

        def matrix(name: str) -> torch.Tensor:
            made = codes[name]
            grouped = torch.from_numpy(in_groups(made.dequantize(), made.scheme)).to(where)
            return (grouped * (1 + wider[name])).flatten(1)[:, : made.columns]

        def through(x: torch.Tensor, index: int) -> torch.Tensor:
            own = {name: matrix(name) for name in codes if name.startswith(f"layers.{index}.")}
            return _through(TorchOps(fixed | own), spec, index, x)

        def loss(x: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
            for index in range(len(spec.layers)):
                x = checkpoint(through, x, index, use_reentrant=False)
            with torch.no_grad():
                likely = _logs(floats, spec, wanted)
            found, chance = _logs(stored, spec, x), likely.exp()
            # What may not be chosen is as unlikely in both.
            return torch.where(chance > 0, chance * (likely - found), 0).sum(-1).mean()

        _descend([(training.scales, list(wider.values()))], loss, pairs, training.rounds, advance)
        return {name: _scaled(made, 1 + wider[name]) for name, made in codes.items()}


class Rounded:
    """A matrix in training. In units of the step that a group began with: `place`, where its weights lie from its first
    code 0, [N, J, G]; `wider`, how much its step has grown, and `shift`, how far its code 0, or its zero, has gone, [N,
    J, 1].
    """

    def __init__(self, weights: F32, made: QTensor, where: torch.device) -> None:
        steps = Steps.of(made)
        scales, offsets = steps.scales[:, :, None], steps.offsets[:, :, None]  # [N, J, 1]
        self._made, self._most = made, (1 << made.scheme.bits) - 1
        self._still = scales == 0  # groups that are one number, and stay so
        unit = np.where(self._still, np.float32(1), scales)
        codes = made.codes.reshape(*steps.scales.shape, -1).astype(np.float32)
        # As near to its weight as rounds to its code, which made good what was wrong elsewhere.
        place = (in_groups(weights, made.scheme) - offsets) / unit
        place = np.clip(place, codes - _INSIDE, codes + _INSIDE)
        self._unit, self._size, self._first = (
            torch.from_numpy(part).to(where) for part in (unit, scales, offsets)
        )
        self.place = torch.from_numpy(place).to(where).requires_grad_()
        self.wider = torch.zeros_like(self._unit).requires_grad_()
        self.shift = torch.zeros_like(self._unit).requires_grad_()

    def weights(self) -> torch.Tensor:
        """What its codes mean now, [N, K]."""
        step, begin = self._grid()
        code = _straight((self.place - begin) / step).clamp(0, self._most)
        values = (code * step + begin) * self._size + self._first
        return values.flatten(1)[:, : self._made.columns]

    @torch.no_grad()
    def codes(self) -> QTensor:
        """Numbers rounded to their type first, codes to them."""
        made, number = self._made, self._made.scheme.number
        step, begin = (_numpy(part * self._size) for part in self._grid())
        scales, zeros = rounded(step, number), made.zeros
        if made.scheme.zero == "minimum":
            zeros = rounded(begin + _numpy(self._first), number)
        elif made.scheme.zero == "integer":
            zeros = _numpy(self._zero()).astype(np.uint8)
        steps = Steps.of(replace(made, scales=scales, zeros=zeros))
        inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
        values = (self.place * self._unit + self._first).cpu().numpy()
        codes = steps.codes(values, inverse[:, :, None], steps.offsets[:, :, None])
        codes = np.where(self._still, made.codes.reshape(codes.shape), codes)
        chosen = codes.astype(np.uint8).reshape(made.codes.shape)
        return replace(made, codes=chosen, scales=scales, zeros=zeros)

    def _grid(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A group's step, and where its code 0 lies from the first one."""
        step, scheme = 1 + self.wider, self._made.scheme
        if scheme.zero == "minimum":
            return step, self.shift
        if scheme.zero == "integer":
            return step, -self._zero() * step - self._first / self._unit
        return step, -(1 << scheme.bits - 1) * self.wider

    def _zero(self) -> torch.Tensor:
        """The code that means zero."""
        return _straight(self.shift - self._first / self._unit).clamp(0, self._most)


def _straight(x: torch.Tensor) -> torch.Tensor:
    """Rounded; its gradient is that of x."""
    return x + (x.round() - x).detach()


def _descend(
    rates: Sequence[tuple[float, list[torch.Tensor]]],
    loss: Loss,
    pairs: Pairs,
    passes: int,
    advance: Advance,
) -> None:
    """So many passes over all pairs, one a step, with rates that fall to nothing."""
    groups: list[dict[str, Any]] = [{"params": some, "lr": rate} for rate, some in rates]
    optimizer = torch.optim.Adam(groups, betas=_BETAS, fused=True)
    where, order = groups[0]["params"][0].device, random.Random(_SEED)
    total, done = passes * len(pairs), 0
    for _ in range(passes):
        for x, wanted in order.sample(list(pairs), len(pairs)):
            share = min(1.0, (done + 1) / _WARM) * (1 - done / total)
            for group, (rate, _) in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
            found = loss(*(torch.from_numpy(part[None]).to(where) for part in (x, wanted)))
            if not math.isfinite(float(found.detach())):
                raise EdgeError(
                    "training does not converge: its loss is no number",
                    fix="round by a text alone, as gptq does",
                )
            found.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            done += 1
            advance(len(x))


def _through(ops: TorchOps, spec: DecoderSpec, index: int, x: torch.Tensor) -> torch.Tensor:
    """One layer: [1, T, D] -> [1, T, D]."""
    return segment(ops, spec, x, start=index, stop=index + 1, ends=False, embedded=True)


def _logs(ops: TorchOps, spec: DecoderSpec, x: torch.Tensor) -> torch.Tensor:
    """Behind the last layer, [1, T, D] -> logarithms of chances [1, T, V]."""
    count = len(spec.layers)
    return segment(ops, spec, x, start=count, stop=count, ends=True, embedded=True).log_softmax(-1)


def _there(
    weights: Mapping[str, F32], codes: Mapping[str, QTensor], where: torch.device
) -> Tensors:
    """Weights that are not trained."""
    return {name: torch.from_numpy(w).to(where) for name, w in weights.items() if name not in codes}


@torch.no_grad()
def _scaled(made: QTensor, by: torch.Tensor) -> QTensor:
    share, number = _numpy(by), made.scheme.number
    zeros = made.zeros
    if zeros is not None and made.scheme.zero == "minimum":
        zeros = rounded(zeros * share, number)
    return replace(made, scales=rounded(made.scales * share, number), zeros=zeros)


def _numpy(x: torch.Tensor) -> F32:
    """[N, J, 1] -> [N, J]."""
    found: F32 = x.detach()[:, :, 0].cpu().numpy()
    return found


def _where(device: str) -> torch.device:
    """What is read in numpy is trained on a CPU."""
    return device_on("cuda" if device == "cuda" else "cpu", instead="give --calibrate-on cpu")
