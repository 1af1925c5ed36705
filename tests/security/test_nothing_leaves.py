"""Nothing leaves the machine, and nothing is written where nobody asked for it.

Whole commands run in an empty home, with a library preloaded into them and their children that writes
down every look-up, connection and file opened to be written, and lets none but the machine itself be
reached (`witness.c`).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import hub
import made_up
import pytest
import yaml
from conftest import Edge
from support import ROOT, environment, lacking
from training import speaking, texts

from edge import targets
from edge.system import switches

# Libraries fall silent by themselves where they see a test: nothing here tells them of one.
TELLING = ("CI", "ORT_RUNNING_UNIT_TESTS", "GITHUB_ACTIONS")
KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG")
TARGETS = targets.names("converters")
COMMANDS = """
import sys
from edge.command.cli import main
for command in GIVEN:
    sys.argv = ["edge", *command]
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
        assert bool(code) == (GIVEN.index(command) >= len(GIVEN) - REFUSED), (command, code)
"""


@dataclass(frozen=True)
class Machine:
    """Folders of a user who has nothing yet, and what was seen there."""

    folder: Path
    library: Path

    @classmethod
    def new(cls, folder: Path, library: Path) -> "Machine":
        for name in ("home", "work", "tmp"):
            (folder / name).mkdir(parents=True)
        return cls(folder, library)

    @property
    def work(self) -> Path:
        """The folder that the user names."""
        return self.folder / "work"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        assert not set(TELLING) & set(kept)
        return {
            **kept,
            "HOME": str(self.folder / "home"),
            "EDGE_HOME": str(self.folder / "edge"),
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONPATH": environment()["PYTHONPATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "LD_PRELOAD": str(self.library),
            "WITNESS": str(self.folder / "seen"),
            **more,
        }

    def python(self, *arguments: str, **more: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=240,
            cwd=self.work,
            env=self.environment(**more),
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    def edge(self, *commands: list[str], refused: int = 0, **more: str) -> None:
        """Commands one after another, in one process; the last of them are refused."""
        code = COMMANDS.replace("GIVEN", json.dumps(commands)).replace("REFUSED", str(refused))
        self.python("-c", code, **more)

    def serve(self, artifact: Path) -> None:
        """Ask a server for both kinds of answer, and end it."""
        command = [sys.executable, "-m", "edge", "serve", str(artifact), "--port", "0"]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=self.work, env=self.environment()
        ) as server:
            assert server.stderr is not None
            address = next(line for line in server.stderr if "http://" in line).split()[-1]
            try:
                turn = {"role": "user", "content": "Hi."}
                _post(f"{address}/v1/chat/completions", {"messages": [turn]})
                _post(f"{address}/v1/completions", {"prompt": "Hi."})
                server.send_signal(signal.SIGINT)
                server.wait(60)
            finally:
                server.kill()

    @property
    def asked(self) -> list[str]:
        """Other machines, and files of others that were opened to be written."""
        file = self.folder / "seen"
        lines = file.read_text().splitlines() if file.exists() else []
        return sorted({line for line in lines if not self._allowed(line)})

    def _allowed(self, line: str) -> bool:
        what, _, which = line.partition(" ")
        mine = tuple(str(self.folder / name) for name in ("edge", "tmp", "work"))
        own = re.match(r"/proc/(self/|\d+/oom_score_adj)", which)  # of its children: who goes first
        return what == "write" and (own is not None or which.startswith(("/dev/", *mine)))

    @property
    def left_at_home(self) -> list[str]:
        home = self.folder / "home"
        return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


def _post(address: str, body: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    content = json.dumps({"model": "model", "max_tokens": 2, **body}).encode()
    with urlopen(Request(address, content, headers), timeout=60) as answer:
        assert answer.status == 200


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if sys.platform != "linux":
        pytest.skip("a library is preloaded, as Linux does it")
    if compiler is None:
        lacking("cc", "a C compiler is not on the path: install gcc")
    made = tmp_path_factory.mktemp("witness") / "witness.so"
    source = Path(__file__).with_name("witness.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return made


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, library: Path) -> Machine:
    """One conversion to every target, under the same eyes."""
    made = Machine.new(tmp_path_factory.mktemp("nothing") / "machine", library)
    speaking(made.work / "model", intermediate_size=128)
    texts(made.work / "texts", 2)
    (made.work / "short.txt").write_text("Once upon a time Marla had a red kite.")
    made.edge(["convert", "model", "--to", ",".join(TARGETS), "--quant", "fp32", "-o", "made"])
    return made


def test_converting(machine: Machine) -> None:
    assert sorted(path.name for path in (machine.work / "made").iterdir()) == sorted(TARGETS)
    assert (machine.asked, machine.left_at_home) == ([], [])


@pytest.mark.parametrize("target", TARGETS)
def test_proving_running_and_measuring(machine: Machine, target: str) -> None:
    artifact = f"made/{target}"
    here = targets.refusal(target) is None
    how = [] if here else ["--reference"]
    bench = ["bench", artifact, "-p", "8", "-n", "4", "--rounds", "1"]
    machine.edge(
        ["verify", artifact, "--against", "model", "--tokens", "4"],
        ["run", artifact, "Once upon a time", "--max-tokens", "4", *how],
        ["eval", artifact, "--text", "short.txt", "--window", "48", *how],
        *([bench] if here else []),
    )
    assert (machine.asked, machine.left_at_home) == ([], [])


def test_benchmarks(machine: Machine) -> None:
    """Of data in both forms; what is not there is asked of nobody."""
    datasets = pytest.importorskip("lm_eval") and pytest.importorskip("datasets")
    made_up.everything(machine.work / "tasks", count=2)
    published = machine.work / "tasks/Rowan/hellaswag/data"
    published.mkdir(parents=True)
    row = {
        "ind": 1,
        "activity_label": "Play",
        "ctx_a": "Tom has",
        "ctx_b": "a kite",
        "split": "val",
    }
    row |= {"endings": ["and runs", "and sits", "and eats", "and sings"], "label": "1"}
    file = published / "validation-00000-of-00001.parquet"
    datasets.Dataset.from_list([row]).to_parquet(str(file))
    remote = machine.work / "tasks/aps/super_glue"
    remote.mkdir(parents=True)
    (remote / "README.md").write_text(
        "---\nconfigs:\n- config_name: boolq\n  data_files:\n  - split: validation\n"
        "    path: https://example.invalid/boolq.jsonl\n---\n"
    )
    how = ["eval", "stories", "--task-data", "tasks", "--limit", "1", "--fewshot", "0", "--tasks"]
    machine.edge(
        ["convert", "edge-stories", "--to", "onnx", "--quant", "fp32", "-o", "stories"],
        [*how, "arc_easy,lambada_openai,wikitext,gsm8k,hellaswag"],
        [*how, "sciq"],  # whose data are not there
        [*how, "boolq"],  # whose card says that they lie in the web
        [*how, "humaneval"],  # whose judge the library evaluate would fetch
        refused=3,
    )
    assert (machine.asked, machine.left_at_home) == ([], [])


def test_serving(machine: Machine) -> None:
    machine.serve(machine.work / "made" / "onnx")
    assert (machine.asked, machine.left_at_home) == ([], [])


def test_training_in_several_processes(machine: Machine) -> None:
    (machine.work / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    train = ["-m", "edge", "train", "recipe.yaml", "-o", "run"]
    machine.python(
        *("-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"),
        *("--rdzv-endpoint", "localhost:0", *train),
        OMP_NUM_THREADS="1",
        EDGE_COMPILE="0",
    )
    assert (machine.asked, machine.left_at_home) == ([], [])


# In parts of a file each: else it is too little for two processes.
DATA = """
import sys
from edge.command.cli import main
from edge.data.frame import sources
sources.PART = 1
sys.argv = GIVEN
main()
"""


def test_making_data(machine: Machine) -> None:
    data = ["data", "text", "texts", "--set", "repetition=no", "--json", "-o", "data"]
    words = ["edge", *data, "--tokenizer", "model", "--processes", "2"]
    machine.python("-c", DATA.replace("GIVEN", json.dumps(words)))
    assert (machine.asked, machine.left_at_home) == ([], [])


def test_making_data_on_a_cluster_that_is_begun_for_it(machine: Machine) -> None:
    """Ray's head asks three clouds whether it runs there, and reports that nothing is to be reported."""
    pytest.importorskip("ray", reason="ray is not installed")
    with tempfile.TemporaryDirectory(prefix="n") as folder:  # a short path, for its sockets
        other = Machine.new(Path(folder) / "m", machine.library)
        texts(other.work / "texts", 2)
        other.edge(["data", "text", "texts", "-o", "data", "--ray", "local"])
        assert (other.work / "data" / "manifest.json").is_file()
        assert (other.asked, other.left_at_home) == ([], [])
        assert not list((other.folder / "edge" / "ray").glob("session_2*"))


