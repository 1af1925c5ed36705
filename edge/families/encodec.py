"""EnCodec of 24 kHz (arXiv 2210.13438) as transformers keeps it: an encoder, its books, a decoder."""

import math
from typing import Any

import numpy as np

from edge.families import Family
from edge.families._fields import SHARED, Fields, words
from edge.families._speech import SPELLINGS, codec, flat, same, turned, weighed
from edge.files.config import Config
from edge.names import Made, NameMap
from edge.net import NetSpec
from edge.nn.speech.encodec import EncodecSpec
from edge.nn.speech.quantizer import QuantizerSpec
from edge.typing import F32, Shape

MOST_LAYERS = 64  # places of modules
_FIELDS = SHARED | Fields(
    read=words(
        "hidden_size num_filters upsampling_ratios kernel_size last_kernel_size residual_kernel_size "
        "num_residual_layers dilation_growth_rate compress num_lstm_layers use_conv_shortcut "
        "codebook_size codebook_dim sampling_rate target_bandwidths"
    ),
    absent={
        "hidden_size": 128, "num_filters": 32, "upsampling_ratios": [8, 5, 4, 2], "kernel_size": 7,
        "last_kernel_size": 7, "residual_kernel_size": 3, "num_residual_layers": 1,
        "dilation_growth_rate": 2, "compress": 2, "num_lstm_layers": 2, "use_conv_shortcut": True,
        "codebook_size": 1024, "sampling_rate": 24000, "target_bandwidths": [1.5, 3.0, 6.0, 12.0, 24.0],
    },
    # What the model of 48 kHz has: two channels, norms over time, layers that see both ways.
    only={
        "audio_channels": (1,), "normalize": (False,), "norm_type": ("weight_norm",), "use_causal_conv": (True,),
        "pad_mode": ("reflect",), "trim_right_ratio": (1.0,),
    },
    inert=words("chunk_length_s overlap"),  # of how a caller cuts long sounds
)  # fmt: skip


def _side(side: Any) -> Any:
    def network(config: Config) -> NetSpec:
        return NetSpec(
            kind="encodec",
            config=EncodecSpec(
                side=side,
                latent=config.integer("hidden_size"),
                filters=config.integer("num_filters"),
                ratios=tuple(config.integers("upsampling_ratios")),
                kernel=config.integer("kernel_size"),
                last_kernel=config.integer("last_kernel_size"),
                unit_kernel=config.integer("residual_kernel_size"),
                units=config.integer("num_residual_layers"),
                growth=config.integer("dilation_growth_rate"),
                compress=config.integer("compress"),
                memories=config.integer("num_lstm_layers", low=0),
                shortcut=config.flag("use_conv_shortcut"),
            ),
        )

    return network


def _quantizer(config: Config) -> NetSpec:
    """As many books as its largest bandwidth has codes of."""
    hop = math.prod(config.integers("upsampling_ratios"))
    size = config.integer("codebook_size")
    bits = math.ceil(config.integer("sampling_rate") / hop) * math.ceil(math.log2(size))
    most = max(config.numbers("target_bandwidths"))
    books = int(1000 * most // bits)
    return NetSpec(
        kind="quantizer",
        config=QuantizerSpec(books=books, size=size, latent=config.integer("hidden_size")),
    )


def _kernel(at: int) -> Any:
    """Of the layer at a place."""
    return lambda config: next((one.kernel for one in config.layers() if one.at == at), 1)


def _layer(at: int) -> dict[str, str | Made]:
    ours, theirs = f"layers.{at}.", f"layers.{at}."
    kernel, one = _kernel(at), lambda _config: 1
    out: dict[str, str | Made] = {
        f"{ours}conv": weighed(f"{theirs}conv", kernel, same),
        f"{ours}down": weighed(f"{theirs}conv", kernel, flat),
        f"{ours}up": weighed(f"{theirs}conv", kernel, turned, turns=True),
        f"{ours}first": weighed(f"{theirs}block.1.conv", kernel, same),
        f"{ours}second": weighed(f"{theirs}block.3.conv", one, flat),
        f"{ours}shortcut": weighed(f"{theirs}shortcut.conv", one, flat),
        f"{ours}first.bias": f"{theirs}block.1.conv.bias",
        f"{ours}second.bias": f"{theirs}block.3.conv.bias",
        f"{ours}shortcut.bias": f"{theirs}shortcut.conv.bias",
    }
    out |= {f"{ours}{kind}.bias": f"{theirs}conv.bias" for kind in ("conv", "down", "up")}
    for i in range(8):
        memory = f"{theirs}lstm."
        out[f"{ours}{i}.in"] = _gates(f"{memory}weight_ih_l{i}")
        out[f"{ours}{i}.state"] = _gates(f"{memory}weight_hh_l{i}")
        out[f"{ours}{i}.bias"] = _gates(f"{memory}bias_ih_l{i}", f"{memory}bias_hh_l{i}")
    return out


def _gates(*tensors: str) -> Made:
    """Rows of the input's gate, the forget gate, the cell and the output's -> the output's before the cell's; of
    two biases their sum.
    """

    def stored(_config: Any, weight: Shape) -> tuple[Shape, ...]:
        return (weight,) * len(tensors)

    def made(_config: Any, *found: F32) -> F32:
        i, f, z, o = np.split(sum(found[1:], start=found[0]), 4)
        return np.concatenate([i, f, o, z])

    return Made(tensors, stored, made)


_NAMES = NameMap(
    {name: entry for at in range(MOST_LAYERS) for name, entry in _layer(at).items()},
    spellings=SPELLINGS,
)
_BOOK = r"layers\.\d+\.codebook\.(?:inited|cluster_size|embed_avg)"  # of training


FAMILIES = (
    *(
        Family(
            name=f"encodec_{side}",
            model_types=(f"encodec_{side}",),
            fields=_FIELDS,
            network=_side(side),
            names=_NAMES,
        )
        for side in ("encoder", "decoder")
    ),
    Family(
        name="encodec_quantizer",
        model_types=("encodec_quantizer",),
        fields=_FIELDS,
        network=_quantizer,
        names=NameMap({"books.{i}.table": "layers.{i}.codebook.embed"}, ignore=(_BOOK,)),
    ),
)
PIPELINE = codec("encodec", _FIELDS)
