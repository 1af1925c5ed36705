"""A checkpoint -> a folder that ONNX Runtime, and where it has the architecture onnxruntime-genai,
loads.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Generic, TypeVar

import onnx_ir as ir

from edge.contracts import About
from edge.files.datafile import DataFile, Mode
from edge.names import Spec, shapes
from edge.net import NetSpec
from edge.nn.tracing import matrices
from edge.quant.recipe import Recipe
from edge.quant.tensor import ROW
from edge.spec import DecoderSpec, parts
from edge.typing import F32
from edge_converters.onnx.graph import EXACT, STEP, emit, entries
from edge_converters.onnx.net_graph import emit_network
from edge_converters.onnx.store import DATA, Store

BASE = 157_000_000  # bytes: interpreter, numpy, the ONNX writer, graphs, blocks in flight
TOOLS = ("onnx-ir", "onnxruntime")
ALIASES = {"int4": "rtn-int4-g32", "int8": "rtn-int8-g32"}
BODIES = {"int4": "gptq-int4-g128"}
SIGNED = "signed.onnx"
NET_ALIASES = {"int8": "rtn-int8-row"}  # the kernel for one row loses to floats where rows are many
Kind = TypeVar("Kind", bound=Spec)


@dataclass(frozen=True, slots=True)
class OnnxLayout(Generic[Kind]):
    """The data file's layout and every graph over it, from shapes alone. `beside`: files of text that
    others read.
    """

    spec: Kind
    recipe: Recipe
    store: Store
    models: Mapping[str, ir.Model]
    beside: Callable[[Kind, About], Mapping[str, str]]

    @property
    def nbytes(self) -> int:
        return self.store.nbytes

    def open(self, folder: Path, about: About, mode: Mode = "write") -> "OnnxWriter":
        return OnnxWriter(self, folder, about, mode)


def layout(spec: DecoderSpec, recipe: Recipe) -> OnnxLayout[DecoderSpec]:
    store = Store(shapes(spec))
    models = {
        label + entry.file: emit(part, recipe, store, entry)
        for label, part in parts(spec).items()
        for entry in entries(part)
    }
    return OnnxLayout(spec, recipe, store, models, _genai)


def net_layout(spec: NetSpec, recipe: Recipe) -> OnnxLayout[NetSpec]:
    """Two graphs: by the fast kernels, and by those that round nothing; and where codes have a scale a row,
    one for processors that multiply signed bytes.
    """
    store = Store(shapes(spec))
    models = {
        STEP.file: emit_network(spec, recipe, store),
        EXACT.file: emit_network(spec, recipe, store, exact=True),
    }
    if any(recipe.scheme(name).group == ROW for name in matrices(spec)):
        models[SIGNED] = emit_network(spec, recipe, store, signed=True)
    return OnnxLayout(spec, recipe, store, models, lambda _spec, _about: {})


class OnnxWriter:
    """`edge.contracts.Writer`: the data file, then the graphs and what lies beside them."""

    def __init__(self, layout: OnnxLayout[Any], folder: Path, about: About, mode: Mode) -> None:
        self._layout, self._folder, self._about = layout, folder, about
        self._compare = mode == "compare"
        self._data = DataFile(folder / DATA, layout.nbytes, mode)
        self.sync, self.close = self._data.sync, self._data.close

    @property
    def differing(self) -> int:
        return self._data.differing

    def put(self, name: str, row: int, block: F32) -> int:
        return self._layout.store.put(self._data, self._layout.recipe, name, row, block)

    def finish(self) -> None:
        self._layout.store.put_constants(self._data)
        if self._compare:
            return
        for name, model in self._layout.models.items():
            ir.save(model, self._folder / name)
        for name, text in self._layout.beside(self._layout.spec, self._about).items():
            (self._folder / name).write_text(text)


def memory(spec: Spec) -> int:
    """Peak resident bytes of a conversion: blocks of rows, whatever the model."""
    return BASE


def net_memory(spec: NetSpec) -> int:
    """The same of a network; matrices whose codes have a scale a row are turned, some at a time."""
    shapes_ = shapes(spec)
    return BASE + 3 * max((prod(shapes_[name]) for name in matrices(spec)), default=0)


def _genai(spec: DecoderSpec, about: About) -> dict[str, str]:
    config = genai_config(spec, about)
    return {} if config is None else {"genai_config.json": json.dumps(config, indent=1) + "\n"}


def genai_config(spec: DecoderSpec, about: About) -> dict[str, Any] | None:
    """What onnxruntime-genai reads; None where it cannot: it has one number of heads for all
    layers.
    """
    kind, ids = about.family.known_as.get("genai"), about.ids
    caches = {(layer.heads, layer.kv_heads, layer.head_width) for layer in spec.layers}
    if kind is None or len(caches) > 1 or len(parts(spec)) > 1:
        return None
    layer = spec.layers[0]
    decoder: dict[str, Any] = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": STEP.file,
        "head_size": layer.head_width,
        "hidden_size": spec.width,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "position_ids": "position_ids",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": layer.heads,
        "num_hidden_layers": len(spec.layers),
        "num_key_value_heads": layer.kv_heads,
    }
    stops = sorted(ids.stop)
    first = stops[0] if stops else 0
    return {
        "model": {
            "bos_token_id": first if ids.bos is None else ids.bos,
            "context_length": spec.context,
            "decoder": decoder,
            "eos_token_id": stops or first,
            "pad_token_id": first,
            "type": kind,
            "vocab_size": spec.vocab,
        },
        "search": {
            "do_sample": False,
            "early_stopping": True,
            "max_length": spec.context,
            "num_beams": 1,
            "num_return_sequences": 1,
            "past_present_share_buffer": True,
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 1,
            "top_p": 1.0,
        },
    }
