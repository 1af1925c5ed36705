"""Core ML itself, on macOS 15 or later.

Written from Apple's documentation of MLState and of functions in one model, and from coremltools'
interface: it has not been run, for want of a Mac. Functions of one package that declare the same
states are given the same state object, as others' applications do (Anemll, github.com/Anemll/Anemll).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edge.spec import DecoderSpec
from edge.typing import AnyArray
from runtimes.coreml.decoder import CoreMlDecoder, packages
from runtimes.coreml.program import Program
from runtimes.coreml.reference import agree
from runtimes.coreml.toolkit import ct

# With all units, models with states fail to load on some systems (coremltools #2325, error -14).
UNITS, EXACT_UNITS = "CPU_AND_GPU", "CPU_ONLY"


class _Predicted:
    """One package behind `runtimes.coreml.decoder.Caller`: compiled once, a function loaded at its
    first call.
    """

    def __init__(self, package: Path, functions: Sequence[str], units: str) -> None:
        self.functions = functions
        self._units = ct.ComputeUnit[units]
        self._folder = TemporaryDirectory(prefix="edge-")
        place = Path(self._folder.name) / "model.mlmodelc"
        self._compiled = ct.models.utils.compile_model(str(package), str(place))
        self._models: dict[str, Any] = {}
        self._state: Any = None

    def call(self, name: str, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        if name not in self._models:
            self._models[name] = ct.models.CompiledMLModel(
                self._compiled, compute_units=self._units, function_name=name
            )
        model = self._models[name]
        if self._state is None:
            self._state = model.make_state()
        found: Mapping[str, AnyArray] = model.predict(dict(inputs), self._state)
        return found


def open_native(folder: Path, spec: DecoderSpec, *, exact: bool, part: str = "") -> CoreMlDecoder:
    """A decoder that predicts with Core ML. `exact`: on the processor alone."""
    callers = []
    for package in packages(folder):
        program = Program.open(package)  # Core ML sees nothing that we have not checked
        agree(program, spec, part)
        units = EXACT_UNITS if exact else UNITS
        callers.append(_Predicted(package, tuple(program.functions), units))
    return CoreMlDecoder(spec, callers, part)
