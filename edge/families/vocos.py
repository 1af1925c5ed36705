"""Vocos (arXiv 2306.00814), whose published folder has no config.json: one with the numbers of its config.yaml is
written beside its weights (docs/speech.md).
"""

from edge.errors import Unsupported
from edge.families import Family
from edge.families._fields import SHARED, Fields, words
from edge.families._speech import BACKBONE
from edge.families._vision import biased
from edge.files.config import Config
from edge.names import NameMap
from edge.net import NetSpec
from edge.nn.speech.vocos import VocosSpec


def network(config: Config) -> NetSpec:
    if config.data.get("adanorm_num_embeddings") is not None:
        raise Unsupported(
            f"{config.where}: this Vocos chooses its norms by a bandwidth, which is not computed",
            fix="use the one of mel spectrograms, vocos-mel-24khz",
        )
    return NetSpec(
        kind="vocos",
        config=VocosSpec(
            channels=config.integer("input_channels"),
            width=config.integer("dim"),
            ffn_width=config.integer("intermediate_dim"),
            layers=config.integer("num_layers", high=256),
            window=config.integer("n_fft"),
            hop=config.integer("hop_length"),
            padding="same" if config.text("padding") == "same" else "center",
        ),
    )


FAMILY = Family(
    name="vocos",
    model_types=("vocos",),
    fields=SHARED
    | Fields(
        read=words(
            "input_channels dim intermediate_dim num_layers n_fft hop_length padding sampling_rate"
        ),
        absent={"padding": "center"},
        only={"padding": ("center", "same")},
        inert=words("layer_scale_init_value"),
    ),
    network=network,
    names=NameMap(
        {**BACKBONE, **biased({"output": "head.out"})},
        # Hann's window, and what makes spectrograms: neither is learned.
        ignore=(r"head\.istft\.window", r"feature_extractor\..*"),
    ),
)
