"""Nova's case, as a newcomer writes it in tests/cases: its equations in loops, in float64."""

import math
from collections.abc import Sequence

import numpy as np
from cases import VOCAB, Case, Fields, Weights

OWN = {
    **dict.fromkeys(("vocab", "dim", "depth", "heads", "kv_heads", "ffn", "context")),
    "norm_eps": 1e-6,
    "rope_base": 10000.0,
    "act": "silu",
    "dropout": 0.0,
}
TINY = {
    "model_type": "nova", "vocab": VOCAB, "dim": 64, "depth": 2, "heads": 4, "kv_heads": 2,
    "ffn": 128, "context": 64, "norm_eps": 1e-5, "rope_base": 5000.0, "eos_token_id": 2,
}  # fmt: skip


def nova(config: Fields, weights: Weights, ids: Sequence[int]) -> np.ndarray:
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    eps = config["norm_eps"]
    x = w["embed.weight"][list(ids)] * math.sqrt(config["dim"])
    for i in range(config["depth"]):
        at = f"blocks.{i}."
        x = x + attention(config, w, at + "attn.", normed(x, w[at + "norm1.weight"], eps))
        h = normed(x, w[at + "norm2.weight"], eps) @ w[at + "mlp.gate_up.weight"].T
        gate, up = h[:, : config["ffn"]], h[:, config["ffn"] :]
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[at + "mlp.down.weight"].T
    return normed(x, w["norm.weight"], eps) @ w["embed.weight"].T


def attention(config: Fields, w: Weights, at: str, h: np.ndarray) -> np.ndarray:
    heads, groups = config["heads"], config["kv_heads"]
    width = config["dim"] // heads
    q, k = (h @ w[f"{at}{part}.weight"].T + w[f"{at}{part}.bias"] for part in ("q", "k"))
    v = (h @ w[at + "v.weight"].T).reshape(len(h), groups, width)
    q = normed(q.reshape(len(h), heads, width), w[at + "q_norm.weight"], config["norm_eps"])
    k = normed(k.reshape(len(h), groups, width), w[at + "k_norm.weight"], config["norm_eps"])
    out = np.zeros((len(h), heads, width))
    for head in range(heads):
        group = head * groups // heads
        for t in range(len(h)):
            query = turned(q[t, head], t, config["rope_base"])
            keys = [turned(k[s, group], s, config["rope_base"]) for s in range(t + 1)]
            scores = np.array([query @ key for key in keys]) / math.sqrt(width)
            chances = np.exp(scores - scores.max())
            out[t, head] = chances / chances.sum() @ v[: t + 1, group]
    return out.reshape(len(h), -1) @ w[at + "out.weight"].T


def normed(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * weight


def turned(x: np.ndarray, position: int, base: float) -> np.ndarray:
    """Each pair (i, i + W / 2) turned by its angle, as complex numbers."""
    half = len(x) // 2
    turn = np.exp(1j * position * base ** (-np.arange(half) / half))
    pairs = (x[:half] + 1j * x[half:]) * turn
    return np.concatenate((pairs.real, pairs.imag))


CASE = Case(
    tiny=TINY,
    reference=nova,
    variants={"nova": {}},
    own=OWN,
    changes={
        "vocab": 99,
        "dim": 128,
        "depth": 3,
        "heads": 8,
        "kv_heads": 1,
        "ffn": 64,
        "context": 32,
        "norm_eps": 0.5,
        "rope_base": 7.0,
    },
    published={
        "nova-1b": {**TINY, "vocab": 32000, "dim": 2048, "depth": 20, "ffn": 5504, "context": 2048}
    },
    refused={"gguf": "llama.cpp has no architecture that computes this family"},
)
