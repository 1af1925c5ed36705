"""What converting and running will take, before any of it is done."""

from edge.api.making import target_names, with_exits
from edge.convert.options import Options
from edge.errors import EdgeError
from edge.families import pipeline_of
from edge.measure import net_plan, pipeline_plan
from edge.measure.net_plan import NetPlan
from edge.measure.pipeline_plan import PipelinePlan
from edge.measure.plan import Plan, plan
from edge.run.strategy import PLAIN, Strategy
from edge.source.headers import Headers
from edge.source.naming import Named, resolve


def plan_model(
    model: str, to: str, options: Options, *, threads: int | None, strategy: Strategy = PLAIN
) -> list[Plan] | list[NetPlan] | list[PipelinePlan]:
    """What converting and running a model will take, before any of it is done: for each target."""
    named = resolve(model)
    options, headers = with_exits(options, named), _headers(named)
    if pipeline_of(headers.config) is not None:
        return pipeline_plan.plans(
            headers, target_names(to), options, threads=threads, strategy=strategy
        )
    if headers.family.network is not None:
        if strategy != PLAIN:
            raise EdgeError(
                "a network that is no decoder has no cache", fix="leave out its options"
            )
        return [net_plan.plan(headers, target, options) for target in target_names(to)]
    return [
        plan(headers, target, options, threads=threads, strategy=strategy)
        for target in target_names(to)
    ]


def _headers(model: Named) -> Headers:
    """Of a checkpoint on this machine, or else of what lies on the hub."""
    if model.here or model.source is None:
        return Headers.of(model.checkpoint())
    from edge.source.pull import headers_of

    return headers_of(model.kept, model.source)
