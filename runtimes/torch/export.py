"""A trained decoder as a Phi-3 checkpoint folder, which transformers and every converter here read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from edge.spec import DecoderSpec
from edge.train import vocabulary


def write(folder: Path, spec: DecoderSpec, weights: Mapping[str, torch.Tensor]) -> None:
    """config.json, generation_config.json, model.safetensors and the tokenizer."""
    vocabulary.write(folder)
    ids = {token["content"]: token["id"] for token in vocabulary.tokenizer()["added_tokens"]}
    for name, content in (
        ("config.json", config(spec, ids)),
        ("generation_config.json", generation(ids)),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    stored = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in fused(spec, weights).items()
    }
    file = folder / "model.safetensors"
    save_file(stored, file, metadata={"format": "pt"})
    file.chmod(0o644)  # safetensors keeps files to their owner; this one goes into a package


def fused(spec: DecoderSpec, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Canonical names -> the checkpoint's: q, k, v in one tensor, gate and up in another."""
    out = {"model.embed_tokens.weight": weights["embed"], "model.norm.weight": weights["norm"]}
    for index in range(len(spec.layers)):
        at, to = f"layers.{index}.", f"model.layers.{index}."
        qkv = torch.cat([weights[at + f"attn.{name}"] for name in "qkv"])
        gate_up = torch.cat([weights[at + "mlp.gate"], weights[at + "mlp.up"]])
        out |= {
            to + "input_layernorm.weight": weights[at + "attn.norm"],
            to + "self_attn.qkv_proj.weight": qkv,
            to + "self_attn.o_proj.weight": weights[at + "attn.o"],
            to + "post_attention_layernorm.weight": weights[at + "mlp.norm"],
            to + "mlp.gate_up_proj.weight": gate_up,
            to + "mlp.down_proj.weight": weights[at + "mlp.down"],
        }
    return out


def config(spec: DecoderSpec, ids: Mapping[str, int]) -> dict[str, Any]:
    """config.json in the spelling of transformers 4, which 5 reads too."""
    layer = spec.layers[0]
    return {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "hidden_size": spec.width,
        "intermediate_size": layer.ffn_width,
        "num_hidden_layers": len(spec.layers),
        "num_attention_heads": layer.heads,
        "num_key_value_heads": layer.kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": spec.norm.eps,
        "rope_theta": spec.rope.theta,
        "rope_scaling": None,
        "max_position_embeddings": spec.context,
        "original_max_position_embeddings": spec.context,
        "sliding_window": None,
        "vocab_size": spec.vocab,
        "tie_word_embeddings": spec.tied,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": ids["<s>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }


def generation(ids: Mapping[str, int]) -> dict[str, Any]:
    """generation_config.json: what ends an answer."""
    return {
        "bos_token_id": ids["<s>"],
        "eos_token_id": [ids["<|endoftext|>"], ids["<|end|>"]],
        "pad_token_id": ids["<|endoftext|>"],
        "do_sample": False,
    }
