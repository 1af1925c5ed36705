"""Phi-3 mini, medium and 3.5-mini (arXiv 2404.14219): Llama's maths with fused weights; a real
window of 2,047 keys in the 4k models, LongRoPE in the 128k ones.
"""

from functools import partial

from edge.families import Architecture, Family, llama
from edge.families._fields import PLAIN, Fields, words
from edge.names import NameMap, Part, gate_split, heads_split
from edge.spec import LongRope

_QKV = "model.layers.{i}.self_attn.qkv_proj.weight"
_GATE_UP = "model.layers.{i}.mlp.gate_up_proj.weight"


FAMILY = Family(
    name="phi3",
    model_types=("phi3",),
    fields=PLAIN
    | Fields(
        read=words("sliding_window partial_rotary_factor"),
        absent={
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
        },
        inert=words("resid_pdrop embd_pdrop"),
    ),
    decoder=partial(llama.windowed, partial=True),
    names=NameMap(
        {
            **llama.FAMILY.names.entries,
            "layers.{i}.attn.q": Part(_QKV, heads_split, 0),
            "layers.{i}.attn.k": Part(_QKV, heads_split, 1),
            "layers.{i}.attn.v": Part(_QKV, heads_split, 2),
            "layers.{i}.mlp.gate": Part(_GATE_UP, gate_split, 0),
            "layers.{i}.mlp.up": Part(_GATE_UP, gate_split, 1),
        }
    ),
    known_as={"genai": "phi3", "gguf": "phi3"},
    gguf=Architecture(
        name="phi3",
        fused={"attn_qkv": ("attn.q", "attn.k", "attn.v"), "ffn_up": ("mlp.gate", "mlp.up")},
        biases=("attn.q", "attn.k", "attn.v"),
        square=True,
        partial_rotary=True,
        window=True,
        scaling=(LongRope,),
    ),
)
