"""What a run trains beside frozen weights: an adapter of low rank (LoRA, arXiv 2106.09685), with lengths of rows
(DoRA, arXiv 2402.09353), over weights as the checkpoint has them or rounded to 4 bits (QLoRA, arXiv 2305.14314;
IR-QLoRA, arXiv 2402.05445).

N outputs of a module, K inputs, r the rank.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge.adapters.patterns import Targets
from edge.errors import EdgeError
from edge.names import FusedTensor, Rows
from edge.typing import Shape

Method = Literal["lora", "qlora", "irqlora"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterRecipe:
    """`targets`: ends of the names that the checkpoint gives its modules; none: every matrix of the layers. `rslora`:
    the scale is alpha by the root of the rank (arXiv 2312.03732), not by the rank. `merged`: the run writes the
    whole model, too.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = ()
    method: Method = "lora"
    dropout: float = 0.0
    dora: bool = False
    rslora: bool = False
    merged: bool = False

    def __post_init__(self) -> None:
        if self.dropout >= 1:
            raise ValueError(f"adapter: dropout is {self.dropout}, no share below one")
        if self.method == "irqlora" and (self.dropout or self.dora):
            raise ValueError("adapter: irqlora has no dropout and no dora")

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

    @property
    def elastic(self) -> bool:
        """Whether means of inputs go past both matrices (IR-QLoRA's elastic connection)."""
        return self.method == "irqlora"

    @property
    def base(self) -> str | None:
        """How the frozen matrices of the layers are rounded; None: not at all."""
        return {"lora": None, "qlora": "nf4", "irqlora": "icq"}[self.method]


@dataclass(frozen=True, slots=True)
class Module:
    """A matrix [N, K] of the checkpoint, and which of its rows are which canonical weight; no rows: all."""

    name: str  # as the checkpoint has it
    shape: Shape
    parts: Mapping[str, Rows]

    @property
    def key(self) -> str:
        """What its trained tensors are called after: the first of its weights."""
        return next(iter(self.parts))


def modules(recipe: AdapterRecipe, tensors: Mapping[str, FusedTensor]) -> list[Module]:
    """Those of a checkpoint that are trained; refuses a target that none is, and a rank that no product needs."""
    known = {
        name.removesuffix(".weight"): tensor
        for name, tensor in tensors.items()
        if len(tensor.shape) == 2 and "embed" not in tensor.weights
    }
    inner = [name for name, t in known.items() if next(iter(t.weights)).startswith("layers.")]
    for target in recipe.targets:
        if not Targets(modules=(target,)).among(known):
            ends = sorted({name.rpartition(".")[2] for name in known})
            raise EdgeError(
                f"the checkpoint has no module {target!r:.80} that an adapter could change",
                fix=f"name some of {', '.join(ends)}; without targets it is every matrix of the layers",
            )
    meant = Targets(modules=recipe.targets).among(known) if recipe.targets else inner
    found = [Module(name, t.shape, t.weights) for name, t in known.items() if name in meant]
    least = min(min(module.shape) for module in found)
    if recipe.rank > least:
        raise EdgeError(
            f"a rank of {recipe.rank}, and a matrix of the layers has only {least} rows or columns",
            fix=f"give the recipe's adapter a rank of {least} at most",
        )
    return found
