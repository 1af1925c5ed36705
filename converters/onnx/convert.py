"""A checkpoint -> a folder that ONNX Runtime, and where it has the architecture onnxruntime-genai,
loads.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir

from converters.onnx.graph import EXACT, SCORE, STEP, emit
from converters.onnx.store import DATA, DataFile, Store
from edge.checkpoint import Checkpoint
from edge.names import shapes
from edge.quant.recipe import Recipe
from edge.spec import DecoderSpec, parts
from edge.text.ids import SpecialIds

ENTRIES = (STEP, SCORE, EXACT)
BASE = 92_000_000  # bytes: interpreter, numpy, the ONNX writer, a tokenizer, blocks in flight
TOOLS = ("onnx-ir", "onnxruntime")
Progress = Callable[[int], None]


def plan(spec: DecoderSpec, recipe: Recipe) -> tuple[Store, dict[str, ir.Model]]:
    """The data file's layout and every graph over it, from shapes alone."""
    store = Store(shapes(spec))
    models = {
        label + entry.file: emit(part, recipe, store, entry)
        for label, part in parts(spec).items()
        for entry in ENTRIES
    }
    return store, models


def nbytes(spec: DecoderSpec, recipe: Recipe) -> int:
    """Bytes of the data file; refuses what ONNX Runtime cannot hold."""
    return plan(spec, recipe)[0].nbytes


def memory(spec: DecoderSpec) -> int:
    """Peak resident bytes of a conversion: blocks of rows, and rotary tables while they are made."""
    tables = sum(4 * part.context * part.rope.width for part in parts(spec).values())
    return BASE + 5 * tables // 2


def convert(
    checkpoint: Checkpoint, recipe: Recipe, folder: Path, *, ids: SpecialIds, progress: Progress
) -> None:
    """Write the graphs, the data file and genai_config.json into a folder."""
    store, models = plan(checkpoint.spec, recipe)
    with DataFile(folder / DATA, store.nbytes) as data:
        store.fill(data.write, checkpoint, recipe, progress)
    for name, model in models.items():
        ir.save(model, folder / name)
    config = genai_config(checkpoint, ids)
    if config is not None:
        (folder / "genai_config.json").write_text(json.dumps(config, indent=1) + "\n")


def differing(checkpoint: Checkpoint, recipe: Recipe, folder: Path, progress: Progress) -> int:
    """Bytes of the data file that are not what the checkpoint makes them: 0 is the proof."""
    store, _ = plan(checkpoint.spec, recipe)
    with DataFile(folder / DATA, store.nbytes, compare=True) as data:
        store.fill(data.compare, checkpoint, recipe, progress)
    return data.differing


def genai_config(checkpoint: Checkpoint, ids: SpecialIds) -> dict[str, Any] | None:
    """What onnxruntime-genai reads; None where it cannot: it has one number of heads for all
    layers.
    """
    spec, kind = checkpoint.spec, checkpoint.family.known_as.get("genai")
    if kind is None or len(set(spec.layers)) > 1 or len(parts(spec)) > 1:
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
