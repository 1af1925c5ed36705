"""The reference evaluation behind a decoder: on any system, and slow."""

from collections.abc import Collection, Mapping
from pathlib import Path

from edge.spec import DecoderSpec
from edge.typing import AnyArray
from edge_runtimes.coreml.agreement import agree, caches
from edge_runtimes.coreml.decoder import CoreMlDecoder, packages
from edge_runtimes.coreml.evaluator import Evaluator, Precision
from edge_runtimes.coreml.program import Program


class Evaluated:
    """One package behind `edge_runtimes.coreml.flexible.Keeper`."""

    def __init__(self, evaluator: Evaluator, part: str) -> None:
        self._evaluator, self._part = evaluator, part
        program = evaluator.program
        self.caches = caches(program, part)
        self.functions: Mapping[str, Collection[str]] = {
            name: function.inputs for name, function in program.functions.items()
        }

    def call(self, name: str, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        return self._evaluator.call(name, inputs)

    def read(self, state: str) -> AnyArray:
        return self._evaluator.held(state)

    def write(self, state: str, content: AnyArray) -> None:
        self._evaluator.hold(state, content)

    def forget(self, *states: str) -> None:
        for state in states:
            self._evaluator.forget(state)

    def again(self) -> "Evaluated":
        return Evaluated(self._evaluator.again(), self._part)


def evaluated(folder: Path, spec: DecoderSpec, *, exact: bool, part: str = "") -> list[Evaluated]:
    """The packages of an artifact, checked. `exact`: nothing is rounded on the way."""
    programs = [Program.open(package) for package in packages(folder)]
    for program in programs:
        agree(program, spec, part)
    precision: Precision = "fp32" if exact else "declared"
    return [Evaluated(Evaluator(program, precision), part) for program in programs]


def open_reference(
    folder: Path, spec: DecoderSpec, *, exact: bool, part: str = ""
) -> CoreMlDecoder:
    """A decoder that evaluates in numpy."""
    return CoreMlDecoder(spec, evaluated(folder, spec, exact=exact, part=part), part)
