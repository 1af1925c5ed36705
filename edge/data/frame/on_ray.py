"""The same work on Ray Data, in a cluster that the user named: parts are its rows, whose order is kept.

Sources and the folder of the run must be seen by all nodes under their names. Ray sends no statistics
(`edge/system/switches.py`), starts no dashboard, and keeps what it writes below `EDGE_HOME`.
"""

import logging
import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edge.data.frame.work import answer
from edge.errors import EdgeError, Unsupported
from edge.system import processors
from edge.system.home import home

LOCAL = "local"
_PATIENCE = 20.0  # seconds
_AT_ONCE = 1024  # parts in a dataset
_SOCKET = 107  # bytes of a socket's path, at most; Ray puts 62 and more behind its folder
_RAYS_OWN = 66


class Cluster:
    """`edge.data.frame.crew.Crew` of a Ray cluster: at HOST:PORT, or one that is begun here for as long as it takes."""

    def __init__(self, address: str) -> None:
        if address != LOCAL and not re.fullmatch(r"(\[[\da-fA-F:]+\]|[^\s:/]+):\d{1,5}", address):
            raise EdgeError(
                f"--ray {address} is no address of a cluster",
                fix=f"write HOST:PORT, or {LOCAL} for one here",
            )
        try:
            import ray
        except ModuleNotFoundError:
            raise Unsupported(
                "--ray needs the package ray, which is not installed",
                fix="pip install 'edge-toolkit[data]', or leave out --ray",
            ) from None
        if address != LOCAL:
            _check_there(address)
        if ray.is_initialized():
            raise EdgeError("this process uses Ray already", fix="shut it down first")
        self._left = ExitStack()
        try:
            with ExitStack() as stack:
                options: dict[str, Any] = {"address": address}
                if address == LOCAL:
                    options |= stack.enter_context(_begun_here(self._left))
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            self._left.close()
            raise _nobody(address, error) from None

    def each(self, requests: Sequence[str]) -> Iterator[str]:
        import ray.data

        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        for at in range(0, len(requests), _AT_ONCE):
            some = [{"request": request} for request in requests[at : at + _AT_ONCE]]
            rows = (
                ray.data.from_items(some, override_num_blocks=len(some)).map(_answered).iter_rows()
            )
            yield from _said(rows)

    def close(self) -> None:
        import ray

        ray.shutdown()
        self._left.close()


def _check_there(address: str) -> None:
    """Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE):
            pass
    except (OSError, OverflowError) as error:
        raise _nobody(address, error) from None


def _nobody(address: str, error: Exception) -> EdgeError:
    return EdgeError(
        f"no Ray cluster answers at {address}: {str(error)[:300]}",
        fix="start one with `ray start --head`, or leave out --ray",
    )


def _answered(row: dict[str, Any]) -> dict[str, Any]:
    return {"answer": answer(row["request"])}


def _said(rows: Any) -> Iterator[str]:
    import ray.exceptions

    try:
        for row in rows:
            yield row["answer"]
    except ray.exceptions.RayError as error:
        cause = str(error).strip().splitlines()[-1]
        raise EdgeError(
            f"a part failed on the cluster: {cause[:300]}",
            fix="its nodes need this edge and must see the sources and -o; then give --resume",
        ) from error


@contextmanager
def _begun_here(left: ExitStack) -> Iterator[dict[str, Any]]:
    """How a cluster of this machine's processors begins; `left`: takes along what it wrote.

    Its head asks the addresses of three clouds whether it runs there, unless the home folder holds what a launcher
    left in it; and keeps a token in that folder. So it has a home of its own.
    """
    folder = home().absolute() / "ray"
    if len(os.fsencode(folder)) + _RAYS_OWN > _SOCKET:
        raise EdgeError(
            f"{folder} is too long for Ray, whose sockets lie in it",
            fix="set EDGE_HOME to a shorter path",
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ray_bootstrap_config.yaml").write_text("{}\n")
    left.callback(_removed, folder)
    before = os.environ.get("HOME")
    os.environ["HOME"] = str(folder)
    try:
        yield {
            "num_cpus": processors.threads(None),
            "include_dashboard": False,
            "_temp_dir": str(folder),
            "_node_ip_address": "127.0.0.1",
        }
    finally:
        del os.environ["HOME"]
        if before is not None:
            os.environ["HOME"] = before


def _removed(folder: Path) -> None:
    """What the session of this process left; another's is its own."""
    for session in folder.glob(f"session_*_{os.getpid()}"):
        shutil.rmtree(session, ignore_errors=True)
