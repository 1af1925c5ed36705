"""Vision transformers (arXiv 2010.11929), one definition: InternViT, DINOv2, CatLIP and the plain one.

B pictures, P patches, T = P + 1 rows, D width, H heads.
"""

from dataclasses import dataclass
from functools import reduce
from math import prod

from edge.errors import Damaged
from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.weights import matrix, norm
from edge.ops import Array
from edge.spec import Norm
from edge.typing import Shape

MOST = 1 << 20  # of any number
_FIX = "correct the numbers in config.json"
TILES = 64  # pictures of one call at most: a runtime may take them one by one


@dataclass(frozen=True, kw_only=True, slots=True)
class Depths:
    """Patches' rows, without the class's, as several of the last layers leave them: of the last one; of as many
    before it as are `earlier`, each by itself; and the `mean` of so many.
    """

    earlier: int
    mean: int


@dataclass(frozen=True, kw_only=True)
class VitSpec:
    """Pre-norm layers over patches and one row more, which comes first.

    `grid`: rows and columns of patches; `patch`: pixels of a side, after the stem. `stem`: convolutions
    before the patches whose stride is their kernel, as kernel and channels, with a GELU after each.
    `qk_norm`: over q and k at full width, before heads. `layer_scale`: what each half of a layer adds is
    multiplied by a vector. `last`: the norm after all layers. In place of all rows: `classes`, scores from the
    first one; `depths`, what several layers leave.
    """

    grid: tuple[int, int]
    patch: int
    width: int
    layers: int
    heads: int
    ffn_width: int
    norm: Norm
    stem: tuple[tuple[int, int], ...] = ()
    qkv_bias: bool = True
    qk_norm: Norm | None = None
    layer_scale: bool = False
    last: Norm | None = None
    classes: int | None = None
    depths: Depths | None = None

    def __post_init__(self) -> None:
        counts = (*self.grid, self.patch, self.width, self.layers, self.heads, self.ffn_width)
        stems = [number for pair in self.stem for number in pair]
        classes = [] if self.classes is None else [self.classes]
        if not all(1 <= number <= MOST for number in (*counts, *stems, *classes)):
            raise Damaged("a number of a vision transformer is not from 1 to 2^20", fix=_FIX)
        if len(self.grid) != 2 or any(len(pair) != 2 for pair in self.stem) or self.layers > 1024:
            raise Damaged("the grid, the stem or the layers of a vision transformer", fix=_FIX)
        if self.width % self.heads:
            problem = f"{self.heads} heads do not divide a width of {self.width}"
            raise Damaged(problem, fix=_FIX)
        if self.depths is not None:
            self._check_depths(self.depths)

    def _check_depths(self, depths: Depths) -> None:
        if self.last is not None or self.classes is not None:
            problem = "rows of several layers, and a norm or scores after the last one"
            raise Damaged(problem, fix=_FIX)
        if not (1 <= depths.earlier < self.layers and 1 <= depths.mean <= self.layers):
            problem = f"{depths.earlier} layers before the last and a mean of {depths.mean}, of {self.layers}"
            raise Damaged(problem, fix=_FIX)

    @property
    def image(self) -> tuple[int, int, int]:
        """Height, width and channels of a picture."""
        scale = self.patch * prod(kernel for kernel, _ in self.stem)
        return self.grid[0] * scale, self.grid[1] * scale, 3

    @property
    def rows(self) -> int:
        return self.grid[0] * self.grid[1] + 1

    @property
    def kept(self) -> int:
        """How many of the last layers leave what is asked for by itself."""
        return 0 if self.depths is None else max(self.depths.earlier + 1, self.depths.mean)

    @property
    def inputs(self) -> tuple[Port, ...]:
        return (Port(name="image", shape=("tiles", *self.image)),)

    @property
    def outputs(self) -> tuple[Port, ...]:
        if self.depths is not None:
            names = ("features", *map(_earlier, range(1, self.depths.earlier + 1)), "mean")
            shape = ("tiles", self.rows - 1, self.width)
            return tuple(Port(name=name, shape=shape) for name in names)
        if self.classes is None:
            return (Port(name="features", shape=("tiles", self.rows, self.width)),)
        return (Port(name="logits", shape=("tiles", self.classes)),)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return (Size(name="tiles", most=TILES),)

    def shapes(self) -> dict[str, Shape]:
        out, channels = dict[str, Shape](), 3
        for i, (kernel, width) in enumerate(self.stem):
            out |= matrix(f"stem.{i}", width, kernel * kernel * channels)
            channels = width
        out |= matrix("patch", self.width, self.patch * self.patch * channels)
        out["position"] = (self.rows, self.width)
        for i in range(self.layers):
            out |= self._layer(f"layers.{i}.")
        if self.last is not None:
            out |= norm("norm", self.width, self.last)
        return out if self.classes is None else out | matrix("head", self.classes, self.width)

    def _layer(self, at: str) -> dict[str, Shape]:
        out = norm(at + "attn.norm", self.width, self.norm)
        for name in ("attn.q", "attn.k", "attn.v"):
            out |= matrix(at + name, self.width, self.width, bias=self.qkv_bias)
        if self.qk_norm is not None:
            for name in ("attn.q_norm", "attn.k_norm"):
                out |= norm(at + name, self.width, self.qk_norm)
        out |= matrix(at + "attn.o", self.width, self.width)
        out |= {at + "attn.scale": (self.width,)} if self.layer_scale else {}
        out |= norm(at + "mlp.norm", self.width, self.norm)
        out |= matrix(at + "mlp.up", self.ffn_width, self.width)
        out |= matrix(at + "mlp.down", self.width, self.ffn_width)
        return out | ({at + "mlp.scale": (self.width,)} if self.layer_scale else {})


