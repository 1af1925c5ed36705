"""Checkpoints of a mixer, which tests invent."""

from edge.families import Family
from edge.families import _vision as vision
from edge.families._fields import Fields, words
from edge.files.config import Config
from edge.names import NameMap
from edge.net import NetSpec
from edge.nn.mixer import MixerSpec  # type: ignore[import-not-found]
from edge.spec import Norm
from edge.vision.preparation import VIT, at_size
from edge.vision.settings import VisionSettings


def network(config: Config) -> NetSpec:
    patch = config.integer("patch_size")
    return NetSpec(
        kind="mixer",
        config=MixerSpec(
            side=config.integer("image_size") // patch,
            patch=patch,
            width=config.integer("hidden_size"),
            layers=config.integer("num_hidden_layers"),
            tokens=config.integer("tokens_dim"),
            channels=config.integer("intermediate_size"),
            norm=Norm(eps=1e-6, kind="layer"),
            classes=config.integer("num_labels"),
        ),
    )


FAMILY = Family(
    name="mixer",
    model_types=("mixer",),
    fields=vision.FIELDS | Fields(read=words("tokens_dim")),
    network=network,
    vision=lambda config: VisionSettings(preparation=at_size(VIT, vision.image(config))),
    names=NameMap(
        {
            **vision.biased({"norm": "head_norm", "head": "classifier"}),
            "patch": vision.first_patch("stem.weight"),
            "patch.bias": "stem.bias",
            **vision.layer_names(
                "mix.{i}",
                {
                    f"{part}.{ours}": f"{part}.{theirs}"
                    for part in ("tokens", "channels")
                    for ours, theirs in (("norm", "0"), ("up", "1"), ("down", "3"))
                },
            ),
        }
    ),
)
