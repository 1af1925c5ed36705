"""Networks that are no decoders, by name: each file of this folder, or of a room in it, with a `NETWORK`."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import edge.nn
from edge.errors import Damaged
from edge.files.config import Config
from edge.files.records import read
from edge.net import NetConfig, NetSpec


@dataclass(frozen=True, slots=True)
class Network:
    """`spec`: the class of what it is in numbers; `define`: its maths, `(ops, config, **inputs)` ->
    outputs by name.
    """

    spec: type[NetConfig]
    define: Callable[..., Mapping[str, Any]]


@cache
def networks() -> Mapping[str, Network]:
    """Every network, by the names of files in this folder and its rooms."""
    found: dict[str, Network] = {}
    for file in sorted(pkgutil.walk_packages(edge.nn.__path__, "edge.nn."), key=lambda f: f.name):
        module, name = vars(importlib.import_module(file.name)), file.name.rpartition(".")[2]
        if "NETWORK" in module:
            assert name not in found, f"two networks are called {name}"
            found[name] = module["NETWORK"]
    return found


def read_spec(config: Config) -> NetSpec:
    """What `dataclasses.asdict` wrote of a network: each of its numbers is checked."""
    kind, numbers = config.text("kind"), config.table("config")
    if kind not in networks() or numbers is None:
        raise Damaged(
            f"{config.where}: no network {kind!r:.60} with a config",
            fix="convert again with this edge, or use the edge that wrote it",
        )
    return NetSpec(kind=kind, config=read(networks()[kind].spec, numbers))


def define(ops: Any, spec: NetSpec, **inputs: Any) -> Mapping[str, Any]:
    """A network's outputs by name, whatever arrays a target's `edge.nn.composed.Composed` has."""
    return networks()[spec.kind].define(ops, spec.config, **inputs)
