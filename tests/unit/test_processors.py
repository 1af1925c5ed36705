"""Processors that a process may use: as the kernel's files say it, in trees of our own."""

import os
from pathlib import Path

import numpy as np
import pytest

from edge.errors import EdgeError
from edge.measure import bench
from edge.system import processors
from edge.system.processors import Processors

EMPTY = np.ones(1)
V1 = "33 32 0:28 {root} /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,{controllers}\n"
V2 = "29 22 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = "30 22 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
MEMORY = "34 32 0:29 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n"


def tree(root: Path, cgroup: str, mountinfo: str, limits: dict[str, str]) -> Path:
    """What a kernel shows: limits by the path of their group below /sys/fs/cgroup."""
    files = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo}
    for group, limit in limits.items():
        words = limit.split()
        if group.startswith("cpu"):
            files |= {f"sys/fs/cgroup/{group}/cpu.cfs_quota_us": words[0] + "\n"}
            files |= {f"sys/fs/cgroup/{group}/cpu.cfs_period_us": words[1] + "\n"}
        else:
            files |= {f"sys/fs/cgroup/{group}/cpu.max": limit + "\n"}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def v1(root: str = "/", controllers: str = "cpu") -> str:
    return MEMORY + V1.format(root=root, controllers=controllers)


def v2(root: str = "/") -> str:
    return "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + V2.format(root=root)


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "limits", "want"),
    [
        ("0::/\n", v2(), {".": "150000 100000"}, 1.5),
        ("0::/\n", v2(), {".": "max 100000"}, None),
        ("0::/\n", v2(), {}, None),
        ("0::/a/b\n", v2(), {"a": "200000 100000", "a/b": "max 100000"}, 2),
        ("0::/a/b\n", v2(), {"a": "200000 100000", "a/b": "50000 100000"}, 0.5),
        ("0::/a/b\n", v2(), {"other": "10000 100000"}, None),
        ("0::/docker/1\n", v2("/docker/1"), {".": "300000 100000"}, 3),
        ("0::/../up\n", v2(), {".": "300000 100000"}, 3),
        ("0::/\n", v2("/../.."), {".": "300000 100000"}, 3),
        ("4:cpu:/\n3:memory:/x\n", v1(), {"cpu": "400000 100000"}, 4),
        ("4:cpu:/\n3:memory:/x\n", v1(), {"cpu": "-1 100000"}, None),
        ("4:cpu,cpuacct:/a\n", v1("/", "cpu,cpuacct"), {"cpu/a": "25000 50000"}, 0.5),
        ("4:cpu:/a/b\n", v1(), {"cpu/a": "100000 100000", "cpu/a/b": "-1 100000"}, 1),
        ("4:cpu:/docker/1\n", v1("/docker/1"), {"cpu": "250000 100000"}, 2.5),
        ("4:cpu:/a\n0::/b\n", v1() + HYBRID, {"cpu/a": "100000 50000", "unified/b": "max 1"}, 2),
        ("4:cpu:/a\n0::/b\n", HYBRID + v1(), {"unified/b": "30000 10000"}, 3),
        ("4:memory:/a\n", MEMORY, {"cpu/a": "100000 100000"}, None),
        ("", "", {".": "100000 100000"}, None),
    ],
)
def test_the_tightest_quota_around_a_process_counts(
    tmp_path: Path, cgroup: str, mountinfo: str, limits: dict[str, str], want: float | None
) -> None:
    assert processors.quota(tree(tmp_path, cgroup, mountinfo, limits)) == want


def test_this_machines_own_files_are_read() -> None:
    found = processors.here()
    assert 1 <= found.count <= found.there == os.cpu_count()
    assert 1 <= found.bodies <= found.count


@pytest.mark.parametrize(
    ("allowed", "quota", "count", "words"),
    [
        (8, None, 8, "all are free"),
        (2, None, 2, "the affinity mask allows 2"),
        (8, 0.2, 1, "the container's quota is 0.2"),
        (8, 2.9, 2, "the container's quota is 2.9"),
        (4, 2, 2, "the affinity mask allows 4 and the container's quota is 2"),
        (8, 64, 8, "all are free"),
    ],
)
def test_why_no_more(allowed: int, quota: float | None, count: int, words: str) -> None:
    mask = frozenset(range(allowed))
    found = Processors(there=8, mask=mask, cores=allowed, quota=quota)
    assert (found.count, found.why) == (count, words)
    assert found.limited == (count < 8)


def test_two_processors_may_share_a_core(tmp_path: Path) -> None:
    for one in range(4):
        file = tmp_path / f"sys/devices/system/cpu/cpu{one}/topology/thread_siblings_list"
        file.parent.mkdir(parents=True)
        file.write_text(f"{one % 2},{one % 2 + 2}\n")
    assert processors.cores(frozenset(range(4)), tmp_path) == 2
    assert processors.cores(frozenset({0, 2}), tmp_path) == 1
    assert processors.cores(frozenset({0, 1}), tmp_path) == 2
    assert processors.cores(frozenset(range(4)), tmp_path / "unknown") == 4


def test_libraries_that_see_no_quota_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(allowed: int, quota: float | None) -> dict[str, str]:
        mask = frozenset(range(allowed))
        found = Processors(there=8, mask=mask, cores=allowed, quota=quota)
        monkeypatch.setattr(processors, "here", lambda: found)
        return processors.environment()

    assert told(8, 2) == {"OMP_NUM_THREADS": "2"}
    assert told(8, None) == told(2, None) == told(2, 4) == {}, "they see the mask themselves"


def test_threads_are_bounded_before_memory_is_taken_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert processors.threads(None) == processors.here().count
    assert processors.threads(processors.MOST) == processors.MOST
    for asked in (0, -1, processors.MOST + 1, 10**9):
        with pytest.raises(EdgeError, match=f"{asked} threads"):
            processors.threads(asked)
    taken: list[int] = []
    monkeypatch.setattr(bench.np, "ones", lambda size, kind: taken.append(size) or EMPTY)
    bench.read_bandwidth(processors.MOST)
    assert len(taken) == processors.here().count, "256 MB each"


@pytest.mark.parametrize(
    ("flags", "machine", "able"),
    [
        ("fpu avx2 avx_vnni", "x86_64", True),
        ("fpu avx512f avx512_vnni amx_int8", "x86_64", True),
        ("fpu avx2 avx512f", "x86_64", False),
        (None, "x86_64", False),  # where nothing says so, what is right everywhere is taken
        (None, "aarch64", True),
        (None, "arm64", True),
    ],
)
def test_products_of_signed_bytes_are_trusted_where_they_do_not_overflow(
    flags: str | None, machine: str, able: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    if flags is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert processors.multiplies_bytes(tmp_path) is able
