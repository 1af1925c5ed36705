"""What the codes of a codec mean (residual vector quantization, arXiv 2107.03312): the sum of a row of each book.

B batch, F frames, Q books, D latent width.
"""

from dataclasses import dataclass
from functools import reduce

from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.speech.blocks import BATCH, check
from edge.nn.speech.codec import FRAMES
from edge.nn.weights import matrix
from edge.ops import Array
from edge.typing import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizerSpec:
    """`books` of `size` rows. `narrow`: rows are so wide, and a product makes latents of them; None: they are
    latents.
    """

    books: int
    size: int
    latent: int
    narrow: int | None = None

    def __post_init__(self) -> None:
        check("a quantizer", {"size": self.size, "latent": self.latent}, layers=self.books)
        check("a quantizer", {"narrow": 1 if self.narrow is None else self.narrow})

    @property
    def inputs(self) -> tuple[Port, ...]:
        return (
            Port(name="codes", type="int", shape=("batch", "frames", self.books), below=self.size),
            Port(name="book_mask", shape=("batch", self.books), values="mask"),
        )

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (Port(name="latent", shape=("batch", "frames", self.latent)),)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return BATCH, FRAMES

    def shapes(self) -> dict[str, Shape]:
        out: dict[str, Shape] = {}
        for i in range(self.books):
            out[f"books.{i}.table"] = (self.size, self.narrow or self.latent)
            out |= matrix(f"books.{i}.out", self.latent, self.narrow) if self.narrow else {}
        return out


def quantizer(
    ops: Composed[Array], spec: QuantizerSpec, codes: Array, book_mask: Array
) -> dict[str, Array]:
    """codes [B, F, Q], book_mask [B, Q]: 1 for the books that there are codes of -> latent [B, F, D]."""
    ones = [1] * spec.books
    every = zip(_parts(ops, codes, ones), _parts(ops, book_mask, ones), strict=True)
    found = [_one(ops, spec, i, *pair) for i, pair in enumerate(every)]
    return {"latent": reduce(ops.add, found)}


def _one(ops: Composed[Array], spec: QuantizerSpec, i: int, code: Array, used: Array) -> Array:
    row = ops.embed(f"books.{i}.table", ops.reshape(code, 0, -1))
    row = ops.one(row, f"books.{i}.out") if spec.narrow else row
    return ops.mul(row, ops.reshape(used, 0, 1, 1))


def _parts(ops: Composed[Array], x: Array, sizes: list[int]) -> tuple[Array, ...]:
    return ops.split(x, *sizes) if len(sizes) > 1 else (x,)


NETWORK = Network(QuantizerSpec, quantizer)
