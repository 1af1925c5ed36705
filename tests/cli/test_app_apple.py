"""The core of the app for iOS and macOS, on Linux: what the golden files say, and folders that are not whole."""

import shutil
from pathlib import Path

import apple
import pytest
from support import ROOT, converted
from webapp import GOLDEN

from edge.apps.folder import write_app

STORIES = ROOT / "edge" / "models" / "edge-stories"
KIT = Path("Sources") / "EdgeKit"


@pytest.fixture(scope="session")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return apple.built("EdgeChecks", tmp_path_factory.mktemp("apple"))


def passes(program: Path, words: list[str], places: dict[str, Path]) -> None:
    done = apple.ran(program, words, places)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_core_does_what_edge_does(checks: Path) -> None:
    passes(
        checks,
        ["golden", "/golden", "/model/tokenizer.json"],
        {"/golden": GOLDEN, "/model": STORIES},
    )


def test_real_vocabularies_give_the_ids_of_their_own_library(checks: Path, assets: Path) -> None:
    passes(checks, ["vocabularies", "/golden", "/assets"], {"/golden": GOLDEN, "/assets": assets})


def test_a_folder_is_taken_as_it_is_or_refused_in_words(checks: Path, tmp_path: Path) -> None:
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml")
    write_app(made, tmp_path / "app", force=False)
    (tmp_path / "place").mkdir()
    places = {"/app": tmp_path / "app", "/place": tmp_path / "place"}
    passes(checks, ["folders", "/app", "/place"], places)


def test_a_core_that_is_wrong_is_seen(checks: Path, tmp_path: Path) -> None:
    """Each of these changes one rule; the checks that should see it do."""
    source, scratch = tmp_path / "apple", tmp_path / "build"
    shutil.copytree(apple.APPLE, source, ignore=shutil.ignore_patterns(".build", "__pycache__"))
    shutil.copytree(checks.parent.parent, scratch, symlinks=True)
    changes = {
        "Exact.swift": (
            "a.text.utf8.elementsEqual(b.text.utf8)",
            "a.text == b.text",
            "two spellings of a letter",
        ),
        "StopStrings.swift": ("count - unsure(text)", "count", "stops 0"),
        "Bpe.swift": ("rank < other.rank", "rank > other.rank", "packaged Once upon a time"),
        "Sampling.swift": ("left -= one.weight", "left -= 2 * one.weight", "draws 1"),
        "SnapKv.swift": ("(kernel - 1) / 2", "kernel / 3", "rows 0"),
        "ChatModel.swift": (
            "if isBusy { return }\n        close()",
            "close()",
            "an answer is written",
        ),
    }
    for file, (right, wrong, _) in changes.items():
        text = (source / KIT / file).read_text()
        assert right in text, file
        (source / KIT / file).write_text(text.replace(right, wrong))
    program = apple.built("EdgeChecks", scratch, source)
    words = ["golden", "/golden", "/model/tokenizer.json"]
    done = apple.ran(program, words, {"/golden": GOLDEN, "/model": STORIES})
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    for file, (_, _, seen) in changes.items():
        assert f"FAILED {seen}" in done.stdout, f"{file}: {done.stdout[-4000:]}"
