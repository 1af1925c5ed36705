"""An artifact's decoder, by what its target's runtime offers; what it lacks is refused by name."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

from edge import targets
from edge.artifact.manifest import Artifact
from edge.contracts import NetOpening, Opening, Rows, StoredWeights
from edge.decode.exits import ExitDecoder, Halves, SplicedExitDecoder, SplicedHalves
from edge.decode.switching import switching, switching_evictable
from edge.errors import Unsupported
from edge.protocols import Decoder, EarlyExit, Evictable, Net, Roundable, Spliced, SplicedExit
from edge.quant.recipe import Recipe
from edge.spec import DecoderSpec, parts

Inner = TypeVar("Inner")
Door = Callable[[Opening], Inner]


def stored(artifact: Artifact, part: DecoderSpec) -> StoredWeights:
    """The weights of an artifact as they lie there."""
    offered = _offered(artifact, "stored", "be read back")
    return cast(StoredWeights, offered(artifact.place, part))


@contextmanager
def as_they_lie(
    artifact: Artifact, recipe: Recipe, part: DecoderSpec
) -> Iterator[tuple[StoredWeights | None, Rows | None]]:
    """What an oracle must take from an artifact, where no recipe makes it again from the source alone: all of its
    weights if its runtime reads them so, or else what its matrices mean.
    """
    with ExitStack() as stack:
        offers = callable(getattr(targets.runtime(artifact.manifest.target), "stored", None))
        if recipe.foreign or (recipe.by_inputs and offers):
            yield stack.enter_context(closing(stored(artifact, part))), None
        elif recipe.by_inputs:
            yield None, stack.enter_context(closing(read_back(artifact, recipe)))
        else:
            yield None, None


def read_back(artifact: Artifact, recipe: Recipe) -> Rows:
    """The matrices of an artifact as its files mean them."""
    module = targets.runtime(artifact.manifest.target)
    return module.read_back(artifact.place, artifact.manifest.spec, recipe)


def open_decoder(artifact: Artifact, *, threads: int | None, exact: bool) -> Decoder:
    """A decoder of an artifact, whatever parts it has."""
    door = targets.runtime(artifact.manifest.target).open
    opening = replace(_plainly(artifact), threads=threads, exact=exact)
    return switching(opening.spec, _by_part(door, opening))


def open_reference(artifact: Artifact, *, exact: bool) -> Decoder:
    """A decoder of an artifact in numpy, if its runtime offers one."""
    door = _offered(artifact, "open_reference", "be evaluated in numpy: leave out --reference")
    opening = replace(_plainly(artifact), exact=exact, reference=True)
    return switching(opening.spec, _by_part(cast("Door[Decoder]", door), opening))


def open_proof(artifact: Artifact, label: str, *, exact: bool) -> Decoder:
    """A decoder of one part, for a proof: a reference evaluation where the runtime does not run."""
    target, part = artifact.manifest.target, parts(artifact.manifest.decoder)[label]
    opening = replace(_plainly(artifact), spec=part, part=label, exact=exact)
    if targets.refusal(target) is None:
        return targets.runtime(target).open(opening)
    door = _offered(artifact, "open_reference", "be proved on this system")
    return cast("Door[Decoder]", door)(replace(opening, reference=True))


def open_net(
    artifact: Artifact,
    *,
    threads: int | None = None,
    exact: bool = False,
    reference: bool = False,
    alone: bool = True,
) -> Net:
    """The network of an artifact that is no decoder; `alone`: no other is called between its calls."""
    door = _offered(artifact, "open_net", "run networks that are no decoders of text")
    _refuse_numpy(artifact, reference)
    opening = NetOpening(
        artifact.folder,
        artifact.manifest.network,
        alone=alone,
        threads=threads,
        exact=exact,
        reference=reference,
    )
    return cast("Callable[[NetOpening], Net]", door)(opening)


def open_spliced(
    artifact: Artifact,
    *,
    threads: int | None = None,
    exact: bool = False,
    reference: bool = False,
    rounding: bool = False,
) -> Spliced:
    """A decoder of an artifact that takes rows for tokens, if it was made for that; `rounding`: whose cache may
    go over to int8, too.
    """
    door = _offered(artifact, "open_spliced", "take rows for tokens")
    if rounding:
        door = _offered(artifact, "open_spliced_rounding", "round a cache of pictures to int8")
    if not artifact.manifest.decoder.spliced:
        raise Unsupported(
            f"{artifact.folder} was not made to take rows for tokens",
            fix="convert the pipeline again",
        )
    refuse_parts(artifact.manifest.decoder, "rows for tokens")
    _refuse_numpy(artifact, reference)
    opening = replace(_plainly(artifact), threads=threads, exact=exact, reference=reference)
    return cast("Door[Spliced]", door)(opening)


def open_net_proof(artifact: Artifact, *, exact: bool) -> Net:
    """For a proof: a reference evaluation where the runtime does not run."""
    away = targets.refusal(artifact.manifest.target) is not None
    return open_net(artifact, exact=exact, reference=away)


def open_evictable(
    artifact: Artifact, *, threads: int | None, reference: bool = False
) -> Evictable:
    """A decoder of an artifact whose cache may be compacted, if its runtime offers one; `reference`: in
    numpy.
    """
    door = _offered(artifact, "open_evictable", "compact or draft from its cache")
    _refuse_numpy(artifact, reference)
    opening = replace(_plainly(artifact), threads=threads, reference=reference)
    return switching_evictable(opening.spec, _by_part(cast("Door[Evictable]", door), opening))


def open_rounding(artifact: Artifact, *, threads: int | None) -> Roundable:
    """A decoder of an artifact whose cache may go over to int8, if its runtime offers one."""
    door = _offered(artifact, "open_rounding", "round its cache to int8")
    refuse_parts(artifact.manifest.decoder, "int8 cache")
    return cast("Door[Roundable]", door)(replace(_plainly(artifact), threads=threads))


def open_exits(
    artifact: Artifact, *, exit_: int, threads: int | None, reference: bool = False
) -> EarlyExit:
    """A decoder of an artifact that drafts with its first layers, if its runtime offers one;
    `reference`: in numpy.
    """
    what = "stop after its first layers"
    halves = _exits(artifact, "open_exits", what, exit_=exit_, threads=threads, reference=reference)
    return ExitDecoder(cast("Halves[object]", halves))


def open_spliced_exits(
    artifact: Artifact, *, exit_: int, threads: int | None, reference: bool = False
) -> SplicedExit:
    """The same of one that takes rows for tokens."""
    name, what = "open_spliced_exits", "stop after its first layers with pictures"
    halves = _exits(artifact, name, what, exit_=exit_, threads=threads, reference=reference)
    return SplicedExitDecoder(cast("SplicedHalves[object]", halves))


def _exits(artifact: Artifact, name: str, what: str, *, exit_: int, **how: Any) -> object:
    """A runtime's halves, by the name of what it offers; refuses an exit that the artifact does not have."""
    door = _offered(artifact, name, what)
    refuse_parts(artifact.manifest.decoder, "early exits")
    exits = artifact.manifest.decoder.exits
    if exit_ not in exits:
        kept = ", ".join(map(str, exits)) or "none"
        raise Unsupported(
            f"{artifact.folder} keeps no exit after layer {exit_} (kept: {kept})",
            fix=f"convert again with --layerskip {exit_}",
        )
    _refuse_numpy(artifact, how["reference"])
    return door(replace(_plainly(artifact), **how), exit_=exit_)


