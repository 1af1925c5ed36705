"""Groma's detector (arXiv 2404.13013): a tower of DINOv2, and a proposer that finds boxes on its rows. A checkpoint of
the first stage of its training is these two (FoundationVision/groma-det-pretrain), a whole one has them, too.
"""

from dataclasses import replace

from edge.errors import Unsupported
from edge.families import Family, Pipeline, Stage, Wire, dinov2
from edge.families import _vision as vision
from edge.families._fields import SHARED, Fields, table, words
from edge.files.config import Config
from edge.names import Made, NameMap, Part, Rows
from edge.net import NetSpec
from edge.nn.regions.proposer import ProposerSpec
from edge.nn.vit import Depths, VitSpec

EARLIER, MEAN = (
    2,
    4,
)  # layers before the last one that regions are cut out of; those that boxes are found on
POWERS = (0.4, 0.6)  # of the probabilities of COCO's head and of SA-1B's
SIDE = 448  # pixels of a picture


def _tower(config: Config) -> NetSpec:
    """As layers leave them: the rows of the last three, and the mean of the last four."""
    whole = dinov2.network(config)
    assert isinstance(whole.config, VitSpec)
    several = replace(whole.config, last=None, depths=Depths(earlier=EARLIER, mean=MEAN))
    return replace(whole, config=several)


def _tower_names(whole: NameMap) -> NameMap:
    """Those of DINOv2, whose last norm no one asks for."""
    last = ("norm", "norm.bias")
    entries = {ours: theirs for ours, theirs in whole.entries.items() if ours not in last}
    return replace(whole, entries=entries, ignore=(*whole.ignore, r"layernorm\.(?:weight|bias)"))


def _proposer(config: Config) -> NetSpec:
    heads, points = config.integer("encoder_attention_heads"), config.integer("encoder_n_points")
    width, queries = config.integer("encoder_ffn_dim"), config.integer("two_stage_num_proposals")
    config.only("decoder_attention_heads", heads)
    config.only("decoder_n_points", points)
    config.only("decoder_ffn_dim", width)
    config.only("num_queries", queries)
    if vision.labels(config) != 1:
        raise Unsupported(
            f"{config.where}: a proposer of several kinds of things",
            fix="use a checkpoint whose num_labels is 1",
        )
    return NetSpec(
        kind="proposer",
        config=ProposerSpec(
            grid=(config.integer("side"),) * 2,
            channels=config.integer("channels"),
            width=config.integer("d_model"),
            heads=heads,
            points=points,
            encoder=config.integer("encoder_layers", high=1024),
            decoder=config.integer("decoder_layers", high=1024),
            ffn_width=width,
            queries=queries,
            powers=POWERS,
            follows=False,
        ),
    )


def _in_turn(spec: ProposerSpec) -> tuple[Rows, Rows]:
    """An offset along x, one along y, and so on."""
    count = 2 * spec.heads * spec.points
    return (range(0, count, 2),), (range(1, count, 2),)


def _offsets(ours: str, theirs: str) -> dict[str, str | Made | Part]:
    return {
        f"{ours}.{axis}{our_end}": Part(f"{theirs}.{their_end}", _in_turn, part)
        for part, axis in enumerate("xy")
        for our_end, their_end in (("", "weight"), (".bias", "bias"))
    }


def _looks(ours: str, theirs: str, norm: str) -> dict[str, str | Made | Part]:
    """Deformable attention."""
    named = {"share": "attention_weights", "value": "value_proj", "out": "output_proj"}
    names = {f"{ours}.{mine}": f"{theirs}.{other}" for mine, other in named.items()}
    return {
        **_offsets(ours, f"{theirs}.sampling_offsets"),
        **vision.biased({**names, f"{ours}.norm": norm}),
    }


def _one_row(tensor: str) -> Made:
    """A vector [C] that lies there as [1, C]."""
    return Made(
        (tensor,),
        lambda _config, weight: ((1, *weight),),
        lambda _config, weight: weight.reshape(-1),
        lambda _config, weight: (weight.reshape(1, -1),),
    )


