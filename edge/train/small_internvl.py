"""A small InternVL from nothing (arXiv 2404.16821): an InternViT, a projector, a Phi-3, and the files beside them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.data import alphabet, vocabulary
from edge.families import Pipeline, family_of
from edge.families.internvl import PIPELINE
from edge.files.config import Config
from edge.names import Location, Spec
from edge.train.lessons import LessonsRecipe, Tower
from edge.train.origin import Ids, config, generation

_STOP = "<|end|>"


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallInternVL:
    """`specs`: of each network; `places`: of each of its weights, in tensors of the whole checkpoint; `texts`: every
    file beside the weights.
    """

    pipeline: Pipeline
    specs: Mapping[str, Spec]
    places: Mapping[str, Mapping[str, Location]]
    texts: Mapping[str, bytes]


def small_internvl(recipe: LessonsRecipe) -> SmallInternVL:
    whole = Config(_config(recipe), "config.json")
    PIPELINE.fields.checked(whole)
    specs, places = dict[str, Spec](), dict[str, Mapping[str, Location]]()
    for stage in PIPELINE.stages:
        own = stage.config(PIPELINE.fields.checked(whole))
        family = family_of(own)
        specs[stage.name] = family.spec(own)
        places[stage.name] = family.names.places(specs[stage.name])
    PIPELINE.connect(specs, "the recipe")
    texts = {
        **alphabet.files(),
        "config.json": _json(whole.data),
        "generation_config.json": _json(generation(_ids())),
    }
    return SmallInternVL(pipeline=PIPELINE, specs=specs, places=places, texts=texts)


def _config(recipe: LessonsRecipe) -> dict[str, Any]:
    text = recipe.shape.spec(vocabulary.rows(alphabet.tokenizer()))
    return {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "template": "phi3-chat",
        "system_message": "",
        "ps_version": "v2",
        "downsample_ratio": 0.5,
        "select_layer": -1,
        "force_image_size": recipe.tower.side,
        "dynamic_image_size": True,
        "use_thumbnail": True,
        "min_dynamic_patch": 1,
        "max_dynamic_patch": recipe.tower.most,
        "vision_config": _vision(recipe.tower),
        "llm_config": {**config(text, _ids()), "torch_dtype": "float16"},
        "torch_dtype": "float16",
    }


def _vision(tower: Tower) -> dict[str, Any]:
    return {
        "architectures": ["InternVisionModel"],
        "model_type": "intern_vit_6b",  # as published, of every size
        "hidden_size": tower.width,
        "intermediate_size": tower.ffn_width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "image_size": tower.side,
        "patch_size": tower.patch,
        "num_channels": 3,
        "qkv_bias": True,
        "qk_normalization": False,
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
        "attention_dropout": 0.0,
        "dropout": 0.0,
        "drop_path_rate": 0.0,
        "initializer_factor": 1.0,
        "use_flash_attn": False,
    }


def _ids() -> Ids:
    ids = {token["content"]: token["id"] for token in alphabet.tokenizer()["added_tokens"]}
    return Ids(bos=ids["<s>"], stop=(ids["<|endoftext|>"], ids[_STOP]))


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
