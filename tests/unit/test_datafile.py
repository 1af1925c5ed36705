"""The data file: what differs is counted, on however many threads it is compared."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge.files.datafile import DataFile

BLOCK = 1 << 16


def test_no_difference_is_lost_between_threads(tmp_path: Path) -> None:
    """One byte differs in the first of many blocks; the others are compared at the same time."""
    blocks = 64
    with DataFile(tmp_path / "it", blocks * BLOCK) as written:
        written.put(0, bytes(blocks * BLOCK))
    want = [b"\1" + bytes(BLOCK - 1)] + [bytes(BLOCK)] * (blocks - 1)
    for _ in range(20):
        with (
            DataFile(tmp_path / "it", blocks * BLOCK, mode="compare") as data,
            ThreadPoolExecutor(4) as pool,
        ):
            list(pool.map(data.put, range(0, blocks * BLOCK, BLOCK), want))
        assert data.differing == 1


def test_what_is_missing_differs(tmp_path: Path) -> None:
    with DataFile(tmp_path / "it", 10) as written:
        written.put(0, bytes(10))
    with DataFile(tmp_path / "it", 16, mode="compare") as data:
        data.put(0, bytes(16))
    assert data.differing == 6
