"""InternVL-Chat 1.5 and 2 (arXiv 2404.16821): a tower, a projector, and a decoder of another family."""

from typing import Any

from edge.families import ROWS, Pipeline, Stage, Wire
from edge.families import _vision as vision
from edge.families._fields import SHARED, Fields, table, words
from edge.files.config import Config


def _tower(whole: Config) -> Config:
    own = table(whole, "vision_config")
    size = whole.integer("force_image_size", own.integer("image_size", 448))
    return Config({**own.data, "model_type": "intern_vit_6b", "image_size": size}, own.where)


def _projector(whole: Config) -> Config:
    tower, text = _tower(whole), table(whole, "llm_config")
    side = vision.grid(tower, vision.patch(tower))[0]
    made = {
        "model_type": "internvl_projector",
        "side": side,
        "channels": tower.integer("hidden_size"),
        "hidden_size": text.integer("hidden_size"),
        "ps_version": whole.text("ps_version"),
    }
    return Config(made, whole.where)


def _settings(whole: Config) -> dict[str, Any]:
    """Pixels of a tile's side, the most tiles of a picture, the conversation's form and its system message."""
    return {
        "side": vision.image(_tower(whole))[0],
        "most": whole.integer("max_dynamic_patch", 6),
        "template": whole.text("template"),
        "system": whole.data.get("system_message"),
    }


PIPELINE = Pipeline(
    name="internvl",
    model_types=("internvl_chat",),
    fields=SHARED
    | Fields(
        read=words(
            "vision_config llm_config force_image_size ps_version template system_message "
            "min_dynamic_patch max_dynamic_patch"
        ),
        absent={"ps_version": "v1", "downsample_ratio": 0.5, "select_layer": -1},
        only={
            "downsample_ratio": (0.5,),
            "select_layer": (-1,),
            "dynamic_image_size": (True,),
            "use_thumbnail": (True,),
            "min_dynamic_patch": (1,),
            "ps_version": ("v1", "v2"),
        },
        inert=words("use_backbone_lora use_llm_lora pad2square"),
    ),
    stages=(
        Stage(name="vision", prefix="vision_model.", config=_tower),
        Stage(name="projector", prefix="mlp1.", config=_projector),
        Stage(name="text", prefix="language_model.", config=lambda c: table(c, "llm_config")),
    ),
    wires=(
        Wire(("vision", "features"), ("projector", "features")),
        Wire(("projector", "rows"), ("text", ROWS)),
    ),
    settings=_settings,
    together=True,
)
