"""The definitions of networks against code that shares nothing with them: transformers where it has the layer,
plain torch where it has not. All of them on numpy, at tiny sizes and random weights.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from networks import LAYER, NETWORKS, inputs_of

from edge.net import NetSpec
from edge.nn.networks import define
from edge.nn.projector import ProjectorSpec
from edge.nn.vit import Depths, VitSpec
from edge.spec import Norm
from edge_runtimes.reference.net import NumpyNetOps

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
State = Mapping[str, np.ndarray]
TOLERANCE = 3e-6  # of the largest number


def shaken(model: Any) -> State:
    """The model with random numbers wherever it begins with zeros and ones, and what it holds then."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            spread = 0.2 if weight.ndim < 2 else 0.5 / weight[0].numel() ** 0.5
            weight.copy_((weight.ndim < 2) * 0.7 + spread * torch.randn_like(weight))
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(0.5 + torch.rand_like(buffer))
    model.eval()
    return {name: value.numpy() for name, value in model.state_dict().items()}


def outputs(spec: NetSpec, weights: State, inputs: State) -> Mapping[str, Any]:
    assert {name: w.shape for name, w in weights.items()} == spec.config.shapes()
    return define(NumpyNetOps(weights.__getitem__), spec, **inputs)


def run(spec: NetSpec, weights: State, inputs: State) -> Any:
    (out,) = outputs(spec, weights, inputs).values()
    return out


def agree(got: np.ndarray, want: Any) -> None:
    want = want.detach().numpy()
    assert got.shape == want.shape
    assert np.abs(got - want).max() / np.abs(want).max() <= TOLERANCE


def channels_first(image: np.ndarray) -> Any:
    return torch.tensor(image.transpose(0, 3, 1, 2).copy())


def kernel(weight: np.ndarray) -> np.ndarray:
    """A convolution whose stride is its kernel, as a matrix: channels last."""
    return weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)


def layers(state: State, spec: VitSpec, at: str, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Each weight of each layer under its own name; what lies under no name is not asked for."""
    return {
        f"layers.{i}.{ours}{ending}": state[f"{at}.{i}.{theirs}{their_ending}"]
        for i in range(spec.layers)
        for ours, theirs in names.items()
        for ending, their_ending in (("", ".weight"), (".bias", ".bias"), ("", ""))
        if f"{at}.{i}.{theirs}{their_ending}" in state
    }


def vit_config(spec: VitSpec, **more: Any) -> dict[str, Any]:
    height, width, _ = spec.image
    return {
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.ffn_width,
        "image_size": (height, width),
        "hidden_act": "gelu",
        "layer_norm_eps": spec.norm.eps,
        "attn_implementation": "eager",
        **more,
    }


def spec_of(name: str) -> tuple[NetSpec, VitSpec]:
    config = NETWORKS[name].config
    assert isinstance(config, VitSpec)
    return NETWORKS[name], config


def begins(state: State, at: str) -> dict[str, np.ndarray]:
    """Patches and positions as transformers has them, the class token in the table's first row."""
    table = state[f"{at}position_embeddings"][0].copy()
    table[0] += state[f"{at}cls_token"][0, 0]
    patch = f"{at}patch_embeddings.projection."
    return {
        "patch": kernel(state[f"{patch}weight"]),
        "patch.bias": state[f"{patch}bias"],
        "position": table,
    }


ATTENTION = {f"attn.{name}": f"attention.{name}_proj" for name in "qkvo"}
MLP = {"mlp.up": "mlp.fc1", "mlp.down": "mlp.fc2"}
NORMS = {"attn.norm": "layernorm_before", "mlp.norm": "layernorm_after"}


def test_plain_vit_is_transformers() -> None:
    spec, config = spec_of("vit")
    fields = vit_config(config, patch_size=config.patch, num_labels=config.classes)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**fields))
    state = shaken(model)
    weights = {
        **begins(state, "vit.embeddings."),
        **layers(state, config, "vit.layers", ATTENTION | MLP | NORMS),
        **ends(state, norm="vit.layernorm", head="classifier"),
    }
    inputs = inputs_of(spec)
    agree(run(spec, weights, inputs), model(channels_first(inputs["image"])).logits)