RECIPE = {
    "seed": 3,
    "tokens": 2 * 4 * 24,
    "start": "model",
    "text": {"files": ["texts/0.txt"], "length": 24, "batch": 4},
    "skip": {"dropout": 0.3, "exit_scale": 1.0, "exit_every": 1},
    "rates": {"matrix": 3e-3, "other": 3e-3, "shrink": 0.1, "warmup": 100, "decay": 0.3, "optimizer": "adam"},
    "precision": "fp32",
    "splits": 2,
}  # fmt: skip


def test_the_small_things(machine: Machine) -> None:
    machine.edge(
        ["list"],
        ["doctor"],
        ["inspect", "made/onnx"],
        ["plan", "model"],
        ["verify", "made/onnx", "--files"],
    )
    assert (machine.asked, machine.left_at_home) == ([], [])


def test_a_pull_asks_the_hub_alone_and_keeps_all_below_edge_home(machine: Machine) -> None:
    files = {path.name: path.read_bytes() for path in (machine.work / "model").iterdir()}
    with hub.serving(files) as server:
        machine.edge(["pull", "some/model"], ["rm", "some/model"], HF_ENDPOINT=server.url)
    assert (machine.asked, machine.left_at_home) == ([], [])


def test_the_witness_sees_a_library_that_is_not_silenced(tmp_path: Path, machine: Machine) -> None:
    """Else all of the above would pass with no witness at all."""
    other = Machine.new(tmp_path / "machine", machine.library)
    graph = machine.work / "made" / "onnx" / "model.onnx"
    other.python(
        "-c",
        "import socket, sys, onnxruntime as ort\n"
        f"ort.InferenceSession({str(graph)!r})\n"
        "try: socket.create_connection(('192.0.2.1', 80))\n"
        "except OSError: pass\n"
        "else: sys.exit(3)\n"
        "try: socket.getaddrinfo('example.invalid', 80)\n"
        "except OSError: pass\n"
        "else: sys.exit(3)\n",
    )
    assert any("onnxruntime" in path for path in other.left_at_home)
    found = " ".join(other.asked)
    assert "192.0.2.1" in found
    assert "lookup example.invalid" in found
    assert f"write {other.folder}/home" in found


