"""Many clients at once: `edge serve` of the packaged model, as its users start it.

    python tests/bench/serve.py [MODEL] [--requests 600] [--clients 24] [--rounds 5] [--out docs/serve.json]

On each route in turn, a round asks for the same answers twice: one after another by one client, then
by all of them at once. A client that is told to come back (503 with Retry-After) does so. Prints
answers a second (of the crowd: while every client still has one to ask for), how much longer an answer
takes in the crowd than alone, how many requests were told to come back or lost, and the resident
memory of the server and its workers before and after.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import local
from typing import Any

from edge.measure.bench import machine

PEOPLE = ("Lily", "Tom", "Marla", "Ben", "Anna", "Max")
THINGS = ("ball", "dog", "tree", "boat", "hat", "cake", "kite")
ROUTES = ("/v1/completions", "/v1/chat/completions")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    """One round on one route."""

    alone_rps: float
    crowd_rps: float
    answered: int
    told_to_wait: int  # times; such a request comes again
    lost: int
    differing: int  # answers of other tokens than those given alone
    before_mb: float
    after_mb: float

    @property
    def cost(self) -> float:
        """How much longer an answer takes in the crowd."""
        return self.alone_rps / self.crowd_rps


class Server:
    """`edge serve` in a process of its own, and connections to it: one a thread."""

    def __init__(self, process: "subprocess.Popen[str]", address: str) -> None:
        self._pid = process.pid
        self._address = address
        self._own = local()

    def ask(self, route: str, body: Json) -> tuple[int, float, Json]:
        """-> status, seconds after which to come back, answer."""
        if not hasattr(self._own, "line"):
            self._own.line = http.client.HTTPConnection(self._address, timeout=600)
        line: http.client.HTTPConnection = self._own.line
        line.request("POST", route, json.dumps(body), {"Content-Type": "application/json"})
        found = line.getresponse()
        wait = float(found.headers.get("Retry-After", 0))
        return found.status, wait, json.loads(found.read())

    def resident_mb(self) -> float:
        """Of the process and of all that it started."""
        return sum(_resident(pid) for pid in _family(self._pid)) / 1e6


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:  # it has ended
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from _family(int(child))


@contextmanager
def started(model: Sequence[str], threads: int) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "edge", "serve", *model, "--port", "0"]
        command += ["--threads", str(threads)]
        env = {**os.environ, "EDGE_HOME": os.environ.get("EDGE_HOME", home)}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "serving" in line:
                break
        if process.poll() is not None:
            sys.exit(said)
        try:
            yield Server(process, said.split()[-1].removeprefix("http://"))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def bodies(route: str, count: int, tokens: int) -> list[Json]:
    """Requests whose prompts begin differently, so that no cache of a prompt helps one order more."""
    out = []
    for i in range(count):
        text = f"Once upon a time, {PEOPLE[i % len(PEOPLE)]} found a {THINGS[i % len(THINGS)]}"
        said = (
            {"messages": [{"role": "user", "content": text}]}
            if "chat" in route
            else {"prompt": text}
        )
        out.append({"model": "edge", "max_tokens": tokens, "temperature": 0, **said})
    return out


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request. `text`: None where there was no answer; seconds of the clock."""

    text: str | None
    waits: int
    began: float
    ended: float


def settled(server: Server, route: str, body: Json) -> Outcome:
    began = time.perf_counter()
    text, waits = answer(server, route, body)
    return Outcome(text, waits, began, time.perf_counter())


def answer(server: Server, route: str, body: Json) -> tuple[str | None, int]:
    waits = 0
    while True:
        try:
            status, wait, found = server.ask(route, body)
        except OSError:  # a connection that broke is an answer that was lost
            return None, waits
        if status == 503 and wait:
            waits += 1
            time.sleep(wait)
            continue
        if status != 200:
            return None, waits
        choice = found["choices"][0]
        return choice["text"] if "text" in choice else choice["message"]["content"], waits


def measure(server: Server, route: str, asks: list[Json], clients: int) -> Load:
    before = server.resident_mb()
    start = time.perf_counter()
    alone = [settled(server, route, body) for body in asks]
    between = time.perf_counter()
    with ThreadPoolExecutor(clients) as crowd:
        found = list(crowd.map(lambda body: settled(server, route, body), asks))
    answered = [outcome for outcome in found if outcome.text is not None]
    last = max(outcome.began for outcome in found)  # from here on the crowd thins
    pairs = zip(alone, found, strict=True)
    return Load(
        alone_rps=len(asks) / (between - start),
        crowd_rps=sum(outcome.ended <= last for outcome in answered) / (last - between),
        answered=len(answered),
        told_to_wait=sum(outcome.waits for outcome in found),
        lost=len(found) - len(answered),
        differing=sum(a.text != b.text for a, b in pairs),
        before_mb=before,
        after_mb=server.resident_mb(),
    )


def spread(values: Sequence[float], unit: str) -> str:
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f})"


def told(route: str, loads: Sequence[Load]) -> str:
    asked = sum(load.answered + load.lost for load in loads)
    lost, waits = sum(load.lost for load in loads), sum(load.told_to_wait for load in loads)
    differing = sum(load.differing for load in loads)
    return "\n".join(
        [
            route,
            f"  alone     {spread([load.alone_rps for load in loads], ' answers/s')}",
            f"  crowd     {spread([load.crowd_rps for load in loads], ' answers/s')}",
            f"  cost      {spread([load.cost for load in loads], ' x')}",
            f"  requests  {asked} asked, {lost} lost, {differing} differing; told to wait {waits} times",
            f"  memory    {loads[0].before_mb:.1f} MB before, {loads[-1].after_mb:.1f} MB after",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="*", help="an id or a folder; else the packaged model")
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    loads: dict[str, list[Load]] = {route: [] for route in ROUTES}
    with started(args.model, args.threads) as server:
        for route in ROUTES:  # every buffer is made, every worker started
            measure(server, route, bodies(route, 2 * args.clients, args.tokens), args.clients)
        for _ in range(args.rounds):
            for route in ROUTES:
                asks = bodies(route, args.requests, args.tokens)
                loads[route].append(measure(server, route, asks, args.clients))
                print(f"{route}: {loads[route][-1]}", file=sys.stderr)
    for route, found in loads.items():
        print(told(route, found))
    if args.out:
        kept = {name: value for name, value in vars(args).items() if name != "out"}
        rounds = {route: [asdict(load) for load in found] for route, found in loads.items()}
        record = {"machine": machine(), **kept, "rounds": rounds}
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
