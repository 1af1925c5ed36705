"""What a turn of a chat costs beyond its tokens: the same tokens as a turn and as plain text.

    python tests/bench/turns.py [--model edge-stories] [-n 16] [--pairs 15] [--out docs/turns.json]

Three pairs, each of which takes turns: /v1/chat/completions and /v1/completions of one server; a
turn of `Chat` and `Model.reply` in one process; the first text of `edge run` with the template and
with --raw, each a process of its own. Before each request the model reads something else, so that
neither finds the other's tokens in the cache; between them is a pause, as people make. Prints
medians of the pairs and of their differences; --out keeps every number.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from edge import api
from edge.measure.bench import machine
from edge.run.model import Model, Wish
from edge.text.chat import Message

EDGE = [sys.executable, "-m", "edge"]
PAUSE = 0.1  # seconds
Timed = Callable[[int], float]  # number of a pair -> seconds


def question(number: int) -> str:
    return f"Tell me story {number} of a cat."


def rendered(model: Model, number: int) -> str:
    """The same turn as plain text."""
    assert model.template is not None
    return model.template.render([Message("user", question(number))], generate=True)


def pairs(turn: Timed, plain: Timed, count: int) -> dict[str, list[float]]:
    """Milliseconds of both, in turns; each begins every other pair."""
    times: dict[str, list[float]] = {"turn": [], "plain": []}
    ways = [("turn", turn), ("plain", plain)]
    for number in range(-2, count):  # two to warm up
        for name, way in ways if number % 2 else ways[::-1]:
            sleep(PAUSE)
            milliseconds = 1000 * way(number)
            if number >= 0:
                times[name].append(milliseconds)
    return times


@contextmanager
def served(model: str) -> Iterator[HTTPConnection]:
    process = subprocess.Popen(
        [*EDGE, "serve", model, "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "serving" in line)
        yield HTTPConnection(line.split("http://")[1].strip(), timeout=60)
    finally:
        process.terminate()
        process.wait()


def by_server(name: str, model: Model, new: int, count: int) -> dict[str, list[float]]:
    common = {"model": name, "max_tokens": new, "temperature": 0}
    tokens: dict[int, int] = {}  # of each pair: the same in both

    def asked(connection: HTTPConnection, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection.request(
            "POST", path, json.dumps(body | common), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        return dict(answer["usage"])

    with served(name) as connection:

        def timed(path: str, number: int, body: dict[str, Any]) -> float:
            asked(connection, "/v1/completions", {"prompt": "Something else."})
            sleep(PAUSE)
            start = perf_counter()
            usage = asked(connection, path, body)
            seconds = perf_counter() - start
            assert tokens.setdefault(number, usage["total_tokens"]) == usage["total_tokens"]
            return seconds

        return pairs(
            lambda number: timed(
                "/v1/chat/completions",
                number,
                {"messages": [{"role": "user", "content": question(number)}]},
            ),
            lambda number: timed("/v1/completions", number, {"prompt": rendered(model, number)}),
            count,
        )


def in_process(model: Model, new: int, count: int) -> dict[str, list[float]]:
    wish = Wish(max_tokens=new)

    def turn(number: int) -> float:
        chat = model.chat()
        start = perf_counter()
        for _ in chat.say(question(number), wish):
            pass
        return perf_counter() - start

    def plain(number: int) -> float:
        text = rendered(model, number)
        model.forget()
        sleep(PAUSE)
        start = perf_counter()
        for _ in model.generate(text, raw=True, wish=wish):
            pass
        return perf_counter() - start

    return pairs(turn, plain, count)


def first_text(name: str, model: Model, count: int) -> dict[str, list[float]]:
    def timed(*arguments: str) -> float:
        start = perf_counter()
        process = subprocess.Popen(
            [*EDGE, "run", name, *arguments, "--max-tokens", "4"], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = perf_counter() - start
        process.communicate()
        assert not process.returncode
        return seconds

    return pairs(
        lambda number: timed(question(number)),
        lambda number: timed("--raw", rendered(model, number)),
        count,
    )


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ms ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="edge-stories")
    parser.add_argument("-n", "--new", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = api.open_model(args.model)
    assert isinstance(model, api.Model)
    rows = {
        "server": by_server(args.model, model, args.new, args.pairs),
        "chat": in_process(model, args.new, args.pairs),
        "edge run": first_text(args.model, model, args.pairs),
    }
    for name, times in rows.items():
        cost = [turn - plain for turn, plain in zip(times["turn"], times["plain"], strict=True)]
        print(
            f"{name:9} a turn {spread(times['turn'])}, plain {spread(times['plain'])}: {spread(cost)} more"
        )
    if args.out:
        record = {"machine": machine(), "model": args.model, "new": args.new, "milliseconds": rows}
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
