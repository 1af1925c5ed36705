"""A package's program as plain data: functions, operations in order, and constants not yet read.

Constants stay where they are until an operation asks: a model is not loaded, it is read through.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import Damaged, Unsupported
from edge_runtimes.coreml.blobs import Blobs, decoded
from edge_runtimes.coreml.package import Package
from edge_runtimes.coreml.toolkit import MIL_pb2
from edge_runtimes.coreml.types import NUMPY, TensorType, bits_of, bounded

_OPSET = re.compile(r"CoreML([5-9])")
_FLOATS = {"FLOAT16": "fp16", "FLOAT32": "fp32"}


@dataclass(frozen=True, slots=True)
class Constant:
    """A value in the program, or at an offset of a weight file."""

    type: TensorType
    value: Any  # coremltools' Value message

    @property
    def key(self) -> tuple[str, int, TensorType] | None:
        """Says that two functions share one weight; None for what is in the program itself."""
        if self.value.WhichOneof("value") != "blobFileValue":
            return None
        blob = self.value.blobFileValue
        return blob.fileName, blob.offset, self.type

    def read(self, blobs: Blobs, rows: range | None = None) -> Any:
        """An array, or some rows of one that lies in a weight file; a str where the type is one."""
        kind = self.value.WhichOneof("value")
        if kind == "blobFileValue":
            blob = self.value.blobFileValue
            return blobs.read(blob.fileName, blob.offset, self.type, rows)
        if kind != "immediateValue" or self.value.immediateValue.WhichOneof("value") != "tensor":
            raise Unsupported(
                f"a constant of {self.type} is no tensor", fix="use a package of tensors alone"
            )
        return _immediate(self.value.immediateValue.tensor, self.type)


Argument = str | Constant  # the name of a value, or a value


@dataclass(frozen=True, slots=True)
class Op:
    """One operation; an input that takes several values has several arguments."""

    kind: str
    inputs: Mapping[str, tuple[Argument, ...]]
    outputs: tuple[tuple[str, TensorType], ...]

    @property
    def state(self) -> str:
        """The state that it reads or writes."""
        (name,) = self.inputs["input"]
        assert isinstance(name, str)
        return name

    def names(self) -> Iterator[str]:
        """Names of the values that it reads."""
        for arguments in self.inputs.values():
            yield from (a for a in arguments if isinstance(a, str))


@dataclass(frozen=True, slots=True)
class Function:
    """An entry point. `states` are read and written by name and outlive a call. `opset`: the version of
    Core ML that says what its operations mean, 5 for iOS 15 and so on.
    """

    name: str
    opset: int
    inputs: Mapping[str, TensorType]
    states: Mapping[str, TensorType]
    ops: tuple[Op, ...]
    outputs: tuple[str, ...]

    @property
    def results(self) -> dict[str, TensorType]:
        """Types of what it gives and makes itself, by name."""
        made = {name: kind for op in self.ops for name, kind in op.outputs}
        return {name: made[name] for name in self.outputs if name in made}


@dataclass(frozen=True)
class Program:
    """Every function of a package over one set of weights."""

    folder: Path
    functions: Mapping[str, Function]
    blobs: Blobs = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> "Program":
        package = Package.open(folder)
        found = package.model.mlProgram
        try:
            functions = {name: _function(name, spec) for name, spec in found.functions.items()}
        except (LookupError, OverflowError, TypeError, ValueError) as error:
            raise Damaged(f"{folder}: its program cannot be read: {error}", fix=_FIX) from error
        if not functions:
            raise Damaged(f"{folder} holds no function", fix="get the package again")
        user = dict(package.model.description.metadata.userDefined)
        return cls(folder, functions, Blobs(package.weights), user)

    @cached_property
    def default(self) -> Function:
        """The function that an application gets which asks for none."""
        return self.functions.get("main") or next(iter(self.functions.values()))


def _function(name: str, spec: Any) -> Function:
    inputs: dict[str, TensorType] = {}
    states: dict[str, TensorType] = {}
    for item in spec.inputs:
        if item.type.WhichOneof("type") == "stateType":
            states[item.name] = _type(item.type.stateType.wrappedType)
        else:
            inputs[item.name] = _type(item.type)
    block = spec.block_specializations.get(spec.opset)
    if block is None:
        raise Damaged(f"function {name} has no code for {spec.opset!r:.40}", fix=_FIX)
    ops = tuple(map(_op, block.operations))
    made = {*inputs, *(output for op in ops for output, _ in op.outputs)}
    if not made.issuperset(block.outputs):
        raise Damaged(f"function {name} gives what nothing in it makes", fix=_FIX)
    for op in ops:
        if op.kind in ("read_state", "write_state") and op.inputs.get("input", ())[:1] not in {
            (state,) for state in states
        }:
            raise Damaged(f"function {name}: {op.kind} of no state", fix=_FIX)
    return Function(name, _opset(name, spec.opset), inputs, states, ops, tuple(block.outputs))


def _opset(name: str, called: str) -> int:
    found = _OPSET.fullmatch(called)
    if found is None:
        raise Unsupported(
            f"function {name} is written in {called!r:.40}, which the reference evaluator lacks",
            fix="convert it with minimum_deployment_target iOS 15 or later",
        )
    return int(found[1])


def _op(spec: Any) -> Op:
    if spec.blocks:
        raise Unsupported(
            f"the reference evaluator runs no {spec.type}: it has blocks of its own",
            fix="use a package without loops and branches",
        )
    inputs: dict[str, tuple[Argument, ...]] = {
        name: (_constant(value),) for name, value in spec.attributes.items() if name != "name"
    }
    for name, argument in spec.inputs.items():
        inputs[name] = tuple(map(_argument, argument.arguments))
    outputs = tuple((item.name, _type(item.type)) for item in spec.outputs)
    return Op(spec.type, inputs, outputs)


def _argument(binding: Any) -> Argument:
    return binding.name if binding.WhichOneof("binding") == "name" else _constant(binding.value)


def _constant(value: Any) -> Constant:
    return Constant(_type(value.type), value)


def _type(spec: Any) -> TensorType:
    if spec.WhichOneof("type") != "tensorType":
        raise Unsupported(
            f"the reference evaluator knows tensors and their states, not a {spec.WhichOneof('type')}",
            fix="use a package of tensors alone",
        )
    tensor = spec.tensorType
    name = MIL_pb2.DataType.Name(tensor.dataType)
    kind = _FLOATS.get(name, name.lower())
    if kind not in NUMPY:
        raise Unsupported(f"the reference evaluator has no {name}", fix="use another precision")
    shape = tuple(
        None if d.WhichOneof("dimension") == "unknown" else int(d.constant.size)
        for d in tensor.dimensions
    )
    if len(shape) != tensor.rank:
        raise Damaged(f"a tensor of rank {tensor.rank} has {len(shape)} sizes", fix=_FIX)
    bounded(tuple(size or 0 for size in shape))
    return TensorType(kind, shape)


def _immediate(tensor: Any, kind: TensorType) -> Any:
    field_name = tensor.WhichOneof("value")
    values: Any = getattr(tensor, field_name).values if field_name else ()
    shape = tuple(size or 0 for size in kind.shape)
    if kind.kind == "string":
        return str(values[0]) if len(values) else ""
    if field_name == "bytes":
        content = np.frombuffer(values, np.uint8)
        if len(content) != -(-math.prod(shape) * bits_of(kind.kind) // 8):
            raise Damaged(f"a constant of {kind} has {len(content)} bytes", fix=_FIX)
        return decoded(content, kind.kind, shape)
    array = np.array(values).astype(NUMPY[kind.kind])
    if array.size != math.prod(shape):
        raise Damaged(f"a constant of {kind} has {array.size} values", fix=_FIX)
    return array.reshape(shape)


_FIX = "get the package again; do not trust it"
