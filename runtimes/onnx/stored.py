"""An artifact's weights as MatMulNBits and GatherBlockQuantized define them, in numpy: what `edge verify`
compares with the source.

w = (code - zero) * scale, the zero the middle code where none is given. N rows, K columns, J groups.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from edge.errors import Damaged
from edge.names import Spec, shapes
from edge.quant.bits import codes, floats, spread
from edge.quant.recipe import Recipe
from edge.quant.rotation import back
from edge.quant.tensor import ROW
from edge.spec import DecoderSpec, parts
from edge.typing import F32, U8
from edge_runtimes.onnx.external import check, regions

MODEL = "model.onnx"


class OnnxRows:
    """`edge.contracts.Rows`: the graph says where each matrix lies, by name; several may be stacked."""

    def __init__(self, folder: Path, spec: Spec, recipe: Recipe) -> None:
        label = next(iter(parts(spec))) if isinstance(spec, DecoderSpec) else ""
        file = folder / f"{label}{MODEL}"
        check(file)
        self._regions, self._recipe, self._shapes = regions(file), recipe, shapes(spec)
        self._stacks = dict(self._stacked())
        self._kept: dict[str, tuple[U8, F32]] = {}  # the turned matrix that was asked for last

    def rows(self, name: str, start: int, stop: int, *, by_row: bool) -> F32:
        scheme, columns = self._recipe.scheme(name, by_row=by_row), self._shapes[name][1]
        stack, first, height = self._stacks.get(name, (name, 0, 1))
        form, ending = f"{stack}.{scheme}", ".codes" if by_row else ".codes.blocked"
        if scheme.group == ROW:
            return self._turned(form, start, stop)

        def part(key: str) -> U8:
            if key not in self._regions:
                raise Damaged(f"{MODEL} holds no {key}", fix="convert again")
            path, offset, nbytes = self._regions[key]
            size = nbytes // height
            return _read(path, offset + (first + start) * size, (stop - start, size))

        if scheme.group is None:
            return floats(part(f"{stack}.table" if by_row else stack), scheme.number)
        zeros = part(f"{form}.zeros") if f"{form}.zeros" in self._regions else None
        packed, scales = part(form + ending), part(f"{form}.scales")
        values = _meant(packed, scales, zeros, scheme.bits, scheme.group)[:, :columns]
        return back(values) if scheme.rotated else values

    def _turned(self, form: str, start: int, stop: int) -> F32:
        """Of signed codes [K, N] with a scale a row."""
        if form not in self._kept:
            where = [self._regions.get(f"{form}.{part}") for part in ("codes.turned", "scales")]
            if None in where:
                raise Damaged(f"{MODEL} holds no {form}", fix="convert again")
            codes, scales = (
                _read(path, at, (1, size))[0] for path, at, size in filter(None, where)
            )
            self._kept = {form: (codes.reshape(-1, len(scales) // 4), scales.view("<f4"))}
        whole, steps = self._kept[form]
        values = whole[:, start:stop].T.view(np.int8).astype(np.float32)
        found: F32 = values * steps[start:stop, None]
        return found

    def close(self) -> None:
        """Nothing stays open."""

    def _stacked(self) -> Iterator[tuple[str, tuple[str, int, int]]]:
        """Each weight: the matrix that it is in, its first row there, and the rows of all of it."""
        for key in self._regions:
            names = stack_of(key, self._shapes)
            heights = [self._shapes[name][0] for name in names]
            for i, name in enumerate(names):
                yield name, ("+".join(names), sum(heights[:i]), sum(heights))


def stack_of(key: str, known: Collection[str]) -> tuple[str, ...]:
    """The weights whose rows lie on top of each other in a constant of a graph, by its name; none, if it is of none:
    a table of rotations, say. `known`: every weight.
    """
    *before, last = key.split("+")
    words = last.split(".")
    starts = (".".join(words[:count]) for count in range(len(words), 0, -1))
    name = next((start for start in starts if start in known), "")
    return (*before, name) if name and all(part in known for part in before) else ()


def _meant(packed: U8, scales: U8, zeros: U8 | None, bits: int, group: int) -> F32:
    values = codes(packed, bits).astype(np.float32)
    columns = values.shape[1]
    scale = spread(scales.view("<f4"), group, columns)
    if zeros is None:
        return (values - (1 << bits - 1)) * scale
    floating = zeros.shape[1] == scales.shape[1]
    places = zeros.view("<f4") if floating else codes(zeros, bits).astype(np.float32)
    return (values - spread(places, group, columns)) * scale


def _read(path: Path, offset: int, shape: tuple[int, int]) -> U8:
    """Bytes that `check` found to lie in the file: [N, bytes of a row]."""
    out, done = np.empty(shape, np.uint8), 0
    with path.open("rb", buffering=0) as file:
        view = out.data.cast("B")
        while done < len(view):
            got = os.preadv(file.fileno(), [view[done:]], offset + done)
            assert got > 0, "a data file shrank while it was read"
            done += got
    return out
