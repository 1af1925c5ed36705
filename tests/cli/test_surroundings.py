"""Every command in odd surroundings: streams that are closed, full or of another encoding, a user
without a home. Each ends in words and in a code that the help lists, and never in 1.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import converted, environment, tiny

CODES = {0, 2, 3, 4, 70, 130, 141}  # what the help lists, but 1: no proof is tried here
HOMELESS = """
import pwd
def unknown(user):
    raise KeyError(user)
pwd.getpwuid = unknown
from edge.command.cli import main
main()
"""
ARTIFACT = "ARTIFACT"
SUCCEED = ["convert --help", "list", f"inspect {ARTIFACT}", f"verify {ARTIFACT} --files"]
SUCCEED += ["convert SOURCE --dry-run -o out", f"run {ARTIFACT} aé --raw --max-tokens 3 --regex é+"]
FAIL = [
    "app nowhere -o x",
    "bench nowhere",
    "eval nowhere --text x",
    "train nothing -o x",
    "plan nothing",
]
FAIL += ["pull edge-stories", "rm nothing", "serve nowhere", "nothing", "run --nothing"]


@dataclass(frozen=True)
class Surroundings:
    """How a process is begun."""

    env: Mapping[str, str | None] = field(default_factory=dict)
    full: bool = False  # what stdout goes to
    closed: tuple[int, ...] = ()
    code: str = "from edge.command.cli import main; main()"

    @property
    def loses(self) -> bool:
        """Whether a result gets nowhere."""
        return self.full or 1 in self.closed


ODD = {
    "homeless": Surroundings(env=dict.fromkeys(("HOME", "EDGE_HOME")), code=HOMELESS),
    "ascii": Surroundings(env={"PYTHONIOENCODING": "ascii"}, closed=(0,)),
    "home is a file": Surroundings(env={"EDGE_HOME": __file__}),
    "full": Surroundings(full=True),
    "stdout closed": Surroundings(closed=(0, 1)),
    "stderr closed": Surroundings(closed=(2,)),
}
NEED_A_HOME = {"list"}
SAID_ON_STDERR = {"homeless", "home is a file", "stderr closed"}  # a refusal writes nothing else


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("surroundings")
    source = tiny(folder / "source")
    made = converted(folder / "it", Path(__file__).parents[2] / "edge/models/edge-stories", "int4")
    return {ARTIFACT: str(made), "SOURCE": str(source), "cwd": str(folder)}


def begun(command: str, odd: Surroundings, places: Mapping[str, str]) -> tuple[int, str, str]:
    """Code, stdout and stderr."""

    def close() -> None:
        for descriptor in odd.closed:
            os.close(descriptor)

    changed = {**environment(), **odd.env}
    done = subprocess.run(
        [sys.executable, "-c", odd.code, *(places.get(word, word) for word in command.split())],
        stdin=subprocess.DEVNULL,
        stdout=os.open("/dev/full", os.O_WRONLY) if odd.full else subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=places["cwd"],
        env={name: value for name, value in changed.items() if value is not None},
        preexec_fn=close,
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout or b"").decode(), done.stderr.decode()


def checked(command: str, name: str, places: Mapping[str, str]) -> None:
    odd = ODD[name]
    code, out, err = begun(command, odd, places)
    assert "Traceback" not in out + err, err
    assert code in CODES - {70}, (code, err)
    homeless = name.startswith("home") and command in NEED_A_HOME
    assert (code == 0) == (command in SUCCEED and not odd.loses and not homeless), (code, err)
    if code and 2 not in odd.closed:
        assert err.startswith("edge: ")
        assert len(err.splitlines()) == 2, err
    if odd.loses and command in SUCCEED and 2 not in odd.closed:
        assert "stdout" in err


@pytest.mark.parametrize("name", ODD)
def test_every_command_ends_in_words_and_a_code(name: str, places: dict[str, str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        commands = SUCCEED + (FAIL if name in SAID_ON_STDERR else [])
        done = [pool.submit(checked, command, name, places) for command in commands]
    for one in done:
        one.result()
