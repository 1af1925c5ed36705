"""Nova, which nobody published: a family of another shape, as a newcomer writes it in edge/families.

Every field has a name of its own. Queries and keys have biases and norms, values have neither; gate and up
lie in one tensor; the embedding is scaled by the root of the width, and is the head, too.
"""

import math

from edge.families import Family
from edge.families._fields import SHARED, Fields, words
from edge.files.config import Config
from edge.names import NameMap, Part, gate_split
from edge.spec import DecoderSpec, LayerSpec, Norm, Rope

_GATE_UP = "blocks.{i}.mlp.gate_up.weight"


def decoder(config: Config) -> DecoderSpec:
    width, heads = config.integer("dim"), config.integer("heads")
    layer = LayerSpec(
        heads=heads,
        kv_heads=config.integer("kv_heads"),
        head_width=width // heads,
        ffn_width=config.integer("ffn"),
        biases=("attn.q", "attn.k"),
        qk_norm=config.number("norm_eps"),
    )
    return DecoderSpec(
        vocab=config.integer("vocab"),
        width=width,
        layers=(layer,) * config.integer("depth", high=1024),
        norm=Norm(eps=config.number("norm_eps")),
        rope=Rope(theta=config.number("rope_base"), width=width // heads),
        context=config.integer("context"),
        tied=True,
        embed_scale=math.sqrt(width),
    )


FAMILY = Family(
    name="nova",
    model_types=("nova",),
    fields=SHARED
    | Fields(
        read=words("vocab dim depth heads kv_heads ffn context"),
        absent={"norm_eps": 1e-6, "rope_base": 10000.0, "act": "silu"},
        only={"act": ("silu",)},
        inert=words("dropout"),
    ),
    decoder=decoder,
    names=NameMap(
        {
            "embed": "embed.weight",
            "layers.{i}.attn.norm": "blocks.{i}.norm1.weight",
            "layers.{i}.attn.q": "blocks.{i}.attn.q.weight",
            "layers.{i}.attn.q.bias": "blocks.{i}.attn.q.bias",
            "layers.{i}.attn.k": "blocks.{i}.attn.k.weight",
            "layers.{i}.attn.k.bias": "blocks.{i}.attn.k.bias",
            "layers.{i}.attn.v": "blocks.{i}.attn.v.weight",
            "layers.{i}.attn.q_norm": "blocks.{i}.attn.q_norm.weight",
            "layers.{i}.attn.k_norm": "blocks.{i}.attn.k_norm.weight",
            "layers.{i}.attn.o": "blocks.{i}.attn.out.weight",
            "layers.{i}.mlp.norm": "blocks.{i}.norm2.weight",
            "layers.{i}.mlp.gate": Part(_GATE_UP, gate_split, 0),
            "layers.{i}.mlp.up": Part(_GATE_UP, gate_split, 1),
            "layers.{i}.mlp.down": "blocks.{i}.mlp.down.weight",
            "norm": "norm.weight",
        }
    ),
)
