"""Groma's detector as it was published, a tower and a proposer in one file: what transformers computes of them
together, on every target, and which of its kin are refused.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from towers import TOWERS, pictures

from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.errors import EdgeError
from edge.families import family_of, pipeline_of
from edge.families.groma_detector import proposer_config
from edge.files.config import Config
from edge.prove.networks import verify
from edge.run.opening import open_net_proof

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

TARGETS = ("coreml", "mlx", "onnx", "torch")
SIDE = 16
TOWER = {key: v for key, v in TOWERS["groma_vision"].tiny.items() if key != "image_size"}
DETR = {
    key: v for key, v in TOWERS["groma_proposer"].tiny.items() if key not in ("side", "channels")
}
CONFIG = {
    "model_type": "ddetr",
    "image_size": SIDE,
    "vis_encoder_cfg": {**TOWER, "model_type": "dinov2"},
    "ddetr_cfg": {**DETR, "model_type": "deformable_detr", "is_encoder_decoder": True},
    "vis_output_layer": -1,
    "zs_weight_path": None,
}
Found = Mapping[str, np.ndarray]


def write(folder: Path, **changes: Any) -> Callable[[np.ndarray], Found]:
    """A checkpoint as torch saves it, and the outputs of both networks by code that is not ours."""
    tower, see = TOWERS["groma_vision"].made(TOWERS["groma_vision"].tiny)
    detr, find = TOWERS["groma_proposer"].made(TOWERS["groma_proposer"].tiny)
    state = {f"vis_encoder.{name}": value for name, value in tower.items()} | dict(detr)
    folder.mkdir()
    torch.save({n: torch.tensor(v) for n, v in state.items()}, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))

    def reference(image: np.ndarray) -> Found:
        seen = see(image)
        assert isinstance(seen, Mapping)
        found = find(seen["mean"])
        assert isinstance(found, Mapping)
        return {**seen, **found}

    return reference


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_finds_what_transformers_does(target: str, tmp_path: Path) -> None:
    reference = write(tmp_path / "it")
    options = Options(target=target, quant="fp32")
    artifact = convert_pipeline(tmp_path / "it", tmp_path / "out", options)
    vision, proposer = (artifact.stages[name] for name in ("vision", "proposer"))
    image = pictures({"image_size": SIDE})
    seen = open_net_proof(vision, exact=False)(image=image)
    got = {**seen, **open_net_proof(proposer, exact=False)(features=seen["mean"])}
    want = reference(image)
    assert got.keys() == want.keys()
    for name, expected in want.items():
        assert got[name].shape == expected.shape
        assert np.abs(got[name] - expected).max() <= 1e-5 * np.abs(expected).max(), name


def test_boxes_are_found_in_float32_where_no_one_asks_for_less(tmp_path: Path) -> None:
    write(tmp_path / "it")
    artifact = convert_pipeline(tmp_path / "it", tmp_path / "out", Options(target="torch"))
    recipes = {name: artifact.stages[name].manifest.recipe for name in ("vision", "proposer")}
    assert recipes == {"vision": "rtn-int8-g32-bf16", "proposer": "fp32"}
    assert verify(artifact.stages["proposer"], tmp_path / "it").passed


def test_names_and_shapes_are_those_of_the_published_checkpoint() -> None:
    tower = {
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "image_size": 518,
    }
    detr = {
        "num_feature_levels": 1,
        "two_stage": True,
        "with_box_refine": True,
        "id2label": {"0": "LABEL_0"},
    }
    whole = Config(
        {"model_type": "ddetr", "vis_encoder_cfg": tower, "ddetr_cfg": detr}, "config.json"
    )
    config = proposer_config(whole)
    family = family_of(config)
    spec = family.spec(config)
    shapes: dict[str, Any] = {}
    for place in family.names.places(spec).values():
        shapes |= place.tensors
    at = "ddetr_transformer."
    assert shapes["input_proj.0.0.weight"] == (256, 1024, 1, 1)
    assert shapes["input_proj.0.1.bias"] == (256,)
    assert shapes[f"{at}level_embed"] == (1, 256)
    assert shapes[f"{at}query_position_embeddings.weight"] == (300, 256)
    assert shapes[f"{at}encoder.layers.5.self_attn.sampling_offsets.weight"] == (64, 256)
    assert shapes[f"{at}decoder.layers.5.encoder_attn.attention_weights.bias"] == (32,)
    assert shapes[f"{at}decoder.layers.0.self_attn.out_proj.weight"] == (256, 256)
    assert shapes[f"{at}decoder.layers.0.fc1.weight"] == (1024, 256)
    assert shapes[f"{at}pos_trans_norm.weight"] == (512,)
    assert shapes[f"{at}class_embed_enc.weight"] == (1, 256)
    assert {n for n in shapes if "class_embed_" in n and n.endswith("bias")} == {
        f"{at}class_embed_{head}.bias" for head in ("enc", "coco.5", "sa1b.5")
    }
    assert {n.split(".")[2] for n in shapes if "bbox_embed" in n} == {"4", "5", "6"}


def _detr(**changes: Any) -> dict[str, Any]:
    return {"ddetr_cfg": {**CONFIG["ddetr_cfg"], **changes}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_detr(num_feature_levels=4), "num_feature_levels"),
        (_detr(two_stage=False), "two_stage"),
        (_detr(with_box_refine=False), "with_box_refine"),
        (_detr(position_embedding_type="learned"), "position_embedding_type"),
        (_detr(decoder_n_points=4), "decoder_n_points"),
        (_detr(decoder_attention_heads=4), "decoder_attention_heads"),
        (_detr(num_queries=5), "num_queries"),
        (_detr(num_labels=91), "several kinds"),
        (_detr(decoder_layers=1), "a decoder of 1"),
        (_detr(two_stage_num_proposals=17, num_queries=17), "17 queries of a map of 16"),
        ({"ddetr_cfg": None}, "no ddetr_cfg"),
        ({"vis_encoder_cfg": None}, "no vis_encoder_cfg"),
        ({"vis_output_layer": -2}, "vis_output_layer"),
        ({"zs_weight_path": "lvis.pt"}, "zs_weight_path"),
        ({"image_size": [16, 24]}, "no squares"),
        ({"image_size": 18}, "no whole patches"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    write(tmp_path / "it", **change)
    with pytest.raises(EdgeError, match=words):
        convert_pipeline(tmp_path / "it", tmp_path / "out", Options(target="onnx", quant="fp32"))
    assert not (tmp_path / "out").exists()


def test_a_tensor_of_neither_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "it")
    file = tmp_path / "it" / "pytorch_model.bin"
    torch.save({**torch.load(file), "region_encoder.x": torch.zeros(1)}, file)
    with pytest.raises(EdgeError, match=r"region_encoder\.x"):
        convert_pipeline(tmp_path / "it", tmp_path / "out", Options(target="onnx", quant="fp32"))


def test_a_whole_checkpoint_is_not_taken_for_the_detector() -> None:
    whole = Config({"model_type": "groma", "llm_cfg": {}, "perceiver_cfg": {}}, "config.json")
    kinds = [pipeline_of(config) for config in (whole, Config(CONFIG, "config.json"))]
    assert [kind and kind.name for kind in kinds] == ["groma", "groma_detector"]
