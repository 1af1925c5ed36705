"""Products of bfloat16 while training, on devices that have them."""

from functools import cache
from typing import Literal

import torch

Precision = Literal["bf16", "fp32"]


@cache
def product_type(device: str) -> torch.dtype:
    """What a step of training multiplies in on a kind of device (`cpu`, `cuda`): bfloat16 on a CPU that has tiles for
    it (AMX). Others emulate each product, 50 times as slow as float32's, or multiply pairs (AVX512-BF16): a layer
    forth and back took 1.4 times as long so.
    """
    if device != "cpu" or torch.cpu._is_amx_tile_supported():
        return torch.bfloat16
    return torch.float32


def narrow(device: str, precision: Precision) -> torch.autocast:
    """A context in which operations multiply in this precision, or in float32 where the device is better at that."""
    wanted = precision == "bf16" and product_type(device) == torch.bfloat16
    # No cache: threads share it, and what one forgets changes how another rounds.
    return torch.autocast(device, dtype=torch.bfloat16, enabled=wanted, cache_enabled=False)
