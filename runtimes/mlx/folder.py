"""An mlx-lm folder, checked before MLX sees a byte of it.

config.json says in its `quantization` how matrices are packed: codes in 32-bit words, the first in
the lowest bits, and for each group of columns a scale and a bias: w = code * scale + bias. MLX itself
parses none of these files. N rows, K columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from edge.artifact.manifest import contained
from edge.errors import Damaged, Unsupported
from edge.files.closeable import Closeable
from edge.files.config import Config
from edge.files.safetensors import Entry, SafetensorsFile
from edge.names import Location, Spec, own_places
from edge.net import NetSpec
from edge.nn.tracing import matrices
from edge.quant.tensor import Float
from edge.source.headers import Headers, weight_files
from edge.typing import I64, U8, Shape

BITS, GROUPS = (2, 3, 4, 5, 6, 8), (32, 64, 128)
_SUMMED = (1, 8)  # bits of what is added up
_FLOATS: dict[str, Float] = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
Kind = Literal[
    "weight", "scales", "biases", "added.weight", "added.scales", "added.biases", "order"
]
PACKED: tuple[Kind, ...] = ("weight", "scales", "biases")
ADDED: tuple[Kind, ...] = ("added.weight", "added.scales", "added.biases")
_BLOCK = 1 << 22  # bytes that are read at a time where rows are picked out


@dataclass(frozen=True, slots=True)
class Form:
    """How a tensor is stored: floats, or codes whose scales and biases are floats of this type. `added`: how what
    is added to it is, of the first columns of an order, if it is `ordered`. `rotated`: so are its columns.
    """

    number: Float
    bits: int | None = None
    group: int | None = None
    added: "Form | None" = None
    ordered: bool = False
    rotated: bool = False


class Folder(Closeable):
    """An open folder that holds exactly the weights of a spec."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        config = Config.load(folder / "config.json")
        opened: list[SafetensorsFile] = []
        try:
            paths = [contained(folder, path.name) for path in weight_files(folder)]
            opened.extend(SafetensorsFile(path) for path in paths)
            headers = Headers(config, {file.path.name: file.entries for file in opened})
            forms, found = _forms(headers.entries(), config)
            self.places = _places(headers, spec, found, folder)
        except BaseException:
            for file in opened:
                file.close()
            raise
        self._forms, self._matrices = forms, matrices(spec)
        self._files = {name: file for file in opened for name in file.entries}

    def shape(self, name: str) -> Shape:
        return self.places[name].shape

    def form(self, name: str) -> Form:
        return self._forms[self.places[name].tensor]

    def forms(self) -> set[Form]:
        """Of all matrices."""
        return {self.form(name) for name in self._matrices}

    def width(self, name: str, kind: Kind) -> int:
        """Bytes of a stored row."""
        tensor = self._tensor(name, kind)
        return self._files[tensor].entries[tensor].row_bytes

    def read(self, name: str, kind: Kind, out: U8, *, start: int = 0) -> None:
        """A weight's bytes, in the order of its rows, from `start` on: out [N, bytes of a row]."""
        place, tensor = self.places[name], self._tensor(name, kind)
        file, at = self._files[tensor], 0
        for rows in place.rows or (range(place.stored[0]),):
            some = rows[max(0, start - at) : max(0, start + len(out) - at)]
            if some:
                first = max(at, start) - start
                _pick(file, tensor, some, out[first : first + len(some)])
            at += len(rows)

    def _tensor(self, name: str, kind: Kind) -> str:
        tensor = self.places[name].tensor
        return tensor if kind == "weight" else _sibling(tensor, kind)

    def order(self, name: str) -> I64:
        """Which columns come first, [K]; refuses what is no order."""
        tensor = self._tensor(name, "order")
        columns = self.shape(name)[1]
        out = np.empty((columns, 4), np.uint8)
        self._files[tensor].fill(tensor, 0, out.data)
        order = out.view("<u4").ravel().astype(np.int64)
        if not np.array_equal(np.sort(order), np.arange(columns)):
            raise Damaged(f"{tensor} does not name each column once", fix="convert again")
        return order

    def close(self) -> None:
        for file in set(self._files.values()):
            file.close()


