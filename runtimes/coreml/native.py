"""Core ML itself, on macOS 15 or later.

Written from Apple's documentation of MLState and of functions in one model, and from coremltools'
interface: it has not been run, for want of a Mac. Functions of one package that declare the same
states are given the same state object, as others' applications do (Anemll, github.com/Anemll/Anemll);
those of a small cache declare states of other names, and are given another.
"""

from collections.abc import Collection, Mapping
from copy import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edge.contracts import NetOpening, Opening
from edge.typing import AnyArray
from edge_runtimes.coreml.agreement import agree, caches
from edge_runtimes.coreml.decoder import packages
from edge_runtimes.coreml.network import CoreMlNet, checked
from edge_runtimes.coreml.program import Program
from edge_runtimes.coreml.toolkit import ct

# With all units, models with states fail to load on some systems (coremltools #2325, error -14).
UNITS, EXACT_UNITS = "CPU_AND_GPU", "CPU_ONLY"


class Predicted:
    """One package behind `edge_runtimes.coreml.flexible.Keeper`: compiled once, a function loaded at its
    first call.
    """

    def __init__(self, package: Path, program: Program, units: str, part: str) -> None:
        self.functions: Mapping[str, Collection[str]] = {
            name: function.inputs for name, function in program.functions.items()
        }
        self.caches = caches(program, part)
        self._declared = {name: tuple(f.states) for name, f in program.functions.items()}
        self._units = ct.ComputeUnit[units]
        self._folder = TemporaryDirectory(prefix="edge-")
        place = Path(self._folder.name) / "model.mlmodelc"
        self._compiled = ct.models.utils.compile_model(str(package), str(place))
        self._models: dict[str, Any] = {}
        self._states: dict[tuple[str, ...], Any] = {}  # by the names that functions declare

    def call(self, name: str, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        model = self._model(name)
        state = self._state(self._declared[name]) if self._declared[name] else None
        found: Mapping[str, AnyArray] = model.predict(dict(inputs), state)
        return found

    def read(self, state: str) -> AnyArray:
        found: AnyArray = self._state(self._with(state)).read_state(state)
        return found

    def write(self, state: str, content: AnyArray) -> None:
        self._state(self._with(state)).write_state(state, content)

    def forget(self, *states: str) -> None:
        for state in states:
            self._states.pop(self._with(state), None)

    def again(self) -> "Predicted":
        other = copy(self)
        other._states = {}
        return other

    def _model(self, name: str) -> Any:
        if name not in self._models:
            self._models[name] = ct.models.CompiledMLModel(
                self._compiled, compute_units=self._units, function_name=name
            )
        return self._models[name]

    def _state(self, names: tuple[str, ...]) -> Any:
        """Made by a function that declares these, one that is loaded if any is."""
        if names not in self._states:
            able = [name for name, declared in self._declared.items() if declared == names]
            maker = next((name for name in able if name in self._models), able[0])
            self._states[names] = self._model(maker).make_state()
        return self._states[names]

    def _with(self, state: str) -> tuple[str, ...]:
        return next(names for names in self._declared.values() if state in names)


def predicted_net(opening: NetOpening) -> CoreMlNet:
    """A network's package for Core ML: on every unit, for it has no states."""
    package, program = checked(opening)
    model = Predicted(package, program, EXACT_UNITS if opening.exact else "ALL", part="")
    return CoreMlNet(opening.spec, lambda inputs: model.call("main", inputs))


def predicted(opening: Opening) -> list[Predicted]:
    """The packages of an artifact, checked, for Core ML. If exact, on the processor alone."""
    out, units = [], EXACT_UNITS if opening.exact else UNITS
    for package in packages(opening.folder):
        program = Program.open(package)  # Core ML sees nothing that we have not checked
        agree(program, opening.spec, opening.part)
        out.append(Predicted(package, program, units, opening.part))
    return out
