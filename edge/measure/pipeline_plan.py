"""What a model of several networks will take on this machine: each network by its own plan, and all together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from edge import targets
from edge.convert.options import Options, usual
from edge.convert.pipelines import in_its_name, parts_of, placed
from edge.families import pipeline_of
from edge.measure import net_plan
from edge.measure.net_plan import NetPlan
from edge.measure.plan import SPARE, Plan, plan
from edge.run.strategy import PLAIN, Strategy
from edge.source.headers import Headers
from edge.system.memory import machine_memory
from edge.system.table import fields
from edge.system.units import count, size


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelinePlan:
    """Bytes. All networks are loaded at once, and converted one after another."""

    family: str
    parameters: int
    download_bytes: int
    disk_bytes: int
    convert_bytes: int
    run_bytes: int
    memory_bytes: int
    fits: bool
    networks: Mapping[str, Plan | NetPlan]

    def json(self) -> dict[str, object]:
        return asdict(self)

    def text(self) -> str:
        """For a person: all together, then each network."""
        lines = {
            "model": f"{self.family}, {count(self.parameters)} parameters in {len(self.networks)} networks",
            "download": size(self.download_bytes) if self.download_bytes else "nothing: it is here",
            "disk": size(self.disk_bytes),
            "memory to convert": size(self.convert_bytes),
            "memory to run": size(self.run_bytes),
            "fits": f"{'yes' if self.fits else 'no'}: {size(self.memory_bytes)} here",
        }
        parts = [f"{name}:\n{own.text()}" for name, own in self.networks.items()]
        return "\n\n".join([fields(lines), *parts])


def plans(
    headers: Headers,
    words: Sequence[str],
    options: Options,
    *,
    threads: int | None = None,
    strategy: Strategy = PLAIN,
) -> list[PipelinePlan]:
    """One for each target of all networks; or one of those that are placed (`vision=onnx:int8`)."""
    parts = parts_of(words)
    if parts is not None:
        first = next(target for target, _ in parts.values())
        cases = [(replace(options, target=first), parts)]
    else:
        cases = [(replace(options, target=word), {}) for word in words]
    return [_plan(headers, *case, threads=threads, strategy=strategy) for case in cases]


def _plan(
    headers: Headers,
    options: Options,
    parts: Mapping[str, tuple[str, str | None]],
    *,
    threads: int | None,
    strategy: Strategy,
) -> PipelinePlan:
    pipeline = pipeline_of(headers.config)
    assert pipeline is not None, f"{headers.config.where} is of one network"
    found: dict[str, Plan | NetPlan] = {}
    for name, own in placed(pipeline, options, parts).items():
        part = headers.of_stage(name)
        own = usual(own, part.config)
        with in_its_name(name):
            if part.family.network is not None:
                found[name] = net_plan.plan(part, own.target, own)
            else:
                found[name] = plan(part, own.target, own, threads=threads, strategy=strategy)
    run = sum(own.run_bytes for own in found.values()) - _counted_again(found) + pipeline.beside
    return PipelinePlan(
        family=pipeline.name,
        parameters=sum(own.parameters for own in found.values()),
        download_bytes=headers.download,
        disk_bytes=sum(own.disk_bytes for own in found.values()),
        convert_bytes=max(own.convert_bytes for own in found.values()),
        run_bytes=run,
        memory_bytes=machine_memory(),
        fits=run <= SPARE * machine_memory(),
        networks=found,
    )


def _counted_again(plans: Mapping[str, Plan | NetPlan]) -> int:
    """Bytes of a runtime's own that each of its networks' plans counts, and that a process takes once."""
    uses = Counter(own.target for own in plans.values())
    return sum(
        (count - 1) * int(vars(targets.runtime(target)).get("BASE", 0))
        for target, count in uses.items()
    )
