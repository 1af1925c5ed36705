"""DINOv2 (arXiv 2304.07193): the plain vision transformer with a scale after each half of a layer. Its
positions are of 518 pixels, and resized to what a processor cuts pictures to.
"""

from edge.families import Family
from edge.families import _vision as vision
from edge.families._fields import Fields, words
from edge.files.config import Config
from edge.names import NameMap
from edge.net import NetSpec
from edge.nn.vit import VitSpec
from edge.spec import Norm
from edge.vision.preparation import DINOV2, at_size
from edge.vision.settings import VisionSettings


def network(config: Config) -> NetSpec:
    side, width = vision.patch(config), config.integer("hidden_size")
    norm = Norm(eps=config.number("layer_norm_eps"), kind="layer")
    return NetSpec(
        kind="vit",
        config=VitSpec(
            grid=vision.grid(config, side),
            patch=side,
            width=width,
            layers=config.integer("num_hidden_layers", high=1024),
            heads=config.integer("num_attention_heads"),
            ffn_width=int(width * config.number("mlp_ratio")),
            norm=norm,
            qkv_bias=config.flag("qkv_bias"),
            layer_scale=True,
            last=norm,
        ),
    )


def shown(config: Config) -> VisionSettings:
    return VisionSettings(preparation=at_size(DINOV2, vision.image(config)))


FAMILY = Family(
    name="dinov2",
    model_types=("dinov2",),
    fields=vision.FIELDS
    | Fields(
        read=words("mlp_ratio qkv_bias layer_norm_eps"),
        absent={
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "mlp_ratio": 4,
            "image_size": 224,
            "patch_size": 14,
            "qkv_bias": True,
            "layer_norm_eps": 1e-6,
            "use_swiglu_ffn": False,
        },
        only={"use_swiglu_ffn": (False,), "architectures": (["Dinov2Model"],)},
        inert=words(
            "layerscale_value intermediate_size out_features out_indices stage_names apply_layernorm "
            "reshape_hidden_states use_mask_token"
        ),
    ),
    network=network,
    vision=shown,
    names=NameMap(
        {
            "patch": vision.first_patch("embeddings.patch_embeddings.projection.weight"),
            "patch.bias": "embeddings.patch_embeddings.projection.bias",
            "position": vision.table("embeddings.position_embeddings", "embeddings.cls_token"),
            **vision.layer_names(
                "encoder.layer.{i}",
                {
                    "attn.norm": "norm1",
                    "attn.q": "attention.attention.query",
                    "attn.k": "attention.attention.key",
                    "attn.v": "attention.attention.value",
                    "attn.o": "attention.output.dense",
                    "mlp.norm": "norm2",
                    "mlp.up": "mlp.fc1",
                    "mlp.down": "mlp.fc2",
                },
            ),
            "layers.{i}.attn.scale": "encoder.layer.{i}.layer_scale1.lambda1",
            "layers.{i}.mlp.scale": "encoder.layer.{i}.layer_scale2.lambda1",
            **vision.biased({"norm": "layernorm"}),
        },
        ignore=(r"embeddings\.mask_token",),
    ),
)
