"""Qwen2 and Qwen2.5 (arXiv 2407.10671, 2412.15115): Llama's maths, with biases of queries, keys and
values, and a window of the upper layers that no published checkpoint switches on.

Copies of its config say `attention_bias`; no such field was published, the three always have biases.
"""

from dataclasses import replace

from edge.errors import Damaged
from edge.families import Architecture, llama
from edge.families._fields import PLAIN, Fields, words
from edge.files.config import Config
from edge.spec import DecoderSpec, MatrixName

FULL, WINDOWED = "full_attention", "sliding_attention"
QKV: tuple[MatrixName, ...] = ("attn.q", "attn.k", "attn.v")


def decoder(config: Config) -> DecoderSpec:
    return windowed(config, llama.decoder(config, biases=QKV))


def windowed(config: Config, plain: DecoderSpec) -> DecoderSpec:
    """With a window in the layers that have one."""
    kinds = _kinds(config, len(plain.layers))
    if WINDOWED not in kinds:
        return plain
    if not _is_on(config):
        raise Damaged(
            f"{config.where}: layer_types names {WINDOWED}, but there is no window",
            fix="give use_sliding_window and sliding_window, or name full_attention alone",
        )
    window = config.integer("sliding_window", high=1 << 31)
    pairs = zip(plain.layers, kinds, strict=True)
    return replace(
        plain,
        layers=tuple(replace(la, window=window) if k == WINDOWED else la for la, k in pairs),
    )


def _kinds(config: Config, count: int) -> tuple[str, ...]:
    """What each layer attends to, as the config says it, or else by the number of the first that has a
    window.
    """
    if config.has("layer_types"):
        kinds = config.data["layer_types"]
        known = isinstance(kinds, list) and all(kind in (FULL, WINDOWED) for kind in kinds)
        if not known or len(kinds) != count:
            raise Damaged(
                f"{config.where}: layer_types is no list of {count} times {FULL} or {WINDOWED}",
                fix="correct it, or leave it out: max_window_layers says the same",
            )
        return tuple(kinds)
    first = config.integer("max_window_layers", low=0) if _is_on(config) else count
    return tuple(FULL if i < first else WINDOWED for i in range(count))


def _is_on(config: Config) -> bool:
    return config.flag("use_sliding_window", False) and config.has("sliding_window")


FAMILY = replace(
    llama.FAMILY,
    name="qwen2",
    model_types=("qwen2",),
    fields=PLAIN
    | Fields(
        read=words("sliding_window layer_types max_window_layers use_sliding_window"),
        absent={
            "num_key_value_heads": 32,
            "max_position_embeddings": 32768,
            "use_sliding_window": False,
            "sliding_window": 4096,
            "max_window_layers": 28,
        },
        inert=words("attention_bias mlp_bias"),
    ),
    decoder=decoder,
    known_as={"genai": "qwen2", "gguf": "qwen2"},
    gguf=Architecture(name="qwen2", biases=QKV, square=True),
)
