"""Methods as data: who rounds, to which schemes, and how far off that may be. One file a method.

A method is found by its file: to add one, put `edge/quant/NAME.py` with a `METHOD` of that name in it. What
its schemes' codes mean is what `Scheme.zero` says of them; so a target that holds such codes holds those of
a new method, too.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product

from edge import quant
from edge.quant.inputs import Inputs
from edge.quant.moments import Moments
from edge.quant.tensor import Float, QTensor, Scheme, Zero
from edge.typing import F32

Quantize = Callable[[F32, Scheme], QTensor]
Bound = Callable[[F32, Scheme], float]
Calibrated = Callable[[F32, Scheme, F32 | Moments], QTensor]
Balance = Callable[[Sequence[F32], Sequence[Scheme], Inputs], tuple[F32, float]]
# What no method may be called: it would be read as another word of a recipe.
_TAKEN = re.compile(r"(?:int|lut|fp|bf|g)[0-9]*|asym|min")
_NAME = re.compile(r"[a-z][a-z0-9]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How codes are trained by a text (`edge.contracts.Tuner`): `passes` over it for each layer alone, in which a step
    of the optimizer moves a weight by `weights` of its group's step at most, that step by `steps` of itself, and its
    zero by `zeros` of it; then `rounds` over it for all layers together, in which a group's scale moves by `scales` of
    itself.
    """

    passes: int
    weights: float
    steps: float
    zeros: float
    rounds: int
    scales: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """`schemes`: all that it makes. `quantize`: rows of weights [N, K] -> codes. `bound`: what the squares
    of the errors of rows may sum to, from the weights alone (`edge.quant.bounds`). `calibrated`: the same of
    whole matrices whose inputs are known by the means [K, K] of products of two of them; `quantize` then serves
    where they are not. `balance`: what columns are multiplied by before (`edge.quant.balance`), of matrices that
    have one input; and which share of the error is left. `group`: of a recipe that names none. `levels`: what
    the codes of its own levels mean, sorted, times a group's scale. `names`: words of its own for schemes. `ends`:
    what the embedding and the head are where they are given nothing, if this is for layers alone. `training`: how
    codes of layers go on from those that `calibrated` makes.
    """

    name: str
    schemes: Sequence[Scheme]
    quantize: Quantize
    bound: Bound
    calibrated: Calibrated | None = None
    balance: Balance | None = None
    group: int = 32
    levels: tuple[float, ...] = ()
    ends: str | None = None
    training: Training | None = None
    names: Mapping[str, Scheme] = field(default_factory=dict)

    def kinds(self) -> tuple[str, ...]:
        """What its recipes are called: `int`, `lut`, or nothing but its name."""
        return tuple(dict.fromkeys(scheme.kind for scheme in self.schemes))


def grid(
    method: str,
    *,
    bits: Sequence[int],
    groups: Sequence[int] = (32, 64, 128),
    zeros: Sequence[Zero] = ("middle", "integer", "minimum"),
    numbers: Sequence[Float] = ("fp32", "fp16", "bf16"),
) -> tuple[Scheme, ...]:
    """All schemes of these values."""
    return tuple(Scheme(*values, method) for values in product(bits, groups, zeros, numbers))


@cache
def methods() -> Mapping[str, Method]:
    """Every method by name, by the files of this folder."""
    modules = sorted(module.name for module in pkgutil.iter_modules(quant.__path__))
    found = {name: importlib.import_module(f"{quant.__name__}.{name}") for name in modules}
    return checked({name: made.METHOD for name, made in found.items() if "METHOD" in vars(made)})


def checked(found: Mapping[str, Method]) -> Mapping[str, Method]:
    """Methods by the names of their files: a recipe must be able to name each."""
    words = {word for method in found.values() for word in method.names}
    for name, method in found.items():
        assert name == method.name, f"edge/quant/{name}.py holds the method {method.name!r}"
        readable = _NAME.fullmatch(name) and not _TAKEN.fullmatch(name) and name not in words
        assert readable, f"a recipe could not name the method {name!r}: choose another name"
        assert all(scheme.method == name for scheme in method.schemes), f"{name}: others' schemes"
        _check_levels(method)
    return found


def _check_levels(method: Method) -> None:
    """A code is the place of its level: packers and kernels look no further."""
    bits = {scheme.bits for scheme in method.schemes if scheme.leveled}
    wanted = {1 << width for width in bits} or {0}
    assert {len(method.levels)} == wanted, (
        f"{method.name}: {bits} bits are not {len(method.levels)} levels"
    )
    assert sorted(method.levels) == list(method.levels), (
        f"{method.name}: its levels are not in order"
    )


def is_made(scheme: Scheme) -> bool:
    """Whether the method of a scheme makes it."""
    method = methods().get(scheme.method)
    return method is not None and scheme in method.schemes
