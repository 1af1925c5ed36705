"""Phi-3-small, 8k and 128k (arXiv 2404.14219): layer norms, biases, a gegelu gate, every second layer
block-sparse, and scales of a maximal update parametrization (arXiv 2203.03466).

Copies of its config say `attention_bias: false`; no such field was published, the linears have biases.
"""

from edge.config import Config
from edge.errors import Unsupported
from edge.families import Family
from edge.families._rope import scaling
from edge.names import NameMap, Part, groups_split, interleaved_split
from edge.spec import BlockSparse, DecoderSpec, LayerSpec, Norm, Rope

_QKV = "model.layers.{i}.self_attn.query_key_value."
_UP = "model.layers.{i}.mlp.up_proj."
# What the tokenizer has and the model was never to say: fill-in-the-middle, placeholders, padding.
_DUMMY = (100256, *range(100258, 100261), 100264, 100265, *range(100267, 100352))


def spec(config: Config) -> DecoderSpec:
    _only_known(config)
    width, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    head_width = max(width // heads, 1)
    return DecoderSpec(
        vocab=config.integer("vocab_size"),
        width=width,
        layers=_layers(config, heads, head_width),
        norm=Norm(eps=config.number("layer_norm_epsilon", 1e-5), kind="layer"),
        rope=Rope(
            theta=config.number("rope_embedding_base", 1e6),
            width=head_width,
            scaling=scaling(config, head_width // 2),
        ),
        context=config.integer("max_position_embeddings", 8192, high=1 << 20),
        tied=config.flag("tie_word_embeddings", default=True),
        embed_scale=config.number("mup_embedding_multiplier", 10.0),
        logit_scale=1 / config.number("mup_width_multiplier", 8.0),
        forbidden=_forbidden(config),
    )


def _layers(config: Config, heads: int, head_width: int) -> tuple[LayerSpec, ...]:
    """Each n-th layer is dense, the others are sparse."""
    dense, sparse = (
        LayerSpec(
            heads=heads,
            kv_heads=config.integer("num_key_value_heads"),
            head_width=head_width,
            ffn_width=config.integer("ff_intermediate_size", 14336),
            gate="gegelu",
            gate_limit=config.number("gegelu_limit", 20.0),
            bias=True,
            score_scale=config.number("mup_attn_multiplier", 1.0) / head_width,
            sparse=pattern,
        )
        for pattern in (None, _pattern(config))
    )
    every = config.integer("dense_attention_every_n_layers", 2)
    count = config.integer("num_hidden_layers", high=1024)
    return tuple(sparse if (i + 1) % every else dense for i in range(count))


def _pattern(config: Config) -> BlockSparse:
    return BlockSparse(
        block=config.integer("blocksparse_block_size", 64),
        local=config.integer("blocksparse_num_local_blocks", 16),
        stride=config.integer("blocksparse_vert_stride", 8),
    )


def _forbidden(config: Config) -> tuple[int, ...]:
    if config.data.get("dummy_token_indices") == []:
        return ()
    if config.has("dummy_token_indices"):
        return config.integers("dummy_token_indices", low=0)
    return tuple(token for token in _DUMMY if token < config.integer("vocab_size"))


def _only_known(config: Config) -> None:
    config.only("hidden_act", "gegelu")
    config.only("ff_dim_multiplier", None)
    config.only("mup_use_scaling", allowed=True)
    config.only("rope_position_scale", 1.0)
    config.only("blocksparse_homo_head_pattern", allowed=False)
    config.only("reorder_and_upcast_attn", allowed=False)
    for key in ("gegelu_limit", "dense_attention_every_n_layers", "ff_intermediate_size"):
        if key in config.data and not config.has(key):
            raise Unsupported(
                f"{config.where}: {key} is null; only a number is supported",
                fix="convert a checkpoint with this setting, or add its absence to the spec",
            )


FAMILY = Family(
    name="phi3small",
    model_types=("phi3small",),
    spec=spec,
    names=NameMap(
        {
            "embed": "model.embed_tokens.weight",
            **{
                f"layers.{{i}}.{name}{ours}": f"model.layers.{{i}}.{tensor}{theirs}"
                for name, tensor in {
                    "attn.norm": "input_layernorm",
                    "attn.o": "self_attn.dense",
                    "mlp.norm": "post_attention_layernorm",
                    "mlp.down": "mlp.down_proj",
                }.items()
                for ours, theirs in (("", ".weight"), (".bias", ".bias"))
            },
            **{
                f"layers.{{i}}.{name}{ours}": Part(tensor + theirs, split, part)
                for name, tensor, split, part in (
                    ("attn.q", _QKV, groups_split, 0),
                    ("attn.k", _QKV, groups_split, 1),
                    ("attn.v", _QKV, groups_split, 2),
                    ("mlp.gate", _UP, interleaved_split, 0),
                    ("mlp.up", _UP, interleaved_split, 1),
                )
                for ours, theirs in (("", "weight"), (".bias", "bias"))
            },
            "norm": "model.final_layernorm.weight",
            "norm.bias": "model.final_layernorm.bias",
            "head": "lm_head.weight",
        }
    ),
    known_as={"genai": "phi3small"},
)
