"""OpenELM (arXiv 2404.14619): every layer has its own number of heads and its own feed-forward
width.
"""

from edge.errors import Damaged, Unsupported
from edge.families import Architecture, Family
from edge.families._fields import SHARED, Fields, words
from edge.files.config import Config
from edge.names import NameMap, Part, gate_split, heads_split
from edge.spec import DecoderSpec, LayerSpec, Norm, Rope

_EPS = 1e-6  # no field of the config: the published code has it as a default
_QKV = "transformer.layers.{i}.attn.qkv_proj.weight"
_PROJ = "transformer.layers.{i}.ffn.proj_1.weight"


def decoder(config: Config) -> DecoderSpec:
    width, head_width = config.integer("model_dim"), config.integer("head_dim")
    count = config.integer("num_transformer_layers", high=1024)
    normed = config.flag("normalize_qk_projections")
    heads = config.integers("num_query_heads")
    kv_heads = config.integers("num_kv_heads")
    ffn = _ffn_widths(config, width, count)
    if config.has("qkv_multipliers") and (heads, kv_heads) != _heads(config, width, count):
        raise Unsupported(
            f"{config.where}: num_query_heads and num_kv_heads are not those of qkv_multipliers and "
            "num_gqa_groups, from which the published code makes them anew",
            fix="correct the lists, or remove the multipliers",
        )
    if not len(heads) == len(kv_heads) == len(ffn) == count:
        raise Damaged(
            f"{config.where}: {count} layers, but lists of {len(heads)} heads, "
            f"{len(kv_heads)} kv heads, {len(ffn)} widths",
            fix="give num_query_heads, num_kv_heads and ffn_multipliers one value a layer",
        )
    layers = tuple(
        LayerSpec(
            heads=h,
            kv_heads=g,
            head_width=head_width,
            ffn_width=f,
            qk_norm=_EPS if normed else None,
        )
        for h, g, f in zip(heads, kv_heads, ffn, strict=True)
    )
    return DecoderSpec(
        vocab=config.integer("vocab_size"),
        width=width,
        layers=layers,
        norm=Norm(eps=_EPS),
        rope=Rope(theta=config.number("rope_freq_constant"), width=head_width),
        context=config.integer("max_context_length"),
        tied=config.flag("share_input_output_layers"),
    )


def _ffn_widths(config: Config, width: int, layers: int) -> tuple[int, ...]:
    """Two multipliers are the ends of a line over the layers; the published files hold one a layer."""
    by = config.integer("ffn_dim_divisor")
    return tuple(_divisible(width * m, by) for m in _each(config, "ffn_multipliers", layers))


def _heads(config: Config, width: int, layers: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Query heads and kv heads of each layer, by the published rule."""
    head_width, groups = config.integer("head_dim"), config.integer("num_gqa_groups")
    wide = (
        _divisible(width * m, head_width * groups) for m in _each(config, "qkv_multipliers", layers)
    )
    heads = tuple(value // head_width for value in wide)
    return heads, tuple(count // groups for count in heads)


def _each(config: Config, key: str, layers: int) -> tuple[float, ...]:
    """A number a layer, from one, from the two ends of a line, or from a list."""
    if not isinstance(config.data.get(key), list):
        return (config.number(key),) * layers
    ends = config.numbers(key)
    if len(ends) != 2 or layers == 2:
        return ends
    step = (ends[1] - ends[0]) / max(layers - 1, 1)
    return tuple(round(ends[0] + i * step, 2) for i in range(layers))


def _divisible(value: float, by: int) -> int:
    """The multiple of `by` nearest to the value, never less than nine tenths of it."""
    near = max(by, int(value + by / 2) // by * by)
    return near + by if near < 0.9 * value else near


FAMILY = Family(
    name="openelm",
    model_types=("openelm",),
    fields=SHARED
    | Fields(
        read=words(
            "vocab_size model_dim head_dim num_transformer_layers num_query_heads num_kv_heads "
            "qkv_multipliers ffn_multipliers"
        ),
        absent={
            "max_context_length": 2048,
            "num_gqa_groups": 1,
            "ffn_dim_divisor": 256,
            "normalize_qk_projections": False,
            "share_input_output_layers": False,
            "rope_freq_constant": 10000,
        },
        only={
            "activation_fn_name": ("swish", "silu"),
            "normalization_layer_name": ("rms_norm",),
            "ffn_with_glu": (True,),
        },
        inert=words("rope_max_length"),
    ),
    decoder=decoder,
    names=NameMap(
        {
            "embed": "transformer.token_embeddings.weight",
            "layers.{i}.attn.norm": "transformer.layers.{i}.attn_norm.weight",
            "layers.{i}.attn.q": Part(_QKV, heads_split, 0),
            "layers.{i}.attn.k": Part(_QKV, heads_split, 1),
            "layers.{i}.attn.v": Part(_QKV, heads_split, 2),
            "layers.{i}.attn.q_norm": "transformer.layers.{i}.attn.q_norm.weight",
            "layers.{i}.attn.k_norm": "transformer.layers.{i}.attn.k_norm.weight",
            "layers.{i}.attn.o": "transformer.layers.{i}.attn.out_proj.weight",
            "layers.{i}.mlp.norm": "transformer.layers.{i}.ffn_norm.weight",
            "layers.{i}.mlp.gate": Part(_PROJ, gate_split, 0),
            "layers.{i}.mlp.up": Part(_PROJ, gate_split, 1),
            "layers.{i}.mlp.down": "transformer.layers.{i}.ffn.proj_2.weight",
            "norm": "transformer.norm.weight",
            "head": "lm_head.weight",
        }
    ),
    known_as={"gguf": "openelm"},
    gguf=Architecture(
        name="openelm",
        fused={"attn_qkv": ("attn.q", "attn.k", "attn.v")},
        qk_norm=True,
        lists=True,
        head="embed",
    ),
)
