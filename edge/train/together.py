"""A checkpoint of several networks, as far as whoever writes it needs to know."""

from collections.abc import Mapping
from typing import Protocol

from edge.families import Pipeline
from edge.names import Location


class Together(Protocol):
    """`places`: of the weights of each network in tensors of the whole; `texts`: every file beside the weights."""

    @property
    def pipeline(self) -> Pipeline: ...

    @property
    def places(self) -> Mapping[str, Mapping[str, Location]]: ...

    @property
    def texts(self) -> Mapping[str, bytes]: ...
