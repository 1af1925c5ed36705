"""A recognizer of phonemes, as `edge train recognizer` writes it: its layers have the names of a Vocos'."""

from edge.families import Family
from edge.families._fields import SHARED, Fields, words
from edge.families._speech import BACKBONE
from edge.families._vision import biased
from edge.files.config import Config
from edge.names import NameMap
from edge.net import NetSpec
from edge.nn.speech.convnext import ConvNextSpec
from edge.nn.speech.recognizer import RecognizerSpec


def network(config: Config) -> NetSpec:
    body = ConvNextSpec(
        channels=config.integer("input_channels"),
        width=config.integer("dim"),
        ffn_width=config.integer("intermediate_dim"),
        layers=config.integer("num_layers", high=256),
    )
    return NetSpec(
        kind="recognizer", config=RecognizerSpec(body=body, sounds=config.integer("num_sounds"))
    )


FAMILY = Family(
    name="recognizer",
    model_types=("edge_recognizer",),
    fields=SHARED
    | Fields(
        read=words("input_channels dim intermediate_dim num_layers num_sounds mel symbols"),
        only={"mel": ("edge",), "symbols": ("edge-96",)},
    ),
    network=network,
    names=NameMap({**BACKBONE, **biased({"output": "head.out"})}),
)
