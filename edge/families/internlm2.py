"""InternLM2 1.8B, 7B, 20B (arXiv 2403.17297): Llama's maths; q, k and v lie fused in groups.

Its dynamic NTK scaling changes nothing up to the published context, which is as far as edge goes.
"""

from edge.config import Config
from edge.errors import Unsupported
from edge.families import Family
from edge.names import NameMap, Part, groups_split
from edge.spec import DecoderSpec, LayerSpec, Norm, Rope

_QKV = "model.layers.{i}.attention.wqkv.weight"


def spec(config: Config) -> DecoderSpec:
    config.only("hidden_act", "silu")
    config.only("bias", allowed=False, default=True)  # the published config class defaults to true
    width, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    head_width = config.integer("head_dim", max(width // heads, 1))
    layer = LayerSpec(
        heads=heads,
        kv_heads=config.integer("num_key_value_heads", heads),
        head_width=head_width,
        ffn_width=config.integer("intermediate_size"),
    )
    return DecoderSpec(
        vocab=config.integer("vocab_size"),
        width=width,
        layers=(layer,) * config.integer("num_hidden_layers", high=1024),
        norm=Norm(eps=config.number("rms_norm_eps")),
        rope=Rope(theta=_theta(config), width=head_width),
        context=config.integer("max_position_embeddings", high=1 << 20),
        tied=config.flag("tie_word_embeddings", default=False),
    )


def _theta(config: Config) -> float:
    scaling = config.table("rope_scaling")
    kind = "dynamic" if scaling is None else scaling.text("rope_type", scaling.text("type", ""))
    if kind != "dynamic":
        raise Unsupported(
            f"{config.where}: rope_scaling of type {kind!r} is not supported",
            fix="use a checkpoint whose rope_scaling is null or dynamic",
        )
    return config.number("rope_theta")


FAMILY = Family(
    name="internlm2",
    model_types=("internlm2",),
    spec=spec,
    names=NameMap(
        {
            "embed": "model.tok_embeddings.weight",
            "layers.{i}.attn.norm": "model.layers.{i}.attention_norm.weight",
            "layers.{i}.attn.q": Part(_QKV, groups_split, 0),
            "layers.{i}.attn.k": Part(_QKV, groups_split, 1),
            "layers.{i}.attn.v": Part(_QKV, groups_split, 2),
            "layers.{i}.attn.o": "model.layers.{i}.attention.wo.weight",
            "layers.{i}.mlp.norm": "model.layers.{i}.ffn_norm.weight",
            "layers.{i}.mlp.gate": "model.layers.{i}.feed_forward.w1.weight",
            "layers.{i}.mlp.up": "model.layers.{i}.feed_forward.w3.weight",
            "layers.{i}.mlp.down": "model.layers.{i}.feed_forward.w2.weight",
            "norm": "model.norm.weight",
            "head": "output.weight",
        },
        ignore=(r"model\.layers\.\d+\.attention\.rotary_emb\.inv_freq",),
    ),
    known_as={"genai": "internlm2"},
)
