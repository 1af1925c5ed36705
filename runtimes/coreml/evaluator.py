"""A reference evaluation of a saved ML program, operation by operation, on numpy.

It is no Neural Engine: it says what the program means, on any system. Every operation computes in
float32 from what it reads. As `declared`, its result is rounded to the type that the program gives
it; in `fp32` nothing is rounded, states included, which shows what the program computes when rounding
is taken away.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge.errors import Damaged, EdgeError, Unsupported
from edge.typing import AnyArray
from edge_runtimes.coreml.ops import ARITHMETIC, moving_of
from edge_runtimes.coreml.ops.inferred import KINDS, infer
from edge_runtimes.coreml.ops.moving import put
from edge_runtimes.coreml.program import Argument, Constant, Function, Op, Program
from edge_runtimes.coreml.types import NUMPY, TensorType, bounded

Precision = Literal["declared", "fp32"]
KEEP = 1 << 30  # bytes of expanded weights that are kept between calls
_CONSTANT = ("const", "constexpr_")


class Evaluator:
    """Functions of one program over one set of states."""

    def __init__(self, program: Program, precision: Precision) -> None:
        self.program = program
        self._precision = precision
        self._states: dict[str, AnyArray] = {}
        self._plans = {name: _plan(f) for name, f in program.functions.items()}
        self._kept: dict[object, AnyArray] = {}
        self._room = KEEP

    def call(self, name: str, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run one function: arrays by input name -> arrays by output name."""
        function = self.program.functions[name]
        run = _Run(self, function, self._plans[name])
        with np.errstate(all="ignore"):  # infinities and NaN are the program's business
            return run.outputs(_given(function, inputs, self._settled))

    def reset(self) -> None:
        """States as a new sequence has them: zeros."""
        self._states.clear()

    def held(self, name: str) -> AnyArray:
        """A state as it lies, once a function has used it."""
        return self._states[name]

    def hold(self, name: str, content: AnyArray) -> None:
        """Put a state in the place of what was held."""
        self._states[name] = content

    def forget(self, name: str) -> None:
        """Give its memory back: used again, it is zeros."""
        self._states.pop(name, None)

    def again(self) -> "Evaluator":
        """The same program and expanded weights over states of its own."""
        other = copy(self)
        other._states = {}
        return other

    def _state(self, name: str, kind: TensorType) -> AnyArray:
        shape = tuple(size or 0 for size in kind.shape)
        number = NUMPY["fp32" if self._widens(kind) else kind.kind]
        if name not in self._states:
            self._states[name] = np.zeros(bounded(shape), number)
        array = self._states[name]
        if array.shape != shape or array.dtype != number:
            raise Damaged(f"functions disagree on the state {name}: {kind}", fix=_FIX)
        return array

    def _keep(self, key: object, array: AnyArray) -> None:
        if array.nbytes <= self._room:
            self._room -= array.nbytes
            self._kept[key] = array

    def _settled(self, value: Any, kind: TensorType) -> Any:
        """A result in the type that the program declares, as far as this precision rounds."""
        if kind.kind == "string":
            return value
        array = np.asarray(value)
        if not kind.holds(array.shape):
            raise ValueError(f"shape {list(array.shape)}, not {kind}")
        if self._widens(kind):
            keep = array.dtype in (np.float16, np.float32)
            return array if keep else array.astype(np.float32)
        return array.astype(NUMPY[kind.kind], copy=False)

    def _widens(self, kind: TensorType) -> bool:
        return self._precision == "fp32" and kind.kind == "fp16"


