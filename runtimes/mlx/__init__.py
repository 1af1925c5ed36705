"""MLX: Metal on a Mac; on Linux its CPU kernels, right for proof."""

from runtimes.mlx.decoder import MlxDecoder
from runtimes.mlx.numerics import memory, numerics

open = MlxDecoder  # noqa: A001 - the name that `edge.targets.Runtime` gives it

__all__ = ["memory", "numerics", "open"]
