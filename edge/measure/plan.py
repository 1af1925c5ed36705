"""What a model will take on this machine, from headers alone: nothing is converted or loaded.

A plan is made only of a checkpoint whose tensors are those of its config.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from edge import targets
from edge.contracts import Layout, Use
from edge.convert import calibrated, tuning
from edge.convert.calibration import calibration_of
from edge.convert.mixtures import resolved
from edge.convert.options import (
    Options,
    early,
    of_their_own,
    recipe_for,
    refuse_fewer,
    refuse_longer,
    with_caches,
)
from edge.decode.rounding import ENOUGH
from edge.decode.snapkv import refuse_cut
from edge.errors import Unsupported
from edge.families import family_of
from edge.measure.bench import bytes_per_token, read_bandwidth
from edge.measure.inspection import parameters
from edge.names import decoder_of
from edge.quant.recipe import Recipe
from edge.quant.tensor import FLOATS
from edge.run.opening import offered_by, refuse_parts
from edge.run.strategy import PLAIN, Strategy
from edge.source.checkpoint import LONGEST, refuse_unasked, shortened
from edge.source.headers import Headers
from edge.spec import DecoderSpec, cache_bytes
from edge.system import processors
from edge.system.memory import machine_memory
from edge.system.table import fields
from edge.system.units import count, size

DEFAULT_TOKENS = 2048  # of a sequence, where none is asked for
SPARE = 0.9  # share of the memory that a run may take
_TOKEN = 430  # bytes that the tokenizer's library keeps of each: its text, its merges, both ways
_STRING = 270  # bytes that its parser takes for each string of the file, until it has read them all
_STRINGS = 3.1  # a token: itself and two merges, seen in BPE of 32,000 and of 128,256 tokens
_IN_FLIGHT = 30_000_000  # bytes of blocks in a conversion, which come after the tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Bytes, tokens, and tokens a second; `bound_tps` is what bandwidth allows, not a promise, and drafts
    may make more of it. `cache_bytes`: of the rows that an answer reads.
    """

    target: str
    family: str
    parameters: int
    tensors: int
    dtypes: tuple[str, ...]  # of the checkpoint's weights, that of the most first
    download_bytes: int
    recipe: str
    tokens: int
    disk_bytes: int
    convert_bytes: int
    run_bytes: int
    cache_bytes: int
    memory_bytes: int
    fits: bool
    largest_context: int
    bytes_per_token: int
    machine_gbs: float
    bound_tps: float

    def json(self) -> dict[str, object]:
        return asdict(self)

    def text(self) -> str:
        """For a person: a line a question."""
        fits = f"{'yes' if self.fits else 'no'}: {size(self.memory_bytes)} here"
        lines = {
            "model": f"{self.family}, {count(self.parameters)} parameters in {', '.join(self.dtypes)}; "
            f"its {self.tensors} tensors are those of its config",
            "download": size(self.download_bytes) if self.download_bytes else "nothing: it is here",
            "disk": f"{size(self.disk_bytes)} as {self.recipe} for {self.target}",
            "memory to convert": size(self.convert_bytes),
            "memory to run": f"{size(self.run_bytes)} at {self.tokens:,} tokens, "
            f"of which an answer reads a cache of {size(self.cache_bytes)}",
            "fits": f"{fits}, up to {self.largest_context:,} tokens",
            "speed": f"at most {self.bound_tps:.1f} tokens/s at {self.tokens:,} tokens: each reads "
            f"{size(self.bytes_per_token)}, and this machine {self.machine_gbs:.1f} GB/s",
        }
        return fields(lines)