def dinov2(config: VitSpec) -> tuple[Any, State]:
    """transformers' model, and its weights by our names."""
    fields = vit_config(config, patch_size=config.patch, mlp_ratio=2, image_size=config.image[0])
    model = transformers.Dinov2Model(transformers.Dinov2Config(**fields))
    state = shaken(model)
    own = {"attn.norm": "norm1", "mlp.norm": "norm2"}
    own |= {"attn.scale": "layer_scale1.lambda1", "mlp.scale": "layer_scale2.lambda1"}
    return model, {
        **begins(state, "embeddings."),
        **layers(state, config, "encoder.layer", ATTENTION | MLP | own),
        **(ends(state, norm="layernorm") if config.last else {}),
    }


@pytest.mark.parametrize("last", [True, False], ids=["normed", "raw"])
def test_dinov2_is_transformers(last: bool) -> None:
    _, config = spec_of("dinov2")
    config = replace(config, grid=(4, 4), ffn_width=32, last=config.last if last else None)
    spec, inputs = NetSpec(kind="vit", config=config), inputs_of(NetSpec(kind="vit", config=config))
    model, weights = dinov2(config)
    out = model(channels_first(inputs["image"]), output_hidden_states=True)
    want = out.last_hidden_state if last else out.hidden_states[-1]
    agree(run(spec, weights, inputs), want)


@pytest.mark.parametrize(("earlier", "mean"), [(1, 1), (2, 4), (3, 2)])
def test_several_depths_are_transformers(earlier: int, mean: int) -> None:
    """Of each layer what it leaves, before the norm of all, and never the class's row."""
    _, config = spec_of("dinov2, several depths")
    depths = Depths(earlier=earlier, mean=mean)
    config = replace(config, grid=(4, 4), ffn_width=32, layers=5, depths=depths)
    spec, inputs = NetSpec(kind="vit", config=config), inputs_of(NetSpec(kind="vit", config=config))
    model, weights = dinov2(config)
    out = model(channels_first(inputs["image"]), output_hidden_states=True).hidden_states
    rows = [x[:, 1:] for x in out]
    want = {"features": rows[-1], **{f"earlier_{i}": rows[-1 - i] for i in range(1, earlier + 1)}}
    want["mean"] = torch.stack(rows[-mean:]).mean(0)
    got = outputs(spec, weights, inputs)
    assert list(got) == list(want)
    for name, found in got.items():
        agree(found, want[name])


@pytest.mark.parametrize("name", ["internvit-300m", "internvit-6b"])
def test_internvit_is_transformers(name: str) -> None:
    config = replace(spec_of(name)[1], grid=(4, 4))  # its own code wants a square
    spec = NetSpec(kind="vit", config=config)
    fields = vit_config(
        config,
        patch_size=(config.patch, config.patch),
        use_qk_norm=config.qk_norm is not None,
        attention_bias=config.qkv_bias,
        norm_type="rms_norm" if config.norm.kind == "rms" else "layer_norm",
        use_mean_pooling=True,  # no norm after the layers
    )
    model = transformers.InternVLVisionModel(transformers.InternVLVisionConfig(**fields))
    state = shaken(model)
    own = {
        "attn.scale": "lambda_1",
        "mlp.scale": "lambda_2",
        "attn.o": "attention.projection_layer",
    }
    own |= {f"attn.{part}_norm": f"attention.{part}_norm" for part in "qk"}
    weights = {
        **begins(state, "embeddings."),
        **layers(state, config, "encoder.layer", ATTENTION | MLP | NORMS | own),
    }
    inputs = inputs_of(spec)
    agree(run(spec, weights, inputs), model(channels_first(inputs["image"])).last_hidden_state)


def ends(state: State, *, norm: str, head: str | None = None) -> dict[str, np.ndarray]:
    found = {"norm": state[f"{norm}.weight"], "norm.bias": state[f"{norm}.bias"]}
    return (
        found
        if head is None
        else found | {"head": state[f"{head}.weight"], "head.bias": state[f"{head}.bias"]}
    )


