"""Tiny networks of each kind, and random weights for them."""

from dataclasses import replace

import numpy as np

from edge.net import NetSpec
from edge.nn.projector import ProjectorSpec
from edge.nn.speech.consistency import ConsistencySpec
from edge.nn.speech.wavenet import WaveSpec
from edge.nn.vit import VitSpec
from edge.prove.networks import seeded
from edge.spec import Norm

LAYER, RMS = Norm(eps=1e-6, kind="layer"), Norm(eps=1e-6)
_VIT = VitSpec(grid=(4, 3), patch=3, width=16, layers=2, heads=2, ffn_width=24, norm=LAYER)
NETWORKS = {
    "vit": NetSpec(kind="vit", config=replace(_VIT, last=LAYER, classes=5)),
    "dinov2": NetSpec(kind="vit", config=replace(_VIT, layer_scale=True, last=LAYER)),
    "internvit-300m": NetSpec(kind="vit", config=replace(_VIT, layer_scale=True)),
    "internvit-6b": NetSpec(
        kind="vit",
        config=replace(_VIT, norm=RMS, layer_scale=True, qk_norm=RMS, qkv_bias=False),
    ),
    "catlip": NetSpec(
        kind="vit", config=replace(_VIT, patch=2, stem=((4, 4), (2, 4)), last=LAYER, classes=7)
    ),
    "projector-v1": NetSpec(
        kind="projector",
        config=ProjectorSpec(side=4, channels=8, width=12, norm=Norm(eps=1e-5, kind="layer"), order="v1"),
    ),
    "projector-v2": NetSpec(
        kind="projector",
        config=ProjectorSpec(side=4, channels=8, width=12, norm=Norm(eps=1e-5, kind="layer")),
    ),
    "consistency": NetSpec(
        kind="consistency",
        config=ConsistencySpec(
            wave=WaveSpec(channels=6, width=8, layers=4, cycle=2, attention_every=3, heads=2), tokens=3
        ),
    ),
}  # fmt: skip


def weights_of(spec: NetSpec, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights: none is one or zero, so that none can be left out unseen."""
    rng = np.random.default_rng(seed)

    def made(shape: tuple[int, ...]) -> np.ndarray:
        numbers = rng.standard_normal(shape)
        numbers = numbers / np.sqrt(shape[-1]) if len(shape) > 1 else 0.5 + 0.3 * numbers
        return numbers.astype(np.float32)

    return {name: made(shape) for name, shape in spec.config.shapes().items()}


def inputs_of(spec: NetSpec, batch: int = 2, seed: int = 1) -> dict[str, np.ndarray]:
    """Random inputs whose open sizes are all the same."""
    return seeded(spec, {size.name: batch for size in spec.config.sizes}, seed)