def test_every_package_that_an_extra_brings_was_looked_at() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(r for name in extras if not name.startswith("dev") for r in extras[name]),
    ]
    via = (ROOT / "edge" / "via" / "optimum.txt").read_text().splitlines()
    names = {_name(line) for line in (*wanted, *via) if line and not line.startswith("#")}
    known = {_name(package) for package in switches.LIBRARIES}
    assert names <= known, f"no row in edge/system/switches.py: {sorted(names - known)}"


def _name(requirement: str) -> str:
    head = requirement
    for sign in "[<>=!~; ":
        head = head.partition(sign)[0]
    return head.lower().replace("_", "-")


def test_a_switch_is_set_whatever_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in switches.switches():
        monkeypatch.setenv(name, "0")
    for package in switches.LIBRARIES:
        monkeypatch.delitem(sys.modules, package.replace("-", "_"), raising=False)
    switches.switch_off()
    assert {name: os.environ[name] for name in switches.switches()} == switches.switches()


def test_a_switch_that_comes_too_late_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "")
    monkeypatch.setitem(sys.modules, "onnxruntime", object())
    with pytest.warns(
        UserWarning, match="onnxruntime was imported before edge.*ORT_DISABLE_TELEMETRY=1"
    ):
        switches.switch_off()


def test_edge_s_own_process_reports_to_no_collector_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In another's process, which may be served and watched by other means, that is not ours to say."""
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "false")
    switches.switch_off()
    assert os.environ["OTEL_SDK_DISABLED"] == "false"
    switches.keep_at_home()
    assert os.environ["FASTAPI_OTEL_AUTO_CONFIGURE"] == "false"
    assert os.environ["OTEL_SDK_DISABLED"] == "true"


def test_a_folder_of_the_user_s_is_kept_and_a_login_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HOME", "HF_TOKEN_PATH", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "x")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("TORCH_HOME", "mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    switches.keep_at_home()
    assert os.environ["TORCH_HOME"] == "mine"
    assert Path(os.environ["HF_HOME"]).is_relative_to(os.environ["EDGE_HOME"])
    assert os.environ["HF_TOKEN_PATH"] == str(tmp_path / "huggingface" / "token")


def test_doctor_says_what_is_off(edge: Edge) -> None:
    found = edge("doctor", "--json").json["switched_off"]
    assert found["onnxruntime"] == "ORT_DISABLE_TELEMETRY=1"
