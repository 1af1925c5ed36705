"""The folder that the MLX converter writes: packing, planning, configs, refusals. Needs no MLX."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import CONFIGS, checkpoint, config_of, dividing, spec_of, tiny, weights_of

from edge.artifact.manifest import Artifact
from edge.contracts import About
from edge.convert.conversion import convert
from edge.convert.one_pass import Job, one_pass
from edge.convert.options import Options
from edge.errors import Unsupported
from edge.families import Family, decoders
from edge.files.safetensors import SafetensorsFile
from edge.quant import recipe as recipes
from edge.quant.recipe import Recipe
from edge.quant.stream import packed as words
from edge.quant.tensor import BF16, FP16, QTensor, Scheme
from edge.quant.unfit import Unfit
from edge.source.checkpoint import Checkpoint
from edge.source.headers import Headers, weight_files
from edge.text.ids import SpecialIds
from edge_converters.mlx import ALIASES, layout, shards
from edge_converters.mlx.config import config, generation, quantization
from edge_converters.mlx.pack import biases

RNG = np.random.default_rng(0)
LISTS = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8}


def recipe(text: str, **more: Any) -> Recipe:
    return recipes.parse(text, aliases=ALIASES, **more)


def converted(out: Path, source: Path, quant: str, **more: Any) -> Path:
    return convert(source, out, Options(target="mlx", quant=quant, **more)).folder


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_codes_fill_words_from_the_lowest_bit(bits: int) -> None:
    codes = RNG.integers(0, 1 << bits, (3, 64), np.uint8)
    got = words(codes, bits)
    assert got.shape == (3, 64 * bits // 8)
    for row, stored in zip(codes, got, strict=True):
        number = int.from_bytes(stored.tobytes(), "little")
        assert [number >> i * bits & (1 << bits) - 1 for i in range(64)] == row.tolist()


@pytest.mark.parametrize("zero", ["middle", "integer", "minimum"])
def test_a_bias_is_what_a_code_of_zero_means(zero: Any) -> None:
    scheme = Scheme(4, 32, zero)
    made = recipe("fp32").stored("w", RNG.normal(size=(5, 64)).astype(np.float32), scheme)
    assert isinstance(made, QTensor)
    scales, bias = (np.repeat(part, 32, axis=1) for part in (made.scales, biases(made)))
    np.testing.assert_allclose(made.codes * scales + bias, made.dequantize(), atol=5e-7)


def test_a_bias_too_large_for_its_type_is_refused(tmp_path: Path) -> None:
    weights = weights_of(config_of("llama"))
    weights["model.layers.0.mlp.up_proj.weight"] *= 1e6  # a scale in fp16 still holds it
    source = checkpoint(tmp_path / "source", config_of("llama"), weights)
    with pytest.raises(Unfit, match=r"layers\.0\.mlp\.up.* too large for a bias in fp16"):
        converted(tmp_path / "out", source, "rtn-int8-g32-fp16")


# Files


def test_files_are_cut_at_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a whole safetensors file; a matrix and its scales lie in one."""
    source = tiny(tmp_path / "source", "llama")
    whole = converted(tmp_path / "whole", source, "rtn-int4-g32-min-fp16")
    monkeypatch.setattr(shards, "LIMIT", 20_000)
    cut = converted(tmp_path / "cut", source, "rtn-int4-g32-min-fp16")
    names = sorted(path.name for path in cut.glob("*.safetensors"))
    assert len(names) == 3
    assert names[0] == f"model-00001-of-{len(names):05}.safetensors"
    assert [path.name for path in whole.glob("*.safetensors")] == ["model.safetensors"]
    table = json.loads((cut / shards.INDEX).read_text())["weight_map"]
    assert set(table) == set(json.loads((whole / shards.INDEX).read_text())["weight_map"])
    assert all(table[name] == table[f"{name[:-6]}weight"] for name in table if "scales" in name)
    assert all((cut / name).stat().st_size < 23_000 for name in names)
    assert contents(cut) == contents(whole)


def contents(folder: Path) -> dict[str, bytes]:
    """Every tensor's bytes."""
    out = {}
    for path in weight_files(folder):
        with SafetensorsFile(path) as file:
            for name, entry in file.entries.items():
                buffer = bytearray(entry.nbytes)
                file.fill(name, 0, memoryview(buffer))
                out[name] = bytes(buffer)
    return out