_DETR = "ddetr_transformer."
_ENCODER, _DECODER = f"{_DETR}encoder.layers.{{i}}", f"{_DETR}decoder.layers.{{i}}"
_PROPOSER_NAMES = NameMap(
    {
        "input": vision.kernel(
            "input_proj.0.0.weight", columns=lambda spec: (spec.width, spec.channels, 1)
        ),
        "input.bias": "input_proj.0.0.bias",
        "level": _one_row(f"{_DETR}level_embed"),
        **_looks("encoder.{i}.look", f"{_ENCODER}.self_attn", f"{_ENCODER}.self_attn_layer_norm"),
        **_looks(
            "decoder.{i}.look", f"{_DECODER}.encoder_attn", f"{_DECODER}.encoder_attn_layer_norm"
        ),
        **vision.biased(
            {
                "input.norm": "input_proj.0.1",
                **{
                    f"{stack}.{{i}}.mlp.{ours}": f"{at}.{theirs}"
                    for stack, at in (("encoder", _ENCODER), ("decoder", _DECODER))
                    for ours, theirs in (
                        ("up", "fc1"),
                        ("down", "fc2"),
                        ("norm", "final_layer_norm"),
                    )
                },
                **{f"decoder.{{i}}.attn.{n}": f"{_DECODER}.self_attn.{n}_proj" for n in "qkv"},
                "decoder.{i}.attn.o": f"{_DECODER}.self_attn.out_proj",
                "decoder.{i}.attn.norm": f"{_DECODER}.self_attn_layer_norm",
                "proposal": f"{_DETR}enc_output",
                "proposal.norm": f"{_DETR}enc_output_norm",
                "proposal.score": f"{_DETR}class_embed_enc",
                "place": f"{_DETR}pos_trans",
                "place.norm": f"{_DETR}pos_trans_norm",
                **{
                    f"steps.{{i}}.{ours}": f"{_DETR}bbox_embed.{{i}}.layers.{layer}"
                    for layer, ours in enumerate(("first", "second", "last"))
                },
                "scores.{i}.0": f"{_DETR}class_embed_coco.{{i}}",
                "scores.{i}.1": f"{_DETR}class_embed_sa1b.{{i}}",
            }
        ),
        "queries": f"{_DETR}query_position_embeddings.weight",
    },
    ignore=(
        # What earlier layers say counts in training alone; the decoder has all heads once more, by other names.
        r"ddetr_transformer\.(?:bbox_embed|class_embed_coco|class_embed_sa1b)\.\d+\..*",
        r"ddetr_transformer\.decoder\.(?:bbox|class)_embed.*",
    ),
)

FAMILIES = (
    Family(
        name="groma_vision",
        model_types=("groma_vision",),
        fields=dinov2.FAMILY.fields,
        network=_tower,
        names=_tower_names(dinov2.FAMILY.names),
        vision=dinov2.shown,
    ),
    Family(
        name="groma_proposer",
        model_types=("groma_proposer",),
        fields=SHARED
        | Fields(
            read=words(
                "side channels d_model encoder_layers decoder_layers encoder_attention_heads "
                "decoder_attention_heads encoder_ffn_dim decoder_ffn_dim encoder_n_points "
                "decoder_n_points num_queries two_stage_num_proposals id2label num_labels"
            ),
            absent={
                "d_model": 256, "encoder_layers": 6, "decoder_layers": 6,
                "encoder_attention_heads": 8, "decoder_attention_heads": 8,
                "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024,
                "encoder_n_points": 4, "decoder_n_points": 4,
                "num_queries": 300, "two_stage_num_proposals": 300,
                "num_feature_levels": 4, "two_stage": False, "with_box_refine": False,
                "activation_function": "relu", "position_embedding_type": "sine",
            },
            only={
                "num_feature_levels": (1,),
                "two_stage": (True,),
                "with_box_refine": (True,),
                "activation_function": ("relu",),
                "position_embedding_type": ("sine",),
            },
            inert=words(
                "is_encoder_decoder dropout attention_dropout activation_dropout encoder_layerdrop "
                "init_xavier_std return_intermediate auxiliary_loss max_position_embeddings num_channels "
                "use_timm_backbone backbone backbone_config backbone_kwargs use_pretrained_backbone "
                "dilation disable_custom_kernels class_cost bbox_cost giou_cost mask_loss_coefficient "
                "dice_loss_coefficient bbox_loss_coefficient giou_loss_coefficient cls_loss_coefficient "
                "eos_coefficient focal_alpha"
            ),
        ),
        network=_proposer,
        names=_PROPOSER_NAMES,
    ),
)  # fmt: skip


def tower_config(whole: Config) -> Config:
    """Of the tower, from a config that has `vis_encoder_cfg`: at the size of the pictures that it is shown."""
    own = table(whole, "vis_encoder_cfg")
    made = {"model_type": "groma_vision", "image_size": whole.data.get("image_size", SIDE)}
    return Config({**own.data, **made}, own.where)


def tower_checked(whole: Config) -> Config:
    """The same with what it leaves out."""
    return dinov2.FAMILY.fields.checked(tower_config(whole))


def proposer_config(whole: Config) -> Config:
    """Of the proposer, from a config that has `ddetr_cfg` and `vis_encoder_cfg`."""
    own, tower = table(whole, "ddetr_cfg"), tower_checked(whole)
    rows, columns = vision.grid(tower, vision.patch(tower))
    if rows != columns:
        raise Unsupported(
            f"{whole.where}: pictures that are no squares", fix="give --image-size one number"
        )
    made = {"model_type": "groma_proposer", "side": rows}
    return Config({**own.data, **made, "channels": tower.integer("hidden_size")}, own.where)


PIPELINE = Pipeline(
    name="groma_detector",
    model_types=("ddetr",),
    fields=SHARED
    | Fields(
        read=words("vis_encoder_cfg ddetr_cfg image_size"),
        only={"vis_output_layer": (-1,), "zs_weight_path": ()},
    ),
    stages=(
        Stage(name="vision", prefix="vis_encoder.", config=tower_config),
        Stage(
            name="proposer",
            prefix="",
            within=("input_proj.", "ddetr_transformer."),
            config=proposer_config,
            quant="fp32",  # half precision orders proposals otherwise, and moves boxes
        ),
    ),
    wires=(Wire(("vision", "mean"), ("proposer", "features")),),
    settings=lambda whole: {"side": vision.image(tower_config(whole))[0]},
)
