"""Fuzz every reader of what strangers write, for as long as asked.

    python tests/fuzz.py --seconds 600 [--reader NAME] [--seed N] [--out docs/fuzz.json]

Inputs are mutated from valid ones (`tests/fuzzing`). The law: a result or an EdgeError, within limits
of time and memory; no file is opened outside of the input's folder but those of the program, no
process is started but the one that renders templates, nothing is connected to. Inputs that break it
are kept in --keep, and named by reader and number: the same seed makes them again.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import random  # noqa: E402 - the paths come first

from fuzzing.guard import Guard  # noqa: E402
from fuzzing.mutate import mutate  # noqa: E402
from fuzzing.readers import READERS  # noqa: E402

from edge.errors import EdgeError  # noqa: E402

SECONDS = 10.0  # of processor time that one input may take
PATIENCE = 30.0  # by the clock, after which a reader counts as hanging
GIGABYTES = 6  # of address space, libraries and threads included
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a disk would be most of the time
PACKAGES = (
    "edge-toolkit",
    "tokenizers",
    "sentencepiece",
    "llguidance",
    "jinja2",
    "fastapi",
    "numpy",
)


def main() -> None:
    """Give each reader its share of the time, in a process of its own."""
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("--seconds", type=float, default=600.0)
    ask.add_argument("--reader", action="append", choices=sorted(READERS))
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    ask.add_argument("--out", type=Path, help="where the counts go, as JSON")
    ask.add_argument("--more", action="store_true", help="add to the counts that --out holds")
    ask.add_argument("--worker", help=argparse.SUPPRESS)
    ask.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.worker:
        work(asked.worker, asked.seed, asked.first, asked.seconds, asked.keep)
        return
    names = asked.reader or list(READERS)
    share = asked.seconds / sum(READERS[name].share for name in names)
    found = {
        name: fuzz(name, asked.seed, share * READERS[name].share, asked.keep) for name in names
    }
    failures = sum(row["failures"] for row in found.values())
    if asked.out is not None:
        only = "".join(f" --reader {name!r}" for name in asked.reader or ())
        command = f"python tests/fuzz.py --seconds {asked.seconds:g} --seed {asked.seed}{only}"
        record = {"command": command} | _machine() | {"readers": found}
        if asked.more:
            record = together(json.loads(asked.out.read_text()), record)
        asked.out.write_text(json.dumps(record, indent=1) + "\n")
    sys.exit(1 if failures else 0)


def together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Counts of two runs, by the same versions of everything."""
    assert one["versions"] == other["versions"], "of other versions: begin a new record"
    rows = {
        name: {
            key: (max if key == "peak_mb" else sum)(rows[key] for rows in both) for key in both[0]
        }
        for name in one["readers"]
        if (both := (one["readers"][name], other["readers"][name]))
    }
    command = f"{one['command']} && {other['command']} --more"
    return {**other, "command": command, "readers": rows}


def fuzz(name: str, seed: int, seconds: float, keep: Path) -> dict[str, Any]:
    """One reader until its time is over; a process that hangs or dies is replaced."""
    row: dict[str, Any] = {"executions": 0, "seconds": 0.0, "failures": 0, "peak_mb": 0}
    with tempfile.TemporaryDirectory(prefix="edge-fuzz-", dir=MEMORY) as folder:
        begin, first = time.monotonic(), 0
        while (left := seconds - (time.monotonic() - begin)) > 0:
            words = ["--worker", name, "--seed", str(seed), "--first", str(first)]
            words += ["--seconds", str(left), "--keep", str(keep.resolve())]
            process = subprocess.Popen([sys.executable, __file__, *words], cwd=folder)
            ending = _watch(process, Path(folder))
            last = _number(Path(folder))
            if ending is not None and last < first:
                sys.exit(f"{name}: {ending} before its first input: the fuzzer itself is broken")
            row["executions"] += last + 1 - first
            first = last + 1
            if ending is None:
                break
            row["failures"] += 1
            _keep(keep, f"{name}-{seed}-{last}", (Path(folder) / "now").read_bytes(), ending)
        done = json.loads((Path(folder) / "done").read_text()) if ending is None else {}
        row["failures"] += done.get("failures", 0)
        row |= {"seconds": round(time.monotonic() - begin, 1), "peak_mb": done.get("peak_mb", 0)}
    print(f"{name:18}", *(f"{key} {value}" for key, value in row.items()), file=sys.stderr)
    return row


def _watch(process: "subprocess.Popen[bytes]", folder: Path) -> str | None:
    """How it ended, if badly: no new input within the patience, or a signal."""
    seen, since = -1, time.monotonic()
    while process.poll() is None:
        time.sleep(0.05)
        number = _number(folder)
        if number != seen:
            seen, since = number, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            process.kill()
            process.wait()
            return f"hangs: more than {PATIENCE} seconds"
    return None if process.returncode == 0 else f"ended with {process.returncode}"


def _number(folder: Path) -> int:
    file = folder / "number"
    text = file.read_text() if file.exists() else ""
    return int(text) if text else -1


def work(name: str, seed: int, first: int, seconds: float, keep: Path) -> None:
    """Read input after input; note each before it is read, so that a crash names its own."""
    folder, reader = Path.cwd(), READERS[name]
    work_in = folder / "work"
    work_in.mkdir(exist_ok=True)
    seeds = reader.seeds()
    guard = Guard(work_in)
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30, GIGABYTES << 30))
    for content in seeds:  # whatever is imported late is imported now
        with suppress(EdgeError):
            reader.read(work_in, content)
    kinds: set[str] = set()
    end = time.monotonic() + seconds
    number = first
    while time.monotonic() < end:
        content = mutate(random.Random(f"{seed} {number}"), reader.kind, seeds, reader.words)
        (folder / "now").write_bytes(content)
        (folder / "number").write_text(str(number))
        start = time.process_time()
        problem = guard.watch(lambda content=content: _attempt(reader.read, work_in, content))
        if problem is None and time.process_time() - start > SECONDS:
            problem = f"slow: {time.process_time() - start:.1f} seconds"
        if problem is not None and (kind := _kind(problem)) not in kinds:
            kinds.add(kind)
            _keep(keep, f"{name}-{seed}-{number}", content, problem)
        number += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    (folder / "done").write_text(json.dumps({"failures": len(kinds), "peak_mb": peak}))


def _attempt(read: Any, folder: Path, content: bytes) -> str | None:
    try:
        read(folder, content)
    except EdgeError as error:
        return f"a message of {len(str(error)):,} letters" if len(str(error)) > 2000 else None
    except BaseException:
        return traceback.format_exc()
    return None


def _kind(problem: str) -> str:
    """What is the same failure: the same exception at the same place."""
    lines = problem.strip().splitlines()
    places = [line for line in lines if line.startswith("  File")]
    return (places[-1] if places else "") + lines[-1][:40]


def _keep(folder: Path, name: str, content: bytes, problem: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / f"{name}.txt").write_text(problem + "\n")
    print(f"{name}: {problem.strip().splitlines()[-1][:200]}", file=sys.stderr)


def _machine() -> dict[str, Any]:
    tools = {name: version(name) for name in PACKAGES if find_spec(name) is not None}
    return {
        "date": date.today().isoformat(), "python": platform.python_version(), "versions": tools
    }  # fmt: skip


if __name__ == "__main__":
    main()
