"""edge: converts published checkpoints for devices, proves them equal to their source, and runs
them.

import edge
for piece in edge.load("artifacts/phi-3-mini").generate("Why is the sky blue?"):
print(piece, end="")
"""

from typing import TYPE_CHECKING

from edge.system.switches import switch_off

if TYPE_CHECKING:
    from edge.pipelines.loading import load as load

__all__ = ["load"]

switch_off()  # at import: a library reads its switches when it is loaded


def __getattr__(name: str) -> object:
    # Importing edge costs nothing; the runtime comes with the first use.
    if name == "load":
        from edge.pipelines.loading import load

        return load
    raise AttributeError(f"module 'edge' has no attribute {name!r}")
