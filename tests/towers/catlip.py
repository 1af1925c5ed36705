"""CatLIP's ViT in plain torch, as its weights are named (arXiv 2404.15653, corenet): batch norms in the stem,
one matrix for q, k and v, no position for the class token. Nothing else has it.
"""

from typing import Any

import numpy as np

from towers import Fields, Reference, State, Tower, channels_first

KERNELS = (4, 2, 2)


def computed(state: dict[str, Any], fields: Fields, image: Any) -> Any:
    import torch

    x = image
    for i, stride in enumerate(KERNELS):
        at = f"patch_emb.{i}.block."
        x = torch.nn.functional.conv2d(
            x, state[f"{at}conv.weight"], state.get(f"{at}conv.bias"), stride
        )
        if i < len(KERNELS) - 1:
            n = [
                state[f"{at}norm.{part}"]
                for part in ("running_mean", "running_var", "weight", "bias")
            ]
            x = torch.nn.functional.gelu(torch.nn.functional.batch_norm(x, *n))
    x = x.flatten(2).transpose(1, 2)
    table = state["pos_embed.pos_embed.pos_embed"]
    if table.shape[2] != x.shape[1]:
        table = torch.nn.functional.interpolate(table, size=x.shape[1:], mode="bilinear")
    x = x + table[0]
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], 1)

    def norm(x: Any, at: str) -> Any:
        return torch.nn.functional.layer_norm(
            x, x.shape[-1:], state[f"{at}.weight"], state[f"{at}.bias"], 1e-6
        )

    def linear(x: Any, at: str) -> Any:
        return x @ state[f"{at}.weight"].T + state[f"{at}.bias"]

    for i in range(fields["num_hidden_layers"]):
        at = f"transformer.{i}.pre_norm_"
        qkv = linear(norm(x, f"{at}mha.0"), f"{at}mha.1.qkv_proj")
        heads = fields["num_attention_heads"]
        q, k, v = qkv.reshape(*x.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
        shares = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + linear((shares @ v).transpose(1, 2).flatten(2), f"{at}mha.1.out_proj_attn")
        h = torch.nn.functional.gelu(linear(norm(x, f"{at}ffn.0"), f"{at}ffn.1"))
        x = x + linear(h, f"{at}ffn.4")
    return linear(norm(x, "post_transformer_norm")[:, 0], "classifier")


def shapes(fields: Fields) -> dict[str, tuple[int, ...]]:
    """Under the published names."""
    width, channels = fields["hidden_size"], 3
    out: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width)}
    for i, (k, size) in enumerate(zip(KERNELS, (width // 4, width // 4, width), strict=True)):
        at, last = f"patch_emb.{i}.block.", i == len(KERNELS) - 1
        out[f"{at}conv.weight"] = (size, channels, k, k)
        parts = () if last else ("weight", "bias", "running_mean", "running_var")
        out |= {f"{at}norm.{part}": (size,) for part in parts} or {f"{at}conv.bias": (size,)}
        channels = size
    side = fields.get("positions_of", fields["image_size"]) // 16
    out["pos_embed.pos_embed.pos_embed"] = (1, 1, side * side, width)
    ffn, classes = fields["intermediate_size"], fields["num_labels"]
    matrices = {"post_transformer_norm": (width,), "classifier": (classes, width)}
    for i in range(fields["num_hidden_layers"]):
        at = f"transformer.{i}.pre_norm_"
        matrices |= {f"{at}mha.0": (width,), f"{at}ffn.0": (width,)}
        matrices |= {f"{at}mha.1.qkv_proj": (3 * width, width)}
        matrices |= {f"{at}mha.1.out_proj_attn": (width, width)}
        matrices |= {f"{at}ffn.1": (ffn, width), f"{at}ffn.4": (width, ffn)}
    for name, shape in matrices.items():
        out |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return out


def random(fields: Fields) -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)

    def made(name: str, shape: tuple[int, ...]) -> Any:
        if len(shape) == 1 and "norm" in name:
            return 0.3 + torch.rand(shape, generator=generator)
        spread = 0.3 if len(shape) == 1 else int(np.prod(shape[1:])) ** -0.5
        return spread * torch.randn(shape, generator=generator)

    return {name: made(name, shape) for name, shape in shapes(fields).items()}


def made(fields: Fields) -> tuple[State, Reference]:
    state = random(fields)

    def reference(image: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            return np.asarray(computed(state, fields, channels_first(image)))

    return {name: value.numpy() for name, value in state.items()}, reference


def size(width: int, layers: int, heads: int, ffn: int) -> Fields:
    return {
        "model_type": "catlip",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": ffn,
        "image_size": 224,
        "num_labels": 24320,
    }


TOWER = Tower(
    tiny={**size(64, 2, 2, 128), "image_size": 64, "num_labels": 40},
    made=made,
    variants={"of other positions": {"image_size": 96, "positions_of": 64}},
    # The paper's: 105, 329 and 663 millions with the head.
    published={
        "catlip-b": (size(768, 12, 12, 3072), 105_000_000),
        "catlip-l": (size(1024, 24, 16, 4096), 329_000_000),
        "catlip-h": (size(1280, 32, 20, 5120), 663_000_000),
    },
)
