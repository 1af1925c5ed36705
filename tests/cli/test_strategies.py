"""`edge run` and `edge bench` by every strategy, on artifacts of MLX and torch."""

from pathlib import Path

import pytest
from conftest import Edge
from support import converted

from edge.artifact.manifest import Artifact

STORIES = "llm/stories-260k"
TEXT = "Once upon a time there was a dog. " * 12
MODULES = {"mlx": "mlx.core", "torch": "torch"}
GIVEN = ("--raw", "--max-tokens", "24", "--json")


@pytest.fixture(scope="module", params=sorted(MODULES))
def artifact(
    request: pytest.FixtureRequest, assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    pytest.importorskip(MODULES[request.param])
    out = tmp_path_factory.mktemp("means") / "out"
    return converted(out, assets / STORIES, "fp32", target=request.param, exits=(2,))


@pytest.mark.parametrize(
    "strategy",
    [
        ("--layerskip", "2", "--draft", "3"),
        ("--draft-by", "lookup"),
        ("--draft-by", "snapkv", "--snapkv", "40", "--snapkv-window", "8"),
    ],
    ids=str,
)
def test_drafts_change_no_answer(edge: Edge, artifact: Path, strategy: tuple[str, ...]) -> None:
    plain = edge("run", artifact, TEXT, *GIVEN).json
    drafted = edge("run", artifact, TEXT, *GIVEN, *strategy).json
    assert drafted["tokens"] == plain["tokens"]
    assert 0 < drafted["accepted"] <= drafted["drafted"]
    assert "drafted" not in plain
    timing = edge(
        "bench", artifact, "-p", "120", "-n", "8", "--rounds", "1", "--json", *strategy
    ).json
    assert timing["drafted"] > 0


def test_a_cache_is_compacted(edge: Edge, artifact: Path) -> None:
    snap = ("--snapkv", "48", "--snapkv-window", "8")
    whole, found = (edge("run", artifact, TEXT, *GIVEN, *more).json for more in ((), snap))
    assert found["cache_rows"] == 48 + 23, "the last token is never fed"
    assert whole["cache_rows"] == len(whole["prompt_tokens"]) + 23
    timing = edge("bench", artifact, "-p", "120", "-n", "4", "--rounds", "1", "--json", *snap).json
    assert timing["cache_rows"] == 52


def test_an_exit_that_was_not_kept_is_refused_by_name(edge: Edge, artifact: Path) -> None:
    for command in (("run", artifact, "a b", "--raw"), ("bench", artifact, "-p", "8", "-n", "2")):
        done = edge(*command, "--layerskip", "3")
        assert (done.code, done.out) == (3, "")
        assert "keeps no exit after layer 3 (kept: 2)" in done.err
        assert "convert again with --layerskip 3" in done.err


@pytest.mark.parametrize("strategy", [("--layerskip", "2"), ("--draft-by", "lookup")], ids=str)
def test_threads_are_honoured_or_refused(
    edge: Edge, artifact: Path, strategy: tuple[str, ...]
) -> None:
    done = edge("run", artifact, "a b", *GIVEN, "--threads", "1", *strategy)
    if Artifact.open(artifact).manifest.target == "mlx":
        assert done.code == 3
        assert "MLX chooses their number itself" in done.err
    else:
        assert done.code == 0
