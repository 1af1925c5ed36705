"""InternLM2 1.8B, 7B, 20B (arXiv 2403.17297): Llama's maths; q, k and v lie fused in groups."""

from edge.families import Architecture, Family, llama
from edge.families._fields import PLAIN, Fields
from edge.names import NameMap, Part, groups_split

_QKV = "model.layers.{i}.attention.wqkv.weight"


FAMILY = Family(
    name="internlm2",
    model_types=("internlm2",),
    fields=PLAIN
    | Fields(
        absent={"bias": True, "max_position_embeddings": 2048},
        only={"bias": (False,)},
    ),
    decoder=llama.decoder,
    names=NameMap(
        {
            "embed": "model.tok_embeddings.weight",
            "layers.{i}.attn.norm": "model.layers.{i}.attention_norm.weight",
            "layers.{i}.attn.q": Part(_QKV, groups_split, 0),
            "layers.{i}.attn.k": Part(_QKV, groups_split, 1),
            "layers.{i}.attn.v": Part(_QKV, groups_split, 2),
            "layers.{i}.attn.o": "model.layers.{i}.attention.wo.weight",
            "layers.{i}.mlp.norm": "model.layers.{i}.ffn_norm.weight",
            "layers.{i}.mlp.gate": "model.layers.{i}.feed_forward.w1.weight",
            "layers.{i}.mlp.up": "model.layers.{i}.feed_forward.w3.weight",
            "layers.{i}.mlp.down": "model.layers.{i}.feed_forward.w2.weight",
            "norm": "model.norm.weight",
            "head": "output.weight",
        }
    ),
    known_as={"genai": "internlm2", "gguf": "internlm2"},
    gguf=Architecture(name="internlm2", pairs=True, square=True, head="own"),
)
