"""The Descript Audio Codec (arXiv 2306.06546) as transformers keeps it: an encoder, its books, a decoder."""

from typing import Any

from edge.families import Family
from edge.families._fields import SHARED, Fields, words
from edge.families._speech import codec, conv, point, transposed, vector
from edge.files.config import Config
from edge.names import Made, NameMap
from edge.net import NetSpec
from edge.nn.speech.dac import DacSpec
from edge.nn.speech.quantizer import QuantizerSpec

MOST_BLOCKS = 8
_FIELDS = SHARED | Fields(
    read=words(
        "encoder_hidden_size decoder_hidden_size downsampling_ratios n_codebooks codebook_size codebook_dim "
        "sampling_rate"
    ),
    absent={
        "encoder_hidden_size": 64, "decoder_hidden_size": 1536, "downsampling_ratios": [2, 4, 8, 8],
        "n_codebooks": 9, "codebook_size": 1024, "codebook_dim": 8, "sampling_rate": 16000,
    },
    # Those of widths and lengths are made of the others, whatever a config says.
    inert=words(
        "quantizer_dropout commitment_loss_weight codebook_loss_weight hidden_size hop_length upsampling_ratios"
    ),
)  # fmt: skip


def _latent(config: Config) -> int:
    return config.integer("encoder_hidden_size") << len(config.integers("downsampling_ratios"))


def _encoder(config: Config) -> NetSpec:
    return NetSpec(
        kind="dac",
        config=DacSpec(
            side="encoder",
            latent=_latent(config),
            width=config.integer("encoder_hidden_size"),
            ratios=tuple(config.integers("downsampling_ratios")),
        ),
    )


def _decoder(config: Config) -> NetSpec:
    return NetSpec(
        kind="dac",
        config=DacSpec(
            side="decoder",
            latent=_latent(config),
            width=config.integer("decoder_hidden_size"),
            ratios=tuple(config.integers("downsampling_ratios")[::-1]),
        ),
    )


def _quantizer(config: Config) -> NetSpec:
    return NetSpec(
        kind="quantizer",
        config=QuantizerSpec(
            books=config.integer("n_codebooks", high=64),
            size=config.integer("codebook_size"),
            latent=_latent(config),
            narrow=config.integer("codebook_dim"),
        ),
    )


def _block(i: int, *, encodes: bool) -> dict[str, str | Made]:
    at, theirs = f"blocks.{i}.", f"block.{i}."
    resize = f"{theirs}conv1" if encodes else f"{theirs}conv_t1"
    layer = conv if encodes else transposed
    out: dict[str, str | Made] = {
        f"{at}snake": vector(f"{theirs}snake1.alpha"),
        f"{at}resize": layer(f"{resize}.weight", lambda config: 2 * config.ratios[i]),
        f"{at}resize.bias": f"{resize}.bias",
    }
    for unit in (1, 2, 3):
        ours, its = f"{at}unit{unit}.", f"{theirs}res_unit{unit}."
        out |= {f"{ours}snake{n}": vector(f"{its}snake{n}.alpha") for n in (1, 2)}
        out |= {f"{ours}conv1": f"{its}conv1.weight", f"{ours}conv2": point(f"{its}conv2.weight")}
        out |= {f"{ours}conv{n}.bias": f"{its}conv{n}.bias" for n in (1, 2)}
    return out


def _names(*, encodes: bool) -> NameMap:
    entries: dict[str, Any] = {"snake": vector("snake1.alpha")}
    for ours, theirs in (("input", "conv1"), ("output", "conv2")):
        entries |= {ours: f"{theirs}.weight", f"{ours}.bias": f"{theirs}.bias"}
    for i in range(MOST_BLOCKS):
        entries |= _block(i, encodes=encodes)
    return NameMap(entries)


FAMILIES = (
    Family(
        name="dac_encoder",
        model_types=("dac_encoder",),
        fields=_FIELDS,
        network=_encoder,
        names=_names(encodes=True),
    ),
    Family(
        name="dac_quantizer",
        model_types=("dac_quantizer",),
        fields=_FIELDS,
        network=_quantizer,
        names=NameMap(
            {
                "books.{i}.table": "quantizers.{i}.codebook.weight",
                "books.{i}.out": point("quantizers.{i}.out_proj.weight"),
                "books.{i}.out.bias": "quantizers.{i}.out_proj.bias",
            },
            ignore=(r"quantizers\.\d+\.in_proj\.(?:weight|bias)",),  # of sound to codes
        ),
    ),
    Family(
        name="dac_decoder",
        model_types=("dac_decoder",),
        fields=_FIELDS,
        network=_decoder,
        names=_names(encodes=False),
    ),
)
PIPELINE = codec("dac", _FIELDS)
