"""Measurements of cases in several ways, kept as they come: a file that a stopped run goes on with."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge.errors import Damaged


class Way(NamedTuple):
    """How rows are chosen, and the prompt's rows over those that are kept."""

    mode: str
    share: int


class Cell(NamedTuple):
    """What was measured, and in which way."""

    task: str
    way: Way


class Figure(NamedTuple):
    """A cell's mean, how far it is below the whole cache's in the same cases, and that one's standard
    error.
    """

    cases: int
    mean: float
    below: float
    stderr: float


WHOLE = Way("whole cache", 1)
Found = Mapping[Cell, float]


@dataclass(slots=True)
class Record:
    """Values by case number."""

    about: dict[str, Any] = field(default_factory=dict)
    values: dict[Cell, dict[int, float]] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> "Record":
        """What a file holds; nothing, if there is none."""
        if not file.exists():
            return cls()
        try:
            data = json.loads(file.read_text())
            cells = {
                Cell(row["task"], Way(row["mode"], row["share"])): {
                    case: value for case, value in enumerate(row["values"]) if value is not None
                }
                for row in data["cells"]
            }
            return cls(dict(data["about"]), cells)
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(
                f"{file} holds no such measurement: {error}", fix="name another"
            ) from None

    def save(self, file: Path) -> None:
        """One cell a line, so that a difference can be read."""
        lines = []
        for row, found in zip(self.rows(), self.values.values(), strict=True):
            known = (found.get(case) for case in range(max(found) + 1))
            values = [None if value is None else round(value, 5) for value in known]
            lines.append(json.dumps({**row, "values": values}))
        partial = file.with_name(f".{file.name}")
        cells = ",\n  ".join(lines)
        partial.write_text(f'{{"about": {json.dumps(self.about)},\n "cells": [\n  {cells}]}}\n')
        partial.replace(file)

    def add(self, case: int, found: Found) -> None:
        for cell, value in found.items():
            self.values.setdefault(cell, {})[case] = value

    def missing(self, tasks: Iterable[str], ways: Sequence[Way], cases: int) -> Iterator[int]:
        """Cases whose tasks were not measured in all of these ways."""
        known = [self.values.get(Cell(task, way), {}) for task in tasks for way in ways]
        return (case for case in range(cases) if any(case not in found for found in known))

    def rows(self) -> list[dict[str, Any]]:
        """Each cell and its figures."""
        return [
            {"task": cell.task, **cell.way._asdict(), **self.figure(cell)._asdict()}
            for cell in self.values
        ]

    def figure(self, cell: Cell) -> Figure:
        found, whole = self.values[cell], self.values.get(Cell(cell.task, WHOLE), {})
        both = [case for case in found if case in whole]
        below = np.array([whole[case] - found[case] for case in both])
        error = below.std(ddof=1) / math.sqrt(len(both)) if len(both) > 1 else 0.0
        mean = sum(found.values()) / len(found)
        return Figure(len(found), mean, float(below.mean()) if both else 0.0, float(error))
