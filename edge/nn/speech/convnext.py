"""ConvNeXt's layers along frames (arXiv 2201.03545), as Vocos (arXiv 2306.00814) has them: a kernel for each channel,
then a feed-forward.

B batch, F frames, C channels, D width.
"""

from dataclasses import dataclass

from edge.nn.composed import Composed
from edge.nn.speech.blocks import check
from edge.nn.weights import matrix, norm
from edge.ops import Array
from edge.spec import Norm
from edge.typing import Shape

KERNEL = 7
_SIDE = (KERNEL // 2, KERNEL // 2)
NORM = Norm(eps=1e-6, kind="layer")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvNextSpec:
    channels: int
    width: int
    ffn_width: int
    layers: int

    def check(self, what: str) -> None:
        numbers = {"channels": self.channels, "width": self.width, "ffn_width": self.ffn_width}
        check(what, numbers, layers=self.layers)

    @property
    def reach(self) -> int:
        """Rows on each side that a row depends on."""
        return (KERNEL // 2) * (self.layers + 1)

    def shapes(self) -> dict[str, Shape]:
        width = self.width
        out = matrix("input", width, KERNEL * self.channels) | norm("first", width)
        for i in range(self.layers):
            at = f"layers.{i}."
            out |= {f"{at}conv": (width, 1, KERNEL), f"{at}conv.bias": (width,)}
            out |= norm(f"{at}norm", width) | matrix(f"{at}up", self.ffn_width, width)
            out |= matrix(f"{at}down", width, self.ffn_width) | {f"{at}scale": (width,)}
        return out | norm("norm", width)


def convnext(ops: Composed[Array], spec: ConvNextSpec, x: Array, keep: Array) -> Array:
    """x [B, F, C], keep [B, F, 1] -> [B, F, D]; of frames that do not count, noise."""
    x = ops.conv_rows(ops.mul(x, keep), "input", kernel=KERNEL, pad=_SIDE)
    x = ops.mul(ops.norm(x, "first", NORM), keep)
    for i in range(spec.layers):
        at = f"layers.{i}."
        h = ops.conv(x, f"{at}conv", pad=_SIDE, groups=spec.width)
        h = ops.act(ops.one(ops.norm(h, f"{at}norm", NORM), f"{at}up"), "gelu")
        h = ops.mul(ops.one(h, f"{at}down"), ops.param(f"{at}scale"))
        x = ops.mul(ops.add(x, h), keep)
    return ops.norm(x, "norm", NORM)
