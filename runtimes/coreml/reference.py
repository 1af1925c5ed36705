"""The reference evaluation behind a decoder: on any system, and slow."""

from collections.abc import Collection, Mapping

from edge.contracts import Opening
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


def evaluated(opening: Opening) -> list[Evaluated]:
    """The packages of an artifact, checked. If exact, nothing is rounded on the way."""
    programs = [Program.open(package) for package in packages(opening.folder)]
    for program in programs:
        agree(program, opening.spec, opening.part)
    precision: Precision = "fp32" if opening.exact else "declared"
    return [Evaluated(Evaluator(program, precision), opening.part) for program in programs]


def open_reference(opening: Opening) -> CoreMlDecoder:
    """A decoder that evaluates in numpy."""
    return CoreMlDecoder(opening.spec, evaluated(opening), opening.part)
