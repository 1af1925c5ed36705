"""What the file of an artifact means."""

from pathlib import Path

from edge.files.closeable import Closeable
from edge.files.safetensors import SafetensorsFile
from edge.quant.recipe import Recipe
from edge.spec import DecoderSpec
from edge.typing import F32

FILE = "weights.safetensors"


class DoublesRows(Closeable):
    """`edge.contracts.Rows`."""

    def __init__(self, folder: Path, spec: DecoderSpec, recipe: Recipe) -> None:
        self._file = SafetensorsFile(folder / FILE)

    def rows(self, name: str, start: int, stop: int, *, by_row: bool) -> F32:
        return self._file.rows(name, start, stop)

    def close(self) -> None:
        self._file.close()