def test_the_reference_library_reads_the_files(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    out = converted(tmp_path / "out", tiny(tmp_path / "source", "phi3"), "rtn-int3-g32-min-fp16")
    found = library.load_file(out / "model.safetensors")
    assert {name: array.tobytes() for name, array in found.items()} == contents(out)
    assert found["model.layers.0.self_attn.qkv_proj.weight"].shape == (128, 6)
    assert found["model.layers.0.self_attn.qkv_proj.scales"].dtype == np.float16


@pytest.mark.parametrize("quant", ["fp32", "bf16", "rtn-int4-g32-min-fp16", "rtn-int5-g32"])
@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_the_weights_take_what_was_planned(family: str, quant: str, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", family)
    out = converted(tmp_path / "out", source, quant)
    planned = layout(Artifact.open(out).manifest.spec, recipe(quant)).nbytes
    assert sum(map(len, contents(out).values())) == planned


def test_a_vector_has_the_type_of_scales(tmp_path: Path) -> None:
    """mlx-lm computes in one type: a norm in float32 would make all of it float32."""
    out = converted(tmp_path / "out", tiny(tmp_path / "source", "llama"), "rtn-int4-g32-min-bf16")
    types = {name: entry.dtype for name, entry in Headers.of(out).entries().items()}
    assert types["model.norm.weight"] == types["lm_head.biases"] == "BF16"
    assert types["lm_head.weight"] == "U32"


# Configs


def test_what_mlx_lm_gets_wrong_by_default_is_written() -> None:
    source = config_of("llama", tie_word_embeddings=None)
    assert config(source, spec_of(source), None)["tie_word_embeddings"] is False


ROPES = {
    "new spelling": {
        "rope_theta": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
    },
    "llama3": {
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
        "original_max_position_embeddings": 16,
    },
    "llama3, new": {
        "rope_theta": None,
        "rope_parameters": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "rope_theta": 5e5,
        },
        "original_max_position_embeddings": 16,
    },
    "longrope": {
        "rope_scaling": {"type": "su", **LISTS},
        "original_max_position_embeddings": 16,
    },
    "longrope, new": {
        "rope_theta": None,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 16,
            "partial_rotary_factor": 1.0, **LISTS,
        },
        "original_max_position_embeddings": 16,
    },
    "dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "none": {"rope_scaling": None},
}  # fmt: skip


@pytest.mark.parametrize("change", ROPES.values(), ids=ROPES)
def test_rotary_settings_mean_the_same_in_the_older_spelling(change: dict[str, Any]) -> None:
    source = config_of("phi3", **change)
    made = config(source, spec_of(source), None)
    assert spec_of(made) == spec_of(source)
    assert "rope_parameters" not in made
    assert config(made, spec_of(source), None) == made, "twice is once"
    table = made.get("rope_scaling")
    if table is not None:
        assert table["type"] == table["rope_type"] in ("llama3", "longrope", "dynamic")


def test_the_commonest_packing_is_the_default() -> None:
    eight, four = Scheme(8, 64, "minimum", "fp16"), Scheme(4, 32, "minimum", "fp16")
    packing = quantization({"a": eight, "b": four, "c": four, "d": FP16})
    assert packing == {
        "group_size": 32, "bits": 4, "mode": "affine",
        "a": {"group_size": 64, "bits": 8, "mode": "affine"}, "d": False,
    }  # fmt: skip
    assert quantization({"a": FP16, "b": BF16}) is None


def test_packing_is_said_twice(tmp_path: Path) -> None:
    """Under the name that mlx-lm reads, and under that which others do."""
    source = tiny(tmp_path / "source", "llama")
    out = converted(tmp_path / "out", source, "rtn-int4-g32-min-fp16", head="fp16")
    made = json.loads((out / "config.json").read_text())
    assert made["quantization"] == made["quantization_config"]
    assert made["quantization"]["lm_head"] is False
    plain = converted(tmp_path / "plain", source, "fp16")
    assert "quantization" not in json.loads((plain / "config.json").read_text())


def test_every_id_that_ends_an_answer_is_written() -> None:
    stops = SpecialIds(1, frozenset({7, 2}))
    assert generation({"eos_token_id": 2, "top_k": 3}, stops) == {
        "eos_token_id": [2, 7],
        "top_k": 3,
    }
    assert generation({}, SpecialIds(1, frozenset())) == {}


# Refusals


def test_groups_must_divide_rows() -> None:
    spec = spec_of(config_of("llama", intermediate_size=172))
    with pytest.raises(
        Unsupported, match=r"layers\.0\.mlp\.down as .* 64 do not divide its 172"
    ) as no:
        layout(spec, recipe("int4"))
    assert no.value.fix.endswith("--override 'layers.*.mlp.down=fp16'")
    layout(spec, recipe("int4", overrides={"layers.*.mlp.down": "fp16"}))


