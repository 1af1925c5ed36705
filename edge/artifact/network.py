"""An artifact that is no decoder: one network with named inputs and outputs, as its `edge.json` says
under `"kind": "module"`.

Whoever has the target's own runtime can run it; what generates text refuses it by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.artifact.manifest import MANIFEST, MODULE, SCHEMA, contained, write_manifest
from edge.errors import Damaged
from edge.files.config import Config, read_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """An input or an output: a text in its shape stands for a size that each call may choose."""

    name: str
    type: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """What `edge.json` holds of a network. Hashes are sha256, by file name."""

    target: str
    via: str  # whose exporter made it
    name: str
    architecture: str
    task: str
    entry: str  # the file that holds the network
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    repository: str | None  # where the source was pulled from, and at which commit
    revision: str | None
    source: Mapping[str, str]  # input file -> hash
    files: Mapping[str, str]  # output file -> hash
    tools: Mapping[str, str]  # package -> version
    verified: Mapping[str, Any] | None = None  # the last proof
    kind: str = MODULE
    schema: int = SCHEMA


def is_network(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() and read_json(folder / MANIFEST).get("kind") == MODULE


def read(folder: Path) -> Network:
    """Every file that it names must be there, and be a plain file of this folder."""
    config = Config(read_json(folder / MANIFEST), str(folder / MANIFEST))
    if config.data.get("schema") != SCHEMA:
        raise Damaged(
            f"{config.where} has schema {config.data.get('schema')!r}, this edge reads {SCHEMA}",
            fix="convert again with this edge, or use the edge that made it",
        )
    verified = config.table("verified")
    network = Network(
        target=config.text("target"),
        via=config.text("via"),
        name=config.text("name"),
        architecture=config.text("architecture"),
        task=config.text("task"),
        entry=config.text("entry"),
        inputs=ports(config, "inputs"),
        outputs=ports(config, "outputs"),
        repository=config.text("repository") if config.has("repository") else None,
        revision=config.text("revision") if config.has("revision") else None,
        source=config.strings("source"),
        files=config.strings("files"),
        tools=config.strings("tools"),
        verified=None if verified is None else verified.data,
    )
    for name in (*network.files, network.entry):
        contained(folder, name)
    return network


def ports(config: Config, key: str) -> tuple[Port, ...]:
    """Inputs or outputs, in their order."""
    return tuple(_port(item) for item in config.tables(key))


def record(folder: Path, network: Network, verified: Mapping[str, Any]) -> None:
    """Keep the result of a proof in the manifest."""
    write_manifest(folder, replace(network, verified=verified))


def _port(config: Config) -> Port:
    shape = config.data.get("shape")
    if not isinstance(shape, list) or not all(_is_size(size) for size in shape):
        raise Damaged(f"{config.where} has no shape", fix="convert again")
    return Port(name=config.text("name"), type=config.text("type"), shape=tuple(shape))


def _is_size(size: object) -> bool:
    return isinstance(size, str) or (isinstance(size, int) and not isinstance(size, bool))
