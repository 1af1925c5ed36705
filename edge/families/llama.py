"""Llama 2, 3, 3.1, 3.2 and Vicuna: a plain pre-norm decoder with grouped queries."""

from dataclasses import replace

from edge.config import Config
from edge.families import Family
from edge.families._rope import rope
from edge.names import NameMap
from edge.spec import DecoderSpec, LayerSpec, Norm


def spec(config: Config) -> DecoderSpec:
    config.only("hidden_act", "silu")
    config.only("attention_bias", allowed=False)
    config.only("mlp_bias", allowed=False)
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
        norm=Norm(eps=config.number("rms_norm_eps", 1e-6)),
        rope=rope(config, head_width),
        context=config.integer("max_position_embeddings", 2048, high=1 << 20),
        tied=config.flag("tie_word_embeddings", default=False),
    )


def windowed(config: Config) -> DecoderSpec:
    """The same with a window where the config has one; Llama itself ignores that field."""
    plain = spec(config)
    if not config.has("sliding_window"):
        return plain
    window = config.integer("sliding_window")
    return replace(plain, layers=tuple(replace(layer, window=window) for layer in plain.layers))


FAMILY = Family(
    name="llama",
    model_types=("llama",),
    spec=spec,
    names=NameMap(
        {
            "embed": "model.embed_tokens.weight",
            "layers.{i}.attn.norm": "model.layers.{i}.input_layernorm.weight",
            "layers.{i}.attn.q": "model.layers.{i}.self_attn.q_proj.weight",
            "layers.{i}.attn.k": "model.layers.{i}.self_attn.k_proj.weight",
            "layers.{i}.attn.v": "model.layers.{i}.self_attn.v_proj.weight",
            "layers.{i}.attn.o": "model.layers.{i}.self_attn.o_proj.weight",
            "layers.{i}.mlp.norm": "model.layers.{i}.post_attention_layernorm.weight",
            "layers.{i}.mlp.gate": "model.layers.{i}.mlp.gate_proj.weight",
            "layers.{i}.mlp.up": "model.layers.{i}.mlp.up_proj.weight",
            "layers.{i}.mlp.down": "model.layers.{i}.mlp.down_proj.weight",
            "norm": "model.norm.weight",
            "head": "lm_head.weight",
        }
    ),
    known_as={"genai": "llama", "gguf": "llama"},
)
