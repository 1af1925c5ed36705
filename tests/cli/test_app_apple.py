"""The app for iOS and macOS, on Linux: its core by the golden files, its Core ML over the evaluator in numpy."""

import json
import shutil
from pathlib import Path
from typing import Any

import apple
import pytest
from support import ROOT, converted
from webapp import GOLDEN

from edge.apps.folder import write_app
from edge.decode.generate import generate
from edge.decode.snapkv import SnapKV
from edge.run.model import load
from edge.run.strategy import Strategy
from edge.text.chat import Message
from edge_converters.coreml import convert as coreml

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


ASKED = (
    "Tell me a story about Marla.",
    "Marla had a red kite. Tomtin had a blue drum. What did Tomtin have?",
)


@pytest.mark.parametrize("quant", ["fp16", "rtn-int4-g32"])
def test_core_ml_gives_the_tokens_of_the_reference(
    checks: Path, tmp_path: Path, quant: str
) -> None:
    made = converted(tmp_path / "it", STORIES, quant, target="coreml")
    called = answers(checks, made, tmp_path, [told(made, text) for text in ASKED])
    assert {"prompt64", "step"} == set(called)


def test_a_model_of_several_packages(
    checks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coreml, "LIMIT", 4_000_000)
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml")
    assert len(list(made.glob("model-*.mlpackage"))) > 1
    answers(checks, made, tmp_path, [told(made, ASKED[1])])


def test_a_cache_is_cut_and_grows_again(checks: Path, tmp_path: Path) -> None:
    made = converted(tmp_path / "it", STORIES, "fp16", target="coreml", snapkv_rows=(112,))
    cut = SnapKV(capacity=96, window=20, sinks=2)
    cases = [told(made, f"{ASKED[1]} " * 12 + ASKED[0], cut), told(made, ASKED[0], cut)]
    called = answers(checks, made, tmp_path, cases)
    assert {"prompt64", "observe64", "cut112_step", "step"} <= set(called)


def told(made: Path, text: str, snapkv: SnapKV | None = None) -> dict[str, Any]:
    """What the evaluator answers by `edge run --reference`'s own decoder."""
    model = load(made, strategy=Strategy(snapkv=snapkv, reference=True))
    ids = model.encode([Message("user", text)])
    tokens = list(generate(model.source, ids, max_tokens=24, stop_ids=model.stop_ids))
    keys = ("capacity", "window", "sinks")
    cut = snapkv and {"kernel": snapkv.near, **{key: getattr(snapkv, key) for key in keys}}
    return {"ids": ids, "tokens": tokens, "most": 24, "snapkv": cut}


def answers(checks: Path, made: Path, folder: Path, cases: list[dict[str, Any]]) -> list[str]:
    """See that the app's Core ML says the same -> the functions that it called."""
    write_app(made, folder / "app", force=False)
    (folder / "told").mkdir()
    (folder / "told" / "told.json").write_text(json.dumps(cases))
    places = {"/app": folder / "app", "/told": folder / "told"}
    done, called = apple.asked(
        checks, ["model", "/told/told.json", "/app", "/told/compiled"], places
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return called


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
