"""Targets by name: `edge_converters.NAME` makes an artifact, `edge_runtimes.NAME` runs it. Found lazily,
never imported by name.
"""

import importlib
import importlib.util
import pkgutil
import platform
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from edge.contracts import Calibrator, Converter, Layout, Oracle, Runtime, Trainer, Tuner
from edge.errors import EdgeError, Unsupported
from edge.names import Spec
from edge.quant.recipe import Recipe
from edge.spec import DecoderSpec
from edge.system import graphics
from edge.system.team import Team, Threads, several

_OURS = ("edge", "edge_converters", "edge_runtimes")
_BEST = {"Darwin": ("mlx", "onnx"), "Linux": ("onnx",)}  # fastest first


def converter(target: str) -> Converter:
    return cast(Converter, _find("converters", target))


def runtime(target: str) -> Runtime:
    module = _find("runtimes", target)
    if "open" not in vars(module):
        raise EdgeError(f"the target {target!r} runs no artifacts", fix="use the target onnx")
    return cast(Runtime, module)


def layout(target: str, spec: Spec, recipe: Recipe) -> Layout[Spec]:
    """Where an artifact of whatever kind of model will lie."""
    if isinstance(spec, DecoderSpec):
        return converter(target).layout(spec, recipe)
    made = offered("converters", target, "net_layout", "hold networks that are no decoders of text")
    return cast("Layout[Spec]", made(spec, recipe))


def offered(kind: str, target: str, name: str, what: str) -> Any:
    """What a target's package of a kind has under a name; refuses one that has nothing there."""
    found = vars(_find(kind, target)).get(name)
    if found is None:
        able = offering(kind, name)
        raise Unsupported(
            f"{target} cannot {what}", fix=f"use an artifact of {' or '.join(able) or 'onnx'}"
        )
    return found


def refusal(target: str) -> EdgeError | None:
    """Why a runtime that is installed does not run on this system; None if it does."""
    check = vars(runtime(target)).get("check")
    try:
        if check is not None:
            check()
    except EdgeError as error:
        return error
    return None


def offering(kind: str, name: str) -> list[str]:
    """Targets whose package of a kind is installed and has this name in it."""
    return [target for target in names("converters") if name in _contents(kind, target)]


def _contents(kind: str, target: str) -> Mapping[str, object]:
    try:
        return vars(_find(kind, target))
    except EdgeError:
        return {}


def oracle() -> Oracle:
    return cast(Oracle, _find("runtimes", "reference"))


TRAINER = "torch"  # if nobody says otherwise


def trainer(target: str = TRAINER) -> Trainer:
    """What trains on a target; refuses one that does not."""
    known = [name for name in names("runtimes") if _trains(name)]
    if target not in known:
        raise EdgeError(
            f"nothing is trained on {target!r:.60}", fix=f"use one of: {', '.join(known)}"
        )
    return cast(Trainer, _import(f"edge_runtimes.{target}.train", target))


def _trains(target: str) -> bool:
    """Whether a runtime's folder has a trainer in it; its package need not be installed."""
    spec = importlib.util.find_spec("edge_runtimes")
    folders = (spec.submodule_search_locations if spec else None) or []
    return any((Path(folder) / target / "train.py").is_file() for folder in folders)


def team() -> Team:
    """Who shares work here: this process alone, or with those that torchrun started."""
    if not several():
        return Threads()
    return cast(Team, _import("edge_runtimes.torch.team", "torch").team())


# What a text can be read by, to round by it: the device, and the runtime that computes there.
CALIBRATE_ON: Mapping[str, str] = {"numpy": "reference", "cpu": "torch", "cuda": "torch"}


def calibrates_on(device: str | None) -> str:
    """The device that was asked for; or else CUDA where there is any and torch sees it; or else numpy, which is faster
    on a processor than torch is.
    """
    if device is None:
        seen = graphics.may_have_cuda() and importlib.util.find_spec("torch") is not None
        return "cuda" if seen and _calibrating("torch").preferred() else "numpy"
    if device not in CALIBRATE_ON:
        raise EdgeError(
            f"nothing is calibrated on {device!r:.60}", fix=f"use one of: {', '.join(CALIBRATE_ON)}"
        )
    return device


def calibrator(device: str | None = None) -> Calibrator:
    """What reads a text there."""
    name = calibrates_on(device)
    return cast(Calibrator, _calibrating(CALIBRATE_ON[name]).calibrator(name))


def _calibrating(target: str) -> ModuleType:
    return _import(f"edge_runtimes.{target}.calibrating", target)


def tuner() -> Tuner:
    return cast(Tuner, _import("edge_runtimes.torch.tuning", "torch"))


def best() -> str:
    """The first of this system's targets that runs here."""
    for target in _BEST.get(platform.system(), _BEST["Linux"]):
        try:
            runtime(target)
        except EdgeError:
            continue
        return target
    return "onnx"


def names(kind: str) -> tuple[str, ...]:
    """Targets of a kind (`converters` or `runtimes`), by the folders that are there."""
    spec = importlib.util.find_spec(f"edge_{kind}")
    folders = spec.submodule_search_locations if spec else None
    return tuple(sorted(m.name for m in pkgutil.iter_modules(folders) if m.ispkg))


def _find(kind: str, target: str) -> ModuleType:
    known = names(kind)
    if target not in known:
        raise EdgeError(f"there is no target {target!r}", fix=f"use one of: {', '.join(known)}")
    return _import(f"edge_{kind}.{target}", target)


def _import(module: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in _OURS:
            raise
        raise Unsupported(
            f"{target} needs the package {error.name}, which is not installed",
            fix=f"pip install 'edge-toolkit[{target}]'",  # a module's name may be another package's
        ) from None
