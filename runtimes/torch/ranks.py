"""The processes of a training run: one alone, or those that torchrun started, one a device.

Each has rows of its own; of the weights all, or a shard (`held`, `sharded`); gradients are added up. With gloo on CPUs;
with NCCL on CUDA, which was written and not run.
"""

import atexit
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Self

import torch
import torch.distributed as dist

from edge.errors import EdgeError, Unsupported
from edge.files.closeable import Closeable
from edge.system import processors
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
        self.shared_out = False  # whether weights lie in shards
        self.device = own(device(), int(os.environ.get("LOCAL_RANK", "0")) if started else None)

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

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work with the others: that one of them is gone is said, by one process."""
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not _lost(error):
                raise
            if not _first_to_say():
                raise SystemExit(1) from None
            raise EdgeError(
                "another process of this run has ended, and the others cannot go on without it",
                fix="see why above or in its own log; then give the same command again with --resume",
            ) from error

    def leave(self) -> None:
        """The run has ended well. Where torch shared weights out, what it leaves would have C++ end the interpreter at
        its exit, every other time ("terminate called without an active exception", torch 2.13 over gloo): so this
        process ends by itself there, once all that it has to say is said.
        """
        if self.count > 1:
            self.total(1)
        if self.shared_out:
            self.count = 1  # the group ends with the process
            atexit.register(_end)

    def share_threads(self) -> None:
        """Compute on this process's part of the machine's processors, and on no more than torch was told to."""
        if self.device.type == "cpu":
            threads = min(torch.get_num_threads(), processors.threads(None))
            torch.set_num_threads(max(1, threads // self.here))

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


def _end() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _lost(error: RuntimeError) -> bool:
    """Whether a peer went away: NCCL has a type for it, gloo a text."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _first_to_say() -> bool:
    """Whether no other process has said it yet: torchrun's store, which outlives them, counts."""
    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(host, port, timeout=timedelta(seconds=5))  # type: ignore[attr-defined]
        return store.add("edge/lost", 1) == 1
    except (RuntimeError, KeyError, ValueError):
        return True


def own(found: torch.device, local: int | None) -> torch.device:
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
