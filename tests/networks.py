"""Tiny networks of each kind, and random weights for them."""

from dataclasses import replace

import numpy as np

from edge.net import NetSpec
from edge.nn.projector import ProjectorSpec
from edge.nn.regions.proposer import ProposerSpec
from edge.nn.regions.region_encoder import RegionEncoderSpec
from edge.nn.regions.region_maps import RegionMapsSpec
from edge.nn.speech.consistency import ConsistencySpec
from edge.nn.speech.convnext import ConvNextSpec
from edge.nn.speech.dac import DacSpec
from edge.nn.speech.encodec import EncodecSpec
from edge.nn.speech.encoder import EncoderSpec
from edge.nn.speech.phoneme_encoder import PhonemeSpec
from edge.nn.speech.pitch_embedding import PitchSpec
from edge.nn.speech.predictor import PredictorSpec
from edge.nn.speech.prompt_encoder import PromptSpec
from edge.nn.speech.quantizer import QuantizerSpec
from edge.nn.speech.recognizer import RecognizerSpec
from edge.nn.speech.refiner import RefinerSpec
from edge.nn.speech.vocos import VocosSpec
from edge.nn.speech.wavenet import WaveSpec
from edge.nn.vit import Depths, VitSpec
from edge.prove.networks import seeded
from edge.spec import Norm

LAYER, RMS = Norm(eps=1e-6, kind="layer"), Norm(eps=1e-6)
_VIT = VitSpec(grid=(4, 3), patch=3, width=16, layers=2, heads=2, ffn_width=24, norm=LAYER)
_ENCODER = EncoderSpec(width=8, layers=2, heads=2, ffn_width=12, kernel=5)
_PROPOSER = ProposerSpec(
    grid=(4, 5),
    channels=6,
    width=16,
    heads=2,
    points=3,
    encoder=2,
    decoder=3,
    ffn_width=12,
    queries=7,
)
_PREDICTOR = PredictorSpec(width=8, layers=4, kernel=3, attention_every=3, heads=2)
NETWORKS = {
    "vit": NetSpec(kind="vit", config=replace(_VIT, last=LAYER, classes=5)),
    "dinov2": NetSpec(kind="vit", config=replace(_VIT, layer_scale=True, last=LAYER)),
    "dinov2, several depths": NetSpec(
        kind="vit",
        config=replace(_VIT, layers=3, layer_scale=True, depths=Depths(earlier=1, mean=2)),
    ),
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
    "groma's bridge": NetSpec(
        kind="projector",
        config=ProjectorSpec(side=4, channels=8, width=12, order="columns", class_row=False),
    ),
    "region maps": NetSpec(
        kind="region_maps", config=RegionMapsSpec(side=4, channels=8, rounds=2, groups=4)
    ),
    "region encoder": NetSpec(
        kind="region_encoder",
        config=RegionEncoderSpec(side=4, channels=8, width=12, bins=5, inner=16, place=6),
    ),
    "proposer": NetSpec(kind="proposer", config=_PROPOSER),
    "proposer, groma's": NetSpec(
        kind="proposer", config=replace(_PROPOSER, powers=(0.4, 0.6), follows=False)
    ),
    "proposer, long": NetSpec(kind="proposer", config=replace(_PROPOSER, grid=(51, 2), queries=9)),
    "consistency": NetSpec(
        kind="consistency",
        config=ConsistencySpec(
            wave=WaveSpec(channels=6, width=8, layers=4, cycle=2, attention_every=3, heads=2), tokens=3
        ),
    ),
    "prompt encoder": NetSpec(
        kind="prompt_encoder",
        config=PromptSpec(channels=6, encoder=_ENCODER, tokens=3, heads=2),
    ),
    "phoneme encoder": NetSpec(
        kind="phoneme_encoder", config=PhonemeSpec(vocab=9, encoder=replace(_ENCODER, positions="first"))
    ),
    "durations": NetSpec(kind="predictor", config=_PREDICTOR),
    "pitch": NetSpec(kind="predictor", config=replace(_PREDICTOR, kernel=5, of_frames=True)),
    "pitch embedding": NetSpec(kind="pitch_embedding", config=PitchSpec(width=8, bins=7, low=1.5, high=6.0)),
    "refiner": NetSpec(
        kind="refiner", config=RefinerSpec(wave=WaveSpec(channels=1, width=8, layers=3, cycle=3))
    ),
    "encodec encoder": NetSpec(
        kind="encodec", config=EncodecSpec(side="encoder", latent=6, filters=4, ratios=(3, 2), units=2)
    ),
    "encodec decoder": NetSpec(
        kind="encodec",
        config=EncodecSpec(side="decoder", latent=6, filters=4, ratios=(3, 2), memories=1, shortcut=False),
    ),
    "dac encoder": NetSpec(
        kind="dac", config=DacSpec(side="encoder", latent=6, width=4, ratios=(2, 3))
    ),
    "dac decoder": NetSpec(
        kind="dac", config=DacSpec(side="decoder", latent=6, width=16, ratios=(3, 2))
    ),
    "quantizer, narrow": NetSpec(kind="quantizer", config=QuantizerSpec(books=3, size=5, latent=6, narrow=4)),
    "quantizer": NetSpec(kind="quantizer", config=QuantizerSpec(books=1, size=5, latent=6)),
    "recognizer": NetSpec(
        kind="recognizer",
        config=RecognizerSpec(
            body=ConvNextSpec(channels=6, width=8, ffn_width=12, layers=2), sounds=5
        ),
    ),
    "vocos, centred": NetSpec(
        kind="vocos", config=VocosSpec(channels=6, width=8, ffn_width=12, layers=2, window=16, hop=4)
    ),
    "vocos": NetSpec(
        kind="vocos",
        config=VocosSpec(channels=6, width=8, ffn_width=12, layers=2, window=16, hop=4, padding="same"),
    ),
}  # fmt: skip


def weights_of(spec: NetSpec, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights: none is one or zero, so that none can be left out unseen."""
    rng = np.random.default_rng(seed)

    def made(shape: tuple[int, ...]) -> np.ndarray:
        numbers = rng.standard_normal(shape)
        numbers = numbers / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.5 + 0.3 * numbers
        return numbers.astype(np.float32)

    return {name: made(shape) for name, shape in spec.config.shapes().items()}


def inputs_of(spec: NetSpec, batch: int = 2, seed: int = 1) -> dict[str, np.ndarray]:
    """Random inputs whose open sizes are all the same."""
    return seeded(spec, {size.name: batch for size in spec.config.sizes}, seed)
