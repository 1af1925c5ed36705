"""A small Groma's detector from nothing (arXiv 2404.13013), as its own checkpoints are spelled: a DINOv2, and a
deformable DETR with all that learns in it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from edge.families import Pipeline, family_of
from edge.families.groma_detector import PIPELINE
from edge.files.config import Config
from edge.names import Location, Spec
from edge.net import NetSpec
from edge.nn.regions.proposer import ProposerSpec, TaughtSpec
from edge.train.regions.detection import DetectionRecipe


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallGroma:
    """`specs`: of each network; `places`: of each of its weights, in tensors of the whole checkpoint; `texts`: every
    file beside the weights.
    """

    pipeline: Pipeline
    specs: Mapping[str, NetSpec]
    places: Mapping[str, Mapping[str, Location]]
    texts: Mapping[str, bytes]


def small_groma(recipe: DetectionRecipe) -> SmallGroma:
    whole = Config(_config(recipe), "config.json")
    PIPELINE.fields.checked(whole)
    specs, places = dict[str, NetSpec](), dict[str, Mapping[str, Location]]()
    for stage in PIPELINE.stages:
        own = stage.config(PIPELINE.fields.checked(whole))
        family = family_of(own)
        specs[stage.name] = learning(family.spec(own))
        places[stage.name] = family.names.places(specs[stage.name])
    PIPELINE.connect(specs, "the recipe")
    texts = {"config.json": (json.dumps(whole.data, indent=2) + "\n").encode()}
    return SmallGroma(pipeline=PIPELINE, specs=specs, places=places, texts=texts)


def learning(spec: Spec) -> NetSpec:
    """The same with all that losses are of."""
    assert isinstance(spec, NetSpec), "a detector is of networks"
    config = spec.config
    if not isinstance(config, ProposerSpec):
        return spec
    return replace(
        spec, config=TaughtSpec(**{f.name: getattr(config, f.name) for f in fields(config)})
    )


def _config(recipe: DetectionRecipe) -> dict[str, Any]:
    tower, proposer = recipe.tower, recipe.proposer
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
            "focal_alpha": recipe.costs.alpha,
        },
        "torch_dtype": "float16",
    }
