"""An artifact appears when all of it is there.

It is written to a sibling folder and renamed at the end: a conversion killed at any moment leaves
nothing that looks finished.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.artifact.manifest import is_artifact
from edge.errors import EdgeError

try:
    import fcntl
except ModuleNotFoundError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]


@contextmanager
def publishing(
    out: Path,
    *,
    force: bool,
    keep: Callable[[Path], bool] = lambda _: False,
    ours: Callable[[Path], bool] = is_artifact,
    lasting: bool = False,
) -> Iterator[Path]:
    """A folder to fill, which becomes `out` at once if the body succeeds and vanishes if it fails.

    `keep`: whether what a conversion left in it, that was killed or found the disk full, is of use; `lasting`: also
    what one left that failed or was interrupted. `ours`: whether a folder is one of the kind that may be replaced.
    """
    _check_free(out, force=force, ours=ours)
    partial = partial_of(out)
    with alone(out):
        if not keep(partial):
            shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(exist_ok=True)
            yield partial
            for inner in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
                _sync(inner)
            replaced = out.with_name(f".{out.name}.replaced")
            if out.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                out.rename(replaced)
            partial.rename(out)
            _sync(out.parent)
            shutil.rmtree(replaced, ignore_errors=True)
        except BaseException as error:
            if not ((_full(error, out) or lasting) and keep(partial)):
                shutil.rmtree(partial, ignore_errors=True)
            raise


def check_place(out: Path) -> Path:
    """The folder that is there and that `out` will lie in, if anything can."""
    if out.name in ("", "..") or out.is_symlink():
        raise EdgeError(f"{out} cannot become an artifact", fix="give -o the name of a new folder")
    above = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise EdgeError(f"{above} is no folder: nothing lies below it", fix="give another -o")
    return above


def _check_free(out: Path, *, force: bool, ours: Callable[[Path], bool]) -> None:
    """Refuse to replace what is there, before any work."""
    check_place(out)
    if out.exists() and not force:
        raise EdgeError(f"{out} exists already", fix="give --force to replace it, or another -o")
    if out.exists() and not (out.is_dir() and (ours(out) or not any(out.iterdir()))):
        raise EdgeError(f"{out} is not an artifact: it will not be replaced", fix="give another -o")


def _full(error: BaseException, out: Path) -> bool:
    """Whether it is of a full disk, which then is said to be that of `out`."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return False
    error.filename = error.filename or str(out)
    return True


def partial_of(out: Path) -> Path:
    """Where an artifact is while it is being made."""
    return out.with_name(f".{out.name}.partial")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Refuse a second conversion into the same place; the lock of a killed one is free again."""
    lock = out.with_name(f".{out.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    ours = True  # an interruption at any moment from here on takes the lock away
    try:
        with lock.open("w") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    ours = False
                    raise EdgeError(
                        f"another command is writing {out}",
                        fix="wait for it, or give another -o",
                    ) from None
            yield
    finally:
        if ours:
            lock.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