class _Run:
    """One call of a function: values by name, forgotten after their last use."""

    def __init__(self, owner: Evaluator, function: Function, plan: "_Plan") -> None:
        self._owner = owner
        self._function = function
        self._plan = plan
        self._moving = moving_of(function.opset)
        self._values: dict[str, Any] = {}
        self._keys: dict[str, object] = {}  # of constants, the same in every function

    def outputs(self, values: dict[str, Any]) -> dict[str, AnyArray]:
        self._values = values
        for index, op in enumerate(self._function.ops):
            try:
                self._step(index, op)
            except EdgeError:
                raise
            except _FAULTS as error:
                where = op.outputs[0][0] if op.outputs else index
                raise Damaged(
                    f"{self._owner.program.folder}: {op.kind} ({where}) cannot be evaluated: {error!s:.200}",
                    fix=_FIX,
                ) from error
            for name in self._plan.last[index]:
                self._values.pop(name, None)
        return {name: np.asarray(self._values[name]) for name in self._function.outputs}

    def _step(self, index: int, op: Op) -> None:
        if op.kind.startswith(_CONSTANT):
            self._constant(op)
        elif op.kind == "read_state":
            name = op.state
            self._values[op.outputs[0][0]] = self._owner._state(name, self._state_type(name))
        elif op.kind == "write_state":
            self._write(op)
        elif index in self._plan.in_place:
            arguments = self._arguments(op)
            put(**arguments)
            self._values[op.outputs[0][0]] = arguments["x"]
        else:
            self._set(op, self._computed(op.kind, self._arguments(op)))

    def _write(self, op: Op) -> None:
        name, (data,) = op.state, op.inputs["data"]
        kind = self._state_type(name)
        before = self._owner._state(name, kind)
        value = self._value(data)
        if value is not before:
            settled = np.asarray(value).astype(before.dtype)
            if not kind.holds(settled.shape):
                raise ValueError(f"state {name} of {kind} is given {list(settled.shape)}")
            self._owner._states[name] = settled

    def _constant(self, op: Op) -> None:
        """Weights are expanded once, as far as there is room to keep them."""
        ((name, kind),) = op.outputs
        key = self._key(op, name)
        value = self._owner._kept.get(key)
        if value is None:
            arguments = self._arguments(op)
            value = arguments["val"] if op.kind == "const" else self._computed(op.kind, arguments)
            value = self._owner._settled(value, kind)
            if not isinstance(value, str):
                self._owner._keep(key, value)
        self._values[name] = value
        self._keys[name] = key

    def _key(self, op: Op, name: str) -> object:
        parts: list[object] = []
        for argument in sorted(op.inputs):
            for item in op.inputs[argument]:
                own = self._keys[item] if isinstance(item, str) else item.key
                if own is None:
                    own = (self._function.name, name, argument)
                parts.append((argument, own))
        return op.kind, tuple(parts)

    def _computed(self, kind: str, arguments: dict[str, Any]) -> Any:
        """The result of one operation, before it is given its declared type."""
        if kind in self._moving:
            return self._moving[kind](**arguments)
        widened = {name: _widened(value) for name, value in arguments.items()}
        if kind in ARITHMETIC:
            return ARITHMETIC[kind](**widened)
        if kind in KINDS:
            return infer(kind, widened)
        raise Unsupported(
            f"the reference evaluator has no operation {kind}",
            fix="run it on a Mac, or use a package without it",
        )

    def _set(self, op: Op, result: Any) -> None:
        results = result if isinstance(result, tuple) else (result,)
        for (name, kind), value in zip(op.outputs, results, strict=True):
            self._values[name] = self._owner._settled(value, kind)

    def _arguments(self, op: Op) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, arguments in op.inputs.items():
            values = [self._value(a) for a in arguments]
            several = name == "values" or len(values) > 1
            out[name] = values if several else values[0]
        return out

    def _value(self, argument: Argument) -> Any:
        if isinstance(argument, Constant):
            return argument.read(self._owner.program.blobs)
        return self._values[argument]

    def _state_type(self, name: str) -> TensorType:
        return self._function.states[name]


def _widened(value: Any) -> Any:
    if isinstance(value, list):
        return [_widened(item) for item in value]
    if isinstance(value, np.ndarray | np.generic) and value.dtype == np.float16:
        return value.astype(np.float32)
    return value


def _given(function: Function, inputs: Mapping[str, AnyArray], settled: Any) -> dict[str, Any]:
    if inputs.keys() != function.inputs.keys():
        raise EdgeError(
            f"function {function.name} takes {', '.join(function.inputs)}, not {', '.join(inputs)}",
            fix="give it exactly these inputs",
        )
    out = {}
    for name, kind in function.inputs.items():
        if not kind.holds(np.shape(inputs[name])):
            raise EdgeError(
                f"input {name} of {function.name} is {kind}, not {list(np.shape(inputs[name]))}",
                fix="give it this shape",
            )
        out[name] = settled(inputs[name], kind)
    return out


@dataclass(frozen=True, slots=True)
class _Plan:
    """`last`: values that nobody reads after an operation. `in_place`: slice updates of a state that
    nobody else can see, so that a cache of gigabytes is not copied for each row.
    """

    last: tuple[tuple[str, ...], ...]
    in_place: frozenset[int]


def _plan(function: Function) -> _Plan:
    uses: dict[str, list[int]] = {}
    for index, op in enumerate(function.ops):
        for name in (*op.names(), *(name for name, _ in op.outputs)):
            uses.setdefault(name, []).append(index)
    for name in function.outputs:
        uses.setdefault(name, []).append(len(function.ops))
    last: list[list[str]] = [[] for _ in range(len(function.ops) + 1)]
    for name, places in uses.items():
        last[places[-1]].append(name)
    return _Plan(tuple(map(tuple, last)), frozenset(_in_place(function, uses)))


def _in_place(function: Function, uses: Mapping[str, Sequence[int]]) -> list[int]:
    """Slice updates of what was read from a state and is written back at once, where nobody holds
    what was read but slices, which are copies.
    """
    found: list[int] = []
    reads: dict[str, list[str]] = {}  # state -> names of what was read from it
    for index, op in enumerate(function.ops):
        if op.kind == "read_state":
            reads.setdefault(op.state, []).append(op.outputs[0][0])
        elif op.kind == "write_state":
            known = reads.get(op.state, [])
            others = {place for name in known for place in uses[name][1:]} - {index - 1, *found}
            sliced = all(i < index and function.ops[i].kind == "slice_by_index" for i in others)
            if sliced and _updates(function.ops[index - 1], op, known[-1:], uses):
                found.append(index - 1)
    return found


def _updates(op: Op, write: Op, read: Sequence[str], uses: Mapping[str, Sequence[int]]) -> bool:
    """Whether an operation replaces a slice of `read`, and only `write` sees the result."""
    if op.kind != "slice_update" or op.inputs["x"] != tuple(read):
        return False
    result = op.outputs[0][0]
    return write.inputs["data"] == (result,) and len(uses[result]) == 2


_FAULTS = (ArithmeticError, LookupError, MemoryError, TypeError, ValueError)
_FIX = "get the package again, or convert again; do not trust it"
