"""The oracle: every model in plain numpy."""

from edge_runtimes.reference.decoder import net_oracle, oracle
from edge_runtimes.reference.walk import walk

__all__ = ["net_oracle", "oracle", "walk"]
