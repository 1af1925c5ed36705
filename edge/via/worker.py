"""Runs inside the environment that holds optimum, never inside edge's: exports a checkpoint, and
compares the exported network with transformers.

    python -I worker.py export|prove CHECKPOINT FOLDER

The last line of stdout is one JSON object: what was found, or `problem` and `fix`.
"""

import json
import random
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
import transformers
from optimum.exporters.onnx import onnx_export_from_model
from optimum.exporters.tasks import TasksManager

ENTRY = "model.onnx"
SEED = 0
SHAPES = ((1, 5), (2, 16), (3, 29))  # sequences, tokens each
TEXTS = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside.",
    "Ünïcödé 123: a second, longer text that is cut off where the model ends.\n" * 2,
    "No.",
)
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model")
TOOLS = ("optimum", "optimum-onnx", "transformers", "torch", "onnx", "onnxruntime")
Inputs = dict[str, torch.Tensor]


class Refused(Exception):
    """What cannot be exported, and what would work."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.fix = fix


def load(folder: Path) -> Any:
    """The checkpoint's own architecture as transformers has it, in float32, every weight its own."""
    config = json.loads((folder / "config.json").read_text())
    name = str((config.get("architectures") or ["none"])[0])
    kind: Any = getattr(transformers, name, None)
    if transformers.PreTrainedModel not in getattr(kind, "__mro__", ()):
        raise Refused(
            f"transformers {version('transformers')} has no architecture {name[:60]!r}",
            "use a checkpoint whose config.json names one of its architectures",
        )
    # The class itself loads: no code of the folder, and no pickle, is ever looked at.
    model, found = kind.from_pretrained(
        folder,
        use_safetensors=True,
        local_files_only=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    absent = sorted(found["missing_keys"]) + [str(key) for key in found["mismatched_keys"]]
    if absent:
        raise Refused(
            f"the checkpoint lacks weights of {name}, or has them in another shape: {absent[0]}"
            f" and {len(absent) - 1} more",
            "get the complete checkpoint",
        )
    return model.eval()


def task_of(model: Any) -> str:
    """What the architecture is for, in optimum's words."""
    try:
        return str(TasksManager.infer_task_from_model(model))
    except ValueError:
        raise Refused(
            f"optimum {version('optimum')} knows no task of {type(model).__name__}",
            "use an architecture that its ONNX exporter has",
        ) from None


def export(source: Path, folder: Path) -> dict[str, Any]:
    """Write the network into a folder, then prove it."""
    write(load(source), folder)
    return prove(source, folder)


def write(model: Any, folder: Path) -> None:
    onnx_export_from_model(
        model, folder, task=task_of(model), monolith=True, do_validation=False, device="cpu"
    )
    if not (folder / ENTRY).is_file():
        raise Refused(
            f"optimum exported {type(model).__name__} as several networks",
            "an architecture of one network is what --via optimum holds",
        )


def prove(source: Path, folder: Path) -> dict[str, Any]:
    """The exported network beside transformers on the same inputs."""
    torch.manual_seed(SEED)
    model = load(source)
    task = task_of(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # it sees no affinity mask, torch does
    session = ort.InferenceSession(folder / ENTRY, options, providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    errors = {value.name: 0.0 for value in session.get_outputs()}
    counts = {"random": 0, "text": 0}
    for kind, inputs in [*_random(model, task, names), *_text(model, source, names)]:
        counts[kind] += 1
        got = session.run(list(errors), {name: value.numpy() for name, value in inputs.items()})
        with torch.inference_mode():
            want = model(**inputs)
        for name, value in zip(errors, got, strict=True):
            errors[name] = max(errors[name], _error(value, _output(want, name)))
    return {
        "architecture": type(model).__name__,
        "task": task,
        "inputs": [_described(value) for value in session.get_inputs()],
        "outputs": [_described(value) for value in session.get_outputs()],
        "errors": errors,
        "cases": counts,
        "tools": {name: version(name) for name in TOOLS},
    }


def _random(model: Any, task: str, names: set[str]) -> Iterator[tuple[str, Inputs]]:
    """Inputs of any kind, as optimum makes them, in several shapes."""
    made = TasksManager.get_exporter_config_constructor(
        "onnx", model=model, task=task, library_name="transformers"
    )
    config = made(model.config)
    longest = _longest(model)
    for batch, length in SHAPES:
        random.seed(SEED)
        np.random.seed(SEED)
        inputs = config.generate_dummy_inputs(
            framework="pt", batch_size=batch, sequence_length=min(length, longest)
        )
        yield "random", {name: value for name, value in inputs.items() if name in names}


def _text(model: Any, source: Path, names: set[str]) -> Iterator[tuple[str, Inputs]]:
    """Texts through the checkpoint's tokenizer, one by one and padded; none where it has none."""
    if "input_ids" not in names or not any((source / name).is_file() for name in VOCABULARIES):
        return
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=True)
    groups = [[text] for text in TEXTS]
    if tokenizer.pad_token is not None:
        groups.append(list(TEXTS))
    for group in groups:
        found = tokenizer(
            group,
            padding=len(group) > 1,
            truncation=True,
            max_length=_longest(model),
            return_tensors="pt",
        )
        inputs = {name: value for name, value in found.items() if name in names}
        if "token_type_ids" in names:  # left out, they are zero for transformers, too
            inputs.setdefault("token_type_ids", torch.zeros_like(inputs["input_ids"]))
        if set(inputs) == names:
            yield "text", inputs


def _longest(model: Any) -> int:
    """Positions that the model surely has: some count padding among them."""
    return max(1, int(getattr(model.config, "max_position_embeddings", 512)) - 2)


def _output(found: Any, name: str) -> np.ndarray[Any, Any]:
    value = found.get(name)
    if not isinstance(value, torch.Tensor):
        raise Refused(
            f"transformers gives no {name!r} to compare the exported one with",
            "use an architecture whose outputs optimum exports under their own names",
        )
    array: np.ndarray[Any, Any] = value.numpy()
    return array


def _error(got: np.ndarray[Any, Any], want: np.ndarray[Any, Any]) -> float:
    """Largest difference, relative to the largest value: JSON has no infinity."""
    if got.shape != want.shape:
        return sys.float_info.max
    error = float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-30))
    return error if np.isfinite(error) else sys.float_info.max


def _described(value: Any) -> dict[str, Any]:
    return {
        "name": value.name,
        "type": value.type.removeprefix("tensor(").removesuffix(")"),
        "shape": list(value.shape),
    }


def main() -> None:
    job, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    with redirect_stdout(sys.stderr):
        try:
            found = (export if job == "export" else prove)(source, folder)
        except Refused as error:
            found = {"problem": str(error), "fix": error.fix}
        except Exception as error:  # whatever these libraries raise is an answer, too
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            found = {
                "problem": f"optimum {version('optimum')} cannot {job} {source.name}: {reason}",
                "fix": "see the messages above; an architecture that it lacks needs a family here",
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