def _pick(file: SafetensorsFile, tensor: str, rows: range, out: U8) -> None:
    if rows.step == 1:
        file.fill(tensor, rows.start, out.data)
        return
    count = max(1, _BLOCK // (out.shape[1] * rows.step))
    for at in range(0, len(rows), count):
        some = rows[at : at + count]
        block = np.empty((some[-1] + 1 - some.start, out.shape[1]), np.uint8)
        file.fill(tensor, some.start, block.data)
        out[at : at + len(some)] = block[:: rows.step]


def _places(
    headers: Headers, spec: Spec, found: Mapping[str, Shape], folder: Path
) -> dict[str, Location]:
    if isinstance(spec, NetSpec):
        return _own_places(spec, found, folder)
    names = headers.family.names
    try:
        return names.check(spec, found)
    except Unsupported:  # its family has no name for a weight of this spec
        raise Damaged(
            f"{folder / 'config.json'} is of another model than edge.json", fix="convert again"
        ) from None


def _own_places(spec: NetSpec, found: Mapping[str, Shape], folder: Path) -> dict[str, Location]:
    """Of a network that is no decoder: no library of MLX's names its weights."""
    places = own_places(spec)
    wanted = {place.tensor: place.stored for place in places.values()}
    if wanted != found:
        wrong = sorted(wanted.items() ^ found.items())[0][0]
        raise Damaged(
            f"{folder} is of another network than its edge.json: see {wrong!r:.80}",
            fix="convert again",
        )
    return places


def _forms(
    entries: Mapping[str, Entry], config: Config
) -> tuple[dict[str, Form], dict[str, Shape]]:
    """Every tensor's form, and the shape of what it means; scales and biases belong to a tensor."""
    forms, found = {}, {}
    packed = {
        name
        for name in entries
        if _sibling(name, "scales") in entries and not name.endswith(ADDED[0])
    }
    extra = {_sibling(name, kind) for name in packed for kind in (*PACKED[1:], *ADDED, "order")}
    for name, entry in entries.items():
        if name in extra:
            continue
        stated = _stated(config, name)
        if name in packed:
            if stated is None:
                raise _lies(name, "does not say how it is quantized")
            forms[name], found[name] = _summed(entries, name, stated)
            continue
        if stated is not None and stated.table is not None:
            raise _lies(name, f"says that it is quantized, and it is stored as {entry.dtype}")
        if entry.dtype not in _FLOATS:
            raise Damaged(
                f"tensor {name} is of type {entry.dtype}, and has no scales", fix="convert again"
            )
        forms[name], found[name] = Form(_FLOATS[entry.dtype]), entry.shape
    return forms, found


@dataclass(frozen=True, slots=True)
class _Stated:
    """What config.json says of a tensor; `table`: where it says so of this one by name."""

    bits: int
    group: int
    table: Config | None
    added: "_Stated | None" = None
    ordered: bool = False
    rotated: bool = False


def _stated(config: Config, name: str) -> _Stated | None:
    block = config.table("quantization")
    path = name.removesuffix(".weight")
    if block is None or block.data.get(path) is False:
        return None
    own = block.table(path) if isinstance(block.data.get(path), dict) else None
    added = None if own is None else own.table("added")
    if own is None or added is None:
        turned = own is not None and own.flag("rotated", False)
        return _Stated(*_packing(own or block, BITS), own, rotated=turned)
    first, second = _packing(own, _SUMMED), _Stated(*_packing(added, _SUMMED), added)
    return _Stated(*first, own, second, own.flag("ordered"))


def _packing(table: Config, able: tuple[int, ...]) -> tuple[int, int]:
    """Bits and columns of a group, as a part of config.json says."""
    mode = table.text("mode", "affine")
    bits, group = table.integer("bits"), table.integer("group_size")
    if mode != "affine" or bits not in able or group not in GROUPS:
        raise Unsupported(
            f"{table.where}: {bits} bits in groups of {group}, mode {mode!r:.40}",
            fix=f"use affine quantization of {', '.join(map(str, able))} bits, "
            f"groups of {', '.join(map(str, GROUPS))}",
        )
    return bits, group


def _summed(entries: Mapping[str, Entry], name: str, stated: _Stated) -> tuple[Form, Shape]:
    """A matrix, and what is added to it, if config.json says that something is."""
    form, shape = _unpacked(entries, name, stated, PACKED)
    order = entries.get(_sibling(name, "order"))
    if (order is not None) != stated.ordered or (_sibling(name, ADDED[0]) in entries) != bool(
        stated.added
    ):
        raise _lies(name, "says something else than its tensors about what is added to it")
    if stated.added is None:
        return replace(form, rotated=stated.rotated), shape
    added, inner = _unpacked(entries, name, stated.added, ADDED)
    if inner[0] != shape[0] or inner[1] > shape[1] or added.number != form.number:
        raise _lies(name, f"adds {list(inner)} of {added.number} to {list(shape)}")
    if order is not None and (order.dtype, order.shape) != ("U32", (shape[1],)):
        raise Damaged(f"{name} has no order of its {shape[1]} columns", fix="convert again")
    return replace(form, added=added, ordered=stated.ordered), shape


def _unpacked(
    entries: Mapping[str, Entry], name: str, stated: _Stated, kinds: tuple[Kind, ...]
) -> tuple[Form, Shape]:
    codes, scales, biases = (entries.get(_sibling(name, kind)) for kind in kinds)
    if (
        codes is None
        or scales is None
        or codes.dtype != "U32"
        or len(codes.shape) != 2
        or biases is None
    ):
        raise Damaged(f"tensor {name} has scales, but is no packed matrix", fix="convert again")
    rows, words = codes.shape
    columns, rest = divmod(words * 32, stated.bits)
    want = (rows, columns // stated.group)
    if rest or columns % stated.group or scales.shape != want or biases.shape != want:
        raise _lies(
            name,
            f"says {stated.bits} bits in groups of {stated.group}; "
            f"it has {words} words and {list(scales.shape)} scales",
        )
    if scales.dtype != biases.dtype or scales.dtype not in _FLOATS:
        raise Damaged(
            f"tensor {name} has scales of {scales.dtype} and biases of {biases.dtype}",
            fix="convert again",
        )
    return Form(_FLOATS[scales.dtype], stated.bits, stated.group), (rows, columns)


def _sibling(name: str, kind: str) -> str:
    return f"{name.removesuffix('weight')}{kind}" if name.endswith(".weight") else ""


def _lies(name: str, what: str) -> Damaged:
    return Damaged(f"config.json: of {name} it {what}", fix="convert again")
