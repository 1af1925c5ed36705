"""Lyra, which nobody published: Llama with biases of queries and values, under a name of llama.cpp's that
edge has no row for yet. A newcomer puts the row in the family's own file.
"""

from dataclasses import replace
from functools import partial

from edge.families import Architecture, llama
from edge.families._fields import PLAIN, Fields

FAMILY = replace(
    llama.FAMILY,
    name="lyra",
    model_types=("lyra",),
    fields=PLAIN | Fields(absent={"max_position_embeddings": 2048}),
    decoder=partial(llama.decoder, biases=("attn.q", "attn.v")),
    known_as={"gguf": "xverse"},
    gguf=Architecture(
        name="xverse", pairs=True, square=True, head="own", biases=("attn.q", "attn.k", "attn.v")
    ),
)
