"""The README's second command: `[dev]` builds nothing, `[dev-all]` brings the rest, and no test is lost between
the two.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest
from conftest import LACKING, UNBUILT, judged, unbuilt
from support import ROOT, environment

from edge.errors import EdgeError, Unsupported

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
MODULE, PACKAGE = next(iter(UNBUILT.items()))
REFUSAL = Unsupported(f"gguf needs the package {MODULE}, which is not installed", fix="install it")


def brought(extra: str) -> set[str]:
    """The extras that one consists of."""
    (own,) = [r for r in EXTRAS[extra] if r.startswith("edge-toolkit[")]
    names = set(re.findall(r"[\w-]+", own.removeprefix("edge-toolkit")))
    return names.union(*(brought(name) for name in names if name.startswith("dev")))


def test_both_bring_every_extra_and_only_the_second_builds() -> None:
    every = {name for name in EXTRAS if not name.startswith("dev")}
    assert brought("dev-all") == {*every, "dev"}
    built = tuple(UNBUILT.values())
    building = {name for name in every if any(r.startswith(built) for r in EXTRAS[name])}
    assert building == {"eval", "gguf"}
    assert not brought("dev") & building
    assert not [r for r in EXTRAS["dev"] if r.startswith(built)]


def skipped(reason: str) -> pytest.CollectReport:
    return pytest.CollectReport("tests/it.py", "skipped", ("it.py", 3, reason), [])


@pytest.fixture(autouse=True)
def _nothing_noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("EDGE_REQUIRE", raising=False)
    before = dict(LACKING)
    yield
    LACKING.clear()
    LACKING.update(before)


@pytest.mark.parametrize("name", [*UNBUILT, *UNBUILT.values()])
def test_a_skip_says_how_to_get_what_is_lacking_and_is_noted(name: str) -> None:
    report = judged(skipped(f"no {name}"))
    assert report.outcome == "skipped"
    assert report.longrepr == ("it.py", 3, f"no {name}: pip install -e '.[dev-all]'")
    assert "tests/it.py" in LACKING


def test_the_same_skip_is_a_failure_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_REQUIRE", "node,dev-all")
    assert judged(skipped(f"no {MODULE}")).outcome == "failed"
    assert judged(skipped("no chromium")).outcome == "skipped"


def test_other_skips_are_let_alone() -> None:
    before = dict(LACKING)
    assert judged(skipped("no chromium")).longrepr == ("it.py", 3, "no chromium")
    assert before == LACKING


def test_only_edge_s_own_refusal_of_a_package_that_is_not_there_is_a_skip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    wrapped = AssertionError("another text")
    wrapped.__context__ = REFUSAL
    assert unbuilt(REFUSAL) == MODULE
    assert unbuilt(wrapped)
    assert not unbuilt(AssertionError(str(REFUSAL)))
    assert not unbuilt(EdgeError(str(REFUSAL), fix="none"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    assert not unbuilt(REFUSAL), "it is there: the refusal is wrong"


def test_ci_runs_both_and_fails_for_want_of_the_second() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    first, second = text.index("'.[dev]'"), text.index("'.[dev-all]'")
    assert first < text.index("--lacking") < second < text.index("EDGE_REQUIRE=dev-all")


def test_who_lacks_a_package_is_told_the_extra_and_no_module() -> None:
    """`pip install llama_cpp` would be another project's package."""
    code = f"import sys; sys.modules[{MODULE!r}] = None; from edge import targets; targets.runtime('gguf')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert f"gguf needs the package {MODULE}, which is not installed" in done.stderr
    assert done.stderr.rstrip().endswith("fix: pip install 'edge-toolkit[gguf]'")
