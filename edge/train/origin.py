"""Where a run starts, and how the checkpoint that it ends in is spelled: a new Phi-3, or the same
files as those of the checkpoint that it goes on from.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.artifact.manifest import Artifact, is_artifact
from edge.convert.text_files import text_files
from edge.data import vocabulary
from edge.errors import EdgeError
from edge.families import families, family_of
from edge.files.config import Config, read_json
from edge.names import FusedTensor, stored
from edge.source.checkpoint import LONGEST, Checkpoint
from edge.source.headers import SINGLE, Headers
from edge.source.pull import pin_of
from edge.spec import DecoderSpec, parts
from edge.text.tokenizer import Tokenizer
from edge.train.recipe import Shape, TrainingRecipe
from edge.train.rows import Stories

Find = Callable[[str], Path]  # an id of the registry or a path -> the folder of a checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Ids:
    """What starts a text, and what ends an answer."""

    bos: int | None
    stop: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """`files`: of weights, with the tensors of each. `texts`: every other file, as it will be written.
    `folder`: of the tokenizer; None: the small world's own. `start`: of the weights; None: random ones; `base`: what an
    adapter of it says it is of.
    """

    spec: DecoderSpec
    tensors: Mapping[str, FusedTensor]
    dtypes: Mapping[str, str]  # of tensors, as safetensors has them
    files: Mapping[str, tuple[str, ...]]
    texts: Mapping[str, bytes]
    folder: Path | None
    start: Path | None
    base: str = ""


def origin(recipe: TrainingRecipe, find: Find, *, target: str | None = None) -> Origin:
    """Of a recipe; refuses what its rows do not fit. `target`: whose artifacts may be a start, too, for an adapter
    beside them.
    """
    if recipe.start is not None:
        folder, told = find(recipe.start), isinstance(recipe.rows, Stories)
        found = (
            _of_artifact(folder, target) if is_artifact(folder) else _continued(folder, told=told)
        )
    else:
        assert recipe.shape is not None
        named = recipe.rows.vocabulary
        found = _new(recipe.shape, None if named is None else find(named))
    longest = max(length for length, _ in recipe.rows.sizes())
    if longest > found.spec.context:
        raise EdgeError(
            f"rows of {longest} tokens, and the model has a context of {found.spec.context}",
            fix="shorten the recipe's rows",
        )
    return found


def fitting(spec: DecoderSpec, length: int) -> DecoderSpec:
    """The spec whose rotary tables a row of this length has, where a model has two; of the longest
    context the first rows of a table are enough.
    """
    part = next(part for part in parts(spec).values() if length <= part.context)
    return replace(part, context=min(part.context, max(length, LONGEST)))


def config(spec: DecoderSpec, ids: Ids) -> dict[str, Any]:
    """config.json of a new model, in the spelling of transformers 4, which 5 reads too."""
    layer = spec.layers[0]
    return {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "hidden_size": spec.width,
        "intermediate_size": layer.ffn_width,
        "num_hidden_layers": len(spec.layers),
        "num_attention_heads": layer.heads,
        "num_key_value_heads": layer.kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": spec.norm.eps,
        "rope_theta": spec.rope.theta,
        "rope_scaling": None,
        "max_position_embeddings": spec.context,
        "original_max_position_embeddings": spec.context,
        "sliding_window": None,
        "vocab_size": spec.vocab,
        "tie_word_embeddings": spec.tied,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": ids.bos,
        "eos_token_id": ids.stop[0] if ids.stop else None,
        "pad_token_id": ids.stop[0] if ids.stop else None,
    }


def generation(ids: Ids) -> dict[str, Any]:
    """generation_config.json: what ends an answer."""
    return {
        "bos_token_id": ids.bos,
        "eos_token_id": list(ids.stop),
        "pad_token_id": ids.stop[0] if ids.stop else None,
        "do_sample": False,
    }


def _continued(folder: Path, *, told: bool) -> Origin:
    """The checkpoint again: its config, its tokenizer, its tensors in their types and files."""
    if told and _foreign(folder):
        raise EdgeError(
            f"the stories are told in tokens of their own, which {folder} does not have",
            fix="train it on a text",
        )
    with Checkpoint.open(folder) as checkpoint:
        spec, tensors = checkpoint.decoder, stored(checkpoint.places)
    Tokenizer.load(folder).check(spec.vocab)
    headers, pin = Headers.of(folder), pin_of(folder)
    kept = {
        file: tuple(name for name in entries if name in tensors)
        for file, entries in headers.files.items()
    }
    return Origin(
        spec=spec,
        tensors=tensors,
        dtypes={name: entry.dtype for name, entry in headers.entries().items() if name in tensors},
        files={file: names for file, names in kept.items() if names},
        texts=_texts(folder),
        folder=folder,
        start=folder,
        base=str(folder) if pin is None else pin.source,
    )


def _of_artifact(folder: Path, target: str | None) -> Origin:
    """Weights as an artifact holds them, which are not written again."""
    manifest = Artifact.open(folder).manifest
    if manifest.target != target or manifest.adapter is not None:
        what = (
            "holds an adapter already" if manifest.target == target else f"is of {manifest.target}"
        )
        fix = "name the checkpoint that it was made from"
        raise EdgeError(
            f"{folder} is an artifact, and {what}: nothing is trained from it here", fix=fix
        )
    spec = manifest.decoder
    family = next(one for one in families() if one.name == manifest.family)
    return Origin(
        spec=spec,
        tensors=stored(family.names.places(spec)),
        dtypes={},
        files={},
        texts={},
        folder=folder,
        start=folder,
        base=manifest.repository or manifest.name,
    )


def _foreign(folder: Path) -> bool:
    file = folder / "tokenizer.json"
    return not file.is_file() or read_json(file) != vocabulary.tokenizer()


def _new(shape: Shape, tokenizer: Path | None) -> Origin:
    """A Phi-3 of this shape, with the tokenizer of a folder or of the small world."""
    if tokenizer is None:
        spec, ids = shape.spec(vocabulary.rows(vocabulary.tokenizer())), _world_ids()
        texts = vocabulary.files()
    else:
        library = Tokenizer.load(tokenizer)
        spec = shape.spec(-(-library.vocab_size // vocabulary.ALIGN) * vocabulary.ALIGN)
        ids = Ids(bos=library.bos_id, stop=tuple(sorted(library.stop_ids)))
        texts = _texts(tokenizer)
    made = config(spec, ids)
    family = family_of(Config(made, "config.json"))
    assert family.spec(Config(made, "config.json")) == spec, "the config says what was trained"
    tensors = stored(family.names.places(spec))
    settings = {"config.json": made, "generation_config.json": generation(ids)}
    return Origin(
        spec=spec,
        tensors=tensors,
        dtypes=dict.fromkeys(tensors, "BF16"),
        files={SINGLE: tuple(tensors)},
        texts={**texts, **{name: _json(content) for name, content in settings.items()}},
        folder=tokenizer,
        start=None,
    )


def _world_ids() -> Ids:
    ids = {token["content"]: token["id"] for token in vocabulary.tokenizer()["added_tokens"]}
    return Ids(bos=ids["<s>"], stop=(ids["<|endoftext|>"], ids["<|end|>"]))


def _texts(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in text_files(folder) if file.is_file()}


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
