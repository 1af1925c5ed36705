"""InternLM2 against transformers' Llama: the same maths, once wqkv is taken apart by hand."""

from pathlib import Path

import numpy as np
import pytest
from support import checkpoint, config_of, weights_of

from edge.checkpoint import Checkpoint
from edge.quant.recipe import parse
from runtimes.reference.decoder import oracle

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

HEADS, KV, WIDTH = 4, 2, 16
RENAMED = {
    "tok_embeddings": "embed_tokens",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
}


def test_logits_are_those_of_llama(tmp_path: Path) -> None:
    config = config_of("internlm2", rope_scaling={"type": "dynamic", "factor": 2.0})
    weights = weights_of(config)
    ids = np.random.default_rng(0).integers(0, config["vocab_size"], 40).tolist()
    want = as_llama(config, weights)(torch.tensor([ids])).logits[0].detach().numpy()
    with Checkpoint.open(checkpoint(tmp_path / "it", config, weights)) as found:
        got = oracle(found, parse("fp32")).score(ids)
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


def as_llama(config: dict, weights: dict) -> torch.nn.Module:
    fields = {k: v for k, v in config.items() if k not in ("model_type", "rope_scaling", "bias")}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**fields))
    state = {"lm_head.weight": weights["output.weight"]}
    for name, value in weights.items():
        for old, new in RENAMED.items():
            name = name.replace(old, new)
        if name.endswith("wqkv.weight"):
            at = name.removesuffix("attention.wqkv.weight") + "self_attn."
            grouped = value.reshape(KV, HEADS // KV + 2, WIDTH, -1)  # [G, R + 2, W, D]
            for part, rows in zip(
                "qkv", (grouped[:, :-2], grouped[:, -2], grouped[:, -1]), strict=True
            ):
                state[f"{at}{part}_proj.weight"] = rows.reshape(-1, value.shape[1])
        elif name != "output.weight":
            state[name] = value
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    return model.eval()