def catlip(state: Mapping[str, Any], spec: VitSpec, image: Any) -> Any:
    """The paper's ViT (arXiv 2404.15653, corenet) in plain torch, as its weights are named: batch norms in
    the stem, one matrix for q, k and v, no position for the class token.
    """
    x = image
    for i, stride in enumerate([*(k for k, _ in spec.stem), spec.patch]):
        at = f"patch_emb.{i}.block."
        x = torch.nn.functional.conv2d(
            x, state[f"{at}conv.weight"], state.get(f"{at}conv.bias"), stride
        )
        if i < len(spec.stem):
            n = [
                state[f"{at}norm.{part}"]
                for part in ("running_mean", "running_var", "weight", "bias")
            ]
            x = torch.nn.functional.gelu(torch.nn.functional.batch_norm(x, *n))
    x = x.flatten(2).transpose(1, 2) + state["pos_embed.pos_embed.pos_embed"][0]
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], 1)

    def norm(x: Any, at: str) -> Any:
        return torch.nn.functional.layer_norm(
            x, x.shape[-1:], state[f"{at}.weight"], state[f"{at}.bias"], 1e-6
        )

    def linear(x: Any, at: str) -> Any:
        return x @ state[f"{at}.weight"].T + state[f"{at}.bias"]

    for i in range(spec.layers):
        at = f"transformer.{i}.pre_norm_"
        qkv = linear(norm(x, f"{at}mha.0"), f"{at}mha.1.qkv_proj")
        q, k, v = qkv.reshape(*x.shape[:2], 3, spec.heads, -1).permute(2, 0, 3, 1, 4)
        shares = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + linear((shares @ v).transpose(1, 2).flatten(2), f"{at}mha.1.out_proj_attn")
        h = torch.nn.functional.gelu(linear(norm(x, f"{at}ffn.0"), f"{at}ffn.1"))
        x = x + linear(h, f"{at}ffn.4")
    return linear(norm(x, "post_transformer_norm")[:, 0], "classifier")


def catlip_state(spec: VitSpec) -> dict[str, Any]:
    """Random numbers under the published names."""
    generator, width = torch.Generator().manual_seed(0), spec.width
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width)}
    channels = 3
    for i, (k, out) in enumerate([*spec.stem, (spec.patch, width)]):
        at = f"patch_emb.{i}.block."
        shapes[f"{at}conv.weight"] = (out, channels, k, k)
        parts = ("weight", "bias", "running_mean", "running_var") if i < len(spec.stem) else ()
        shapes |= {f"{at}norm.{part}": (out,) for part in parts} or {f"{at}conv.bias": (out,)}
        channels = out
    shapes["pos_embed.pos_embed.pos_embed"] = (1, 1, spec.rows - 1, width)
    matrices = {"post_transformer_norm": (width,), "classifier": (spec.classes or 0, width)}
    for i in range(spec.layers):
        at = f"transformer.{i}.pre_norm_"
        matrices |= {f"{at}mha.0": (width,), f"{at}ffn.0": (width,)}
        matrices |= {
            f"{at}mha.1.qkv_proj": (3 * width, width),
            f"{at}mha.1.out_proj_attn": (width, width),
        }
        matrices |= {f"{at}ffn.1": (spec.ffn_width, width), f"{at}ffn.4": (width, spec.ffn_width)}
    for name, shape in matrices.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return {
        name: 0.3 + torch.rand(shape, generator=generator) if "norm" in name
        else 0.3 * torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }  # fmt: skip


