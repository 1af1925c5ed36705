"""InternViT (arXiv 2312.14238, 2404.16821): 6B with RMS norms, norms of q and k over the full width and no
biases there, 300M with layer norms. The last rows are those of the last layer: no norm comes after it.
"""

from edge.families import Family
from edge.families import _vision as vision
from edge.families._fields import Fields, words
from edge.files.config import Config
from edge.names import NameMap
from edge.net import NetSpec
from edge.nn.vit import VitSpec
from edge.spec import Norm
from edge.vision.preparation import INTERNVIT, at_size
from edge.vision.settings import VisionSettings


def network(config: Config) -> NetSpec:
    side, eps = vision.patch(config), config.number("layer_norm_eps")
    config.only("norm_type", "rms_norm", "layer_norm")
    rms = config.text("norm_type") == "rms_norm"
    return NetSpec(
        kind="vit",
        config=VitSpec(
            grid=vision.grid(config, side),
            patch=side,
            width=config.integer("hidden_size"),
            layers=config.integer("num_hidden_layers", high=1024),
            heads=config.integer("num_attention_heads"),
            ffn_width=config.integer("intermediate_size"),
            norm=Norm(eps=eps) if rms else Norm(eps=eps, kind="layer"),
            qkv_bias=config.flag("qkv_bias"),
            qk_norm=Norm(eps=eps) if config.flag("qk_normalization") else None,
            layer_scale=True,
        ),
    )


def shown(config: Config) -> VisionSettings:
    return VisionSettings(preparation=at_size(INTERNVIT, vision.image(config)))


FAMILY = Family(
    name="intern_vit",
    model_types=("intern_vit_6b",),  # of both sizes
    fields=vision.FIELDS
    | Fields(
        read=words("qkv_bias qk_normalization norm_type layer_norm_eps"),
        absent={
            "hidden_size": 3200,
            "num_hidden_layers": 48,
            "num_attention_heads": 25,
            "intermediate_size": 12800,
            "image_size": 224,
            "patch_size": 14,
            "qkv_bias": False,
            "qk_normalization": True,
            "norm_type": "rms_norm",
            "layer_norm_eps": 1e-6,
        },
        inert=words("use_flash_attn"),
    ),
    network=network,
    vision=shown,
    names=NameMap(
        {
            "patch": vision.first_patch("vision_model.embeddings.patch_embedding.weight"),
            "patch.bias": "vision_model.embeddings.patch_embedding.bias",
            "position": vision.table(
                "vision_model.embeddings.position_embedding",
                "vision_model.embeddings.class_embedding",
            ),
            **vision.layer_names(
                "vision_model.encoder.layers.{i}",
                {
                    "attn.norm": "norm1",
                    "attn.q_norm": "attn.q_norm",
                    "attn.k_norm": "attn.k_norm",
                    "attn.o": "attn.proj",
                    "mlp.norm": "norm2",
                    "mlp.up": "mlp.fc1",
                    "mlp.down": "mlp.fc2",
                },
            ),
            **vision.all_thirds("vision_model.encoder.layers.{i}.attn.qkv"),
            "layers.{i}.attn.scale": "vision_model.encoder.layers.{i}.ls1",
            "layers.{i}.mlp.scale": "vision_model.encoder.layers.{i}.ls2",
        },
        optional="vision_model.",
    ),
)
