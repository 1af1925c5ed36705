"""MLP-Mixer (arXiv 2105.01601), a network that edge has not: products over patches, then over channels.

B pictures, P patches, D width.
"""

from dataclasses import dataclass

from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.ops import Array
from edge.spec import Norm
from edge.typing import Shape


@dataclass(frozen=True, kw_only=True)
class MixerSpec:
    side: int  # patches of a row and of a column
    patch: int
    width: int
    layers: int
    tokens: int  # width of the products over patches
    channels: int
    norm: Norm
    classes: int

    @property
    def inputs(self) -> tuple[Port, ...]:
        size = self.side * self.patch
        return (Port(name="image", shape=("tiles", size, size, 3)),)

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (Port(name="logits", shape=("tiles", self.classes)),)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return (Size(name="tiles", most=4),)

    def shapes(self) -> dict[str, Shape]:
        patches, out = self.side**2, dict[str, Shape]()

        def matrix(name: str, rows: int, columns: int) -> None:
            out[name], out[f"{name}.bias"] = (rows, columns), (rows,)

        matrix("patch", self.width, self.patch**2 * 3)
        for i in range(self.layers):
            for part, wide, inner in (
                ("tokens", patches, self.tokens),
                ("channels", self.width, self.channels),
            ):
                at = f"layers.{i}.{part}"
                out[f"{at}.norm"] = out[f"{at}.norm.bias"] = (self.width,)
                matrix(f"{at}.up", inner, wide)
                matrix(f"{at}.down", wide, inner)
        out["norm"] = out["norm.bias"] = (self.width,)
        matrix("head", self.classes, self.width)
        return out


def mixer(ops: Composed[Array], spec: MixerSpec, image: Array) -> dict[str, Array]:
    """image [B, size, size, 3] -> logits [B, classes]."""
    size = spec.side * spec.patch
    x = ops.one(ops.patches(image, (size, size, 3), spec.patch), "patch")
    for i in range(spec.layers):
        h = ops.norm(x, f"layers.{i}.tokens.norm", spec.norm)
        h = _mlp(ops, f"layers.{i}.tokens", ops.transpose(h, 0, 2, 1))
        x = ops.add(x, ops.transpose(h, 0, 2, 1))
        x = ops.add(
            x,
            _mlp(ops, f"layers.{i}.channels", ops.norm(x, f"layers.{i}.channels.norm", spec.norm)),
        )
    x = ops.fold(ops.norm(x, "norm", spec.norm), "mean", 1)
    return {"logits": ops.reshape(ops.one(x, "head"), -1, spec.classes)}


def _mlp(ops: Composed[Array], at: str, x: Array) -> Array:
    return ops.one(ops.act(ops.one(x, f"{at}.up"), "gelu"), f"{at}.down")


NETWORK = Network(MixerSpec, mixer)
