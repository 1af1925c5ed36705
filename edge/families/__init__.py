"""Model families as data: config.json -> spec, and checkpoint names -> canonical names. One file a
family.

A family is found by the `model_type` of a config. To add one, put a file here with a `FAMILY` in
it, what tests know of it into `tests/cases`, and its published checkpoints into `models.yaml`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from edge.errors import Unsupported
from edge.families._fields import Fields
from edge.files.config import Config
from edge.names import NameMap, Spec
from edge.net import NetSpec
from edge.spec import DecoderSpec, MatrixName
from edge.vision.settings import VisionSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """What llama.cpp computes under one of its names. `head`: whether it wants a head of its own, has
    none, or either.
    """

    name: str
    fused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # tensor -> what it stacks
    biases: tuple[
        MatrixName, ...
    ] = ()  # that it adds where a file has them; a stack's: all or none
    pairs: bool = False  # q and k rotate neighbouring rows, not halves of a head
    square: bool = False  # all heads together are as wide as the model
    partial_rotary: bool = False
    qk_norm: bool = False
    lists: bool = False  # heads and widths are lists, a number a layer
    window: bool = False  # wants the key of a window, which it then ignores
    scaling: tuple[type, ...] = ()
    head: Literal["own", "either", "embed"] = "either"
    large: int | None = None  # layers of a grouped model whose values a quantizer gives more bits


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What one kind of checkpoint is. `fields`: of its config; `decoder` or else `network`: what they say,
    once they are checked; `known_as`: the names that other ecosystems give it; `gguf`: what llama.cpp
    computes under that name, unless another family says so; `vision`: how it is shown pictures, where a
    checkpoint does not say.
    """

    name: str
    model_types: tuple[str, ...]
    fields: Fields
    names: NameMap
    decoder: Callable[[Config], DecoderSpec] | None = None
    network: Callable[[Config], NetSpec] | None = None
    known_as: Mapping[str, str] = field(default_factory=dict)
    gguf: Architecture | None = None
    vision: Callable[[Config], VisionSettings] | None = None

    def spec(self, config: Config) -> Spec:
        """What a config says; refuses each field whose value is not computed."""
        made = self.decoder or self.network
        assert made is not None, f"{self.name} is no decoder and no network"
        return made(self.fields.checked(config))

    def shown(self, config: Config) -> VisionSettings | None:
        """How a model of this config is shown pictures, if it is."""
        return None if self.vision is None else self.vision(self.fields.checked(config))


@cache
def families() -> tuple[Family, ...]:
    """Every family, by the files of this folder."""
    modules = sorted(
        module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"
    )
    found = (importlib.import_module(f"{__name__}.{name}") for name in modules)
    return tuple(module.FAMILY for module in found if "FAMILY" in vars(module))


def decoders() -> tuple[Family, ...]:
    """Those that are decoders of text."""
    return tuple(family for family in families() if family.decoder is not None)


@cache
def architectures() -> Mapping[str, Architecture]:
    """Every graph of llama.cpp's that a family names, by its name there."""
    rows: dict[str, Architecture] = {}
    for row in (family.gguf for family in families() if family.gguf is not None):
        assert rows.setdefault(row.name, row) == row, f"two families say different of {row.name}"
    return rows


def family_of(config: Config) -> Family:
    """The family of a config.json."""
    model_type = config.text("model_type")
    for family in families():
        if model_type in family.model_types:
            return family
    known = ", ".join(sorted(t for family in families() for t in family.model_types))
    raise Unsupported(
        f"{config.where}: no family for model_type {model_type!r:.60}",
        fix=f"use one of: {known}; or add a file to edge/families. "
        "To export what is no decoder: edge convert MODEL --to onnx --via optimum",
    )
