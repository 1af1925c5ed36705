"""The evaluator of Core ML's packages behind `Linux/CoreML`: answers what that asks over a socket.

A message is the length of a header, the length of what follows it, the header in JSON, and arrays one after the other.
"""

import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_runtimes.coreml.evaluator import Evaluator
from edge_runtimes.coreml.program import Program
from edge_runtimes.coreml.types import NUMPY

_Arrays = dict[str, np.ndarray]


class Answering(Protocol):
    """Whoever computes for a process."""

    called: list[str]  # what it called, in order

    def answer(self, asked: dict[str, Any], raw: bytes) -> tuple[dict[str, Any], _Arrays]: ...


class Models:
    """What a process has open. `places`: folders by the names that it has for them."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = places
        self._packages: dict[str, int] = {}
        self._models: list[Evaluator] = []
        self._states: dict[int, Evaluator] = {}
        self._made = 0
        self.called: list[str] = []  # functions, in order

    def answer(self, asked: dict[str, Any], raw: bytes) -> tuple[dict[str, Any], _Arrays]:
        kind = asked["do"]
        if kind == "open":
            return self._open(asked["package"]), {}
        if kind == "state":
            self._made += 1
            self._states[self._made] = self._models[asked["model"]].again()
            return {"state": self._made}, {}
        if kind == "forget":
            self._states.pop(asked["state"], None)
            return {}, {}
        if kind == "call":
            return {}, self._call(asked, raw)
        return {}, self._state(asked, raw)

    def _open(self, name: str) -> dict[str, Any]:
        if name not in self._packages:
            place = next(place for place in self._places if name.startswith(f"{place}/"))
            folder = self._places[place] / name.removeprefix(f"{place}/")
            self._packages[name] = len(self._models)
            self._models.append(Evaluator(Program.open(folder), "declared"))
        number = self._packages[name]
        functions = {
            function.name: {
                "inputs": {
                    name: np.dtype(NUMPY[kind.kind]).name for name, kind in function.inputs.items()
                },
                "outputs": list(function.outputs),
                "states": list(function.states),
            }
            for function in self._models[number].program.functions.values()
        }
        return {"model": number, "functions": functions}

    def _call(self, asked: dict[str, Any], raw: bytes) -> _Arrays:
        given, at = {}, 0
        for one in asked["inputs"]:
            count, kind = int(np.prod(one["shape"])), np.dtype(one["type"])
            given[one["name"]] = np.frombuffer(raw, kind, count, at).reshape(one["shape"])
            at += count * kind.itemsize
        model = self._states[asked["state"]] if "state" in asked else self._models[asked["model"]]
        self.called.append(asked["function"])
        found = self.computed(model, asked["function"], given)
        return {name: np.ascontiguousarray(array) for name, array in found.items()}

    def computed(self, model: Evaluator, function: str, given: _Arrays) -> _Arrays:
        """What a device makes of a call: here without its faults."""
        return model.call(function, given)

    def _state(self, asked: dict[str, Any], raw: bytes) -> _Arrays:
        model, name = self._states[asked["state"]], asked["name"]
        kind = model.program.functions[asked["function"]].states[name]
        shape, number = [size or 0 for size in kind.shape], NUMPY[kind.kind]
        if asked["do"] == "write":
            model.hold(name, np.frombuffer(raw, number).reshape(shape).copy())
            return {}
        try:
            return {name: np.ascontiguousarray(model.held(name))}
        except KeyError:  # no function used it yet
            return {name: np.zeros(shape, number)}


def serve(end: socket.socket, models: Answering) -> None:
    """Answer until the other end is closed. A problem is told, and the next question answered."""
    with (
        contextlib.suppress(ConnectionError),  # the other end may be gone
        end,
        end.makefile("rwb") as stream,
    ):
        while sizes := stream.read(16):
            header, more = struct.unpack("<QQ", sizes)
            asked, raw = json.loads(stream.read(header)), stream.read(more)
            try:
                told, arrays = models.answer(asked, raw)
            except Exception as problem:  # the process that asked says it
                told, arrays = {"problem": f"{type(problem).__name__}: {problem}"}, {}
            told["outputs"] = [
                {"name": name, "type": str(array.dtype), "shape": list(array.shape)}
                for name, array in arrays.items()
            ]
            text, content = (
                json.dumps(told).encode(),
                b"".join(a.tobytes() for a in arrays.values()),
            )
            stream.write(struct.pack("<QQ", len(text), len(content)) + text + content)
            stream.flush()
