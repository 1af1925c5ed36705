"""What families of vision towers share: their fields, and weights that are made of tensors of other shapes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge.errors import Damaged, Unsupported
from edge.families._fields import SHARED, Fields, words
from edge.files.config import Config
from edge.names import Made, Part, Rows
from edge.nn.resizing import matrix
from edge.nn.vit import VitSpec
from edge.typing import F32, Shape

FIELDS = SHARED | Fields(
    read=words(
        "hidden_size num_hidden_layers num_attention_heads intermediate_size image_size patch_size "
        "id2label num_labels problem_type architectures"
    ),
    absent={"num_channels": 3, "hidden_act": "gelu"},
    only={"num_channels": (3,), "hidden_act": ("gelu",)},
    inert=words(
        "attention_probs_dropout_prob hidden_dropout_prob attention_dropout dropout drop_path_rate"
    ),
)


def image(config: Config) -> tuple[int, int]:
    """Height and width of a picture: one number, or both."""
    if not isinstance(config.data.get("image_size"), list):
        return (config.integer("image_size", high=1 << 15),) * 2
    sides = config.integers("image_size")
    if len(sides) > 2:
        raise Damaged(
            f"{config.where}: image_size has {len(sides)} numbers",
            fix="write one, or height and width",
        )
    return sides[0], sides[-1]


def grid(config: Config, patch: int) -> tuple[int, int]:
    """Rows and columns of patches. Refuses a picture with a part of a patch at its edge."""
    sides = image(config)
    if any(side % patch for side in sides):
        raise Unsupported(
            f"{config.where}: pictures of {sides[1]} x {sides[0]} are no whole patches of {patch}",
            fix=f"give --image-size a multiple of {patch}",
        )
    return sides[0] // patch, sides[1] // patch


def patch(config: Config) -> int:
    """Pixels of a patch's side; a list of two must be a square's."""
    if not isinstance(config.data.get("patch_size"), list):
        return config.integer("patch_size", high=4096)
    sides = config.integers("patch_size")
    config.only("patch_size", [sides[0], sides[0]])
    return sides[0]


def labels(config: Config) -> int:
    """Rows of a head, as transformers counts them."""
    named = config.table("id2label")
    return config.integer("num_labels", 2 if named is None else len(named.data))


def kernel(tensor: str, *, columns: Callable[[Any], tuple[int, int, int]]) -> Made:
    """A convolution whose stride is its kernel, as a matrix over channels-last patches. `columns`: its
    outputs, inputs and side.
    """

    def stored(spec: Any, _weight: Shape) -> tuple[Shape, ...]:
        out, into, side = columns(spec)
        return ((out, into, side, side),)

    def parts(spec: Any, weight: F32) -> tuple[F32, ...]:
        out, into, side = columns(spec)
        return (weight.reshape(out, side, side, into).transpose(0, 3, 1, 2),)

    return Made((tensor,), stored, lambda _spec, weight: flat(weight), parts)


def flat(weight: F32) -> F32:
    """[O, C, k, k] -> [O, k k C]."""
    return weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)


def first_patch(tensor: str) -> Made:
    """The patches of a tower without a stem."""
    return kernel(tensor, columns=lambda spec: (spec.width, 3, spec.patch))


def table(positions: str, token: str) -> Made:
    """Positions and the class token as one table: its first row is the token with the first position.
    Positions of another square grid are resized as its own code does it: bicubic, corners not aligned.
    """

    def stored(spec: VitSpec, _weight: Shape) -> tuple[Shape, ...]:
        return (1, -1, spec.width), (1, 1, spec.width)

    def made(spec: VitSpec, positions: F32, token: F32) -> F32:
        first, rest = positions[0, :1] + token[0], positions[0, 1:]
        return np.concatenate([first, regridded(spec, rest)])

    def parts(_spec: VitSpec, weight: F32) -> tuple[F32, ...]:
        """The first row is the class token's alone: its position is zero."""
        placed = np.concatenate([np.zeros_like(weight[:1]), weight[1:]])
        return placed[None], weight[None, :1]

    return Made((positions, token), stored, made, parts)


def regridded(spec: VitSpec, rest: F32) -> F32:
    """[side side, D] of a square grid -> [rows columns, D] of the spec's."""
    side, (rows, columns) = round(len(rest) ** 0.5), spec.grid
    if len(rest) == rows * columns:
        return rest
    if side * side != len(rest):
        raise Damaged(
            f"{len(rest)} positions are of no square grid",
            fix="check that config.json and the weights belong together",
        )
    down, across = (matrix(side, size, "bicubic") for size in (rows, columns))
    x = np.einsum("rs,scd->rcd", down, rest.reshape(side, side, -1))
    out: F32 = np.einsum("kc,rcd->rkd", across, x).reshape(rows * columns, -1)
    return out


def thirds(part: int, tensor: str) -> Part:
    """q, k or v of a tensor that holds all three."""
    return Part(tensor, _thirds, part)


def _thirds(spec: VitSpec) -> tuple[Rows, ...]:
    return tuple((range(i * spec.width, (i + 1) * spec.width),) for i in range(3))


def biased(names: Mapping[str, str]) -> dict[str, str]:
    """Canonical names of matrices and norms, and what tensors begin with -> weights and biases of both."""
    return {
        **{ours: f"{theirs}.weight" for ours, theirs in names.items()},
        **{f"{ours}.bias": f"{theirs}.bias" for ours, theirs in names.items()},
    }


def layer_names(at: str, names: Mapping[str, str]) -> dict[str, str]:
    """The same of each layer: `at` is what its tensors begin with."""
    each = {f"layers.{{i}}.{ours}": f"{at}.{theirs}" for ours, theirs in names.items()}
    return biased(each)


def all_thirds(tensor: str) -> dict[str, Part]:
    """q, k and v of each layer, weights and biases, of one tensor each."""
    return {
        f"layers.{{i}}.attn.{name}{ours}": thirds(i, f"{tensor}.{theirs}")
        for i, name in enumerate("qkv")
        for ours, theirs in (("", "weight"), (".bias", "bias"))
    }
