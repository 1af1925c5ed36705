"""The core of the Android app, on the JVM: what the golden files say, and the packaged model token for token."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import android
import pytest
from support import ROOT, converted
from webapp import GOLDEN

from edge.apps.folder import write_app
from edge.decode.generate import generate
from edge.decode.snapkv import SnapKV
from edge.run.model import Model, load
from edge.run.strategy import Strategy
from edge.text.chat import Message

STORIES = ROOT / "edge" / "models" / "edge-stories"
PROMPTS = (
    "Tell me a story about Marla.",
    "Marla had a red kite. Tomtin had a blue drum. What did Tomtin have?",
)


@dataclass(frozen=True)
class Checks:
    """The core and its checks, compiled."""

    classpath: str

    def pass_(self, *words: str | Path, native: Path | None = None) -> None:
        """In little memory, so that what is bounded is seen to be."""
        options = ["-Xmx128m", *([f"-Donnxruntime.native.path={native}"] if native else [])]
        command = [android.java(), *options, "-cp", self.classpath, "edge.core.MainKt"]
        done = android.ran([*command, *map(str, words)])
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.fixture(scope="session")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Checks:
    folder = tmp_path_factory.mktemp("android")
    compiler, classes = android.kotlin(folder), android.classes()
    files = android.sources("main", "test")
    out = android.compiled(compiler, files, [classes], folder / "classes")
    return Checks(f"{out}:{compiler / 'lib' / 'kotlin-stdlib.jar'}:{classes}")


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return android.native(tmp_path_factory.mktemp("native"))


def test_the_core_does_what_edge_does(checks: Checks) -> None:
    checks.pass_("golden", GOLDEN, STORIES / "tokenizer.json")


def test_real_vocabularies_give_the_ids_of_their_own_library(checks: Checks, assets: Path) -> None:
    checks.pass_("vocabularies", GOLDEN, assets)


def test_the_packaged_model_answers_token_for_token(
    checks: Checks, native: Path, tmp_path: Path
) -> None:
    made = converted(tmp_path / "it", STORIES)
    write_app(made, tmp_path / "app", force=False)
    checks.pass_("model", GOLDEN, tmp_path / "app", tmp_path, native=native)


@pytest.mark.parametrize("quant", ["int8", "rtn-int4-g32", "fp16"])
def test_rounded_weights_answer_as_edge_runs_them(
    checks: Checks, native: Path, tmp_path: Path, quant: str
) -> None:
    """Each graph as edge itself runs it; the exact twin, too."""
    made = converted(tmp_path / "it", STORIES, quant)
    write_app(made, tmp_path / "app", force=False)
    cut = load(made, strategy=Strategy(snapkv=SnapKV()))
    models = {"model": load(made), "exact": load(made, exact=True), "flexible": cut}
    told = [{"graph": f"{name}.onnx", **one} for name, it in models.items() for one in answers(it)]
    (tmp_path / "told.json").write_text(json.dumps(told))
    checks.pass_("rounded", tmp_path / "told.json", tmp_path / "app", native=native)


def answers(model: Model) -> list[dict[str, Any]]:
    told = []
    for prompt in PROMPTS:
        ids = model.encode([Message("user", prompt)])
        model.forget()
        tokens = list(generate(model.source, ids, max_tokens=48, stop_ids=model.stop_ids))
        told.append({"ids": ids, "tokens": tokens, "most": 48})
    return told
