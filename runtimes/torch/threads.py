"""How many threads torch takes for an operation. Products come out a little otherwise by two than by one, and torch
keeps a number for each thread that asks, its libraries one for all: so who wants one says so each time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from edge.system import processors

_OWN = torch.get_num_threads()  # by itself, before anybody said otherwise


def alone() -> None:
    """One, from now on, for what this thread does."""
    torch.set_num_threads(1)


@contextmanager
def together() -> Iterator[None]:
    """As many as run at once."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(_OWN, processors.threads(None)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
