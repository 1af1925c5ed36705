"""What libraries under edge would do behind its promise, switched off: nothing leaves this machine, and
nothing is written outside of `EDGE_HOME`, what the user named, and the system's temporary folder.

A library reads its switches when it is loaded, so `import edge` sets them. Its folders, and what
programs of the user's may report by, are the process's own business: they change only where the process
is edge's, on the command line.
"""

import os
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edge.errors import EdgeError
from edge.system.home import home


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    """`off`: variables and the values that they always get; `own`: those that they get in a process of
    edge's own; `folders`: variables that name a folder for caches, each here with its place below
    `EDGE_HOME`, unless the user has named one.
    """

    off: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)


SILENT = Library()  # it was looked at: it asks nobody and keeps nothing

# Every package that an extra brings, by its name on the index: a test holds the list.
LIBRARIES: Mapping[str, Library] = {
    # Microsoft's 1DS, on by default since 1.29 (docs/Privacy.md): a device id, a database, uploads.
    "onnxruntime": Library(off={"ORT_DISABLE_TELEMETRY": "1"}),
    "huggingface_hub": Library(
        off={"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"},
        folders={"HF_HOME": "huggingface"},
    ),
    "torch": Library(
        folders={
            "TORCH_HOME": "torch",
            "TORCH_EXTENSIONS_DIR": "torch/extensions",
            "PYTORCH_KERNEL_CACHE_PATH": "torch/kernels",
            "TRITON_CACHE_DIR": "triton",
            "CUDA_CACHE_PATH": "cuda",
        }
    ),
    # OpenTelemetry, to a collector that the environment names for other programs.
    "fastapi": Library(own={"FASTAPI_OTEL_AUTO_CONFIGURE": "false", "OTEL_SDK_DISABLED": "true"}),
    # Statistics of use, and a report that there are none, for which the address is another switch. Without the third,
    # a process asks which of its addresses leads to 8.8.8.8; without the fourth, one that lost its cluster begins one.
    "ray": Library(
        off={
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_ENABLE_AUTO_CONNECT": "0",
            "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        }
    ),
    "tiktoken": Library(folders={"TIKTOKEN_CACHE_DIR": "tiktoken"}),
    "llama-cpp-python": Library(folders={"LLAMA_CACHE": "llama.cpp"}),
    # What `--via` installs and runs, in an environment of its own that inherits these.
    **dict.fromkeys(("optimum", "optimum-onnx"), Library(off={"DISABLE_TELEMETRY": "1"})),
    "transformers": Library(off={"DISABLE_TELEMETRY": "1"}),
    # Benchmarks. None of it fetches, whatever a task asks for; data sets in their own formats are read through a cache.
    "lm-eval": Library(folders={"LM_HARNESS_CACHE_PATH": "lm-eval"}),
    "datasets": Library(
        own={"HF_DATASETS_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"},
        folders={"HF_DATASETS_CACHE": "huggingface/datasets"},
    ),
    "evaluate": Library(
        own={"HF_EVALUATE_OFFLINE": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"},
        folders={"HF_EVALUATE_CACHE": "huggingface/evaluate"},
    ),
    "sacrebleu": Library(folders={"SACREBLEU": "sacrebleu"}),
    "nltk": Library(folders={"NLTK_DATA": "nltk"}),
    "scikit-learn": Library(folders={"SCIKIT_LEARN_DATA": "scikit-learn"}),
    "tqdm": Library(own={"TQDM_DISABLE": "1"}),  # bars of others beside edge's own
    "pip": Library(off={"PIP_DISABLE_PIP_VERSION_CHECK": "1"}, folders={"PIP_CACHE_DIR": "pip"}),
    **dict.fromkeys(
        (
            "coremltools",
            "jinja2",
            "llguidance",
            "misaki",
            "mlx",
            "numpy",
            "onnx",
            "onnx-ir",
            "pillow",
            "platformdirs",
            "pyarrow",
            "threadpoolctl",
        ),
        SILENT,
    ),
    **dict.fromkeys(
        (
            "pyyaml",
            "rich",
            "safetensors",
            "sentencepiece",
            "soundfile",
            "tokenizers",
            "typer",
            "uvicorn",
        ),
        SILENT,
    ),
}


def switch_off() -> None:
    """Set every switch, whatever it was; one that comes too late is said."""
    late = [
        package
        for package, library in LIBRARIES.items()
        if package.replace("-", "_") in sys.modules
        and any(os.environ.get(name) != value for name, value in library.off.items())
    ]
    os.environ.update(switches())
    if late:
        warnings.warn(
            f"{', '.join(late)} was imported before edge, which therefore could not switch off what it "
            "sends: import edge first, or set "
            + " ".join(f"{k}={v}" for package in late for k, v in LIBRARIES[package].off.items()),
            stacklevel=3,
        )


def keep_at_home() -> None:
    """For a process that is edge's own: report by nothing, and keep below `EDGE_HOME` what libraries keep."""
    os.environ.update({k: v for library in LIBRARIES.values() for k, v in library.own.items()})
    if (
        "HF_HOME" not in os.environ
    ):  # a login of the user's stays where it is, and is only read there
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        os.environ.setdefault("HF_TOKEN_PATH", str(cache / "huggingface" / "token"))
    with suppress(EdgeError):  # there is no home: what needs one says so
        for name, folder in folders().items():
            os.environ.setdefault(name, folder)


def switches() -> dict[str, str]:
    """Variable -> value, of all libraries."""
    return {k: v for library in LIBRARIES.values() for k, v in library.off.items()}


def folders() -> dict[str, str]:
    """Variable -> folder, of all libraries."""
    caches = home() / "caches"
    return {
        name: str(caches / place)
        for library in LIBRARIES.values()
        for name, place in library.folders.items()
    }
