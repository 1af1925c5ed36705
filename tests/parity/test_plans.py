"""What `edge plan` says beside what then lies on the disk and in a cache: exits, small caches, int8."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import config_of, converted, spec_of, tiny

from edge import api, targets
from edge.artifact.manifest import Artifact
from edge.contracts import Use
from edge.convert.options import Options
from edge.decode.snapkv import SnapKV
from edge.errors import EdgeError, Unsupported
from edge.measure.plan import Plan
from edge.quant.recipe import parse
from edge.run.strategy import PLAIN, Strategy, opened

# What a target's weights lie in; the rest is a program, headers, a tokenizer.
WEIGHTS = {
    "onnx": "model.onnx.data", "torch": "model.safetensors", "mlx": "model*.safetensors",
    "gguf": "*.gguf", "coreml": "**/weight.bin",
}  # fmt: skip
SHAPE = {"vocab_size": 4096, "max_position_embeddings": 2048, "intermediate_size": 128}
KEPT = {"exits": (1,), "draft_vocab": 1024}
LONG = [(7 + 31 * i) % 4096 for i in range(700)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("source") / "it", "llama", num_hidden_layers=3, **SHAPE)


def planned(
    source: Path,
    target: str = "onnx",
    strategy: Strategy = PLAIN,
    quant: str = "int8",
    **options: Any,
) -> Plan:
    wished = Options(quant=quant, **options)
    (found,) = api.plan_model(str(source), target, wished, threads=1, strategy=strategy)
    return found


def weights(folder: Path, target: str) -> int:
    return sum(file.stat().st_size for file in folder.glob(WEIGHTS[target]))


def options(target: str) -> Mapping[str, Any]:
    """Everything that a conversion keeps."""
    return {
        "onnx": KEPT,
        "torch": KEPT,
        "mlx": KEPT,
        "gguf": {"exits": (1, 2)},
        "coreml": {**KEPT, "snapkv_rows": (300, 500)},
    }[target]


@pytest.mark.parametrize("target", targets.names("converters"))
def test_exits_and_small_caches_take_the_disk_that_was_planned(
    target: str, source: Path, tmp_path: Path
) -> None:
    found = planned(source, target, **options(target))
    folder = converted(tmp_path / "it", source, "int8", target=target, **options(target))
    there = weights(folder, target)
    headers = {"gguf": 3, "mlx": 2}.get(target, 0) * 4096  # keys and names, and their tokenizer
    assert found.disk_bytes <= there <= found.disk_bytes + headers
    assert found.target == target


def test_overrides_take_the_disk_that_was_planned(source: Path, tmp_path: Path) -> None:
    own = {"embed": "fp16", "head": "int4", "overrides": {"layers.*.mlp.down": "fp32"}}
    folder = converted(tmp_path / "it", source, "int8", **own)
    assert planned(source, **own).disk_bytes == weights(folder, "onnx")
    with pytest.raises(EdgeError, match="no weight is named like"):
        planned(source, overrides={"layers.*.mlp.dwn": "fp32"})


MEANS = {
    "whole": PLAIN,
    "int8": Strategy(kv="int8"),
    "cut": Strategy(snapkv=SnapKV(capacity=300)),
    "cut in pieces": Strategy(snapkv=SnapKV(capacity=300, chunk=100)),
    "cut, int8": Strategy(snapkv=SnapKV(capacity=300), kv="int8"),
}


@pytest.mark.parametrize("strategy", MEANS.values(), ids=MEANS)
def test_a_cache_holds_what_was_planned(strategy: Strategy, source: Path, tmp_path: Path) -> None:
    """The bytes of the arrays that the next step reads."""
    artifact = Artifact.open(converted(tmp_path / "it", source, "int8"))
    decoder = opened(artifact, strategy, threads=1)
    decoder.prefill(LONG)
    inner = getattr(decoder, "inner", decoder)
    inner = getattr(inner, "inner", inner)
    used = dict(enumerate(inner._rows.tolist()))
    read = sum(
        array[:, :, : used[int(name.split(".")[0])]].nbytes for name, array in inner._cache.items()
    )
    assert planned(source, strategy=strategy, context=len(LONG)).cache_bytes == read


def test_means_take_the_memory_that_their_parts_do() -> None:
    """By the numbers of the shape alone, where one means differs from plain decoding in one thing."""
    spec, recipe = spec_of(config_of("llama", **SHAPE)), parse("fp32")

    def bytes_of(target: str, tokens: int, **how: Any) -> int:
        return targets.runtime(target).memory(spec, recipe, tokens=tokens, use=Use(**how))

    head, row = 4 * 4096 * 64, 2 * 2 * 2 * 16 * 4  # a row: two layers, keys and values, two heads
    votes = 2 * 4 * 4  # of a row: two layers of four heads
    plain = bytes_of("onnx", 1000)
    assert bytes_of("onnx", 1000, exit_=1) == plain + head + 4 * 64 * 512, "the head twice"
    cut = bytes_of("onnx", 1000, kept=300)
    assert cut == plain + 1000 * votes + (300 + 256) * row, "both caches, while rows are chosen"
    assert bytes_of("onnx", 200, kept=300) == bytes_of("onnx", 200), "nothing is cut"
    pieces = bytes_of("onnx", 1000, kept=300, piece=100)
    assert pieces == plain - 600 * row + 400 * votes + (300 + 256) * row
    assert plain < bytes_of("onnx", 1000, rounded=True) < plain + 1000 * row, "a layer at a time"
    for target in ("torch", "mlx"):
        assert bytes_of(target, 1000, exit_=1) == bytes_of(target, 1000)
        assert bytes_of(target, 1000, kept=300) > bytes_of(target, 1000)
    assert bytes_of("gguf", 1000, exit_=1) == bytes_of("gguf", 1000) + (1000 + 256) * row // 4


def test_a_model_of_codes_is_read_once_more_by_the_first_layers_of_a_gguf() -> None:
    spec, recipe = spec_of(config_of("llama", **SHAPE)), parse("q8_0")
    memory = targets.runtime("gguf").memory
    extra = memory(spec, recipe, tokens=512, use=Use(exit_=1)) - memory(spec, recipe, tokens=512)
    tables = 2 * 4096 * 64 * 34 // 32
    layer = (64 * (64 + 32 + 32) + 64 * 64 + 3 * 64 * 128) * 34 // 32
    cache = (512 + 256) * 2 * 2 * 16 * 2
    assert extra == tables + layer + cache


def test_a_small_cache_of_core_ml_is_there_beside_the_whole() -> None:
    spec, recipe = spec_of(config_of("llama", **SHAPE)), parse("fp16")
    small = replace(spec, snapkv_rows=(300, 500))
    memory, row = targets.runtime("coreml").memory, 2 * 2 * 2 * 16 * 2
    plain = memory(small, recipe, tokens=1000)
    assert plain == memory(spec, recipe, tokens=1000)
    assert memory(small, recipe, tokens=1000, use=Use(kept=250)) == plain + 300 * row
    assert memory(small, recipe, tokens=1000, use=Use(kept=400)) == plain + 500 * row


CUT = Strategy(snapkv=SnapKV(capacity=300))
REFUSED = [
    ("gguf", Strategy(kv="int8"), {}, "gguf cannot round its cache to int8"),
    ("coreml", CUT, {}, "coreml has no small cache for the 300 rows"),
    ("coreml", CUT, {"snapkv_rows": (200,)}, "coreml has no small cache for the 300 rows"),
    ("onnx", PLAIN, {"snapkv_rows": (200,)}, "caches of onnx have as many rows as they need"),
    ("onnx", PLAIN, {"draft_vocab": 7}, "--draft-vocab is of drafts at an exit"),
    ("onnx", PLAIN, {"exits": (3,)}, "an exit after 3 of 3 layers"),
    ("gguf", PLAIN, KEPT, "gguf drafts of all 4,096 ids"),
]


@pytest.mark.parametrize(("target", "strategy", "options", "problem"), REFUSED)
def test_what_a_run_would_refuse_is_refused_now(
    target: str, strategy: Strategy, options: Mapping[str, Any], problem: str, source: Path
) -> None:
    with pytest.raises((EdgeError, Unsupported), match=problem):
        planned(source, target, strategy, **options)


def test_a_window_is_not_cut(tmp_path: Path) -> None:
    source = tiny(tmp_path / "it", "mistral")
    with pytest.raises(Unsupported, match="SnapKV needs attention that sees every row"):
        planned(source, strategy=CUT)
