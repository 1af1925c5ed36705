"""Python's MLX behind `Linux/MLX`: answers what that asks over a socket, array by array."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

_LISTS = {"concatenate"}  # what takes its arrays as one list


class Arrays:
    """What a process has of MLX. `places`: folders by the names that it has for them."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = places
        self._arrays: dict[int, Any] = {}
        self._made = 0
        self.called: list[str] = []  # names, in order

    def answer(self, asked: dict[str, Any], raw: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
        kind = asked["do"]
        if kind == "load":
            return {"arrays": {name: self._kept(a) for name, a in self._load(asked["file"])}}, {}
        if kind == "make":
            made = np.array(asked["value"], asked["dtype"]).reshape(asked["shape"])
            return {"array": self._kept(mx.array(made))}, {}
        if kind == "drop":
            self._arrays.pop(asked["array"], None)
            return {}, {}
        if kind == "eval":
            mx.eval([self._arrays[number] for number in asked["arrays"]])
            return {}, {}
        if kind == "read":
            return {}, {"it": np.array(self._arrays[asked["array"]])}
        return {"arrays": [self._kept(array) for array in self._call(asked)]}, {}

    def _load(self, name: str) -> list[tuple[str, Any]]:
        place = next(place for place in self._places if name.startswith(f"{place}/"))
        found = mx.load(str(self._places[place] / name.removeprefix(f"{place}/")))
        assert isinstance(found, dict)
        return list(found.items())

    def _call(self, asked: dict[str, Any]) -> list[Any]:
        self.called.append(asked["name"])
        function: Any = mx
        for part in asked["name"].split("."):
            function = getattr(function, part)
        arrays = [self._arrays[number] for number in asked["arrays"]]
        named = asked["named"]
        if "dtype" in named:
            return [arrays[0].astype(getattr(mx, named["dtype"]))]
        if named.get("freqs") is not None:
            named["freqs"] = self._arrays[named["freqs"]]
        if asked["name"] == "fast.rope":
            arrays.append(named.pop("dims"))
        found = function(arrays, **named) if asked["name"] in _LISTS else function(*arrays, **named)
        return list(found) if isinstance(found, (list, tuple)) else [found]

    def _kept(self, array: Any) -> int:
        self._made += 1
        self._arrays[self._made] = array
        return self._made
