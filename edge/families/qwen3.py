"""Qwen3 (arXiv 2505.09388): Qwen2 with a norm of each head of queries and keys in place of the biases,
and heads of a width of their own.
"""

from dataclasses import replace

from edge.families import Architecture, llama, qwen2
from edge.families._fields import Fields, words
from edge.files.config import Config
from edge.names import NameMap
from edge.spec import DecoderSpec


def decoder(config: Config) -> DecoderSpec:
    biases = llama.ATTENTION if config.flag("attention_bias") else ()
    plain = llama.decoder(config, biases=biases)
    layer = replace(plain.layers[0], qk_norm=plain.norm.eps)
    return qwen2.windowed(config, replace(plain, layers=(layer,) * len(plain.layers)))


FAMILY = replace(
    qwen2.FAMILY,
    name="qwen3",
    model_types=("qwen3",),
    fields=qwen2.FAMILY.fields
    | Fields(read=words("attention_bias"), absent={"head_dim": 128, "attention_bias": False}),
    decoder=decoder,
    names=NameMap(
        {
            **llama.FAMILY.names.entries,
            "layers.{i}.attn.q_norm": "model.layers.{i}.self_attn.q_norm.weight",
            "layers.{i}.attn.k_norm": "model.layers.{i}.self_attn.k_norm.weight",
        }
    ),
    known_as={"genai": "qwen3", "gguf": "qwen3"},
    gguf=Architecture(name="qwen3", biases=qwen2.QKV, qk_norm=True),
)
