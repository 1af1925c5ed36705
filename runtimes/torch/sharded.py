"""Weights of a decoder that no one device holds with their gradients and moments: each process keeps some rows of each,
and has those of a layer whole only while it computes it, by torch's fully sharded data parallel (FSDP2; its idea:
arXiv 1910.02054, stage 3).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from edge.errors import Unsupported
from edge.names import shapes
from edge.spec import DecoderSpec
from edge.system.memory import machine_memory
from edge_runtimes.torch.held import Given, Made, rows_of
from edge_runtimes.torch.ranks import Ranks

_FLOATS = 4  # a weight, its gradient and two moments, in float32


class _Part(nn.Module):
    """Weights that come and go together: while its forward calls a function, they are whole."""

    def __init__(self, weights: Mapping[str, torch.Size], parts: Iterable["_Part"] = ()) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        for name, shape in weights.items():
            empty = torch.empty(shape, device="meta")
            self.register_parameter(_key(name), nn.Parameter(empty))

    def forward(self, function: Callable[[*Given], Made], *given: *Given) -> Made:
        return function(*given)


class Sharded:
    """`edge_runtimes.torch.held.Held`. `weights`, in the order of their names' layers, are taken one at a time."""

    side_by_side = False  # torch's hooks know one thread

    def __init__(
        self, spec: DecoderSpec, weights: Iterable[tuple[str, torch.Tensor]], ranks: Ranks
    ) -> None:
        self.shapes: Mapping[str, torch.Size] = {
            name: torch.Size(shape) for name, shape in shapes(spec).items()
        }
        self.shard, self.shards = ranks.rank, ranks.count
        ranks.shared_out = True
        layers: list[dict[str, torch.Size]] = [{} for _ in spec.layers]
        rest: dict[str, torch.Size] = {}
        for name, shape in self.shapes.items():
            layer = _layer(name)
            (rest if layer is None else layers[layer])[name] = shape
        mesh = init_device_mesh(ranks.device.type, (ranks.count,))
        self._layers = [_Part(some) for some in layers]
        self._root = _Part(rest, self._layers)
        for part in (*self._layers, self._root):
            made: Any = fully_shard(part, mesh=mesh)
            made.set_gradient_divide_factor(1.0)  # each split's loss is its part of the batch's
            made.set_force_sum_reduction_for_comms(True)  # gloo has no other
        self._root.to_empty(device=ranks.device)
        self.weights: Mapping[str, torch.Tensor] = _Present(self._parameters())
        self.own = {name: self._shard(name) for name in self.shapes}
        for name, weight in weights:
            self.own[name].copy_(self.cut(weight))

    def through(
        self, layer: int | None, function: Callable[[*Given], Made], *given: *Given
    ) -> Made:
        part = self._root if layer is None else self._layers[layer]
        made: Made = part(function, *given)
        return made

    def seen(self, seeds: torch.Tensor) -> Mapping[str, torch.Tensor]:
        return self.weights

    def collect(self, still: Collection[str]) -> None:
        assert not still, "of a decoder every weight learns"
        for name, (part, key) in self._parameters().items():
            weight: Any = getattr(part, key)
            found = weight.grad
            own = self.own[name]
            own.grad = torch.zeros_like(own) if found is None else found.to_local()
            weight.grad = None

    def whole(self, name: str, own: torch.Tensor) -> torch.Tensor:
        shape = self.shapes[name]
        each = -(-shape[0] // self.shards)
        padded = own.new_zeros((each, *shape[1:]))
        padded[: len(own)] = own
        out = own.new_empty((each * self.shards, *shape[1:]))
        dist.all_gather_into_tensor(out, padded)
        return out[: shape[0]]

    def cut(self, whole: torch.Tensor) -> torch.Tensor:
        rows = rows_of(len(whole), self.shard, self.shards)
        return whole[rows.start : rows.stop]

    def _parameters(self) -> dict[str, tuple[nn.Module, str]]:
        """Where each weight lies."""
        found: dict[str, tuple[nn.Module, str]] = {}
        for name in self.shapes:
            layer = _layer(name)
            found[name] = (self._root if layer is None else self._layers[layer], _key(name))
        return found

    def _shard(self, name: str) -> torch.Tensor:
        part, key = self._parameters()[name]
        weight: Any = getattr(part, key)
        own: torch.Tensor = weight.detach().to_local()
        mine = rows_of(self.shapes[name][0], self.shard, self.shards)
        assert len(own) == len(mine), f"{name}: torch keeps {len(own)} rows here, not {len(mine)}"
        return own


class _Present(Mapping[str, torch.Tensor]):
    """Weights as their parts have them at the moment."""

    def __init__(self, places: Mapping[str, tuple[nn.Module, str]]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> torch.Tensor:
        part, key = self._places[name]
        found: torch.Tensor = getattr(part, key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def needed(spec: DecoderSpec, ranks: Ranks) -> bool:
    """Whether a decoder's weights, gradients and moments are more than one device holds; refuses what all processes
    together do not hold.
    """
    each, device = _bytes(spec), _device_bytes(ranks)
    if each <= device:
        return False
    if each > device * ranks.count:
        raise Unsupported(
            f"weights, gradients and moments take {each / 1e9:.1f} GB, and each of {ranks.count} processes has "
            f"{device / 1e9:.1f}",
            fix=f"torchrun --nproc-per-node {-(-each // device)} or more, on devices of their own; or train an adapter",
        )
    return True


def _bytes(spec: DecoderSpec) -> int:
    return 4 * _FLOATS * sum(torch.Size(shape).numel() for shape in shapes(spec).values())


def _device_bytes(ranks: Ranks) -> int:
    if ranks.device.type == "cuda":
        return int(torch.cuda.get_device_properties(ranks.device).total_memory)
    return machine_memory() // ranks.here


def _layer(name: str) -> int | None:
    first, _, rest = name.partition(".")
    return int(rest.partition(".")[0]) if first == "layers" else None


def _key(name: str) -> str:
    """A parameter's name has no point in it."""
    return name.replace(".", "/")