def vit(ops: Composed[Array], spec: VitSpec, image: Array) -> dict[str, Array]:
    """image [B, height, width, 3] -> features [B, T, D] as the layers leave them, or logits [B, classes]; of
    several depths features, earlier_1, ... and mean [B, P, D].
    """
    x, size = image, spec.image
    for i, (kernel, width) in enumerate(spec.stem):
        x = ops.act(ops.one(ops.patches(x, size, kernel), f"stem.{i}"), "gelu")
        size = size[0] // kernel, size[1] // kernel, width
        x = ops.reshape(x, -1, *size)
    x = ops.one(ops.patches(x, size, spec.patch), "patch")
    # The first row of the table is the class token itself: a row of zeros is put before the patches.
    x, d = ops.add(ops.pad(x, 1, 1, 0), ops.param("position")), None
    left: list[Array] = []  # by the last layers, where several are asked for
    for i in range(spec.layers):
        x, d = _block(ops, spec, f"layers.{i}.", x, d)
        if i >= spec.layers - spec.kept:
            x, d = ops.add(x, d), None
            left.append(x)
    if spec.depths is not None:
        return _several(ops, spec, spec.depths, left)
    x = x if d is None else ops.add(x, d)
    if spec.classes is not None:
        x = ops.pad(x, 1, 0, 1 - spec.rows)
    if spec.last is not None:
        x = ops.norm(x, "norm", spec.last)
    if spec.classes is None:
        return {"features": x}
    return {"logits": ops.reshape(ops.one(x, "head"), -1, spec.classes)}


def _several(
    ops: Composed[Array], spec: VitSpec, depths: Depths, left: list[Array]
) -> dict[str, Array]:
    """What the last layers leave -> the outputs, by the names of ports."""
    mean = ops.mul(reduce(ops.add, left[-depths.mean :]), 1 / depths.mean)
    chosen = (*left[: -depths.earlier - 2 : -1], mean)  # the last one's first
    rows = [ops.pad(x, 1, -1, 0) for x in chosen]
    return dict(zip((port.name for port in spec.outputs), rows, strict=True))


def _earlier(layers: int) -> str:
    """The port of rows so many layers before the last."""
    return f"earlier_{layers}"


def _block(
    ops: Composed[Array], spec: VitSpec, at: str, x: Array, d: Array | None
) -> tuple[Array, Array]:
    """The residual pair before a layer -> the pair after it."""
    names = [at + name for name in ("attn.q", "attn.k", "attn.v")]
    x, h = ops.add_norm(x, d, at + "attn.norm", spec.norm)
    q, k, v = ops.linear(h, *names, biased=names if spec.qkv_bias else ())
    if spec.qk_norm is not None:
        q, k = (
            ops.norm(q, at + "attn.q_norm", spec.qk_norm),
            ops.norm(k, at + "attn.k_norm", spec.qk_norm),
        )
    h = ops.one(ops.attention(q, k, v, heads=spec.heads), at + "attn.o")
    if spec.layer_scale:
        h = ops.mul(h, ops.param(at + "attn.scale"))
    x, h = ops.add_norm(x, h, at + "mlp.norm", spec.norm)
    h = ops.one(ops.act(ops.one(h, at + "mlp.up"), "gelu"), at + "mlp.down")
    return x, ops.mul(h, ops.param(at + "mlp.scale")) if spec.layer_scale else h


NETWORK = Network(VitSpec, vit)
