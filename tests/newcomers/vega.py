"""Vega, which nobody published: Llama with one fused tensor of queries, keys and values and one of their
biases. llama.cpp's phi3 computes it, whose row another family brings: its name is enough.
"""

from dataclasses import replace
from functools import partial

from edge.families import llama, phi3
from edge.families._fields import PLAIN, Fields
from edge.names import NameMap, Part, heads_split

FAMILY = replace(
    phi3.FAMILY,
    name="vega",
    model_types=("vega",),
    fields=PLAIN | Fields(absent={"max_position_embeddings": 2048}),
    decoder=partial(llama.decoder, biases=("attn.q", "attn.k", "attn.v")),
    names=NameMap(
        {
            **phi3.FAMILY.names.entries,
            **{
                f"layers.{{i}}.attn.{part}.bias": Part(
                    "model.layers.{i}.self_attn.qkv_proj.bias", heads_split, number
                )
                for number, part in enumerate("qkv")
            },
        }
    ),
    known_as={"gguf": "phi3"},
    gguf=None,
)
