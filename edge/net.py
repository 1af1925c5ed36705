"""A network that is no decoder of text, in numbers: named inputs and outputs, and sizes that calls choose.

A file of `edge.nn` with a `NETWORK` in it is one: what it is in numbers, which weights it has, and its
maths over `edge.ops.NetOps`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from edge.errors import Damaged, EdgeError
from edge.typing import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A size that each call chooses, from `least` to `most`; `steps`: the only ones that a target needs
    to have which wants few.
    """

    name: str
    least: int = 1
    most: int
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        within = all(self.least <= step <= self.most for step in self.steps)
        if not 1 <= self.least <= self.most or list(self.steps) != sorted(set(self.steps)):
            within = False
        if not within:
            problem = f"size {self.name} from {self.least} to {self.most} in steps of {self.steps}"
            raise Damaged(problem, fix="give 1 <= least <= most, and rising steps between them")

    def step(self, wanted: int) -> int:
        """The least of its steps that holds so many: what a call is padded to, so that few sizes are ever
        run.
        """
        steps = (*self.steps, self.most) if self.steps else (max(self.least, wanted),)
        if wanted > self.most:
            raise EdgeError(f"{self.name} is {wanted}", fix=f"give {self.least} to {self.most}")
        return next(step for step in steps if step >= wanted)

    def pieces(self, count: int) -> tuple[int, ...]:
        """How many each of several calls takes, which together take so many: its largest step that fits, so
        that nothing is padded.
        """
        out, steps = list[int](), (*self.steps, self.most) if self.steps else ()
        while count > sum(out):
            left = count - sum(out)
            out.append(max((s for s in steps if s <= left), default=min(left, self.most)))
        return tuple(out)


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """An input or an output: a text in its shape stands for a size that each call may choose.

    `values`: which numbers it takes. A mask is ones and then zeros along its last axis, at least one of
    them; those of a signal are small or large beside all of it, not beside those
    of their row. `below`: integers are numbers of something of which there are so many, or as many as a size says.
    """

    name: str
    type: Literal["float", "int"] = "float"
    shape: tuple[int | str, ...]
    values: Literal["any", "mask", "positive", "signal"] = "any"
    below: str | int | None = None


class NetConfig(Protocol):
    """What a network is in numbers: a frozen dataclass of its own file."""

    @property
    def inputs(self) -> tuple[Port, ...]: ...

    @property
    def outputs(self) -> tuple[Port, ...]: ...

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Those that ports name."""
        ...

    def shapes(self) -> Mapping[str, Shape]:
        """Every weight, in the order of use. A matrix is [out, in]."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class NetSpec:
    """A network: `kind` is the name of its file in `edge.nn`."""

    kind: str
    config: NetConfig

    def __post_init__(self) -> None:
        check(self.config)


def check(config: NetConfig) -> None:
    """Refuses sizes that no one defined, and a name that means two things: in some targets inputs,
    outputs and weights are names of one graph.
    """
    ports = (*config.inputs, *config.outputs)
    sizes = {size.name for size in config.sizes}
    named = {size for port in ports for size in port.shape if isinstance(size, str)}
    if named != sizes:
        unknown = ", ".join(sorted(named ^ sizes))
        raise Damaged(f"sizes {unknown} of a network", fix="name in ports exactly the sizes it has")
    count = Counter([*(port.name for port in ports), *config.shapes()])
    twice = sorted(name for name, times in count.items() if times > 1)
    if twice:
        raise Damaged(
            f"{', '.join(twice)}: two things of one name in a network",
            fix="give inputs, outputs and weights names of their own",
        )


def batch_of(config: NetConfig) -> str | None:
    """The size that is the first axis of every port and lies nowhere else: its rows know nothing of each
    other, so that a target may take them one by one.
    """
    ports = (*config.inputs, *config.outputs)
    firsts = {port.shape[0] if port.shape else 1 for port in ports}
    inner = {size for port in ports for size in port.shape[1:]}
    (name,) = firsts if len(firsts) == 1 else (1,)
    return name if isinstance(name, str) and name not in inner else None


def sizes_of(config: NetConfig, inputs: Mapping[str, Shape]) -> dict[str, int]:
    """The sizes that a call chooses, from its inputs' shapes; refuses inputs that are not the ports."""
    ports = {port.name: port for port in config.inputs}
    if ports.keys() != inputs.keys():
        given, wanted = (", ".join(sorted(names)) or "nothing" for names in (inputs, ports))
        raise EdgeError(f"a network got {given}", fix=f"give it exactly {wanted}")
    found: dict[str, int] = {}
    for name, shape in inputs.items():
        wanted_shape = ports[name].shape
        fits = len(shape) == len(wanted_shape) and all(
            found.setdefault(size, n) == n if isinstance(size, str) else size == n
            for size, n in zip(wanted_shape, shape, strict=True)
        )
        if not fits:
            raise EdgeError(
                f"input {name} has the shape {list(shape)}",
                fix=f"give {list(wanted_shape)}, where a name is the same size everywhere",
            )
    for size in config.sizes:
        if not size.least <= found.get(size.name, size.least) <= size.most:
            raise EdgeError(
                f"{size.name} is {found[size.name]}", fix=f"give {size.least} to {size.most}"
            )
    return found
