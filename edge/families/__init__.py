"""Model families as data: config.json -> spec, and checkpoint names -> canonical names. One file a
family.

A family is found by the `model_type` of a config. To add one, put a file here with a `FAMILY` in
it.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from edge.errors import Unsupported
from edge.families._fields import Fields
from edge.files.config import Config
from edge.names import NameMap
from edge.spec import DecoderSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What one kind of checkpoint is. `fields`: of its config; `decoder`: what they say, once they are
    checked; `known_as`: the names that other ecosystems give it.
    """

    name: str
    model_types: tuple[str, ...]
    fields: Fields
    decoder: Callable[[Config], DecoderSpec]
    names: NameMap
    known_as: Mapping[str, str] = field(default_factory=dict)

    def spec(self, config: Config) -> DecoderSpec:
        """What a config says; refuses each field whose value is not computed."""
        return self.decoder(self.fields.checked(config))


@cache
def families() -> tuple[Family, ...]:
    """Every family, by the files of this folder."""
    modules = sorted(
        module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"
    )
    found = (importlib.import_module(f"{__name__}.{name}") for name in modules)
    return tuple(module.FAMILY for module in found if "FAMILY" in vars(module))


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
