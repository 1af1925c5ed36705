"""Core ML packages for tests, made with coremltools and none of our own code."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

logging.getLogger("coremltools").setLevel(logging.ERROR)
ct = pytest.importorskip("coremltools")

from coremltools.converters.mil import mil  # noqa: E402
from coremltools.converters.mil.mil import Builder as mb  # noqa: E402, N813
from coremltools.converters.mil.mil import types  # noqa: E402

KINDS = {
    np.dtype(np.float32): types.fp32,
    np.dtype(np.float16): types.fp16,
    np.dtype(np.int32): types.int32,
}


Entry = tuple[Callable[..., Any], tuple[np.ndarray, ...]]


def package(
    folder: Path,
    build: Callable[..., Any],
    *arrays: np.ndarray,
    states: Mapping[str, tuple[int, ...]] | None = None,
    target: Any = ct.target.iOS18,
) -> Path:
    """Save a program of one function, `main`: inputs a, b, ... like these arrays, then states."""
    return packages(folder, {"main": (build, arrays)}, states=states, target=target)


def packages(
    folder: Path,
    entries: Mapping[str, Entry],
    *,
    states: Mapping[str, tuple[int, ...]] | None = None,
    target: Any = ct.target.iOS18,
) -> Path:
    """Save a program of several functions."""
    program = mil.Program()
    for name, (build, arrays) in entries.items():
        program.add_function(name, _function(build, arrays, states or {}, target))
    program.default_function_name = next(iter(entries))
    program.export_as_multifunction = len(entries) > 1
    model = ct.convert(
        program,
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    model.save(str(folder))
    return folder


def _function(
    build: Callable[..., Any],
    arrays: tuple[np.ndarray, ...],
    states: Mapping[str, tuple[int, ...]],
    target: Any,
) -> Any:
    inputs = {
        name: mb.placeholder(array.shape, KINDS[array.dtype])
        for name, array in zip("abcdefg", arrays, strict=False)
    }
    for name, shape in states.items():
        inputs[name] = mb.state_tensor_placeholder(shape, types.fp16)
    with mil.Function(inputs, opset_version=target) as function:
        out = build(*function.inputs.values())
        function.set_outputs(list(out) if isinstance(out, list | tuple) else [out])
    return function


def inferred(target: Any, kind: str, **arguments: Any) -> list[np.ndarray]:
    """What coremltools itself computes of one operation over constants, as this version means it."""
    with mil.Function({}, opset_version=target):
        out = getattr(mb, kind)(**arguments)
    return [np.asarray(var.val) for var in (out if isinstance(out, list | tuple) else [out])]
