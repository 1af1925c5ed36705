"""What a network that is no decoder will take on this machine, from headers alone: its weights from their
shapes, its activations from a pass over shapes.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from edge import targets
from edge.convert.networks import of_network, refuse_of_text
from edge.convert.options import Options, recipe_for
from edge.measure.inspection import parameters
from edge.measure.plan import SPARE
from edge.net import NetSpec
from edge.nn.tracing import least, traced
from edge.run.opening import offered_by
from edge.source.headers import Headers
from edge.system.memory import machine_memory
from edge.system.table import fields
from edge.system.units import count, size


@dataclass(frozen=True, kw_only=True, slots=True)
class NetPlan:
    """Bytes; `activation_bytes`: of the arrays of the widest operation, of a call of the smallest size."""

    target: str
    family: str
    parameters: int
    tensors: int
    dtypes: tuple[str, ...]  # of the checkpoint's weights, that of the most first
    download_bytes: int
    recipe: str
    disk_bytes: int
    convert_bytes: int
    run_bytes: int
    activation_bytes: int
    memory_bytes: int
    fits: bool
    gflop: float  # of a call

    def json(self) -> dict[str, object]:
        return asdict(self)

    def text(self) -> str:
        """For a person: a line a question."""
        lines = {
            "model": f"{self.family}, {count(self.parameters)} parameters in {', '.join(self.dtypes)}; "
            f"its {self.tensors} tensors are those of its config",
            "download": size(self.download_bytes) if self.download_bytes else "nothing: it is here",
            "disk": f"{size(self.disk_bytes)} as {self.recipe} for {self.target}",
            "memory to convert": size(self.convert_bytes),
            "memory to run": f"{size(self.run_bytes)}, of which the widest operation has arrays of "
            f"{size(self.activation_bytes)}",
            "fits": f"{'yes' if self.fits else 'no'}: {size(self.memory_bytes)} here",
            "work": f"{self.gflop:.1f} GFLOP a call",
        }
        return fields(lines)


def plan(headers: Headers, target: str, options: Options) -> NetPlan:
    """Plan the conversion of a network and a call of its smallest size, one row of a batch."""
    refuse_of_text(options)
    if options.image_size is not None:
        changes = {"image_size": options.image_size}
        config = replace(headers.config, data={**headers.config.data, **changes})
        headers = replace(headers, config=config)
    spec = cast(NetSpec, headers.spec())
    places = headers.places(spec)
    converter: Any = targets.converter(target)
    recipe = recipe_for(options, converter, headers.config)
    recipe.check(places)
    recipe = of_network(recipe, target, spec)
    layout = targets.layout(target, spec, recipe)
    activations = 4 * traced(spec, **least(spec))[0].largest
    memory = offered_by(target, "net_memory", "run networks that are no decoders of text")
    run = cast(int, memory(spec, recipe, activations))
    return NetPlan(
        target=target,
        family=headers.family.name,
        parameters=parameters(spec),
        tensors=len(headers.entries()),
        dtypes=headers.dtypes(),
        download_bytes=headers.download,
        recipe=str(recipe),
        disk_bytes=layout.nbytes,
        convert_bytes=converter.net_memory(spec),
        run_bytes=run,
        activation_bytes=activations,
        memory_bytes=machine_memory(),
        fits=run <= SPARE * machine_memory(),
        gflop=2 * traced(spec, **least(spec))[0].work / 1e9,
    )
