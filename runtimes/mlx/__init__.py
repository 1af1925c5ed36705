"""MLX: Metal on a Mac; on Linux its CPU kernels, right for proof."""

from runtimes.mlx.computing import memory, numerics
from runtimes.mlx.decoder import MlxDecoder

open = MlxDecoder  # noqa: A001 - the name that `edge.targets.Runtime` gives it

__all__ = ["memory", "numerics", "open"]
