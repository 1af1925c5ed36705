"""FlashSpeech (arXiv 2404.14700) as its public code saves it: `FlashSpeech`'s tensors, and the part `model` of its
experiment's config as config.json.

The codec that the code loads beside it is saved with it, and is none of these networks: whoever has one converts
it by itself. Its latents are divided by 3 before they are prompts, and multiplied by 3 after the last network.
"""

from collections.abc import Callable, Mapping
from typing import Any

from edge.errors import Damaged, Unsupported
from edge.families import Family, Pipeline, Stage, Wire
from edge.families._fields import SHARED, Fields, words
from edge.families._speech import columns, conv, point
from edge.families._vision import biased
from edge.files.config import Config
from edge.names import Made, NameMap, Part, Rows
from edge.net import NetConfig, NetSpec
from edge.nn.speech.consistency import ConsistencySpec
from edge.nn.speech.encoder import EncoderSpec
from edge.nn.speech.phoneme_encoder import PhonemeSpec
from edge.nn.speech.pitch_embedding import PitchSpec
from edge.nn.speech.predictor import PredictorSpec
from edge.nn.speech.prompt_encoder import PromptSpec
from edge.nn.speech.wavenet import KERNEL, WaveSpec

LATENT_NORM = 3
_DROPOUT = "encoder_dropout drop_out"
_POSITIONS = Fields(absent={"positions": "first"}, only={"positions": ("first", "own")})
_ENCODER = _POSITIONS | Fields(
    read=words("encoder_layer encoder_hidden encoder_head conv_filter_size conv_kernel_size")
)
_PREDICTOR = Fields(
    read=words(
        "input_size filter_size kernel_size conv_layers cross_attn_per_layer attn_head of_frames"
    )
)
_WAVENET = Fields(
    read=words(
        "input_size hidden_size out_size num_layers cross_attn_per_layer dilation_cycle attn_head"
    )
)


def _encoder(config: Config) -> EncoderSpec:
    """The public code adds the position of the batch's row to each of its rows: of a batch of one, the first."""
    return EncoderSpec(
        width=config.integer("encoder_hidden"),
        layers=config.integer("encoder_layer", high=256),
        heads=config.integer("encoder_head"),
        ffn_width=config.integer("conv_filter_size"),
        kernel=config.integer("conv_kernel_size"),
        positions="own" if config.text("positions") == "own" else "first",
    )


def _prompt(config: Config) -> PromptSpec:
    config.only("query_width", config.integer("encoder_hidden"))
    return PromptSpec(
        channels=config.integer("latent_dim"),
        encoder=_encoder(config),
        tokens=config.integer("query_token_num"),
        heads=config.integer("query_heads"),
    )


def _phonemes(config: Config) -> PhonemeSpec:
    return PhonemeSpec(vocab=config.integer("vocab_size"), encoder=_encoder(config))


def _predictor(config: Config) -> PredictorSpec:
    config.only("input_size", config.integer("filter_size"))
    return PredictorSpec(
        width=config.integer("filter_size"),
        layers=config.integer("conv_layers", high=256),
        kernel=config.integer("kernel_size"),
        attention_every=config.integer("cross_attn_per_layer"),
        heads=config.integer("attn_head"),
        of_frames=config.flag("of_frames"),
    )


def _pitch(config: Config) -> PitchSpec:
    return PitchSpec(
        width=config.integer("encoder_hidden"),
        bins=config.integer("pitch_bins_num"),
        low=config.number("pitch_min"),
        high=config.number("pitch_max"),
    )


def _denoiser(config: Config) -> ConsistencySpec:
    config.only("out_size", config.integer("input_size"))
    return ConsistencySpec(
        wave=WaveSpec(
            channels=config.integer("input_size"),
            width=config.integer("hidden_size"),
            layers=config.integer("num_layers", high=256),
            cycle=config.integer("dilation_cycle"),
            attention_every=config.integer("cross_attn_per_layer"),
            heads=config.integer("attn_head"),
        ),
        tokens=config.integer("query_token_num"),
    )


def _thirds(width: Callable[[Any], int]) -> Callable[[Any], tuple[Rows, ...]]:
    def split(config: Any) -> tuple[Rows, ...]:
        return tuple((range(i * width(config), (i + 1) * width(config)),) for i in range(3))

    return split


def _attention(ours: str, theirs: str, width: Callable[[Any], int]) -> dict[str, Any]:
    """torch's own attention, whose q, k and v are one matrix."""
    split = _thirds(width)
    out: dict[str, Any] = dict(biased({f"{ours}o": f"{theirs}.out_proj"}))
    for i, name in enumerate("qkv"):
        out[f"{ours}{name}"] = Part(f"{theirs}.in_proj_weight", split, i)
        out[f"{ours}{name}.bias"] = Part(f"{theirs}.in_proj_bias", split, i)
    return out