def test_the_largest_group_that_divides_is_named() -> None:
    spec = spec_of(config_of("llama", intermediate_size=96))
    with pytest.raises(Unsupported) as no:
        layout(spec, recipe("int4"))
    assert no.value.fix.endswith("--override 'layers.*.mlp.down=rtn-int4-g32-min-fp16'")
    layout(spec, recipe("int4", overrides={"layers.*.mlp.down": "rtn-int4-g32-min-fp16"}))


def test_an_integer_zero_needs_wide_biases() -> None:
    spec = spec_of(config_of("llama"))
    with pytest.raises(Unsupported, match="zeros of their own and scales in fp32") as no:
        layout(spec, recipe("rtn-int4-g32-asym-fp16"))
    assert "rtn-int4-g32-min-fp16" in no.value.fix
    assert "rtn-int4-g32-asym" in no.value.fix
    layout(spec, recipe("rtn-int4-g32-asym"))


def test_there_are_no_tables() -> None:
    with pytest.raises(Unsupported, match=r"cannot hold embed as .*lut4-g32: it holds"):
        layout(spec_of(config_of("llama")), recipe("lut4-g32"))


def test_a_tied_head_has_the_precision_of_the_embedding() -> None:
    spec = spec_of(config_of("llama", tie_word_embeddings=True))
    with pytest.raises(Unsupported, match="its embedding, and MLX stores it once"):
        layout(spec, recipe("fp32", embed="fp16"))
    layout(spec, recipe("fp32", embed="fp16", head="fp16"))


def test_a_fused_tensor_has_one_precision(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "phi3")
    mixed = {"layers.1.attn.v": "fp16"}
    with pytest.raises(Unsupported, match=r"layers\.1\.attn\.q, .*\.k, .*\.v in one tensor"):
        converted(tmp_path / "out", source, "rtn-int4-g32-min-fp16", overrides=mixed)
    assert not (tmp_path / "out").exists()
    together = {"layers.1.attn.[qkv]": "fp16"}
    converted(tmp_path / "out", source, "rtn-int4-g32-min-fp16", overrides=together)


# Proof


def test_a_finished_folder_is_compared_to_the_last_byte(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama", **dividing("llama"))
    quant = "rtn-int4-g64-min-fp16"
    out, found = converted(tmp_path / "out", source, quant), Checkpoint.open(source)

    def differing() -> int:
        about = About(found.family, "source", SpecialIds(None, frozenset({2})))
        with closing(layout(found.spec, recipe(quant)).open(out, about, "compare")) as writer:
            one_pass(found, [Job(writer)], lambda _: None)
            return writer.differing

    assert differing() == 0
    changes = {
        "model.safetensors": (b"\0", b"\1"),
        shards.INDEX: (b"total_size", b"total_sign"),
        "config.json": (b'"bits": 4', b'"bits": 8'),
        "generation_config.json": (b"2", b"3"),
    }
    for name, (old, new) in changes.items():
        good = (out / name).read_bytes()
        (out / name).write_bytes(new.join(good.rsplit(old, 1)))
        assert differing() == 1, name
        (out / name).write_bytes(good)


def test_what_mlx_lm_has_no_or_another_default_for_is_written(tmp_path: Path) -> None:
    """A Mistral that does not say how many kv heads it has, has 8; to mlx-lm, as many as heads."""
    changes = {"num_attention_heads": 16, "num_key_value_heads": None, "rms_norm_eps": None}
    out = converted(tmp_path / "out", tiny(tmp_path / "it", "mistral", **changes), "fp16")
    made = json.loads((out / "config.json").read_text())
    assert (made["num_key_value_heads"], made["rms_norm_eps"]) == (8, 1e-6)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_folder_says_what_its_source_leaves_to_the_familys_code(
    family: str, tmp_path: Path
) -> None:
    """Of which mlx-lm has other defaults, or none: then it cannot open a folder that was proved."""
    source = tiny(tmp_path / "source", family, **dividing(family))
    folder = converted(tmp_path / "it", source, "fp32")
    given = json.loads((source / "config.json").read_text())
    made = json.loads((folder / "config.json").read_text())
    left = {k: v for k, v in families_by_name()[family].fields.absent.items() if k not in given}
    assert {key: made[key] for key in left} == left


def families_by_name() -> dict[str, Family]:
    return {family.name: family for family in decoders()}
