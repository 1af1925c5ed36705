"""A whole voice of edge's own training in one checkpoint: FlashSpeech's networks (arXiv 2404.14700) over log mel bands,
its prosody refinement, a vocoder, and what reads sound as phonemes.

config.json has the keys of `edge.families.flashspeech`, and `vocoder`, `refiner`, `recognizer`, a table each: of
the last two any may be missing, and what needs it is then refused by name. The latent is (log mel - mean) / scale.
"""

from collections.abc import Callable, Mapping
from typing import Any

from edge.errors import Damaged
from edge.families import Family, Pipeline, Stage, Wire
from edge.families import flashspeech as flash
from edge.families._fields import SHARED, Fields, words
from edge.families._vision import biased
from edge.files.config import Config
from edge.names import NameMap
from edge.net import NetSpec
from edge.nn.speech.refiner import RefinerSpec
from edge.nn.speech.wavenet import WaveSpec

VOICE = "voice.wav"  # who speaks where nobody is named
SYMBOLS = 96  # ids of edge.text.spoken.symbols, of which none ever changes


def _refiner(config: Config) -> NetSpec:
    wave = WaveSpec(
        channels=1,
        width=config.integer("hidden_size"),
        layers=config.integer("num_layers", high=256),
        cycle=config.integer("dilation_cycle"),
    )
    features = config.integer("feature_size") if config.has("feature_size") else None
    return NetSpec(kind="refiner", config=RefinerSpec(wave=wave, features=features))


FAMILIES = (
    Family(
        name="edge_speech_refiner",
        model_types=("edge_speech_refiner",),
        fields=SHARED | Fields(read=words("hidden_size num_layers dilation_cycle feature_size")),
        network=_refiner,
        names=NameMap({**flash.NAMES["denoiser"].entries, **biased({"narrow": "feature_proj"})}),
    ),
)


def _table(whole: Config, *path: str) -> Config | None:
    found: Config | None = whole
    for key in path:
        found = None if found is None else found.table(key)
    return found


def _has(*path: str) -> Callable[[Config], bool]:
    return lambda whole: _table(whole, *path) is not None


def _own(model_type: str, *path: str) -> Callable[[Config], Config]:
    """The config of one network, which lies in a table of the whole one's."""

    def config(whole: Config) -> Config:
        found = _table(whole, *path)
        if found is None:
            raise Damaged(
                f"{whole.where} has no {'.'.join(path)}",
                fix="get the complete config.json of the model",
            )
        return Config({**found.data, "model_type": model_type}, found.where)

    return config


def _settings(whole: Config) -> Mapping[str, Any]:
    """What the numbers of a latent are, and its symbols."""
    latent = whole.table("latent")
    if latent is None:
        raise Damaged(f"{whole.where} has no latent", fix="get the complete config.json")
    return {
        "mel": whole.text("mel"),
        "symbols": whole.text("symbols"),
        "latent": {"mean": latent.number("mean", low=-1e3), "scale": latent.number("scale")},
    }


def _refiner_of(name: str) -> Stage:
    return Stage(
        name=f"{name}_refiner",
        prefix=f"refiner.{name}.",
        config=_own("edge_speech_refiner", "refiner", name),
        given=_has("refiner", name),
    )


PIPELINE = Pipeline(
    name="edge_speech",
    model_types=("edge_speech",),
    fields=flash.PIPELINE.fields
    | Fields(
        read=words("latent refiner vocoder recognizer"),
        absent={"positions": "own"},
        only={"positions": ("first", "own"), "mel": ("edge",), "symbols": (f"edge-{SYMBOLS}",)},
    ),
    stages=(
        *flash.PIPELINE.stages,
        _refiner_of("duration"),
        _refiner_of("pitch"),
        Stage(name="vocoder", prefix="vocoder.", config=_own("vocos", "vocoder")),
        Stage(
            name="recognizer",
            prefix="recognizer.",
            config=_own("edge_recognizer", "recognizer"),
            given=_has("recognizer"),
        ),
    ),
    wires=(
        *flash.PIPELINE.wires,
        Wire(("duration", "features"), ("duration_refiner", "features")),
        Wire(("duration", "log"), ("duration_refiner", "initial")),
        Wire(("pitch", "features"), ("pitch_refiner", "features")),
        Wire(("pitch", "log"), ("pitch_refiner", "initial")),
        Wire(("denoiser", "clean"), ("prompt", "prompt")),
        Wire(("denoiser", "clean"), ("vocoder", "mel")),
        Wire(("denoiser", "clean"), ("recognizer", "mel")),
    ),
    settings=_settings,
    files=(VOICE,),
    together=True,
    quant="fp32",  # in half precision, Core ML puts some frames into another step of pitch
    beside=90_000_000,  # the lexicon of English, and a sentence on its way
)
