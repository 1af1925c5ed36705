"""Fetch a checkpoint from the Hugging Face hub: resumed where it stopped, pinned from the first
time on.

`models.lock` in `EDGE_HOME` records the revision and the sha256 of every file that was got; later
pulls ask for that revision and accept only those bytes. Nothing that runs code is fetched.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from edge.artifact import sha256
from edge.config import Config, read_json
from edge.errors import Damaged, EdgeError
from edge.home import checkpoints, home

WANTED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "*.tiktoken",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
)
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """What was got: a repository at a commit, and the hash of each file."""

    source: str
    revision: str
    files: Mapping[str, str]


def pull(model: str, source: str, *, say: Say = lambda _: None) -> Path:
    """Fetch `source` (owner/name) as `model` -> its folder."""
    pins = read_pins()
    pin = pins.get(model)
    if pin is not None and pin.source != source:
        raise EdgeError(
            f"{model} is pinned to {pin.source}, not {source}", fix=f"edge rm {model}, then pull it"
        )
    folder = checkpoints() / model
    revision, names = _listing(source, pin)
    for name in names:
        say(f"{source}@{revision[:8]} {name}")
        _download(source, revision, name, folder)
    got = Pin(
        source=source, revision=revision, files={name: sha256(folder / name) for name in names}
    )
    if pin is not None:
        _same(model, pin, got)
    _write_pins({**pins, model: got})
    return folder


def config_of(source: str) -> Config:
    """The config.json of a repository, and nothing else of it."""
    revision, _ = _listing(source, None)
    folder = home() / "configs" / source.replace("/", "--")
    _download(source, revision, "config.json", folder)
    return Config.load(folder / "config.json")


def read_pins() -> dict[str, Pin]:
    """The lock file; empty where nothing was pulled."""
    file = _lock_file()
    if not file.exists():
        return {}
    try:
        return {key: Pin(**fields) for key, fields in read_json(file).items()}
    except TypeError:
        raise Damaged(f"{file} is no lock file of edge", fix="remove it and pull again") from None


def pin_of(folder: Path) -> Pin | None:
    """What a pulled checkpoint's folder holds; None for any other folder."""
    folder = folder.resolve()
    known = folder.parent == checkpoints().resolve()
    return read_pins().get(folder.name) if known else None


def forget(model: str) -> bool:
    """Drop a model's pin; whether there was one."""
    pins = read_pins()
    found = pins.pop(model, None) is not None
    if found:
        _write_pins(pins)
    return found


def _lock_file() -> Path:
    return home() / "models.lock"


def _write_pins(pins: Mapping[str, Pin]) -> None:
    file = _lock_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    text = json.dumps({key: asdict(pin) for key, pin in pins.items()}, indent=1, sort_keys=True)
    partial.write_text(text + "\n")
    partial.replace(file)


def _listing(source: str, pin: Pin | None) -> tuple[str, list[str]]:
    """The commit to fetch, and its files that concern us."""
    from huggingface_hub import HfApi

    hub = HfApi(endpoint=_endpoint())
    revision = None if pin is None else pin.revision
    info = _asked(source, lambda: hub.model_info(source, revision=revision))
    if not info.sha or info.sha != (revision or info.sha):
        raise Damaged(f"the hub gave another revision of {source}", fix="try again later")
    names = [item.rfilename for item in info.siblings or ()]
    wanted = sorted(n for n in names if any(fnmatch(n, pattern) for pattern in WANTED))
    if "config.json" not in wanted or not any(name.endswith(".safetensors") for name in wanted):
        raise EdgeError(
            f"{source} has no config.json with safetensors weights",
            fix="pull a repository that has them; edge reads no pickles",
        )
    return str(info.sha), wanted


def _download(source: str, revision: str, name: str, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    def fetch() -> object:
        return hf_hub_download(
            source, name, revision=revision, local_dir=folder, endpoint=_endpoint()
        )

    _asked(source, fetch)


def _endpoint() -> str | None:
    """The hub to ask, read now: the library reads it when it is imported."""
    return os.environ.get("HF_ENDPOINT")


def _asked(source: str, ask: Callable[[], Any]) -> Any:
    """One request; what the hub refuses becomes an error that says what to do."""
    from huggingface_hub import errors

    try:
        return ask()
    except errors.GatedRepoError:
        raise EdgeError(
            f"{source} is gated: its owner must grant you access",
            fix=f"accept the licence at huggingface.co/{source}, then set HF_TOKEN to a token of yours",
        ) from None
    except errors.RepositoryNotFoundError:
        raise EdgeError(
            f"the hub has no {source}, or only for those who may see it",
            fix="check the name; for a private repository set HF_TOKEN",
        ) from None
    except errors.RevisionNotFoundError:
        raise EdgeError(
            f"the pinned revision of {source} is gone", fix="edge rm the model, then pull it again"
        ) from None
    except Exception as error:  # its HTTP client's own errors come through, too
        reason = str(error).strip().splitlines()[0][:200]
        raise EdgeError(
            f"{source} could not be fetched: {reason}",
            fix="check the network and pull again: it goes on where it stopped",
        ) from None


def _same(model: str, pin: Pin, got: Pin) -> None:
    changed = sorted(name for name in pin.files if got.files.get(name) != pin.files[name])
    if changed:
        raise Damaged(
            f"{model}: {', '.join(changed[:3])} is not what was got before",
            fix=f"remove it with `edge rm {model}` and pull it again, if you trust the new files",
        )
