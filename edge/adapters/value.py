"""An adapter as numbers: for each weight that it changes two thin matrices (LoRA, arXiv 2106.09685), and where
it says so the length of each row (DoRA, arXiv 2402.09353).

Adapters name the modules of a checkpoint; `Adapter.deltas` says what each canonical weight gets. A weight that is
some rows of a fused tensor takes the same rows of `up` and of the lengths, and shares `down`.
N outputs, K inputs, r the rank.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edge.adapters.patterns import Targets
from edge.errors import Damaged, Unsupported
from edge.names import Location, Rows
from edge.typing import F32, Shape

_ELSEWHERE = "take the adapter's own base model; adapter_config.json may name it"


@dataclass(frozen=True, slots=True)
class Delta:
    """W [N, K] becomes W + scale · up · down; with a `magnitude` each row of that then gets this length."""

    down: F32  # [r, K]
    up: F32  # [N, r]
    scale: float
    magnitude: F32 | None = None  # [N]

    @property
    def rank(self) -> int:
        return len(self.down)

    @property
    def parameters(self) -> int:
        """Numbers that training may change."""
        lengths = 0 if self.magnitude is None else len(self.magnitude)
        return self.down.size + self.up.size + lengths

    @property
    def shape(self) -> Shape:
        """Of the weight."""
        return len(self.up), self.down.shape[1]

    def rows(self, rows: Rows) -> "Delta":
        """What these rows of the weight get, in this order; no rows: all of them."""
        if not rows:
            return self
        at = np.concatenate([np.arange(part.start, part.stop, part.step) for part in rows])
        lengths = None if self.magnitude is None else self.magnitude[at]
        return replace(self, up=self.up[at], magnitude=lengths)


def merged(weight: F32, delta: Delta, row: int = 0) -> F32:
    """Rows of a weight, [n, K] from `row` on -> what they are with the adapter, in float32."""
    part = slice(row, row + len(weight))
    out: F32 = weight + np.float32(delta.scale) * (delta.up[part] @ delta.down)
    if delta.magnitude is None:
        return out
    lengths = np.linalg.norm(out, axis=1)
    # A row of zeros has no direction to go in, and stays what it is.
    by = np.divide(delta.magnitude[part], lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return out * by[:, None]


@dataclass(frozen=True, slots=True)
class Adapter:
    """By module of a checkpoint, such as model.layers.0.self_attn.q_proj. `targets`: which modules it says it
    changes, where it says so; `where`: the folder, for errors.
    """

    modules: Mapping[str, Delta]
    targets: Targets | None = None
    where: str = "the adapter"

    @property
    def kind(self) -> str:
        """LoRA, or DoRA where any row is given a length."""
        some = any(delta.magnitude is not None for delta in self.modules.values())
        return "DoRA" if some else "LoRA"

    def deltas(self, places: Mapping[str, Location]) -> dict[str, Delta]:
        """Canonical weight -> what it gets; refuses an adapter of another model."""
        known = linears(places)
        head = _module(places["head"]) if "head" in places else None
        for module, delta in self.modules.items():
            self._check(module, delta, known, places)
        if self.targets is not None:
            lost = sorted(self.targets.among(known, head) - self.modules.keys())
            if lost:
                raise Damaged(
                    f"{self.where} says that it changes {lost[0]}, and holds nothing for it",
                    fix="get the whole adapter again",
                )
        return {
            name: self.modules[_module(place)].rows(place.rows)
            for name, place in places.items()
            if _module(place) in self.modules and len(place.shape) == 2
        }

    def _check(
        self, module: str, delta: Delta, known: Mapping[str, Shape], places: Mapping[str, Location]
    ) -> None:
        if module in known:
            if known[module] != delta.shape:
                raise Damaged(
                    f"{self.where} changes {module} as a matrix of {list(delta.shape)}, the model's is "
                    f"{list(known[module])}",
                    fix=_ELSEWHERE,
                )
            return
        if any(_module(place) == module for place in places.values()):
            raise Unsupported(
                f"{self.where} changes {module}, which is an embedding, or a head that is tied to one",
                fix="train an adapter of the layers' matrices alone",
            )
        raise Damaged(
            f"{self.where} changes {module!r:.120}, which the model does not have", fix=_ELSEWHERE
        )


def linears(places: Mapping[str, Location]) -> dict[str, Shape]:
    """The modules of a checkpoint that multiply, and so may be changed: name -> [N, K] of the whole matrix."""
    return {
        _module(place): place.stored
        for name, place in places.items()
        if len(place.shape) == 2 and place.made is None and name != "embed"
    }


def _module(place: Location) -> str:
    return place.tensor.removesuffix(".weight")
