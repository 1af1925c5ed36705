"""Which targets work on this machine, and with what."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edge import targets
from edge.errors import EdgeError
from edge.measure.bench import machine
from edge.system import processors
from edge.system.home import home
from edge.system.memory import machine_memory
from edge.system.switches import LIBRARIES

PACKAGES = (
    "edge-toolkit",
    "numpy",
    "onnxruntime",
    "onnx-ir",
    "onnxruntime-genai",
    "coremltools",
    "mlx",
    "mlx-lm",
    "llama-cpp-python",
    "tokenizers",
    "jinja2",
    "torch",
    "transformers",
)


def examine() -> dict[str, Any]:
    """Versions, hardware, and for each target whether it converts and runs here."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": machine(),
        "memory_gb": round(machine_memory() / 1e9, 1),
        "processors": processors.here().json(),
        "edge_home": _home(),
        "switched_off": {
            name: " ".join(f"{variable}={value}" for variable, value in found.items())
            for name, library in LIBRARIES.items()
            if (found := {**library.off, **library.own})
        },
        "packages": {name: _version(name) for name in PACKAGES},
        "convert": {name: _works("converters", name) for name in targets.names("converters")},
        "run": {name: _works("runtimes", name) for name in targets.names("converters")},
    }


def _home() -> str:
    try:
        return str(home())
    except EdgeError as error:
        return str(error)


def _works(kind: str, name: str) -> str:
    try:
        if kind == "converters":
            targets.converter(name)
            return "ok"
        refusal = targets.refusal(name)
    except EdgeError as error:
        refusal = error
    return "ok" if refusal is None else str(refusal)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
