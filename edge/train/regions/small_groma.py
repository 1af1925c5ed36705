"""A small Groma from nothing (arXiv 2404.13013), as its own checkpoints are spelled: its detector, which is a DINOv2
and a deformable DETR with all that learns in it; or the whole, whose decoder's tables lie in two tensors each.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from edge.data.regions import vocabulary
from edge.errors import EdgeError
from edge.families import Pipeline, family_of, groma, groma_detector, pipeline_of
from edge.files.config import Config
from edge.names import Location, Spec
from edge.nn.regions.proposer import ProposerSpec, TaughtSpec
from edge.source.headers import config_of
from edge.spec import DecoderSpec
from edge.text.pointing import TOKENS
from edge.train.recipe import Shape
from edge.train.regions.detection import Costs, DetectionRecipe, Proposer, Tower
from edge.train.regions.dialogues import DialoguesRecipe


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallGroma:
    """`specs`: of each network; `places`: of each of its weights, in tensors of the whole checkpoint; `texts`: every
    file beside the weights; `rows`: of a table whose other rows lie in another tensor.
    """

    pipeline: Pipeline
    specs: Mapping[str, Spec]
    places: Mapping[str, Mapping[str, Location]]
    texts: Mapping[str, bytes]
    rows: int = 0


def small_detector(recipe: DetectionRecipe) -> SmallGroma:
    config = _detector(recipe.tower, recipe.proposer, recipe.costs)
    return _made(groma_detector.PIPELINE, config, {})


def small_groma(recipe: DialoguesRecipe) -> SmallGroma:
    """With the tokenizer of its world."""
    rows, regions = vocabulary.old(), recipe.regions
    config = {
        "architectures": ["GromaModel"],
        "model_type": "groma",
        "perceiver_cfg": _detector(recipe.tower, recipe.proposer, Costs()),
        "llm_cfg": _decoder(recipe.shape, rows),
        "region_cfg": {
            "bins": regions.bins,
            "inner_size": regions.inner,
            "place_size": regions.place,
            "rounds": regions.rounds,
            "groups": regions.groups,
        },
        "num_new_token": len(TOKENS),
        "nms_thres": regions.overlap,
        "box_score_thres": regions.score,
        "max_region_num": regions.most,
        "torch_dtype": "float16",
    }
    return replace(_made(groma.PIPELINE, config, vocabulary.files()), rows=rows)


def _made(pipeline: Pipeline, config: dict[str, Any], texts: Mapping[str, bytes]) -> SmallGroma:
    whole = Config(config, "config.json")
    checked = pipeline.fields.checked(whole)
    specs, places = dict[str, Spec](), dict[str, Mapping[str, Location]]()
    for stage in pipeline.stages:
        own = stage.config(checked)
        family = family_of(own)
        specs[stage.name] = learning(family.spec(own))
        places[stage.name] = family.names.places(specs[stage.name])
    pipeline.connect(specs, "the recipe")
    told = {"config.json": (json.dumps(whole.data, indent=2) + "\n").encode()}
    return SmallGroma(pipeline=pipeline, specs=specs, places=places, texts={**texts, **told})


def networks_of(folder: Path) -> tuple[str, ...]:
    """The networks that a checkpoint has: those of a detector, or all; refuses another."""
    pipeline = pipeline_of(config_of(folder))
    if pipeline not in (groma.PIPELINE, groma_detector.PIPELINE):
        raise EdgeError(
            f"{folder} is no Groma and no detector of one",
            fix="name the model of a run of the recipe detection, or of dialogues",
        )
    return tuple(stage.name for stage in pipeline.stages)


def learning(spec: Spec) -> Spec:
    """The same with all that losses are of."""
    if isinstance(spec, DecoderSpec) or not isinstance(spec.config, ProposerSpec):
        return spec
    config = spec.config
    return replace(
        spec, config=TaughtSpec(**{f.name: getattr(config, f.name) for f in fields(config)})
    )


def _decoder(shape: Shape, rows: int) -> dict[str, Any]:
    """As transformers spells a Llama whose head is a table of its own."""
    return {
        "model_type": "llama",
        "vocab_size": rows,
        "hidden_size": shape.width,
        "intermediate_size": shape.ffn_width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.eps,
        "rope_theta": shape.theta,
        "rope_scaling": None,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "attention_bias": False,
    }


def _detector(tower: Tower, proposer: Proposer, costs: Costs) -> dict[str, Any]:
    return {
        "architectures": ["CustomDDETRModel"],
        "model_type": "ddetr",
        "image_size": tower.side,
        "vis_output_layer": -1,
        "zs_weight_path": None,
        "vis_encoder_cfg": {
            "model_type": "dinov2",
            "hidden_size": tower.width,
            "num_hidden_layers": tower.layers,
            "num_attention_heads": tower.heads,
            "mlp_ratio": tower.ffn_width // tower.width,
            "image_size": tower.side,
            "patch_size": tower.patch,
            "num_channels": 3,
            "qkv_bias": True,
            "layer_norm_eps": 1e-6,
            "hidden_act": "gelu",
        },
        "ddetr_cfg": {
            "model_type": "deformable_detr",
            "d_model": proposer.width,
            **{
                f"{stack}_{name}": value
                for stack in ("encoder", "decoder")
                for name, value in (
                    ("layers", asdict(proposer)[stack]),
                    ("attention_heads", proposer.heads),
                    ("ffn_dim", proposer.ffn_width),
                    ("n_points", proposer.points),
                )
            },
            "num_queries": proposer.queries,
            "two_stage_num_proposals": proposer.queries,
            "num_feature_levels": 1,
            "two_stage": True,
            "with_box_refine": True,
            "auxiliary_loss": True,
            "activation_function": "relu",
            "position_embedding_type": "sine",
            "num_labels": 1,
            "focal_alpha": costs.alpha,
        },
        "torch_dtype": "float16",
    }
