"""Groma (arXiv 2404.13013): a detector, a bridge from patches to text, two networks that see the regions which it
found, and a Llama that reads all of it. The tokens that Groma adds have tables of their own, behind Llama's.
"""

from typing import Any

from edge.families import ROWS, Pipeline, Stage, Wire
from edge.families import _vision as vision
from edge.families import groma_detector as detector
from edge.families._fields import SHARED, Fields, table, words
from edge.files.config import Config
from edge.vision.selection import Limits

# What transformers 4.32 takes for a field that it leaves out where a decoder is written into another's config.
_LLAMA = {
    "model_type": "llama",
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}


def _detector(whole: Config) -> Config:
    return detector.PIPELINE.fields.checked(table(whole, "perceiver_cfg"))


def _text(whole: Config) -> Config:
    """Of the decoder, whose tables are longer than its own config says."""
    own = Config({**_LLAMA, **table(whole, "llm_cfg").data}, whole.where)
    own.only("model_type", "llama")
    own.only("tie_word_embeddings", False)
    rows = own.integer("vocab_size") + whole.integer("num_new_token", low=0)
    return Config({**own.data, "vocab_size": rows}, whole.where)


def _patches(whole: Config) -> dict[str, Any]:
    """Of the tower's grid: its side, and its width."""
    tower = detector.tower_checked(_detector(whole))
    side = vision.grid(tower, vision.patch(tower))[0]
    return {"side": side, "channels": tower.integer("hidden_size")}


def _seeing(kind: str) -> Any:
    """The config of a network between tower and decoder. What the published code fixes may be other numbers in
    `region_cfg`, which no published config has.
    """

    def config(whole: Config) -> Config:
        own, width = whole.table("region_cfg"), _text(whole).integer("hidden_size")
        made = {"model_type": f"groma_{kind}", "hidden_size": width, **_patches(whole)}
        return Config({**(own.data if own else {}), **made}, whole.where)

    return config


def _settings(whole: Config) -> dict[str, Any]:
    """Pixels of a picture's side, and which regions are shown: `edge.vision.selection.Limits`."""
    limits = Limits(
        score=whole.number("box_score_thres"),
        overlap=whole.number("nms_thres"),
        most=whole.integer("max_region_num"),
    )
    side = vision.image(detector.tower_checked(_detector(whole)))[0]
    return {"side": side, "score": limits.score, "overlap": limits.overlap, "most": limits.most}


PIPELINE = Pipeline(
    name="groma",
    model_types=("groma",),
    fields=SHARED
    | Fields(
        read=words(
            "llm_cfg perceiver_cfg region_cfg num_new_token nms_thres box_score_thres max_region_num"
        ),
        absent={
            "num_new_token": 0,
            "nms_thres": 0.6,
            "box_score_thres": 0.15,
            "max_region_num": 100,
        },
        inert=words("vocab_size"),  # counted anew
    ),
    stages=(
        Stage(
            name="vision",
            prefix="perceiver.vis_encoder.",
            config=lambda whole: detector.tower_config(_detector(whole)),
        ),
        Stage(
            name="proposer",
            prefix="perceiver.",
            within=("input_proj.", "ddetr_transformer."),
            config=lambda whole: detector.proposer_config(_detector(whole)),
            quant="fp32",
        ),
        Stage(
            name="maps",
            prefix="region_encoder.mlvl_fuse.",
            config=_seeing("region_maps"),
            quant="fp32",  # its rounds of convolutions make more of what half precision rounds
        ),
        Stage(
            name="regions",
            prefix="region_encoder.roi_align.",
            config=_seeing("region_encoder"),
        ),
        Stage(name="bridge", prefix="img_txt_bridge.", config=_seeing("bridge")),
        Stage(
            name="text",
            prefix="llm.",
            config=_text,
            longer={
                "model.embed_tokens.weight": "new_input_embs.weight",
                "lm_head.weight": "extra_lm_head.weight",
            },
        ),
    ),
    wires=(
        Wire(("vision", "mean"), ("proposer", "features")),
        # The very last for the smallest map.
        Wire(("vision", "earlier_2"), ("maps", "hidden_0")),
        Wire(("vision", "earlier_1"), ("maps", "hidden_1")),
        Wire(("vision", "features"), ("maps", "hidden_2")),
        *(Wire(("maps", f"map_{level}"), ("regions", f"map_{level}")) for level in range(3)),
        Wire(("vision", "features"), ("bridge", "features")),
        Wire(("bridge", "rows"), ("text", ROWS)),
        Wire(("regions", "rows"), ("text", ROWS)),
    ),
    settings=_settings,
    together=True,
    beside=100
    << 20,  # what is remembered of a picture of the published size: its maps, first of all
)
