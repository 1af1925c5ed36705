"""The processes of a training run: one alone, or those that torchrun started, one a device.

Data parallel, plainly: each has all weights and rows of its own; gradients are added up. With gloo on
CPUs; with NCCL on CUDA, which was written and not run.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Self

import torch
import torch.distributed as dist

from edge.errors import Unsupported
from edge.files.closeable import Closeable
from edge_runtimes.torch.decoder import device

BUCKET = 64 << 20  # bytes that are added up at once


class Ranks(Closeable):
    """`rank` of `count`. As a context it joins the others, and leaves them at the end."""

    def __init__(self) -> None:
        started = "RANK" in os.environ and "WORLD_SIZE" in os.environ
        self.rank = int(os.environ["RANK"]) if started else 0
        self.count = int(os.environ["WORLD_SIZE"]) if started else 1
        self.here = (
            int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if started else 1
        )  # on this machine
        self.device = _own(device(), int(os.environ.get("LOCAL_RANK", "0")) if started else None)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def __enter__(self) -> Self:
        if self.device.index is not None:
            torch.cuda.set_device(self.device)
        if self.count > 1:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        return self

    def close(self) -> None:
        if self.count > 1:
            dist.destroy_process_group()

    def mine(self, splits: int) -> range:
        """The splits of a batch that this one computes: as many as any other."""
        if splits % self.count:
            raise Unsupported(
                f"{self.count} processes cannot share the {splits} splits of this recipe's batches",
                fix=f"start a number of processes that divides {splits}, or change `splits` in the recipe",
            )
        each = splits // self.count
        return range(self.rank * each, (self.rank + 1) * each)

    def total(self, *numbers: float) -> list[float]:
        """Each number, added up over all."""
        if self.count == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        added: list[float] = sums.tolist()
        return added

    def add_up(self, tensors: Iterable[torch.Tensor]) -> None:
        """Each tensor, added up over all, in place; the same bits everywhere."""
        if self.count == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            dist.all_reduce(flat)
            parts = torch.split_with_sizes(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))


def _own(found: torch.device, local: int | None) -> torch.device:
    """Of several processes on a machine, each has the GPU of its number."""
    if found.type != "cuda" or local is None:
        return found
    if local >= torch.cuda.device_count():
        raise Unsupported(
            f"process {local + 1} of this machine has no GPU: torch sees {torch.cuda.device_count()}",
            fix=f"torchrun --nproc-per-node {torch.cuda.device_count()}, or set EDGE_DEVICE=cpu",
        )
    return torch.device("cuda", local)


def _buckets(tensors: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and size + tensor.nbytes > BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket
