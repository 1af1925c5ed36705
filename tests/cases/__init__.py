"""What the tests know of each family, one file a family: a `CASE`, found by the file's name, which is the
family's. Nothing else of the tests names a family that is added.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Fields = Mapping[str, Any]
Weights = Mapping[str, np.ndarray]
Reference = Callable[[Fields, Weights, Sequence[int]], np.ndarray]  # logits [T, V], without a cache

VOCAB = 97
# Of families whose fields have Llama's names.
PLAIN: Fields = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "eos_token_id": 2,
}


def sized(
    model_type: str,
    *,
    layers: int,
    width: int,
    heads: tuple[int, int],
    ffn: int,
    vocab: int,
    context: int,
    **more: Any,
) -> Fields:
    """The config of a published model whose fields have Llama's names; `heads`: and how many kv heads."""
    return {
        "model_type": model_type,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "intermediate_size": ffn,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        **more,
    }


@dataclass(frozen=True, kw_only=True)
class Case:
    """`tiny`: the config of a checkpoint of random weights. `reference`: a model that shares no code with
    edge. `variants`: changes to the tiny config with which both say the same, by a name.

    `own`: the name of transformers' config class; or the parameters of the class that was published beside
    the weights, with their defaults. `changes`: another value of each field that no other family has.
    `counted`: changes to the tiny config with which each field that is read makes a difference.

    `published`: what the published configs say that decides size and context, by id of the registry.
    `refused`: what a target says that cannot hold the family, by target.
    """

    tiny: Fields
    reference: Reference
    variants: Mapping[str, Fields]
    own: str | Fields
    changes: Fields = field(default_factory=dict)
    counted: Fields = field(default_factory=dict)
    published: Mapping[str, Fields] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def _found() -> Mapping[str, Case]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").CASE for name in names}


CASES = _found()
