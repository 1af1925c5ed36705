"""CatLIP (arXiv 2404.15653, corenet's ViT): a stem of two convolutions with batch norms before the patches,
a position for each patch and none for the class token, and a head of 24,320 nouns of WordNet.

Its checkpoints come without a config.json: docs/catlip.md has the three of them.
"""

import numpy as np

from edge.families import Family
from edge.families import _vision as vision
from edge.families._fields import Fields, words
from edge.files.config import Config
from edge.names import Made, NameMap
from edge.net import NetSpec
from edge.nn.resizing import matrix
from edge.nn.vit import VitSpec
from edge.spec import Norm
from edge.typing import F32, Shape
from edge.vision.labels import SIZE
from edge.vision.preparation import CATLIP_224, CATLIP_512, at_size
from edge.vision.settings import VisionSettings

_EPS = 1e-6  # of layer norms, whatever the config of its own code says
_FOLDED = 1e-5  # of torch's batch norms
_KERNELS = (4, 2)
_PATCH = 2


def network(config: Config) -> NetSpec:
    width = config.integer("hidden_size")
    config.only("stem_kernels", list(_KERNELS))
    norm = Norm(eps=_EPS, kind="layer")
    return NetSpec(
        kind="vit",
        config=VitSpec(
            grid=vision.grid(config, 4 * 2 * _PATCH),
            patch=_PATCH,
            width=width,
            layers=config.integer("num_hidden_layers", high=1024),
            heads=config.integer("num_attention_heads"),
            ffn_width=config.integer("intermediate_size"),
            norm=norm,
            stem=tuple((kernel, max(1, width // 4)) for kernel in _KERNELS),
            last=norm,
            classes=config.integer("num_labels"),
        ),
    )


def shown(config: Config) -> VisionSettings:
    """Pictures of 224 pixels are cut from 232, of any other size from that size itself."""
    sides = vision.image(config)
    single = config.data.get("problem_type") == "single_label_classification"
    return VisionSettings(
        preparation=CATLIP_224 if sides == (224, 224) else at_size(CATLIP_512, sides),
        scores="softmax" if single else "sigmoid",
    )


def _columns(stage: int, spec: VitSpec) -> tuple[int, int, int]:
    """Outputs, inputs and side of a convolution before or at the patches."""
    stages = [*spec.stem, (spec.patch, spec.width)]
    side, out = stages[stage]
    return out, 3 if stage == 0 else stages[stage - 1][1], side


def _folded(stage: int) -> dict[str, Made]:
    """A convolution and the batch norm after it: w s and b - m s, with s = norm's weight / root(v + eps)."""
    at = f"patch_emb.{stage}.block."

    def vectors(spec: VitSpec) -> tuple[Shape, ...]:
        return ((_columns(stage, spec)[0],),)

    def stored(spec: VitSpec, _weight: Shape) -> tuple[Shape, ...]:
        out, into, side = _columns(stage, spec)
        return ((out, into, side, side), *vectors(spec) * 2)

    def step(weight: F32, variance: F32) -> F32:
        found: F32 = weight / np.sqrt(variance + np.float32(_FOLDED))
        return found

    return {
        f"stem.{stage}": Made(
            (f"{at}conv.weight", f"{at}norm.weight", f"{at}norm.running_var"),
            stored,
            lambda _spec, conv, weight, variance: vision.flat(conv) * step(weight, variance)[:, None],
        ),
        f"stem.{stage}.bias": Made(
            tuple(f"{at}norm.{part}" for part in ("bias", "running_mean", "weight", "running_var")),
            lambda spec, _weight: vectors(spec) * 4,
            lambda _spec, bias, mean, weight, variance: bias - mean * step(weight, variance),
        ),
    }  # fmt: skip


def _position(spec: VitSpec, positions: F32, token: F32) -> F32:
    """Of another number of patches, positions are resized along their one index, as its own code does."""
    rest, count = positions[0, 0], spec.rows - 1
    resized = rest if len(rest) == count else matrix(len(rest), count, "bilinear") @ rest
    return np.concatenate([token[0], resized])


_AT = "transformer.{i}"
FAMILY = Family(
    name="catlip",
    model_types=("catlip",),
    fields=vision.FIELDS
    | Fields(
        read=words("stem_kernels"),
        absent={"image_size": 224, "num_labels": SIZE},
        inert=words("patch_size"),
    ),
    network=network,
    vision=shown,
    names=NameMap(
        {
            **_folded(0),
            **_folded(1),
            "patch": vision.kernel(
                "patch_emb.2.block.conv.weight", columns=lambda spec: _columns(2, spec)
            ),
            "patch.bias": "patch_emb.2.block.conv.bias",
            "position": Made(
                ("pos_embed.pos_embed.pos_embed", "cls_token"),
                lambda spec, _weight: ((1, 1, -1, spec.width), (1, 1, spec.width)),
                _position,
            ),
            **vision.layer_names(
                _AT,
                {
                    "attn.norm": "pre_norm_mha.0",
                    "attn.o": "pre_norm_mha.1.out_proj_attn",
                    "mlp.norm": "pre_norm_ffn.0",
                    "mlp.up": "pre_norm_ffn.1",
                    "mlp.down": "pre_norm_ffn.4",
                },
            ),
            **vision.all_thirds(f"{_AT}.pre_norm_mha.1.qkv_proj"),
            **vision.biased({"norm": "post_transformer_norm", "head": "classifier"}),
        },
        ignore=(r"neural_augmentor\..*", r"patch_emb\.\d+\.block\.norm\.num_batches_tracked"),
    ),
)  # fmt: skip
