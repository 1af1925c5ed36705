"""Model families as data: config.json -> spec, and checkpoint names -> canonical names. One file a
family.

A family is found by the `model_type` of a config. To add one, put a file here with a `FAMILY` in
it (or with a `PIPELINE` and the `FAMILIES` of its networks), what tests know of it into `tests/cases`,
and its published checkpoints into `models.yaml`.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import ModuleType
from typing import Any, Literal

from edge.errors import Damaged, Unsupported
from edge.families._fields import Fields
from edge.files.config import Config
from edge.names import NameMap, Spec
from edge.net import NetSpec, Port
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One network of several in a checkpoint. `prefix`: what names of its tensors begin with there; `within`:
    of names behind it the beginnings that are this network's, if not all; `config`: its own config.json, from
    that of the whole; `given`: whether a checkpoint has it, where not every one has; `quant`: its recipe where none
    is asked for, if it is not that of all; `longer`: of its tensors those whose rows go on in another tensor, by that
    one's name in the whole checkpoint.
    """

    name: str
    prefix: str
    config: Callable[[Config], Config]
    within: tuple[str, ...] = ()
    given: Callable[[Config], bool] | None = None
    quant: str | None = None
    longer: Mapping[str, str] = field(default_factory=dict)

    def own(self, tensor: str) -> str | None:
        """What this network calls a tensor, if it is one of its own."""
        name = tensor.removeprefix(self.prefix)
        if not tensor.startswith(self.prefix) or not name.startswith(self.within or ("",)):
            return None
        return name


@dataclass(frozen=True, slots=True)
class Wire:
    """What one network gives and another takes, each a stage and its port. Of a decoder that is `ROWS`: rows
    [B, N, D] between those of its tokens.
    """

    out: tuple[str, str]
    into: tuple[str, str]


ROWS = "rows"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """A kind of checkpoint that is several networks: together they hold every tensor of it. `wires`: what goes
    from one to the next; `settings`: what an artifact keeps of how they work together; `ignore`: tensors that
    are of none of them; `files`: which others of a checkpoint's an artifact keeps, if they are there; `together`:
    whether a file of `edge.pipelines` runs them together; `beside`: bytes that such a run takes beside its networks;
    `quant`: the recipe of all where none is asked for, if it is not what is usual of each.
    """

    name: str
    model_types: tuple[str, ...]
    fields: Fields
    stages: tuple[Stage, ...]
    wires: tuple[Wire, ...]
    settings: Callable[[Config], Mapping[str, Any]] = lambda _config: {}
    ignore: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    together: bool = False
    beside: int = 0
    quant: str | None = None

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def of(self, config: Config) -> "Pipeline":
        """Of the networks that a checkpoint has."""
        checked = self.fields.checked(config)
        given = (s for s in self.stages if s.given is None or s.given(checked))
        return replace(self, stages=tuple(given))

    def check(self, tensors: Iterable[str]) -> None:
        """Refuse a checkpoint with a tensor that is of none of its networks."""
        unknown = sorted(
            name
            for name in tensors
            if all(stage.own(name) is None for stage in self.stages)
            and not any(name in stage.longer.values() for stage in self.stages)
            and not any(re.fullmatch(pattern, name) for pattern in self.ignore)
        )
        if unknown:
            raise Damaged(
                f"tensor {unknown[0]!r:.80} is of none of the networks of {self.name}",
                fix="check that config.json and the weights belong together",
            )

    def connect(self, specs: Mapping[str, Spec], where: str) -> None:
        """Refuse networks that are not all of its own, or do not fit each other."""
        names = {stage.name for stage in self.stages}
        needed = {stage.name for stage in self.stages if stage.given is None}
        if not needed <= specs.keys() <= names:
            raise Damaged(
                f"{where} is not of the networks {', '.join(sorted(names))}", fix="convert again"
            )
        for wire in self.wires:
            if not {wire.out[0], wire.into[0]} <= specs.keys():
                continue  # of a network that this one has not
            given = _port(specs[wire.out[0]], wire.out[1], inputs=False)
            taken = _port(specs[wire.into[0]], wire.into[1], inputs=True)
            if given is None or taken is None or not _fit(given, taken):
                raise Damaged(
                    f"{where}: {wire.out[0]} does not give the {wire.into[1]} that {wire.into[0]} takes",
                    fix="check that config.json and the weights belong together, and convert again",
                )


def _port(spec: Spec, name: str, *, inputs: bool) -> Port | None:
    if isinstance(spec, NetSpec):
        ports = spec.config.inputs if inputs else spec.config.outputs
        return next((port for port in ports if port.name == name), None)
    rows = Port(name=ROWS, shape=("sequences", "rows", spec.width))
    return rows if inputs and name == ROWS else None


def _fit(given: Port, taken: Port) -> bool:
    """Numbers are the same; a size that each call may choose is any."""
    return (given.type, len(given.shape)) == (taken.type, len(taken.shape)) and all(
        a == b or isinstance(a, str) or isinstance(b, str)
        for a, b in zip(given.shape, taken.shape, strict=True)
    )


@cache
def families() -> tuple[Family, ...]:
    """Every family, by the files of this folder: its `FAMILY`, or the `FAMILIES` of a pipeline's networks."""
    found = [vars(module) for module in _modules()]
    alone = [module["FAMILY"] for module in found if "FAMILY" in module]
    return (*alone, *(one for module in found for one in module.get("FAMILIES", ())))


def _modules() -> list[ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names if name[0] != "_"]


@cache
def pipelines() -> tuple[Pipeline, ...]:
    """Every kind of checkpoint that is several networks, by the files of this folder."""
    return tuple(module.PIPELINE for module in _modules() if "PIPELINE" in vars(module))


def pipeline_of(config: Config) -> Pipeline | None:
    """The pipeline that a config.json is of, if it is of any: with the networks that it says."""
    model_type = config.text("model_type")
    found = next((one for one in pipelines() if model_type in one.model_types), None)
    return None if found is None else found.of(config)


def pipeline_named(name: str, where: str) -> Pipeline:
    """That of an artifact."""
    found = next((one for one in pipelines() if one.name == name), None)
    if found is None:
        raise Damaged(f"{where} is of a kind {name!r:.60} that edge has not", fix="convert again")
    return found


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
