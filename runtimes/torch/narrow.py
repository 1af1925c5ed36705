"""Products of bfloat16 while training, on devices that have them."""

from functools import cache
from typing import Literal

import torch

Precision = Literal["bf16", "fp32"]


@cache
def product_type(device: str) -> torch.dtype:
    """What a step of training multiplies in on a kind of device (`cpu`, `cuda`): float32 on a CPU that would emulate
    each product of bfloat16, 50 times as slow as its own.
    """
    if device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32


def narrow(device: str, precision: Precision) -> torch.autocast:
    """A context in which operations multiply in this precision, or in float32 where the device is better at that."""
    wanted = precision == "bf16" and product_type(device) == torch.bfloat16
    # No cache: threads share it, and what one forgets changes how another rounds.
    return torch.autocast(device, dtype=torch.bfloat16, enabled=wanted, cache_enabled=False)
