"""What every test may ask for: shared data, and a home of its own; and what becomes of tests that want
what `[dev]` leaves out.
"""

import importlib.util
import io
import json
import os
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from support import shortened

from edge.errors import Unsupported
from edge.measure.recall import text as world
from edge.system import processors, switches

ROOT = Path(__file__).resolve().parent.parent
settings.register_profile("edge", deadline=None)  # a law is no matter of time
settings.load_profile("edge")


@pytest.fixture(scope="session")
def assets() -> Path:
    """Real weights, tokenizers and texts: `EDGE_ASSETS`, or the folder beside the project."""
    folder = Path(os.environ.get("EDGE_ASSETS", ROOT.parent / "shared" / "assets"))
    if not folder.is_dir():
        pytest.skip(f"shared data is not at {folder}: set EDGE_ASSETS")
    return folder


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes what the user keeps."""
    monkeypatch.setenv("EDGE_HOME", str(tmp_path / "home"))
    for name, folder in switches.folders().items():
        monkeypatch.setenv(name, folder)


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on the last line; NaN and Infinity are no JSON."""
        last = self.out.splitlines()[-1]
        value = json.loads(last, parse_constant=lambda name: pytest.fail(f"{name} in {last}"))
        assert isinstance(value, dict)
        return value


Edge = Callable[..., Outcome]
Recorder = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, help="keep what proofs measured in this JSON file")
    parser.addoption(
        "--lacking",
        type=Path,
        help="write the tests that only [dev-all] runs here, for `pytest @FILE`",
    )
    parser.addoption(
        "--pictures", type=Path, help="keep screenshots of the chat page in this folder"
    )


@pytest.fixture
def record(pytestconfig: pytest.Config) -> Recorder:
    """Keep the figures of a proof, if --record asks for it."""
    file: Path | None = pytestconfig.getoption("--record")

    def keep(**figures: Any) -> None:
        if file is None:
            return
        rows = json.loads(file.read_text()) if file.exists() else []
        same = {key: value for key, value in figures.items() if isinstance(value, str)}
        rows = [row for row in rows if not same.items() <= row.items()] + [figures]
        rows.sort(key=lambda row: [value for value in row.values() if isinstance(value, str)])
        file.write_text(json.dumps(rows, indent=1) + "\n")

    return keep


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Edge:
    """The command line in this process: edge("run", folder, "a prompt", stdin="") -> Outcome."""
    from edge.command.cli import main

    def call(*args: str | Path, stdin: str = "") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edge", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capfd.readouterr()
        try:
            main()
            code: object = 0
        except SystemExit as end:
            code = end.code
        captured = capfd.readouterr()
        return Outcome(int(str(code or 0)), captured.out, captured.err)

    return call


# Modules and packages that `[dev]` leaves to `[dev-all]`, as there are no wheels of them, or of what they bring.
UNBUILT = {"llama_cpp": "llama-cpp-python", "lm_eval": "lm-eval"}
LACKING: dict[str, None] = {}  # what was skipped for lack of it, in order
R = TypeVar("R", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that edge refuses for want of a package is skipped for lack of it."""
    report = yield
    if report.failed and call.excinfo is not None and (module := unbuilt(call.excinfo.value)):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, f"edge wants {UNBUILT[module]}")
    return judged(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return judged((yield))


def judged(report: R) -> R:
    """A skip for lack of what `[dev-all]` brings says so, and fails where EDGE_REQUIRE names it."""
    where = report.longrepr
    if not report.skipped or not isinstance(where, tuple):
        return report
    path, line, reason = where
    if not any(name in reason for both in UNBUILT.items() for name in both):
        return report
    LACKING[report.nodeid] = None
    reason = f"{reason}: pip install -e '.[dev-all]'"
    required = "dev-all" in os.environ.get("EDGE_REQUIRE", "").split(",")
    report.outcome = "failed" if required else "skipped"
    report.longrepr = reason if required else (path, line, reason)
    return report


def unbuilt(error: BaseException) -> str | None:
    """The module for want of which edge refused, if it is not there: nothing else turns a failure into a skip."""
    refused = [str(e) for e in chain(error) if isinstance(e, Unsupported)]
    named = [module for module in UNBUILT if any(f"package {module}," in text for text in refused)]
    return next((module for module in named if importlib.util.find_spec(module) is None), None)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def pytest_sessionfinish(session: pytest.Session) -> None:
    file: Path | None = session.config.getoption("--lacking")
    if file is not None:
        file.write_text("".join(f"{name}\n" for name in LACKING))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Several would wait for each other longer than the steps of small networks take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processors, "threads", lambda _wanted: 1)
        yield


@pytest.fixture(scope="session")
def short_stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged model's first layers, whose words are words."""
    return shortened(tmp_path_factory.mktemp("source") / "stories", 3)


@pytest.fixture(scope="session")
def world_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of that model's small world."""
    file = tmp_path_factory.mktemp("text") / "world.txt"
    file.write_text(world(seed=1, count=12))
    return file
