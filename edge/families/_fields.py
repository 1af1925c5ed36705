"""Which fields of a family's config count. A field that is listed nowhere is one that the family's own
code does not know either: it is passed over, as there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.errors import Damaged
from edge.files.config import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """`read`: fields that decide the spec or the tokens. `absent`: what the family's own code takes for
    one that is not there. `only`: the values that are computed, of a field that its code honours; null is
    always one. `inert`: those that change no logit, whatever they say.
    """

    read: frozenset[str] = frozenset()
    absent: Mapping[str, Any] = field(default_factory=dict)
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    inert: frozenset[str] = frozenset()

    def checked(self, config: Config) -> Config:
        """The config with what it leaves out; refuses a setting that would be ignored."""
        whole = Config({**self.absent, **config.data}, config.where)
        for key, allowed in self.only.items():
            whole.only(key, *allowed)
        return whole

    def __or__(self, other: "Fields") -> "Fields":
        """Both; of a field that both name, what the other says."""
        named = other.read | other.only.keys() | other.inert
        return Fields(
            read=self.read - named | other.read,
            absent={**self.absent, **other.absent},
            only={key: v for key, v in self.only.items() if key not in named} | dict(other.only),
            inert=self.inert - named | other.inert,
        )


def words(text: str) -> frozenset[str]:
    """Names of fields, apart by blanks."""
    return frozenset(text.split())


def table(whole: Config, key: str) -> Config:
    """The config of one network, in that of several."""
    found = whole.table(key)
    if found is None:
        raise Damaged(
            f"{whole.where} has no {key}", fix="get the complete config.json of the model"
        )
    return found


# What transformers knows of any model. It honours weights that another loader unpacks, layers that
# differ by a table, files of other names, other masks: none of them is computed here.
SHARED = Fields(
    read=words("model_type bos_token_id eos_token_id"),
    only={
        **dict.fromkeys(("quantization_config", "compression_config", "quantization"), ()),
        **dict.fromkeys(("per_layer_config", "layer_types", "kv_sharing_modes"), ()),
        **dict.fromkeys(("transformers_weights", "fusion_config", "attention_chunk_size"), ()),
        "is_causal": (True,),
        "is_encoder_decoder": (False,),
    },
    inert=words(
        "architectures auto_map transformers_version name_or_path _name_or_path _commit_hash dtype "
        "torch_dtype initializer_range initializer_factor init_std use_cache return_dict "
        "output_hidden_states output_attentions attn_implementation experts_implementation "
        "chunk_size_feed_forward id2label label2id num_labels problem_type tie_last_hidden_states pad_token_id "
        "sep_token_id gradient_checkpointing distributed_config number_of_conv_states"
    ),
)
# Of families with Llama's maths.
PLAIN = SHARED | Fields(
    read=words(
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
        "num_key_value_heads head_dim max_position_embeddings rope_parameters rope_scaling rope_theta "
        "original_max_position_embeddings"
    ),
    absent={"hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False},
    only={
        "hidden_act": ("silu", "swish"),
        "partial_rotary_factor": (1.0,),
        "attention_bias": (False,),
        "mlp_bias": (False,),
    },
    inert=words("attention_dropout pretraining_tp"),
)
