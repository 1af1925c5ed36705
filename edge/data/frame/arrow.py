"""What pyarrow unpacks, where it is installed: tables of parquet, and zstd."""

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ROWS = 256  # of a table, at a time
_AT_ONCE = 1 << 16  # bytes


def there() -> bool:
    return importlib.util.find_spec("pyarrow") is not None


def unpacked(file: Any) -> Any:
    """A file of zstd, to be read; what is cut off is an OSError without a number."""
    return _Zstd(file)


def rows(path: Path) -> Iterator[dict[str, Any] | str]:
    """Rows of a table with their plain columns; a text that says why, once nothing more can be read."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            plain = [field.name for field in file.schema_arrow if _plain(field.type)]
            for batch in file.iter_batches(_ROWS, columns=plain, use_threads=False):
                yield from (_json(row) for row in batch.to_pylist())
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        yield str(error)[:200]


def _plain(kind: Any) -> bool:
    from pyarrow import types

    tests = (
        types.is_string,
        types.is_large_string,
        types.is_integer,
        types.is_floating,
        types.is_boolean,
    )
    return any(test(kind) for test in tests)


def _json(row: dict[str, Any]) -> dict[str, Any]:
    """What JSON has no number for is null."""
    odd = [
        name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)
    ]
    return {**row, **dict.fromkeys(odd)}


class _Zstd:
    def __init__(self, file: Any) -> None:
        import pyarrow

        self._file = pyarrow.CompressedInputStream(
            pyarrow.PythonFile(_Closeable(file), "r"), "zstd"
        )

    def read(self, size: int) -> bytes:
        content: bytes = self._file.read(
            min(size, _AT_ONCE)
        )  # what it read before an error is lost
        return content


class _Closeable:
    """As much of a file as pyarrow asks for."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        content: bytes = self._file.read(size)
        return content

    def close(self) -> None:
        self.closed = True
