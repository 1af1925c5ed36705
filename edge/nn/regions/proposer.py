"""Where things are in a picture: a deformable DETR in two stages (arXiv 2010.04159) over one map, as Groma has it
(arXiv 2404.13013). Each pixel of the encoder's map proposes a box; those of the best scores become queries, whose
contents are learned and whose places are the boxes' (mixed query selection, arXiv 2203.03605), and the decoder moves
them.

B pictures, N = H W pixels of the map, Q queries, D width, M heads, P points. Boxes are cx cy w h, parts of the
picture's width and height.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Generic

import numpy as np

from edge.errors import Damaged
from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.vit import MOST
from edge.nn.weights import LAYER, matrix, norm
from edge.ops import Array
from edge.spec import Norm
from edge.typing import F32, AnyArray, Shape

FIRST = Norm(eps=1e-6, kind="layer")  # of what comes in
BOX, EDGE = 0.05, 0.01  # a proposal's sides; how far its centre is from the picture's edge at least
NEAR = 1e-5  # from 0 or 1: a part is no nearer before its logit is taken
FAR = 100.0  # the logit of 1, in float32
RATE = 10_000.0
PIXELS, LAYERS, PICTURES = 1 << 14, 256, 8  # at most
_FIX = "correct the numbers in config.json"
_LOOKS = ("x", "y", "share")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposerSpec:
    """`grid`: rows and columns of the map; `channels`: of what comes in; `encoder` and `decoder`: layers of each.
    `powers`: a head of scores for each, whose probability to this power is a factor of the score. `follows`: each
    layer of the decoder looks around the box that the one before it left; else all look around the proposal, and
    the last two move it (Groma's code).
    """

    grid: tuple[int, int]
    channels: int
    width: int
    heads: int
    points: int
    encoder: int
    decoder: int
    ffn_width: int
    queries: int
    powers: tuple[float, ...] = (1.0,)
    follows: bool = True

    def __post_init__(self) -> None:
        counts = (*self.grid, self.channels, self.width, self.heads, self.points, self.ffn_width)
        if len(self.grid) != 2 or not all(1 <= number <= MOST for number in counts):
            raise Damaged("a number of a proposer of boxes is not from 1 to 2^20", fix=_FIX)
        if self.pixels > PIXELS or not 1 <= self.queries <= self.pixels:
            problem = f"{self.queries} queries of a map of {self.pixels} pixels"
            raise Damaged(problem, fix=f"give a map of {PIXELS} at most, and no more queries")
        if self.width % 4 or self.width % self.heads:
            problem = f"{self.heads} heads, or 4 parts, do not divide a width of {self.width}"
            raise Damaged(problem, fix=_FIX)
        if not (1 <= self.encoder <= LAYERS and 2 <= self.decoder <= LAYERS):
            problem = f"an encoder of {self.encoder} layers and a decoder of {self.decoder}"
            raise Damaged(problem, fix=f"give 1 and 2 at least, {LAYERS} at most")
        if not (1 <= len(self.powers) <= 8 and all(0 < power <= 8 for power in self.powers)):
            raise Damaged(f"scores to the powers {self.powers}", fix="give one to eight, up to 8")

    @property
    def pixels(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def inputs(self) -> tuple[Port, ...]:
        return (Port(name="features", shape=("pictures", self.pixels, self.channels)),)

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (
            Port(name="scores", shape=("pictures", self.queries)),
            Port(name="boxes", shape=("pictures", self.queries, 4)),
        )

    @property
    def sizes(self) -> tuple[Size, ...]:
        return (Size(name="pictures", most=PICTURES),)

    def moves(self, layer: int) -> bool:
        """Whether what a layer of the decoder says moves the box."""
        return self.follows or layer >= self.decoder - 2

    def shapes(self) -> dict[str, Shape]:
        width, out = self.width, matrix("input", self.width, self.channels)
        out |= norm("input.norm", width)
        out["level"] = (width,)
        for i in range(self.encoder):
            out |= self._look(f"encoder.{i}.look.") | self._feed(f"encoder.{i}.mlp.")
        out |= matrix("proposal", width, width) | norm("proposal.norm", width)
        out |= matrix("proposal.score", 1, width) | self._step(self.decoder)
        out |= matrix("place", 2 * width, 2 * width) | norm("place.norm", 2 * width)
        out["queries"] = (self.queries, width)
        for i in range(self.decoder):
            out |= self._layer(f"decoder.{i}.")
            out |= self._step(i) if self.moves(i) else {}
        for i in range(len(self.powers)):
            out |= matrix(_head(self.decoder - 1, i), 1, width)
        return out

    def _look(self, at: str) -> dict[str, Shape]:
        out = dict[str, Shape]()
        for name in _LOOKS:
            out |= matrix(at + name, self.heads * self.points, self.width)
        for name in ("value", "out"):
            out |= matrix(at + name, self.width, self.width)
        return out | norm(at + "norm", self.width)

    def _feed(self, at: str) -> dict[str, Shape]:
        out = matrix(at + "up", self.ffn_width, self.width)
        return out | matrix(at + "down", self.width, self.ffn_width) | norm(at + "norm", self.width)

    def _layer(self, at: str) -> dict[str, Shape]:
        out = dict[str, Shape]()
        for name in "qkvo":
            out |= matrix(f"{at}attn.{name}", self.width, self.width)
        out |= norm(at + "attn.norm", self.width)
        return out | self._look(at + "look.") | self._feed(at + "mlp.")

    def _step(self, layer: int) -> dict[str, Shape]:
        at, width = f"steps.{layer}.", self.width
        out = matrix(at + "first", width, width) | matrix(at + "second", width, width)
        return out | matrix(at + "last", 4, width)


@dataclass(frozen=True, kw_only=True)
class TaughtSpec(ProposerSpec):
    """A proposer that learns: with heads and steps of every layer of the decoder, which have losses of their own."""

    def shapes(self) -> dict[str, Shape]:
        out = super().shapes()
        for i in range(self.decoder):
            out |= self._step(i)
            for head in range(len(self.powers)):
                out |= matrix(_head(i, head), 1, self.width)
        return out


@dataclass(frozen=True, slots=True)
class Told(Generic[Array]):
    """What one part of a proposer says of each pixel or query: logits of each head [B, ., 1], and boxes [B, ., 4]."""

    logits: tuple[Array, ...]
    boxes: Array


def proposer(ops: Composed[Array], spec: ProposerSpec, features: Array) -> dict[str, Array]:
    """features [B, N, channels], row by row -> scores [B, Q], 0 to 1, and boxes [B, Q, 4]: those whose
    proposals scored most first.
    """
    memory = _encoded(ops, spec, features)
    box = seen = _best(ops, spec, *_proposed(ops, spec, memory))
    place, x = _queries(ops, spec, box, features)
    for i in range(spec.decoder):
        x = _decoded(ops, spec, f"decoder.{i}.", x, place, memory, seen)
        if spec.moves(i):
            box = ops.act(ops.add(_step(ops, i, x), _logit(ops, box)), "sigmoid")
        seen = box if spec.follows else seen
    return {"scores": _scored(ops, spec, x), "boxes": box}


def taught(
    ops: Composed[Array], spec: TaughtSpec, features: Array, cut: Callable[[Array], Array]
) -> tuple[Told[Array], tuple[Told[Array], ...]]:
    """What losses are of: all pixels' proposals, by one head, and each layer of the decoder. Of the last layer boxes
    are those of `proposer`. `cut`: lets no gradient through, as none goes through where queries look.
    """
    memory = _encoded(ops, spec, features)
    scores, boxes = _proposed(ops, spec, memory)
    first = Told((scores,), ops.act(boxes, "sigmoid"))
    before = seen = cut(_best(ops, spec, scores, boxes))
    place, x = _queries(ops, spec, seen, features)
    layers: list[Told[Array]] = []
    for i in range(spec.decoder):
        x = _decoded(ops, spec, f"decoder.{i}.", x, place, memory, seen)
        step = _step(ops, i, x)
        box = ops.act(ops.add(step, _logit(ops, before)), "sigmoid")
        # Where none follows the one before it, each moves the proposal, and once more what the one before made of it.
        before = box if spec.follows else ops.act(ops.add(step, _logit(ops, seen)), "sigmoid")
        seen = cut(box) if spec.follows else seen
        heads = tuple(ops.one(x, _head(i, head)) for head in range(len(spec.powers)))
        layers.append(Told(heads, box))
    return first, tuple(layers)


def _encoded(ops: Composed[Array], spec: ProposerSpec, features: Array) -> Array:
    """[B, N, channels] -> [B, N, D]: each pixel sees some around it."""
    rows, columns = spec.grid
    x = ops.norm(ops.one(features, "input"), "input.norm", FIRST)
    place = ops.const(f"waves.{rows}.{columns}", (spec.pixels, spec.width), lambda: _map(spec))
    place = ops.add(place, ops.param("level"))
    column, row = (
        ops.const(f"own.{axis}.{rows}.{columns}", (spec.pixels, 1), partial(_own, spec, axis))
        for axis in (1, 0)
    )
    for i in range(spec.encoder):
        at = f"encoder.{i}."
        dx, dy, share, value = _looks(ops, spec, at + "look.", ops.add(x, place), x)
        x = _looked(ops, spec, at, x, value, share, (ops.add(dx, column), ops.add(dy, row)))
    return x


def _proposed(ops: Composed[Array], spec: ProposerSpec, memory: Array) -> tuple[Array, Array]:
    """[B, N, D] -> of each pixel its score's logit [B, N, 1] and those of its box [B, N, 4]."""
    if not _inside(spec).all():
        memory = ops.mul(memory, ops.const("inside", (spec.pixels, 1), lambda: _inside(spec)))
    x = ops.norm(ops.one(memory, "proposal"), "proposal.norm", LAYER)
    begun = ops.const("proposals", (spec.pixels, 4), lambda: _proposals(spec))
    boxes = ops.add(_step(ops, spec.decoder, x), begun)
    return ops.one(x, "proposal.score"), boxes


def _best(ops: Composed[Array], spec: ProposerSpec, scores: Array, boxes: Array) -> Array:
    """The boxes of the largest scores [B, Q, 4]."""
    _, best = ops.top_k(ops.reshape(scores, 0, -1), spec.queries)
    return ops.act(ops.take(boxes, best), "sigmoid")


def _queries(
    ops: Composed[Array], spec: ProposerSpec, box: Array, features: Array
) -> tuple[Array, Array]:
    """Where queries are, as their boxes say, and what they are at first: [B, Q, D] each."""
    place = ops.norm(ops.one(_waves(ops, spec, box), "place"), "place.norm", LAYER)
    place, _ = ops.split(place, spec.width, spec.width)
    return place, ops.spread(ops.param("queries"), features)


def _decoded(
    ops: Composed[Array], spec: ProposerSpec, at: str,
    x: Array, place: Array, memory: Array, box: Array,
) -> Array:  # fmt: skip
    """One layer over queries [B, Q, D], which look around a box each."""
    placed, names = ops.add(x, place), (f"{at}attn.q", f"{at}attn.k")
    q, k = ops.linear(placed, *names, biased=names)
    h = ops.attention(q, k, ops.one(x, f"{at}attn.v"), heads=spec.heads)
    x = ops.add_norm(x, ops.one(h, f"{at}attn.o"), f"{at}attn.norm", LAYER)[1]
    dx, dy, share, value = _looks(ops, spec, f"{at}look.", ops.add(x, place), memory)
    cx, cy, width, height = ops.split(box, 1, 1, 1, 1)

    def around(centre: Array, side: Array, moved: Array, count: int) -> Array:
        """In pixels; an offset of so many points is half of a side."""
        parts = ops.add(ops.mul(ops.mul(moved, 0.5 / spec.points), side), centre)
        return ops.pair("add", ops.mul(parts, float(count)), -0.5)

    rows, columns = spec.grid
    places = around(cx, width, dx, columns), around(cy, height, dy, rows)
    return _looked(ops, spec, at, x, value, share, places)


def _looks(
    ops: Composed[Array], spec: ProposerSpec, at: str, query: Array, memory: Array
) -> tuple[Array, Array, Array, Array]:
    """How far each point of each head is away, and its share: [B, Q, M P]; the map that is looked at."""
    names = [at + name for name in _LOOKS]
    dx, dy, share = ops.linear(query, *names, biased=names)
    share = ops.softmax(ops.reshape(share, 0, -1, spec.heads, spec.points))
    share = ops.reshape(share, 0, -1, spec.heads * spec.points)
    return dx, dy, share, ops.one(memory, at + "value")


def _looked(
    ops: Composed[Array], spec: ProposerSpec, at: str,
    x: Array, value: Array, share: Array, places: tuple[Array, Array],
) -> Array:  # fmt: skip
    """The rest of a layer, once it is known where each point lies."""
    size = (*spec.grid, spec.width)
    h = ops.sample(value, *places, share, size=size, heads=spec.heads, points=spec.points)
    x = ops.add_norm(x, ops.one(h, f"{at}look.out"), f"{at}look.norm", LAYER)[1]
    h = ops.one(ops.act(ops.one(x, f"{at}mlp.up"), "relu"), f"{at}mlp.down")
    return ops.add_norm(x, h, f"{at}mlp.norm", LAYER)[1]


def _step(ops: Composed[Array], layer: int, x: Array) -> Array:
    """What a box's logits move by."""
    for name in ("first", "second"):
        x = ops.act(ops.one(x, f"steps.{layer}.{name}"), "relu")
    return ops.one(x, f"steps.{layer}.last")


def _logit(ops: Composed[Array], x: Array) -> Array:
    """Of parts from 0 to 1."""
    rest = ops.pair("max", ops.pair("add", ops.mul(x, -1.0), 1.0), NEAR)
    return ops.act(ops.pair("div", ops.pair("max", x, NEAR), rest), "log")


def _scored(ops: Composed[Array], spec: ProposerSpec, x: Array) -> Array:
    """The product of each head's probability to its power."""
    logs = [
        ops.mul(ops.act(ops.mul(ops.one(x, _head(spec.decoder - 1, i)), -1.0), "softplus"), -power)
        for i, power in enumerate(spec.powers)
    ]
    return ops.reshape(ops.act(reduce(ops.add, logs), "exp"), 0, -1)


def _head(layer: int, number: int) -> str:
    """A head of scores after a layer of the decoder."""
    return f"scores.{layer}.{number}"


def _waves(ops: Composed[Array], spec: ProposerSpec, box: Array) -> Array:
    """Sines and cosines in turn of each side of boxes [B, Q, 4] -> [B, Q, 2 D]."""
    half = spec.width // 2
    rates = ops.const(f"rates.{half}", (half,), lambda: _rates(half))
    # A cosine is the sine a quarter of a turn later.
    late = ops.const(
        f"late.{half}", (half,), lambda: (np.arange(half) % 2 * math.pi / 2).astype(np.float32)
    )
    x = ops.mul(ops.reshape(box, 0, -1, 4, 1), rates)
    return ops.reshape(ops.act(ops.add(x, late), "sin"), 0, -1, 2 * spec.width)


def _rates(count: int) -> F32:
    """How fast each pair of a sine and a cosine turns over the picture: from once to a ten-thousandth of it."""
    places = np.arange(count, dtype=np.int64) // 2 * 2 / count
    return (2 * math.pi * RATE**-places).astype(np.float32)


def _centres(spec: ProposerSpec) -> AnyArray:
    """x and y of each pixel, as parts of the picture, in float64: [2, N]."""
    rows, columns = spec.grid
    y, x = np.meshgrid(
        (np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij"
    )
    return np.stack([x.ravel(), y.ravel()])


def _map(spec: ProposerSpec) -> F32:
    """Where each pixel is, as waves along y, then along x: [N, D]."""
    half, (x, y) = spec.width // 2, _centres(spec)
    late = np.arange(half) % 2 * math.pi / 2
    turned = [np.sin(at[:, None] * _rates(half) + late) for at in (y, x)]
    return np.concatenate(turned, axis=1).astype(np.float32)


def _own(spec: ProposerSpec, axis: int) -> F32:
    """The row or the column of each pixel: [N, 1]."""
    return np.indices(spec.grid)[axis].reshape(-1, 1).astype(np.float32)


def _inside(spec: ProposerSpec) -> F32:
    """1 where a pixel's centre is far enough from the edge to propose, else 0: [N, 1]."""
    far = [(at > EDGE) & (at < 1 - EDGE) for at in _centres(spec)]
    return np.logical_and(*far)[:, None].astype(np.float32)


def _proposals(spec: ProposerSpec) -> F32:
    """The logits of a small box around each pixel; of ones where it may not propose: [N, 4]."""
    x, y = _centres(spec)
    parts = np.stack([x, y, *[np.full(spec.pixels, BOX)] * 2], axis=1)
    return np.where(_inside(spec) > 0, np.log(parts / (1 - parts)), FAR).astype(np.float32)


NETWORK = Network(ProposerSpec, proposer)
