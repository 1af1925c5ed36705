"""Compacted caches and drafts of GGUF artifacts, through the command line, on real weights."""

from pathlib import Path

import pytest
from conftest import Edge

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

TEXT = "Once upon a time there was a dog. " * 12
SNAP = ("--snapkv", "48", "--snapkv-window", "8")
RAW = ("--raw", "--max-tokens", "24", "--json")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Path:
    from edge.convert.conversion import convert
    from edge.convert.options import Options

    out = tmp_path_factory.mktemp("means") / "out"
    options = Options(target="gguf", quant="fp32", exits=(2, 3))
    return convert(assets / "llm/stories-260k", out, options).folder


def test_convert_cuts_at_the_exits_and_says_so(edge: Edge, assets: Path, tmp_path: Path) -> None:
    source, out = assets / "llm/stories-260k", tmp_path / "out"
    options = ("--to", "gguf", "--quant", "fp32", "--layerskip", "2", "-o", out)
    assert edge("convert", source, *options).code == 0
    files = edge("inspect", out, "--json").json["files"]
    shards = [name for name in files if name.endswith(".gguf")]
    assert shards == ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]
    assert edge("verify", out, "--against", source, "--tokens", "8").code == 0
    assert edge("verify", out, "--files").code == 0
    plain = edge("run", out, "Once upon a time", *RAW)
    assert plain.code == 0
    (out / shards[1]).write_bytes((out / shards[1]).read_bytes()[:-32])
    assert edge("verify", out, "--files").code == 1
    done = edge("run", out, "Once upon a time", *RAW)
    assert done.code == 4
    assert shards[1] in done.err


def test_run_and_bench_compact_the_cache(edge: Edge, artifact: Path) -> None:
    found = edge("run", artifact, TEXT, "--raw", "--max-tokens", "4", "--json", *SNAP).json
    assert len(found["prompt_tokens"]) > 60
    assert found["cache_rows"] == 48 + 3, "the last token is never fed"
    timing = edge("bench", artifact, "-p", "120", "-n", "4", "--rounds", "1", "--json", *SNAP).json
    assert timing["cache_rows"] == 52


@pytest.mark.parametrize(
    "given",
    [
        ("--layerskip", "2", "--draft", "3"),
        ("--layerskip", "3"),
        ("--draft-by", "lookup"),
        ("--draft-by", "lookup", *SNAP),
        ("--draft-by", "snapkv", *SNAP),
    ],
    ids=" ".join,
)
def test_drafts_change_no_answer(edge: Edge, artifact: Path, given: tuple[str, ...]) -> None:
    """`--snapkv` does; a drafter beside it does not."""
    snap = SNAP if given[:2] == ("--draft-by", "lookup") and len(given) > 2 else ()
    plain = edge("run", artifact, TEXT, *RAW, *snap).json
    drafted = edge("run", artifact, TEXT, *RAW, *given).json
    assert drafted["tokens"] == plain["tokens"]
    assert 0 < drafted["accepted"] <= drafted["drafted"]
    timing = edge("bench", artifact, "-p", "120", "-n", "8", "--rounds", "1", "--json", *given).json
    assert timing["drafted"] is not None


def test_fast_measures_what_the_artifact_allows(edge: Edge, artifact: Path) -> None:
    done = edge("run", artifact, "Once upon a time", *RAW, "--fast")
    assert done.code == 0
    for words in ("plain decoding: ", "--layerskip 2", "--layerskip 3", "--draft-by lookup"):
        assert words in done.err
    assert done.json["tokens"] == edge("run", artifact, "Once upon a time", *RAW).json["tokens"]


def test_an_exit_that_was_not_kept_is_refused(edge: Edge, artifact: Path) -> None:
    done = edge("run", artifact, "a b", *RAW, "--layerskip", "1")
    assert done.code == 3
    assert "no exit after layer 1 (kept: 2, 3)" in done.err
