"""MLX: mlx-lm's folder, which mlx-lm and mlx-swift load. Written without MLX itself."""

from edge_converters.mlx.convert import (
    ALIASES,
    BODIES,
    TOOLS,
    WHOLE_GROUPS,
    layout,
    memory,
    net_layout,
    net_memory,
)

__all__ = [
    "ALIASES",
    "BODIES",
    "TOOLS",
    "WHOLE_GROUPS",
    "layout",
    "memory",
    "net_layout",
    "net_memory",
]
