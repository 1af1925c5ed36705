"""The core of the Android app, on the JVM: what the golden files say."""

from pathlib import Path

import android
import pytest
from support import ROOT
from webapp import GOLDEN


@pytest.fixture(scope="session")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The core and its checks, compiled once."""
    folder = tmp_path_factory.mktemp("android")
    compiler = android.kotlin(folder)
    library = compiler / "lib" / "kotlin-stdlib.jar"
    out = android.compiled(compiler, android.sources("main", "test"), [], folder / "classes")
    return f"{out}:{library}"


def passes(classpath: str, *words: str | Path) -> None:
    """In little memory, so that what is bounded is seen to be."""
    main = [android.java(), "-Xmx128m", "-cp", classpath, "edge.core.MainKt"]
    done = android.ran([*main, *map(str, words)])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_core_does_what_edge_does(classpath: str) -> None:
    packaged = ROOT / "edge" / "models" / "edge-stories" / "tokenizer.json"
    passes(classpath, "golden", GOLDEN, packaged)


def test_real_vocabularies_give_the_ids_of_their_own_library(classpath: str, assets: Path) -> None:
    passes(classpath, "vocabularies", GOLDEN, assets)
