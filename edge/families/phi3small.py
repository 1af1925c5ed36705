"""Phi-3-small, 8k and 128k (arXiv 2404.14219): layer norms, biases, a gegelu gate, every second layer
block-sparse, and scales of a maximal update parametrization (arXiv 2203.03466).

Copies of its config say `attention_bias: false`; no such field was published, the linears have biases.
"""

from edge.errors import Unsupported
from edge.families import Family
from edge.families._fields import SHARED, Fields, words
from edge.families._rope import scaling
from edge.files.config import Config
from edge.names import NameMap, Part, groups_split, interleaved_split
from edge.spec import MATRICES, BlockSparse, DecoderSpec, LayerSpec, Norm, Rope

_QKV = "model.layers.{i}.self_attn.query_key_value."
_UP = "model.layers.{i}.mlp.up_proj."
# What the tokenizer has and the model was never to say: fill-in-the-middle, placeholders, padding.
_DUMMY = (100256, *range(100258, 100261), 100264, 100265, *range(100267, 100352))


def decoder(config: Config) -> DecoderSpec:
    _refuse_null(config)
    width, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    head_width = max(width // heads, 1)
    return DecoderSpec(
        vocab=config.integer("vocab_size"),
        width=width,
        layers=_layers(config, heads, head_width),
        norm=Norm(eps=config.number("layer_norm_epsilon"), kind="layer"),
        rope=Rope(
            theta=config.number("rope_embedding_base"),
            width=head_width,
            scaling=scaling(config, head_width // 2, scaled=True),
        ),
        context=config.integer("max_position_embeddings"),
        tied=config.flag("tie_word_embeddings"),
        embed_scale=config.number("mup_embedding_multiplier"),
        logit_scale=1 / config.number("mup_width_multiplier"),
        forbidden=_forbidden(config),
    )


def _layers(config: Config, heads: int, head_width: int) -> tuple[LayerSpec, ...]:
    """Each n-th layer is dense, the others are sparse."""
    dense, sparse = (
        LayerSpec(
            heads=heads,
            kv_heads=config.integer("num_key_value_heads"),
            head_width=head_width,
            ffn_width=config.integer("ff_intermediate_size"),
            gate="gegelu",
            gate_limit=config.number("gegelu_limit"),
            biases=MATRICES,
            score_scale=config.number("mup_attn_multiplier") / head_width,
            sparse=pattern,
        )
        for pattern in (None, _pattern(config))
    )
    every = config.integer("dense_attention_every_n_layers")
    count = config.integer("num_hidden_layers", high=1024)
    return tuple(sparse if (i + 1) % every else dense for i in range(count))


def _pattern(config: Config) -> BlockSparse:
    return BlockSparse(
        block=config.integer("blocksparse_block_size"),
        local=config.integer("blocksparse_num_local_blocks"),
        stride=config.integer("blocksparse_vert_stride"),
    )


def _forbidden(config: Config) -> tuple[int, ...]:
    if config.data.get("dummy_token_indices") == []:
        return ()
    if config.has("dummy_token_indices"):
        return config.integers("dummy_token_indices", low=0)
    return tuple(token for token in _DUMMY if token < config.integer("vocab_size"))


def _refuse_null(config: Config) -> None:
    for key in ("gegelu_limit", "dense_attention_every_n_layers", "ff_intermediate_size"):
        if key in config.data and not config.has(key):
            raise Unsupported(
                f"{config.where}: {key} is null; only a number is supported",
                fix="convert a checkpoint with this setting, or add its absence to the spec",
            )


FAMILY = Family(
    name="phi3small",
    model_types=("phi3small",),
    fields=SHARED
    | Fields(
        read=words(
            "vocab_size hidden_size num_hidden_layers num_attention_heads rope_scaling "
            "rope_parameters original_max_position_embeddings dummy_token_indices"
        ),
        absent={
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
            "ff_intermediate_size": 14336,
            "gegelu_limit": 20.0,
            "dense_attention_every_n_layers": 2,
            "blocksparse_block_size": 64,
            "blocksparse_num_local_blocks": 16,
            "blocksparse_vert_stride": 8,
            "layer_norm_epsilon": 1e-5,
            "rope_embedding_base": 1e6,
            "mup_attn_multiplier": 1.0,
            "mup_embedding_multiplier": 10.0,
            "mup_width_multiplier": 8.0,
            "tie_word_embeddings": True,
        },
        only={
            "hidden_act": ("gegelu",),
            "ff_dim_multiplier": (),
            "mup_use_scaling": (True,),
            "rope_position_scale": (1.0,),
            "blocksparse_homo_head_pattern": (False,),
            "reorder_and_upcast_attn": (False,),
        },
        inert=words(
            "attention_bias attention_dropout_prob embedding_dropout_prob ffn_dropout_prob "
            "blocksparse_triton_kernel_block_size gegelu_pad_to_256 pad_sequence_to_multiple_of_64"
        ),
    ),
    decoder=decoder,
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
