"""Data engines: one file each, which holds an `ENGINE`."""

import importlib
import pkgutil

from edge.data.frame.step import Engine
from edge.errors import EdgeError


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Engine:
    """The engine of that name."""
    if name not in names():
        raise EdgeError(f"there is no engine {name!r}", fix=f"use one of: {', '.join(names())}")
    engine: Engine = importlib.import_module(f"{__name__}.{name}").ENGINE
    return engine
