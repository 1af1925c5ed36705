"""An adapter's folder, whichever layout it has."""

from collections.abc import Callable, Mapping
from pathlib import Path

from edge.adapters import mlx, peft
from edge.adapters.value import Adapter
from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.config import Config

_READERS: Mapping[str, Callable[[Path], Adapter]] = {
    peft.WEIGHTS: peft.read,
    mlx.WEIGHTS: mlx.read,
}
CONFIG = peft.CONFIG  # of both
_BASES = ("base_model_name_or_path", "model")  # in PEFT's, in mlx-lm's
_PICKLED = ("adapter_model.bin", "adapter_model.pt")


def read(folder: Path) -> Adapter:
    """PEFT's or mlx-lm's, by the name of its weights."""
    return _READERS[_weights(folder)](folder)


def files(folder: Path) -> tuple[Path, ...]:
    """What is read of it."""
    return folder / CONFIG, folder / _weights(folder)


def base(folder: Path) -> str | None:
    """The model that an adapter says it was trained on, if it says so: a name, or a folder of its author's."""
    config = Config.load(folder / CONFIG)
    names = (config.data.get(key) for key in _BASES)
    return next((str(name)[:200] for name in names if isinstance(name, str) and name), None)


def _weights(folder: Path) -> str:
    if not folder.is_dir():
        raise EdgeError(
            f"there is no adapter {folder}", fix=f"name a folder that holds {peft.WEIGHTS}"
        )
    for name in _READERS:
        if (folder / name).is_file():
            return name
    for name in _PICKLED:
        if (folder / name).is_file():
            raise Unsupported(
                f"{folder / name} is a pickle, which may run code and is not read",
                fix="load it with PEFT and save it again: save_pretrained writes adapter_model.safetensors",
            )
    raise Damaged(
        f"{folder} holds no {' and no '.join(_READERS)}",
        fix="name the folder that PEFT or mlx-lm wrote an adapter to",
    )