def _layer(at: str, *, style: str) -> dict[str, str | Part | Made]:
    ours = "layers.{i}."
    return {
        **biased({f"{ours}attn.norm": f"{at}ln_1{style}", f"{ours}mlp.norm": f"{at}ln_2{style}"}),
        **_attention(f"{ours}attn.", f"{at}self_attn", lambda config: config.encoder.width),
        f"{ours}mlp.up": conv(f"{at}ffn.ffn_1.weight", lambda config: config.encoder.kernel),
        f"{ours}mlp.up.bias": f"{at}ffn.ffn_1.bias",
        **biased({f"{ours}mlp.down": f"{at}ffn.ffn_2"}),
    }


def _points(names: Mapping[str, str]) -> dict[str, str | Made]:
    """Convolutions of one tap, with their biases."""
    weights: dict[str, str | Made] = {
        ours: point(f"{theirs}.weight") for ours, theirs in names.items()
    }
    return weights | {f"{ours}.bias": f"{theirs}.bias" for ours, theirs in names.items()}


_TABLE = r"(?:.*\.)?position_emb\.pe"
_WAVE = "layers.{i}."
NAMES: Mapping[str, NameMap] = {
    "prompt": NameMap(
        {
            **_layer("prompt_encoder.layers.{i}.", style=""),
            **biased({"input": "prompt_lin", "norm": "prompt_encoder.last_ln"}),
            "queries": "query_emb.weight",
            **_attention("ask.", "query_attn", lambda config: config.encoder.width),
        },
        ignore=(_TABLE,),
    ),
    "phonemes": NameMap(
        {
            **_layer("encoder.layers.{i}.", style=".style"),
            **biased({"norm": "encoder.last_ln.style"}),
            "table": "enc_emb_tokens.weight",
        },
        ignore=(_TABLE, r"enc_emb_tokens\.weight"),
        spellings=(("enc_emb_tokens", "encoder.enc_emb_tokens"),),  # one table by two names
    ),
    "duration": NameMap(
        {
            "layers.{i}.conv": conv("conv.{i}.0.weight", lambda config: config.kernel),
            "layers.{i}.conv.bias": "conv.{i}.0.bias",
            **biased({"layers.{i}.norm": "conv.{i}.2", "looks.{i}.norm": "cattn.{i}.1"}),
            **_attention("looks.{i}.", "cattn.{i}.0", lambda config: config.width),
            **biased({"output": "linear"}),
        }
    ),
    "condition": NameMap({"rows": columns("pitch_embedding.weight")}, ignore=("pitch_bins",)),
    "denoiser": NameMap(
        {
            **_points({"input": "in_proj", "skip": "skip_proj", "output": "out_proj"}),
            **biased({"step.up": "mlp.0", "step.down": "mlp.2", "condition.norm": "cond_ln"}),
            **_points(
                {f"{_WAVE}condition": f"{_WAVE}cond_proj", f"{_WAVE}out": f"{_WAVE}out_proj"}
            ),
            f"{_WAVE}conv": conv(f"{_WAVE}dilated_conv.weight", lambda _: KERNEL),
            f"{_WAVE}conv.bias": f"{_WAVE}dilated_conv.bias",
            **biased(
                {
                    f"{_WAVE}step": f"{_WAVE}diffusion_proj",
                    f"{_WAVE}norm": f"{_WAVE}ln",
                    f"{_WAVE}gain": f"{_WAVE}film.gain",
                    f"{_WAVE}shift": f"{_WAVE}film.bias",
                }
            ),
            **_attention(_WAVE, f"{_WAVE}attn", lambda config: config.wave.width),
        }
    ),
}


def _family(name: str, kind: str, spec: Callable[[Config], NetConfig], fields: Fields) -> Family:
    def network(config: Config) -> NetSpec:
        return NetSpec(kind=kind, config=spec(config))

    return Family(
        name=f"flashspeech_{name}",
        model_types=(f"flashspeech_{name}",),
        fields=SHARED | fields | Fields(inert=words(_DROPOUT)),
        network=network,
        names=NAMES["duration" if name == "pitch" else name],
    )


FAMILIES = (
    _family(
        "prompt", "prompt_encoder", _prompt,
        _ENCODER | Fields(
            read=words("latent_dim query_token_num query_heads query_width"),
            only={"use_cln": (False,)},
        ),
    ),
    _family(
        "phonemes", "phoneme_encoder", _phonemes,
        _ENCODER | Fields(read=words("vocab_size"), only={"use_cln": (True,)}),
    ),
    _family("duration", "predictor", _predictor, _PREDICTOR),
    _family("pitch", "predictor", _predictor, _PREDICTOR),
    _family(
        "condition", "pitch_embedding", _pitch,
        Fields(read=words("encoder_hidden pitch_bins_num pitch_min pitch_max")),
    ),
    _family(
        "denoiser", "consistency", _denoiser, _WAVENET | Fields(read=words("query_token_num"))
    ),
)  # fmt: skip