def _plainly(artifact: Artifact) -> Opening:
    return Opening(artifact.place, artifact.manifest.decoder, branches=artifact.branches)


def _by_part(door: Door[Inner], opening: Opening) -> Callable[[str, DecoderSpec], Inner]:
    """For `edge.decode.switching`: the same, of each part of a model."""
    return lambda label, part: door(replace(opening, spec=part, part=label))


def _refuse_numpy(artifact: Artifact, reference: bool) -> None:
    """A runtime that has no reference evaluation is not asked for it."""
    if reference:
        _offered(artifact, "open_reference", "be evaluated in numpy: leave out --reference")


def refuse_parts(spec: DecoderSpec, what: str) -> None:
    """Refuse what only a model of one part has."""
    if len(parts(spec)) > 1:
        raise Unsupported(
            f"a model with two sets of rotary factors has no {what} here",
            fix="convert it with --context up to its original context",
        )


def _offered(artifact: Artifact, name: str, what: str) -> Callable[..., object]:
    return offered_by(artifact.manifest.target, name, what)


def offered_by(target: str, name: str, what: str) -> Callable[..., object]:
    """What a runtime has under a name; refuses one that has nothing there."""
    targets.runtime(target)  # refuses a target that runs nothing
    return cast("Callable[..., object]", targets.offered("runtimes", target, name, what))
