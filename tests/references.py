"""Independent models of every family: what a decoder of ours is compared with. None shares code with edge,
each reads a checkpoint's tensors by their own names: transformers, or loops in numpy where it lacks the
family. Which family has which is in `cases`.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

Config = Mapping[str, Any]
Weights = Mapping[str, np.ndarray]


@cache
def _libraries() -> tuple[Any, Any]:
    return pytest.importorskip("torch"), pytest.importorskip("transformers")


def transformers(
    config: Config, weights: Weights, ids: Sequence[int], *, steps: int = 0
) -> np.ndarray:
    """Every parameter of its model comes from these weights: none keeps a value of its own. The last
    `steps` tokens come one by one, with a cache.
    """
    torch, library = _libraries()
    made = library.AutoConfig.for_model(
        **{"pad_token_id": 0, **config}
    )  # some lie past our vocabulary
    model = library.AutoModelForCausalLM.from_config(
        made, attn_implementation="eager", dtype=torch.float32
    )
    state = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
    lost, unknown = model.load_state_dict(state, strict=False)
    assert not unknown
    assert set(lost) <= ({"lm_head.weight"} if made.tie_word_embeddings else set())
    return scores(model, ids, steps=steps)


def scores(model: Any, ids: Sequence[int], *, steps: int = 0) -> np.ndarray:
    torch, library = _libraries()
    if not steps:
        with torch.no_grad():
            return model.eval()(torch.tensor([list(ids)]))[0][0].numpy()
    cache = library.DynamicCache(config=model.config)
    count = len(ids) - steps
    rows = []
    with torch.no_grad():
        for part in (ids[:count], *([token] for token in ids[count:])):
            made = model.eval()(torch.tensor([list(part)]), past_key_values=cache, use_cache=True)
            rows.append(made.logits[0].numpy())
    return np.concatenate(rows)


# InternLM2: the maths of Llama


def internlm2(config: Config, weights: Weights, ids: Sequence[int]) -> np.ndarray:
    return scores(as_llama(config, weights), ids)


RENAMED = {
    "tok_embeddings": "embed_tokens",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
}


def as_llama(config: Config, weights: Weights) -> Any:
    """transformers' Llama, once wqkv is taken apart by hand."""
    torch, transformers = _libraries()
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    width = config["hidden_size"] // heads
    fields = {k: v for k, v in config.items() if k not in ("model_type", "rope_scaling", "bias")}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**fields))
    state = {"lm_head.weight": weights["output.weight"]}
    for name, value in weights.items():
        for old, new in RENAMED.items():
            name = name.replace(old, new)
        if name.endswith("wqkv.weight"):
            at = name.removesuffix("attention.wqkv.weight") + "self_attn."
            grouped = value.reshape(kv, heads // kv + 2, width, -1)  # [G, R + 2, W, D]
            for part, rows in zip(
                "qkv", (grouped[:, :-2], grouped[:, -2], grouped[:, -1]), strict=True
            ):
                state[f"{at}{part}_proj.weight"] = rows.reshape(-1, value.shape[1])
        elif name != "output.weight":
            state[name] = value
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    return model.eval()


# OpenELM: the paper's equations in loops, in float64


def openelm(config: Config, weights: Weights, ids: Sequence[int]) -> np.ndarray:
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x = w["transformer.token_embeddings.weight"][list(ids)]
    for i in range(config["num_transformer_layers"]):
        at = f"transformer.layers.{i}."
        h = normed(x, w[at + "attn_norm.weight"])
        x = x + openelm_attention(config, w, i, h)
        h = normed(x, w[at + "ffn_norm.weight"])
        gate, up = np.split(h @ w[at + "ffn.proj_1.weight"].T, 2, axis=1)
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[at + "ffn.proj_2.weight"].T
    shared = config["share_input_output_layers"]
    head = w["transformer.token_embeddings.weight" if shared else "lm_head.weight"]
    return normed(x, w["transformer.norm.weight"]) @ head.T


def openelm_attention(config: Config, w: Weights, i: int, h: np.ndarray) -> np.ndarray:
    at, d = f"transformer.layers.{i}.attn.", config["head_dim"]
    queries, groups = config["num_query_heads"][i], config["num_kv_heads"][i]
    rows = (h @ w[at + "qkv_proj.weight"].T).reshape(len(h), queries + 2 * groups, d)
    out = np.zeros((len(h), queries, d))
    for head in range(queries):
        key = queries + head * groups // queries
        value = key + groups
        q, k = (
            [turned(normed(row, w[at + f"{name}_norm.weight"]), t) for t, row in enumerate(column)]
            for name, column in (("q", rows[:, head]), ("k", rows[:, key]))
        )
        for t in range(len(h)):
            scores = np.array([q[t] @ k[s] / math.sqrt(d) for s in range(t + 1)])
            chances = np.exp(scores - scores.max())
            out[t, head] = chances / chances.sum() @ rows[: t + 1, value]
    return out.reshape(len(h), -1) @ w[at + "out_proj.weight"].T


def normed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * weight


def turned(x: np.ndarray, position: int) -> np.ndarray:
    """Each pair (i, i + d / 2) turned by its angle, as complex numbers."""
    half = len(x) // 2
    angle = position * 10000.0 ** (-np.arange(half) / half)
    pairs = (x[:half] + 1j * x[half:]) * np.exp(1j * angle)
    return np.concatenate((pairs.real, pairs.imag))


# Phi-3-small: loops in float64, from the published description alone


def phi3small(config: Config, weights: Weights, ids: Sequence[int]) -> np.ndarray:
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x = config.get("mup_embedding_multiplier", 10.0) * w["model.embed_tokens.weight"][list(ids)]
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        h = centred(x, w, at + "input_layernorm", config)
        x = x + phi3small_attention(h, w, at + "self_attn.", i, config)
        h = centred(x, w, at + "post_attention_layernorm", config)
        up = affine(h, w, at + "mlp.up_proj")
        limit = config["gegelu_limit"]
        gate = np.minimum(up[:, 0::2], limit)
        linear_part = np.clip(up[:, 1::2], -limit, limit)
        act = gate / (1 + np.exp(-1.702 * gate)) * (linear_part + 1)
        x = x + affine(act, w, at + "mlp.down_proj")
    h = centred(x, w, "model.final_layernorm", config)
    tied = config.get("tie_word_embeddings", True)
    head = w["model.embed_tokens.weight" if tied else "lm_head.weight"]
    logits = h @ head.T / config.get("mup_width_multiplier", 8.0)
    logits[:, config["dummy_token_indices"]] = -np.inf
    return logits


def affine(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def centred(x: np.ndarray, w: Weights, name: str, config: Config) -> np.ndarray:
    mean, var = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    out = (x - mean) / np.sqrt(var + config["layer_norm_epsilon"])
    return out * w[name + ".weight"] + w[name + ".bias"]


def phi3small_attention(
    h: np.ndarray, w: Weights, at: str, index: int, config: Config
) -> np.ndarray:
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    width = config["hidden_size"] // heads
    per = heads // kv
    sparse = (index + 1) % config["dense_attention_every_n_layers"] != 0
    # For every kv head: its query heads, then its key, then its value.
    rows = affine(h, w, at + "query_key_value").reshape(len(h), kv, per + 2, width)
    out = np.zeros((len(h), heads, width))
    for head in range(heads):
        group = head // per
        q = spun(rows[:, group, head % per], config)
        k = spun(rows[:, group, per], config)
        v = rows[:, group, per + 1]
        scores = q @ k.T * config.get("mup_attn_multiplier", 1.0) / width
        for t in range(len(h)):
            seen = [s for s in range(t + 1) if not sparse or visible(t, s, head, config)]
            weight = np.exp(scores[t, seen] - scores[t, seen].max())
            out[t, head] = weight @ v[seen] / weight.sum()
    return affine(out.reshape(len(h), -1), w, at + "dense")


def visible(t: int, s: int, head: int, config: Config) -> bool:
    block, stride = config["blocksparse_block_size"], config["blocksparse_vert_stride"]
    q, k = t // block, s // block
    step = max(1, int(stride / config["num_attention_heads"]))
    near = q - k < config["blocksparse_num_local_blocks"]
    return near or (k + head * step + 1) % stride == 0


def spun(x: np.ndarray, config: Config) -> np.ndarray:
    """Rotate-half of one head [T, W], with LongRoPE's factors where the config has them."""
    half = x.shape[1] // 2
    factors, by = [1.0] * half, 1.0
    long = config.get("rope_scaling")
    if long is not None:
        side = "long" if len(x) > long["original_max_position_embeddings"] else "short"
        factors, by = long[f"{side}_factor"], long[f"{side}_mscale"]
    out = np.empty_like(x)
    for pair in range(half):
        base = config["rope_embedding_base"] ** (2 * pair / x.shape[1])
        for t in range(len(x)):
            angle = t / (factors[pair] * base)
            cos, sin = math.cos(angle) * by, math.sin(angle) * by
            a, b = x[t, pair], x[t, pair + half]
            out[t, pair], out[t, pair + half] = a * cos - b * sin, b * cos + a * sin
    return out