def _table(whole: Config, *path: str) -> Mapping[str, Any]:
    found: Config = whole
    for key in path:
        inner = found.table(key)
        if inner is None:
            raise Damaged(
                f"{whole.where} has no {'.'.join(path)}",
                fix="write the part `model` of the experiment's config there",
            )
        found = inner
    return found.data


def _own(name: str, make: Callable[[Config], Mapping[str, Any]]) -> Callable[[Config], Config]:
    def config(whole: Config) -> Config:
        return Config({**make(whole), "model_type": f"flashspeech_{name}"}, whole.where)

    return config


def _encodes(whole: Config, *path: str) -> Mapping[str, Any]:
    return {**_table(whole, *path), "positions": whole.text("positions")}


def _of_prompt(whole: Config) -> Mapping[str, Any]:
    asked = _table(whole, "query_emb")
    if "hidden_size" not in asked or "head_num" not in asked:
        raise Unsupported(
            f"{whole.where}: query_emb has no hidden_size or no head_num",
            fix="copy it from the experiment's config",
        )
    return {
        **_encodes(whole, "prompt_encoder"),
        "latent_dim": whole.integer("latent_dim"),
        "query_token_num": asked.get("query_token_num"),
        "query_heads": asked["head_num"],
        "query_width": asked["hidden_size"],
    }


def _of_pitch(whole: Config) -> Mapping[str, Any]:
    prior = _table(whole, "prior_encoder")
    found = {key: prior.get(key) for key in ("pitch_bins_num", "pitch_min", "pitch_max")}
    return {
        **found,
        "encoder_hidden": _table(whole, "prior_encoder", "encoder").get("encoder_hidden"),
    }


def _predicts(name: str, *, of_frames: bool) -> Callable[[Config], Mapping[str, Any]]:
    return lambda whole: {**_table(whole, "prior_encoder", name), "of_frames": of_frames}


_PRIOR = "prior_encoder."
PIPELINE = Pipeline(
    name="flashspeech",
    model_types=("flashspeech",),
    fields=SHARED | _POSITIONS
    | Fields(read=words("latent_dim prior_encoder diffusion prompt_encoder query_emb")),
    stages=(
        Stage(
            name="prompt", prefix="", config=_own("prompt", _of_prompt),
            within=("prompt_lin.", "prompt_encoder.", "query_emb.", "query_attn."),
        ),
        Stage(
            name="phonemes", prefix=_PRIOR, within=("enc_emb_tokens.", "encoder."),
            config=_own("phonemes", lambda whole: {
                **_encodes(whole, "prior_encoder", "encoder"),
                "vocab_size": _table(whole, "prior_encoder").get("vocab_size"),
            }),
        ),
        Stage(
            name="duration", prefix=f"{_PRIOR}duration_predictor.",
            config=_own("duration", _predicts("duration_predictor", of_frames=False)),
        ),
        Stage(
            name="pitch", prefix=f"{_PRIOR}pitch_predictor.",
            config=_own("pitch", _predicts("pitch_predictor", of_frames=True)),
        ),
        Stage(
            name="condition", prefix=_PRIOR, within=("pitch_embedding.", "pitch_bins"),
            config=_own("condition", _of_pitch),
        ),
        Stage(
            name="denoiser", prefix="diffusion.diff_estimator.",
            config=_own("denoiser", lambda whole: {
                **_table(whole, "diffusion", "wavenet"),
                "query_token_num": _table(whole, "query_emb").get("query_token_num"),
            }),
        ),
    ),
    wires=(
        Wire(("prompt", "style"), ("phonemes", "style")),
        Wire(("prompt", "rows"), ("duration", "rows")),
        Wire(("prompt", "rows"), ("pitch", "rows")),
        Wire(("prompt", "tokens"), ("denoiser", "tokens")),
        Wire(("phonemes", "hidden"), ("duration", "hidden")),
        Wire(("phonemes", "hidden"), ("pitch", "hidden")),
        Wire(("pitch", "repeated"), ("condition", "repeated")),
        Wire(("pitch", "log"), ("condition", "log_pitch")),
        Wire(("condition", "condition"), ("denoiser", "condition")),
    ),
    settings=lambda _whole: {"latent_norm": LATENT_NORM},
    ignore=(r"soundstream\..*",),
)  # fmt: skip
