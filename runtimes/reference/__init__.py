"""The oracle: every model in plain numpy."""

from runtimes.reference.decoder import oracle
from runtimes.reference.importance import importance

__all__ = ["importance", "oracle"]
