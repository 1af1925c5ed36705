"""Llama 2, 3, 3.1, 3.2, Vicuna, SmolLM2 and TinyLlama: a plain pre-norm decoder with grouped queries."""

from dataclasses import replace

from edge.families import Architecture, Family
from edge.families._fields import PLAIN, Fields, words
from edge.families._rope import rope
from edge.files.config import Config
from edge.names import NameMap
from edge.spec import MATRICES, DecoderSpec, LayerSpec, Llama3Scaling, MatrixName, Norm

ATTENTION, FEED_FORWARD = MATRICES[:4], MATRICES[4:]
_MATRICES = {
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.o_proj",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}


def decoder(
    config: Config, *, partial: bool = False, biases: tuple[MatrixName, ...] = ()
) -> DecoderSpec:
    """`partial`: whether part of a head may be rotated; `biases`: the matrices that have one."""
    width, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    head_width = config.integer("head_dim", max(width // heads, 1))
    layer = LayerSpec(
        heads=heads,
        kv_heads=config.integer("num_key_value_heads", heads),
        head_width=head_width,
        ffn_width=config.integer("intermediate_size"),
        biases=biases,
    )
    return DecoderSpec(
        vocab=config.integer("vocab_size"),
        width=width,
        layers=(layer,) * config.integer("num_hidden_layers", high=1024),
        norm=Norm(eps=config.number("rms_norm_eps")),
        rope=rope(config, head_width, partial=partial),
        context=config.integer("max_position_embeddings"),
        tied=config.flag("tie_word_embeddings"),
    )


def biases(config: Config) -> tuple[MatrixName, ...]:
    """Those that two fields ask for: of all of attention, of all of the feed-forward."""
    of_attention = ATTENTION if config.flag("attention_bias") else ()
    return (*of_attention, *(FEED_FORWARD if config.flag("mlp_bias") else ()))


def windowed(config: Config, *, partial: bool = False) -> DecoderSpec:
    """The same with a window where the config has one."""
    plain = decoder(config, partial=partial)
    if not config.has("sliding_window"):
        return plain
    window = config.integer("sliding_window", high=1 << 31)
    return replace(plain, layers=tuple(replace(layer, window=window) for layer in plain.layers))


def unwindowed(config: Config) -> DecoderSpec:
    """A window is in no mask of transformers' Llama, but its cache drops what lies outside: a prompt and
    single steps disagree there, unless the whole context lies in it.
    """
    plain = decoder(config, biases=biases(config))
    if not config.has("sliding_window"):
        return plain
    if config.integer("sliding_window", high=1 << 31) < plain.context:
        config.only("sliding_window")
    return plain


FAMILY = Family(
    name="llama",
    model_types=("llama",),
    fields=PLAIN
    | Fields(
        read=words("sliding_window attention_bias mlp_bias"),
        absent={"max_position_embeddings": 2048, "attention_bias": False, "mlp_bias": False},
    ),
    decoder=unwindowed,
    names=NameMap(
        {
            "embed": "model.embed_tokens.weight",
            "layers.{i}.attn.norm": "model.layers.{i}.input_layernorm.weight",
            "layers.{i}.mlp.norm": "model.layers.{i}.post_attention_layernorm.weight",
            **{
                f"layers.{{i}}.{name}{ours}": f"model.layers.{{i}}.{tensor}.{theirs}"
                for name, tensor in _MATRICES.items()
                for ours, theirs in (("", "weight"), (".bias", "bias"))
            },
            "norm": "model.norm.weight",
            "head": "lm_head.weight",
        }
    ),
    known_as={"genai": "llama", "gguf": "llama"},
    gguf=Architecture(
        name="llama", pairs=True, biases=MATRICES, scaling=(Llama3Scaling,), large=80
    ),
)