def plan(
    headers: Headers,
    target: str,
    options: Options,
    *,
    threads: int | None,
    strategy: Strategy = PLAIN,
) -> Plan:
    """Plan the conversion of a model as `options` ask for it, and a run whose sequence reaches
    `options.context` tokens, decoded by a strategy.
    """
    converter, runtime = targets.converter(target), targets.runtime(target)
    layout, recipe = _layout(headers, target, options)
    spec, use = layout.spec, strategy.use
    _refuse(target, spec, use)
    tokens = min(DEFAULT_TOKENS, spec.context) if options.context is None else options.context

    def run(length: int) -> int:
        return runtime.memory(spec, recipe, tokens=length, use=use) + _TOKEN * spec.vocab

    number = FLOATS[runtime.numerics(recipe, exact=False).cache].bits // 8
    cache = _cache(spec, tokens, use, number)
    read = bytes_per_token(spec, recipe) + cache
    speed = read_bandwidth(processors.threads(threads))
    room = int(SPARE * machine_memory())
    return Plan(
        target=target,
        family=headers.family.name,
        parameters=parameters(spec),
        tensors=len(headers.entries()),
        dtypes=headers.dtypes(),
        download_bytes=headers.download,
        recipe=str(recipe),
        tokens=tokens,
        disk_bytes=layout.nbytes,
        convert_bytes=converter.memory(spec)
        + max(0, _reading(headers, spec) - _IN_FLIGHT)
        + _rounding(spec, recipe, options),
        run_bytes=run(tokens),
        cache_bytes=cache,
        memory_bytes=machine_memory(),
        fits=run(tokens) <= room,
        largest_context=_largest(spec.context, run, room),
        bytes_per_token=read,
        machine_gbs=speed,
        bound_tps=speed * 1e9 / read,
    )


def _layout(headers: Headers, target: str, options: Options) -> tuple[Layout[DecoderSpec], Recipe]:
    """As `edge convert` makes it, from shapes alone; refuses what the target cannot hold."""
    family, context = family_of(headers.config), options.context
    places = headers.places()
    spec = decoder_of(headers.spec(), headers.config.where)
    refuse_unasked(spec, context)
    if context is not None and (context > spec.context or spec.context > LONGEST):
        spec = shortened(spec, context)  # refuses more than the model can have
    spec = early(spec, options.exits, options.draft_vocab)
    spec = with_caches(spec, options.snapkv_rows, [target])
    converter = targets.converter(target)
    recipe = recipe_for(options, converter, headers.config)
    recipe.check(places)
    recipe = resolved(
        recipe, target, spec, family.known_as, calibrated=None, own=of_their_own(options)
    )
    layout = converter.layout(spec, recipe)
    refuse_longer(layout, target, context)
    refuse_fewer(layout, target, options.draft_vocab)
    return layout, recipe


def _rounding(spec: DecoderSpec, recipe: Recipe, options: Options) -> int:
    """What rounding by a text takes."""
    if not (recipe.by_inputs or recipe.balanced):
        return 0
    text = calibration_of(options.calibrate, recipe, options.calibrate_on)
    assert text is not None
    more = tuning.memory(spec, text.tokens) if recipe.trained else 0
    return calibrated.memory(spec, text.tokens) + text.by.memory(spec) + more


def _refuse(target: str, spec: DecoderSpec, use: Use) -> None:
    """What a run by these means would refuse is refused now."""
    if use.rounded:
        offered_by(target, "open_rounding", "round its cache to int8")
        refuse_parts(spec, "int8 cache")
    if use.exit_ is not None:
        offered_by(target, "open_exits", "stop after its first layers")
        refuse_parts(spec, "early exits")
    if use.kept is None:
        return
    offered_by(target, "open_evictable", "compact or draft from its cache")
    refuse_cut(spec)
    fixed = "FIXED_CACHES" in vars(targets.converter(target))
    if fixed and max(spec.snapkv_rows, default=0) < use.kept:
        raise Unsupported(
            f"{target} has no small cache for the {use.kept} rows that SnapKV keeps",
            fix=f"give --snapkv-rows {use.kept + 256}, which holds them and an answer",
        )


def _cache(spec: DecoderSpec, tokens: int, use: Use, number: int) -> int:
    """What an answer reads of its cache: all rows, or those that were kept; numbers as they are by then."""
    rows = tokens if use.forked else use.cut(tokens) or tokens
    return cache_bytes(spec, rows, number=1 if use.rounded and tokens >= ENOUGH else number)


def _reading(headers: Headers, spec: DecoderSpec) -> int:
    """What checking the tokenizer takes, before the first block."""
    strings = _STRINGS * spec.vocab if headers.strings is None else headers.strings
    return int(_STRING * strings)


def _largest(context: int, run: Callable[[int], int], room: int) -> int:
    """The longest sequence whose run fits: bytes grow with tokens, so halve the interval."""
    low, high = 0, context
    while low < high:
        middle = (low + high + 1) // 2
        if run(middle) <= room:
            low = middle
        else:
            high = middle - 1
    return low
