"""The oracle: every model in plain numpy."""

from runtimes.reference.decoder import oracle

__all__ = ["oracle"]
