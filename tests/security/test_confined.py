"""Whoever breaks out of a sandbox has a process that ends with the request, and nothing of the next.

Requests here are Python, run where a template would be: as if each had broken out already.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from support import environment

from edge.errors import EdgeError
from edge.system import confined, workers
from edge.system.confined import Limits, ask
from edge.text import chat
from edge.text.chat import ChatTemplate, Message

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes fork on Linux alone")
LIMITS = Limits(seconds=1, patience=3.0, megabytes=512, answer=1 << 16)
ESCAPED = """
import json, os, sys
sys.path[:], forks = json.loads(sys.stdin.buffer.readline())
from edge.system.child import serve

kept = []

def begin(stands):
    exec(stands or "")
    return answer

def answer(request):
    exec(request.get("attack", ""))
    return {"kept": kept, "sum": sum(request["numbers"]), "pid": os.getpid(), "parent": os.getppid()}

serve(lambda: begin, forks=forks)
"""
ATTACKS = {
    "state": "kept.append(1)",
    "globals": "global answer, json; answer = begin = json = None",
    "builtins": "import builtins; builtins.sum = lambda _: 666; builtins.len = None",
    "modules": "from edge.system import forked, wire; forked.give = wire.outcome = None; sys.modules.clear()",
    "environment": "os.environ.clear(); os.chdir('/'); sys.path.clear(); sys.setrecursionlimit(50)",
    "signals": "import signal; [signal.signal(n, signal.SIG_IGN) for n in (2, 15, 24)]",
    "leftover answers": "os.write(1, 99 * (bytes(7) + bytes([24]) + b'{\"sum\": 666, \"kept\": []}'))",
    "leftover bytes": "os.write(1, b'x' * 60000)",
    "every file": "[os.write(n, b'x' * 99) for n in range(256) if os.path.exists(f'/dev/fd/{n}')]",
    "reading ahead": "os.read(0, 99)",
    "huge answer": "kept.append('x' * 1_000_000)",
    "endless answer": "os.write(1, bytes(8))\nwhile True: os.write(1, b'x' * 65536)",
    "lie about its size": "os.write(1, bytes(4) + b'\\xff' * 4); os._exit(0)",
    "half an answer": "os.write(1, bytes(7) + b'x12345'); os._exit(0)",
    "deep answer": "d = b'[' * 50_000; os.write(1, bytes(4) + len(d).to_bytes(4) + d)",
    "no answer": "os._exit(0)",
    "an end of its own": "os._exit(77)",
    "an error": "raise KeyError('mine')",
    "loop": "while True: pass",
    "sleep": "import time; time.sleep(60)",
    "memory": "kept.append(bytearray(1 << 30))",
    "memory, bit by bit": "while True: kept.append(bytearray(1 << 20))",
    "closing": "os.closerange(0, 99)",
    "suicide": "os.kill(os.getpid(), 9)",
    "crash": "os.abort()",
    "killing its parent": "os.kill(os.getppid(), 9)",
    "stopping its parent": "os.kill(os.getppid(), 19)",
    "interrupting its parent": "os.kill(os.getppid(), 2)",
    "killing its group": "os.killpg(0, 9)",
    "a child that lingers": "os.fork() or [os.setpgid(0, 0), __import__('time').sleep(60)]",
    "a child instead": "os.fork() and os._exit(0)",
}  # fmt: skip


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(workers, "GRACE", 0.5)  # only one that is stopped waits for it
    file = tmp_path / "escaped.py"
    file.write_text(ESCAPED)
    yield file
    confined.close()


def honest(script: Path) -> dict[str, object]:
    answer = ask(script, {"numbers": [1, 2]}, LIMITS, stands="")
    assert {key: answer[key] for key in ("kept", "sum")} == {"kept": [], "sum": 3}
    return answer


def attack(script: Path, code: str, stands: str = "") -> None:
    """Whatever comes of it: an answer, an error, or an exception where our own code seems broken."""
    with suppress(RuntimeError):
        answer = ask(script, {"numbers": [], "attack": code}, LIMITS, stands=stands)
        assert len(json.dumps(answer)) <= LIMITS.answer


@pytest.mark.parametrize("name", ATTACKS)
def test_the_next_request_knows_nothing_of_it(script: Path, name: str) -> None:
    attack(script, ATTACKS[name])
    honest(script)


@pytest.mark.parametrize(
    "name", ["state", "globals", "loop", "suicide", "leftover answers", "closing"]
)
def test_nor_of_what_stands(script: Path, name: str) -> None:
    """An attack where the next request is prepared, before it is there."""
    for _ in range(2):
        attack(script, "", stands=ATTACKS[name])
    honest(script)


def test_a_request_s_own_failure_is_told(script: Path) -> None:
    def error(code: str) -> str:
        return str(ask(script, {"numbers": [], "attack": code}, LIMITS)["error"])

    assert "more than 65,536 bytes" in error(ATTACKS["huge answer"])
    assert "more than 65,536 bytes" in error(ATTACKS["lie about its size"])
    assert "more than 1 seconds or 512 MiB" in error(ATTACKS["suicide"])
    assert "no answer" in error(ATTACKS["no answer"])
    assert "no answer" in error(ATTACKS["deep answer"])
    assert "MemoryError" in error(ATTACKS["memory"])
    with pytest.raises(RuntimeError, match=r"escaped\.py ended with 1: KeyError: 'mine'"):
        error(ATTACKS["an error"])


def test_each_request_has_all_of_its_time(script: Path) -> None:
    """Though three of them together take more than one may."""
    half = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    for _ in range(3):
        assert ask(script, {"numbers": [4], "attack": half}, LIMITS)["sum"] == 4


def test_one_that_is_killed_is_replaced(script: Path) -> None:
    first = honest(script)["parent"]
    assert honest(script)["parent"] == first
    assert isinstance(first, int)
    os.kill(first, signal.SIGKILL)
    assert honest(script)["parent"] != first


def test_one_that_is_killed_at_work_is_asked_again(script: Path) -> None:
    first = honest(script)["parent"]
    assert isinstance(first, int)
    request = {"numbers": [5], "attack": "import time; time.sleep(0.5)"}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, script, request, LIMITS)
        time.sleep(0.2)
        os.kill(first, signal.SIGKILL)
        assert answer.result()["sum"] == 5


def test_an_interrupted_request_leaves_no_answer(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while it is waited for."""

    def interrupt(*_: object) -> bytes:
        raise KeyboardInterrupt

    honest(script)
    with monkeypatch.context() as patch:
        patch.setattr(workers.Worker, "_receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ask(script, {"numbers": [9]}, LIMITS)
    honest(script)


def test_a_fork_has_processes_of_its_own(script: Path) -> None:
    first = honest(script)["parent"]
    if not (pid := os.fork()):
        with suppress(BaseException):
            os._exit(7 if honest(script)["parent"] != first else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert honest(script)["parent"] == first


@pytest.mark.parametrize("forks", [True, False])
def test_a_script_of_ours_that_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: bool
) -> None:
    monkeypatch.setattr(workers, "FORKS", forks)
    file = tmp_path / "broken.py"
    file.write_text(ESCAPED.replace("lambda: begin", "lambda: missing"))
    with pytest.raises(RuntimeError, match=r"broken\.py ended with 1: NameError: .*missing"):
        ask(file, {}, LIMITS)
    file.write_text("syntax error")
    with pytest.raises(RuntimeError, match=r"broken\.py ended with 1"):
        ask(file, {}, LIMITS)


CROWDED = """
kept, fork, left = [], os.fork, [2]

def some():
    left[0] -= 1
    if left[0] < 0:
        raise OSError("too many")
    return fork()

os.fork = some
"""


def test_a_user_with_too_many_processes(tmp_path: Path) -> None:
    """The first request is answered, and a child waits for the second; there is none for the third."""
    file = tmp_path / "crowded.py"
    file.write_text(ESCAPED.replace("kept = []", CROWDED))
    for _ in range(2):
        assert ask(file, {"numbers": [7]}, LIMITS, stands="")["sum"] == 7
    for _ in range(2):
        error = ask(file, {"numbers": [7]}, LIMITS, stands="")["error"]
        assert error == "no process could be started for it: there are too many"


def test_a_slow_one_holds_up_no_other(script: Path) -> None:
    request = {"numbers": [6], "attack": "import time; time.sleep(3)"}
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, script, request, replace(LIMITS, patience=20.0))
        time.sleep(0.2)
        honest(script)
        assert not slow.done()
        assert slow.result()["sum"] == 6