def test_catlip_is_plain_torch() -> None:
    """Batch norms are folded into the stem's products: w / root(v + eps) and so on."""
    spec, config = spec_of("catlip")
    state = catlip_state(config)
    found = {name: value.numpy() for name, value in state.items()}
    weights: dict[str, np.ndarray] = {}
    for i in range(len(config.stem)):
        at = f"patch_emb.{i}.block."
        by = found[f"{at}norm.weight"] / np.sqrt(found[f"{at}norm.running_var"] + np.float32(1e-5))
        weights[f"stem.{i}"] = kernel(found[f"{at}conv.weight"]) * by[:, None]
        weights[f"stem.{i}.bias"] = found[f"{at}norm.bias"] - found[f"{at}norm.running_mean"] * by
    last = f"patch_emb.{len(config.stem)}.block.conv."
    weights |= {"patch": kernel(found[f"{last}weight"]), "patch.bias": found[f"{last}bias"]}
    table = found["pos_embed.pos_embed.pos_embed"][0, 0]
    weights["position"] = np.concatenate([found["cls_token"][0], table])
    for i in range(config.layers):
        at, ours = f"transformer.{i}.pre_norm_", f"layers.{i}."
        for part in ("weight", "bias"):
            end = "" if part == "weight" else ".bias"
            rows = np.split(found[f"{at}mha.1.qkv_proj.{part}"], 3)
            weights |= {f"{ours}attn.{n}{end}": w for n, w in zip("qkv", rows, strict=True)}
            places = {"attn.norm": "mha.0", "attn.o": "mha.1.out_proj_attn", "mlp.norm": "ffn.0"}
            places |= {"mlp.up": "ffn.1", "mlp.down": "ffn.4"}
            weights |= {
                f"{ours}{n}{end}": found[f"{at}{place}.{part}"] for n, place in places.items()
            }
    weights |= ends(found, norm="post_transformer_norm", head="classifier")
    inputs = inputs_of(spec)
    agree(run(spec, weights, inputs), catlip(state, config, channels_first(inputs["image"])))


@pytest.mark.parametrize("order", ["v1", "v2"])
def test_projector_is_plain_torch(order: Any) -> None:
    """The published order of channels, by torch's views: v1 leaves the grid transposed."""
    norm = Norm(eps=1e-5, kind="layer")
    config = ProjectorSpec(side=4, channels=8, width=12, norm=norm, order=order)
    spec = NetSpec(kind="projector", config=config)
    model = torch.nn.Sequential(
        torch.nn.LayerNorm(32), torch.nn.Linear(32, 12), torch.nn.GELU(), torch.nn.Linear(12, 12)
    )
    state = shaken(model)
    places = {"norm": "0", "up": "1", "down": "3"}
    weights = {
        f"{ours}{end}": state[f"{theirs}.{part}"]
        for ours, theirs in places.items()
        for end, part in (("", "weight"), (".bias", "bias"))
    }
    inputs = inputs_of(spec)
    x = torch.tensor(inputs["features"])[:, 1:].reshape(2, 4, 4, 8)
    x = x.view(2, 4, 2, 16).permute(0, 2, 1, 3).contiguous().view(2, 2, 2, 32)
    x = x if order == "v1" else x.permute(0, 2, 1, 3)
    agree(run(spec, weights, inputs), model(x.reshape(2, 4, 32)))


def test_gromas_bridge_is_plain_torch() -> None:
    """Its four patches are taken column by column: upper left, lower left, upper right, lower right."""
    spec = NETWORKS["groma's bridge"]
    model = torch.nn.Sequential(torch.nn.Linear(32, 12), torch.nn.GELU(), torch.nn.Linear(12, 12))
    state = shaken(model)
    weights = {
        f"{ours}{end}": state[f"{theirs}.{part}"]
        for ours, theirs in {"up": "0", "down": "2"}.items()
        for end, part in (("", "weight"), (".bias", "bias"))
    }
    inputs = inputs_of(spec)
    grid = torch.tensor(inputs["features"]).unflatten(1, (4, 4))
    corners = ((0, 0), (1, 0), (0, 1), (1, 1))
    x = torch.cat([grid[:, down::2, across::2] for down, across in corners], -1)
    agree(run(spec, weights, inputs), model(x.flatten(1, 2)))


def test_the_proof_can_fail() -> None:
    """One number of a network changed, and it is another."""
    spec, config = spec_of("catlip")
    weights = {
        name: np.full(shape, 0.1, np.float32) for name, shape in spec.config.shapes().items()
    }
    rng = np.random.default_rng(0)
    weights = {
        name: w + 0.1 * rng.standard_normal(w.shape).astype(np.float32)
        for name, w in weights.items()
    }
    inputs = inputs_of(spec)
    right = run(spec, weights, inputs)
    for change in (
        {"heads": 1},
        {"norm": replace(LAYER, eps=0.1)},
        {"last": replace(LAYER, eps=0.1)},
    ):
        other = run(replace(spec, config=replace(config, **change)), weights, inputs)
        assert np.abs(other - right).max() / np.abs(right).max() > 10 * TOLERANCE
