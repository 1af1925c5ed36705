"""How many processors this process may use: those of the machine, less what its affinity mask and its
container's quota leave out.

Threads wait for one another at every matrix: two on one processor take longer than one does.
"""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge.errors import EdgeError

MOST = 512  # threads: ggml has no room for more
_ROOT = Path("/")
_CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class Processors:
    """`there`: of the machine; `mask`: those that this process may run on; `cores`: how many bodies
    those have, where two processors may share one; `quota`: processors' worth of time that its
    container grants, None where it grants all.
    """

    there: int
    mask: frozenset[int]
    cores: int
    quota: float | None = None

    @property
    def count(self) -> int:
        """Threads that run at once."""
        return min(len(self.mask), self._granted)

    @property
    def bodies(self) -> int:
        """Threads that run at once, one a core."""
        return min(self.cores, self._granted)

    @property
    def limited(self) -> bool:
        """Whether the machine has more of them."""
        return self.count < self.there

    @property
    def _granted(self) -> int:
        # One thread more than a quota pays for, and all of them wait while it is stopped.
        return self.there if self.quota is None else max(1, int(self.quota))

    def json(self) -> dict[str, object]:
        return {
            "used": self.count,
            "there": self.there,
            "affinity": len(self.mask),
            "quota": self.quota,
            "why": self.why,
        }

    @property
    def why(self) -> str:
        """What leaves the others out."""
        reasons = {
            f"the affinity mask allows {len(self.mask)}": len(self.mask) < self.there,
            f"the container's quota is {self.quota or 0:g}": self._granted < self.there,
        }
        return " and ".join(reason for reason, holds in reasons.items() if holds) or "all are free"


def here(root: Path = _ROOT) -> Processors:
    """Of this process, now."""
    there = os.cpu_count() or 1
    mask = frozenset(_affinity(there))
    return Processors(there=there, mask=mask, cores=cores(mask, root), quota=quota(root))


def threads(asked: int | None) -> int:
    """As many as were asked for, or else as run at once."""
    if asked is not None and not 1 <= asked <= MOST:
        raise EdgeError(f"{asked} threads were asked for", fix=f"ask for 1 to {MOST}")
    return min(asked or here().count, MOST)


def tell_libraries() -> None:
    """Before any of them is loaded; what the user set stays."""
    for name, value in environment().items():
        os.environ.setdefault(name, value)


def environment() -> dict[str, str]:
    """For libraries that see an affinity mask but no quota: OpenBLAS, OpenMP."""
    found = here()
    return {"OMP_NUM_THREADS": str(found.count)} if found.count < len(found.mask) else {}


def multiplies_bytes(root: Path = _ROOT) -> bool:
    """Whether products of unsigned and signed bytes are added in 32 bits: by VNNI on x86, always elsewhere
    (microsoft/onnxruntime#6004, #14642).
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i686"):
        return True
    lines = (_read(root / "proc" / "cpuinfo") or "").splitlines()
    flags = next((line.split(":")[-1].split() for line in lines if line.startswith("flags")), [])
    return not {"avx_vnni", "avx512_vnni"}.isdisjoint(flags)


def cores(mask: frozenset[int], root: Path = _ROOT) -> int:
    """How many bodies these processors have between them; each has its own where nothing is known."""
    names = [root / _CPUS / f"cpu{one}" / "topology" / "thread_siblings_list" for one in mask]
    return len({_read(name) or str(name) for name in names})


def quota(root: Path = _ROOT) -> float | None:
    """The tightest quota of this process's control groups and of those around them, in processors."""
    found = [limit for group in _groups(root) if (limit := _limit(group)) is not None]
    return min(found, default=None)


def _affinity(there: int) -> set[int]:
    if hasattr(os, "sched_getaffinity"):  # macOS and Windows have none
        return os.sched_getaffinity(0)
    return set(range(there))


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that may bound this process's time, the innermost first."""
    own: dict[str, str] = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)  # version 2 names no controller
    for line in _read(root / "proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        kind, options = right.split()[0], right.split()[-1].split(",")
        controller = {"cgroup": "cpu", "cgroup2": ""}.get(kind)
        if controller in own and (kind == "cgroup2" or controller in options):
            mounted, place = left.split()[3:5]
            yield from _nested(root / place.lstrip("/"), mounted, own[controller])


def _nested(place: Path, mounted: str, path: str) -> Iterator[Path]:
    """A group's folder and those around it, where `mounted` of the hierarchy lies at `place`."""
    inner = PurePosixPath(path)
    inside = inner.relative_to(mounted) if inner.is_relative_to(mounted) else PurePosixPath()
    while inside.parts:
        yield place / inside
        inside = inside.parent
    yield place


def _limit(group: Path) -> float | None:
    """Time over period, in version 2 or 1; "max" and -1 are no limit."""
    found = _read(group / "cpu.max").split() or [
        _read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
    ]
    time, period = (int(text) if text.isdecimal() else 0 for text in found)
    return time / period if time and period else None


def _read(file: Path) -> str:
    """What the system says; nothing where it says nothing."""
    try:
        return file.read_text()
    except OSError:
        return ""
