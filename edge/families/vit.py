"""The plain vision transformer (arXiv 2010.11929) as transformers keeps it: a classifier of the first row,
or without a head the rows after the last norm.
"""

from edge.families import Family
from edge.families import _vision as vision
from edge.families._fields import Fields, words
from edge.files.config import Config
from edge.names import NameMap
from edge.net import NetSpec
from edge.nn.vit import VitSpec
from edge.spec import Norm
from edge.vision.preparation import VIT, at_size
from edge.vision.settings import VisionSettings

CLASSIFIER, BARE = "ViTForImageClassification", "ViTModel"


def network(config: Config) -> NetSpec:
    side = vision.patch(config)
    norm = Norm(eps=config.number("layer_norm_eps"), kind="layer")
    bare = config.data.get("architectures") == [BARE]
    return NetSpec(
        kind="vit",
        config=VitSpec(
            grid=vision.grid(config, side),
            patch=side,
            width=config.integer("hidden_size"),
            layers=config.integer("num_hidden_layers", high=1024),
            heads=config.integer("num_attention_heads"),
            ffn_width=config.integer("intermediate_size"),
            norm=norm,
            qkv_bias=config.flag("qkv_bias"),
            last=norm,
            classes=None if bare else vision.labels(config),
        ),
    )


def shown(config: Config) -> VisionSettings:
    several = config.data.get("problem_type") == "multi_label_classification"
    return VisionSettings(
        preparation=at_size(VIT, vision.image(config)),
        scores="sigmoid" if several else "softmax",
    )


_AT = "vit.encoder.layer.{i}"
FAMILY = Family(
    name="vit",
    model_types=("vit",),
    fields=vision.FIELDS
    | Fields(
        read=words("qkv_bias layer_norm_eps"),
        absent={
            "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
            "intermediate_size": 3072, "image_size": 224, "patch_size": 16,
            "qkv_bias": True, "layer_norm_eps": 1e-12, "architectures": [CLASSIFIER],
        },
        only={"architectures": ([CLASSIFIER], [BARE])},
        inert=words("encoder_stride pooler_act pooler_output_size"),
    ),
    network=network,
    vision=shown,
    names=NameMap(
        {
            "patch": vision.first_patch("vit.embeddings.patch_embeddings.projection.weight"),
            "patch.bias": "vit.embeddings.patch_embeddings.projection.bias",
            "position": vision.table("vit.embeddings.position_embeddings", "vit.embeddings.cls_token"),
            **vision.layer_names(
                _AT,
                {
                    "attn.norm": "layernorm_before",
                    "attn.q": "attention.attention.query",
                    "attn.k": "attention.attention.key",
                    "attn.v": "attention.attention.value",
                    "attn.o": "attention.output.dense",
                    "mlp.norm": "layernorm_after",
                    "mlp.up": "intermediate.dense",
                    "mlp.down": "output.dense",
                },
            ),
            **vision.biased({"norm": "vit.layernorm", "head": "classifier"}),
        },
        ignore=(r"(?:vit\.)?pooler\.dense\.(?:weight|bias)",),
        optional="vit.",
    ),
)  # fmt: skip