def test_where_nothing_forks(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process a request, and the next one ahead."""
    monkeypatch.setattr(workers, "FORKS", False)
    attack(script, ATTACKS["state"])
    seen = {honest(script)["pid"] for _ in range(3)}
    assert len(seen) == 3
    attack(script, ATTACKS["suicide"])
    honest(script)


HI = ChatTemplate("{{ messages[0].content }}", {})


def rendered(text: str, template: ChatTemplate = HI) -> str:
    return template.render([Message("user", text)], generate=True)


def test_a_turn_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered("the first")
    monkeypatch.setattr(workers, "Worker", lambda _: pytest.fail("another process"))
    for i in range(20):
        assert rendered(f"turn {i}") == f"turn {i}"
        with pytest.raises(EdgeError):
            rendered("x", ChatTemplate("{{ raise_exception(messages[0].content) }}", {}))


@pytest.mark.parametrize("name", ["set", "namespace", "macro", "loop", "output", "failure"])
def test_a_template_leaves_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "SECONDS", 1)
    hostile = {
        "set": "{% set messages = ['evil'] %}{% set range = 'evil' %}{% set x = 'evil' %}{{ x }}",
        "namespace": "{% set n = namespace(x='evil') %}{% set n.range = 1 %}{{ n.x }}",
        "macro": "{% macro range() %}evil{% endmacro %}{{ range() }}",
        "loop": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "output": "{% for i in range(99999) %}{{ 'evil' * 999 }}{% endfor %}",
        "failure": "evil{{ raise_exception('evil') }}",
    }[name]
    with suppress(EdgeError):
        rendered("evil", ChatTemplate(hostile, {}))
    plain = "{{ x }}{{ n }}{{ range(2)|list }}{{ messages[0].content }}"
    assert rendered("good", ChatTemplate(plain, {})) == "[0, 1]good"


def test_the_time_is_that_of_the_turn() -> None:
    """Not that at which its process was made ahead."""
    clock = ChatTemplate("{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }}", {})
    for _ in range(3):
        before = datetime.now()
        time.sleep(0.1)
        assert (datetime.fromisoformat(rendered("", clock)) - before).total_seconds() > 0.09


def test_chance_is_no_other_s() -> None:
    dice = ChatTemplate("{{ range(10**5)|random }}", {})
    assert len({rendered("", dice) for _ in range(5)}) > 1


def test_many_threads() -> None:
    confined.close()
    texts = [f"text {i} " * random.Random(i).randrange(1, 5000) for i in range(48)]
    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(rendered, texts)) == texts
    assert len(family(os.getpid())) <= 2 * workers.KEPT  # each with a child that waits


def family(pid: int) -> set[int]:
    """Processes below one, down to the last."""
    try:
        lists = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        children = {int(word) for file in lists for word in file.read_text().split()}
    except OSError:
        return set()
    return children.union(*map(family, children))


def resident(pids: Set[int]) -> int:
    """Bytes."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in pids)


def files(pids: Set[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def test_200_turns_leave_nothing() -> None:
    confined.close()

    def cost() -> tuple[int, int, int]:
        for i in range(100):
            rendered(f"{i}" * 1000)
        time.sleep(0.3)  # until the next child waits
        pids = family(os.getpid())
        assert not [pid for pid in pids if "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]]
        return len(pids), files(pids | {os.getpid()}), resident(pids)

    processes, opened, memory = cost()
    assert cost()[:2] == (processes, opened)
    assert processes == 2
    assert cost()[2] < memory + (2 << 20)


PARENT = """
import os, sys, time
from edge.text.chat import ChatTemplate, Message
ChatTemplate("x", {}).render([Message("user", "hi")], generate=True)
print("ready", flush=True)
LINE
"""
WORK = "ChatTemplate('{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}', {})"
WORK += ".render([Message('user', 'hi')], generate=True)"


@pytest.mark.parametrize(
    "line", ["time.sleep(60)", WORK, "os.fork(); time.sleep(60)", "sys.exit()"],
    ids=["idle", "at work", "forked", "done"],
)  # fmt: skip
def test_no_orphan_is_left(line: str) -> None:
    """Where whoever asked is killed, or done; a fork of it that lives on holds nothing open."""
    command = [sys.executable, "-c", PARENT.replace("LINE", line)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    time.sleep(0.3)
    below = family(parent.pid)
    ours = {pid for pid in below if renders(pid)}
    assert ours or line == "sys.exit()"
    parent.kill()
    parent.wait()
    end = time.monotonic() + 10
    while any(renders(pid) for pid in ours):
        assert time.monotonic() < end
        time.sleep(0.05)
    for pid in below - ours:
        os.kill(pid, signal.SIGKILL)


def renders(pid: int) -> bool:
    try:
        return b"_render.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
