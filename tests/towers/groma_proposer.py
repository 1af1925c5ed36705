"""Groma's proposer: transformers' deformable DETR, changed as Groma's code changes it."""

from collections.abc import Mapping

import numpy as np

from towers import Fields, Reference, State, Tower

POWERS = (0.4, 0.6)


def made(fields: Fields) -> tuple[State, Reference]:
    from detrs import Detr

    given = {k: v for k, v in fields.items() if k not in ("model_type", "side", "channels")}
    detr = Detr(given, fields["channels"], (fields["side"],) * 2)

    def reference(features: np.ndarray) -> Mapping[str, np.ndarray]:
        return detr(features, powers=POWERS, follows=False)

    return detr.state, reference


def rows(fields: Fields) -> np.ndarray:
    """Of two pictures."""
    rng = np.random.default_rng(1)
    shape = (2, fields["side"] ** 2, fields["channels"])
    return rng.standard_normal(shape).astype(np.float32)


TINY: Fields = {
    "model_type": "groma_proposer",
    "side": 4,
    "channels": 64,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "encoder_n_points": 2,
    "decoder_n_points": 2,
    "num_queries": 4,
    "two_stage_num_proposals": 4,
    "num_feature_levels": 1,
    "two_stage": True,
    "with_box_refine": True,
    "num_labels": 1,
}
TOWER = Tower(
    tiny=TINY,
    made=made,
    variants={
        "some of the pixels": {"side": 5, "num_queries": 9, "two_stage_num_proposals": 9},
        "pixels at the edge": {"side": 52, "num_queries": 6, "two_stage_num_proposals": 6},
    },
    port="features",
    given=rows,
    recipes=("fp32", "rtn-int8-g32"),  # half precision, and four bits, order proposals otherwise
)
