"""The oracle: every model in plain numpy."""

from edge_runtimes.reference.decoder import net_oracle, oracle
from edge_runtimes.reference.walk import importance, walk

__all__ = ["importance", "net_oracle", "oracle", "walk"]
