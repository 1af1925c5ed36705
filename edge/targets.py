"""Targets by name: `converters.NAME` makes an artifact, `runtimes.NAME` runs it. Found lazily,
never imported by name.
"""

import importlib
import importlib.util
import pkgutil
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol, cast

from edge.artifact import Artifact
from edge.checkpoint import Checkpoint
from edge.datafile import Mode
from edge.decode.switching import switching, switching_evictable
from edge.errors import EdgeError, Unsupported
from edge.families import Family
from edge.protocols import Decoder, EarlyExit, Evictable, Roundable
from edge.quant.recipe import Recipe
from edge.quant.tensor import Float, QTensor, Scheme
from edge.spec import DecoderSpec, parts
from edge.text.ids import SpecialIds
from edge.typing import F32, I64

_BEST = {"Darwin": ("mlx", "onnx"), "Linux": ("onnx",)}  # fastest first


@dataclass(frozen=True, slots=True)
class About:
    """What a writer must know beside the spec and the weights."""

    family: Family
    name: str  # of the model
    ids: SpecialIds


# What fast kernels round the inputs of a product to: int8 with a scale for each of the weights'
# groups; ggml's blocks of 32 with a scale in fp16, q8_1 with a rounded sum too; or a float.
Rounding = Literal["int8", "q8_0", "q8_1", "fp16", "bf16"]


def as_they_are(_scheme: Scheme) -> None:
    """Inputs are not rounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Numerics:
    """How a runtime computes, as far as an oracle must know to be compared with it.

    `tolerance`: of logits, relative to the largest. `vectors`: the type in which norms and biases are
    stored. `cache`: the type of cached keys and values. `inputs`: what the inputs of a product with
    weights of a scheme are rounded to; see `edge.verify`.
    """

    tolerance: float
    vectors: Float = "fp32"
    cache: Float = "fp32"
    inputs: Callable[[Scheme], Rounding | None] = as_they_are


PLAIN = Numerics(tolerance=1e-4)  # all in float32


class Writer(Protocol):
    """A target's files being written, or compared with what they should be (`differing` bytes)."""

    @property
    def differing(self) -> int: ...

    def put(self, name: str, row: int, block: F32) -> int:
        """Rows of a weight, from `row` on, as float32 -> how many bytes they became.

        Every block of every weight comes once, in any order and from several threads.
        """
        ...

    def sync(self) -> None:
        """What was put is on the disk."""
        ...

    def finish(self) -> None:
        """Write, or compare, whatever is no weight: graphs, tables, configs. After the last `put`."""
        ...

    def close(self) -> None: ...


class Layout(Protocol):
    """Where everything of an artifact will lie, known from shapes alone."""

    @property
    def spec(self) -> DecoderSpec:
        """The spec; its context shortened to where the target computes something else, and of all ids
        where drafts cannot be of fewer.
        """
        ...

    @property
    def nbytes(self) -> int:
        """Size of the weights."""
        ...

    def open(self, folder: Path, about: About, mode: Mode = "write") -> Writer:
        """Begin; the folder holds the tokenizer's files already."""
        ...


class Converter(Protocol):
    """What a package in `converters` offers.

    One whose ecosystem's library makes types of its own has `LIBRARY`, that package, and
    `mixed(mixture, spec, known_as, *, calibrated)`: the type of each matrix of a mixture, by name.
    """

    TOOLS: tuple[str, ...]  # packages whose versions the manifest records
    ALIASES: Mapping[str, str]  # what the short names of recipes mean here

    def layout(self, spec: DecoderSpec, recipe: Recipe) -> Layout:
        """Refuses by name what the target cannot hold."""
        ...

    def memory(self, spec: DecoderSpec) -> int:
        """Peak resident bytes of a conversion."""
        ...


class Runtime(Protocol):
    """What a package in `runtimes` offers.

    One that does not run on every system has `check`, which refuses the others, and may have
    `open_reference(folder, spec, *, exact, part)`: a slow decoder in numpy, for proof anywhere; its
    `open_evictable` and `open_exits` take `reference`, too. One whose artifacts hold types that only a
    library makes has `stored(folder, spec)`.
    """

    def open(
        self,
        folder: Path,
        spec: DecoderSpec,
        *,
        threads: int | None,
        exact: bool,
        part: str = "",
    ) -> Decoder:
        """A decoder over an artifact's folder, of one of its parts (`edge.spec.parts`).

        `exact`: with float activations, for proof.
        """
        ...

    def numerics(self, recipe: Recipe, *, exact: bool) -> Numerics:
        """How a decoder that was opened so computes."""
        ...

    def memory(self, spec: DecoderSpec, recipe: Recipe, *, tokens: int) -> int:
        """Peak resident bytes of a run whose sequence reaches this many tokens."""
        ...


class Stored(Protocol):
    """An artifact's weights as they lie there, dequantized: what an oracle computes with where a
    library made them.
    """

    def __call__(self, name: str, rows: I64 | None) -> F32:
        """A weight, or some of its rows."""
        ...

    def blocks(self, name: str) -> Iterator[F32 | QTensor]:
        """A matrix block by block."""
        ...

    def close(self) -> None: ...


class Oracle(Protocol):
    """What `runtimes.reference` offers: any checkpoint, through any recipe, in numpy."""

    def oracle(
        self,
        checkpoint: Checkpoint,
        recipe: Recipe,
        *,
        numerics: Numerics = PLAIN,
        spec: DecoderSpec | None = None,
        stored: Stored | None = None,
    ) -> Decoder:
        """`spec`: one of the parts of the checkpoint's, if not the whole. `stored`: weights that the
        recipe's own rules do not make.
        """
        ...

    def importance(
        self,
        checkpoint: Checkpoint,
        windows: Sequence[Sequence[int]],
        advance: Callable[[int], None],
    ) -> dict[str, F32]:
        """The mean square of each input of each matrix of the layers, over all positions: [K]."""
        ...


class Trainer(Protocol):
    """What `runtimes.torch.train` offers."""

    def train(
        self,
        recipe: Path,
        out: Path,
        *,
        find: Callable[[str], Path],
        start: str | None,
        texts: Sequence[str],
        resume: bool,
    ) -> Path | None:
        """Run a recipe; the folder of the checkpoint that it made, None in every process but the first.

        `find`: the folder of an id or a path. `start`, `texts`: instead of what the recipe names.
        """
        ...


def refuse_longer(layout: Layout, target: str, context: int | None) -> None:
    """A context that the target does not compute right is not silently shortened."""
    longest = layout.spec.context
    if context is not None and longest < context:
        raise Unsupported(
            f"{target} computes this model as its source does up to {longest} tokens, not {context}",
            fix=f"give --context {longest} at most, or leave it out; or use the target onnx",
        )


def refuse_fewer(layout: Layout, target: str, draft_vocab: int | None) -> None:
    """Drafts of fewer ids that were asked for are not silently drafts of all."""
    spec = layout.spec
    if draft_vocab not in (None, 0, spec.vocab) and spec.draft_vocab is None:
        raise Unsupported(
            f"{target} drafts of all {spec.vocab:,} ids, not of {draft_vocab}",
            fix="leave out --draft-vocab, or use the target onnx",
        )


def converter(target: str) -> Converter:
    return cast(Converter, _find("converters", target))


def stored(artifact: Artifact, part: DecoderSpec) -> Stored:
    """The weights of an artifact as they lie there."""
    offered = _offered(artifact, "stored", "be read back")
    return cast(Stored, offered(artifact.place, part))


def runtime(target: str) -> Runtime:
    module = _find("runtimes", target)
    if "open" not in vars(module):
        raise EdgeError(f"the target {target!r} runs no artifacts", fix="use the target onnx")
    return cast(Runtime, module)


def open_decoder(artifact: Artifact, *, threads: int | None, exact: bool) -> Decoder:
    """A decoder of an artifact, whatever parts it has."""
    folder, spec = artifact.place, artifact.manifest.spec
    module = runtime(artifact.manifest.target)

    def open_part(label: str, part: DecoderSpec) -> Decoder:
        return module.open(folder, part, threads=threads, exact=exact, part=label)

    return switching(spec, open_part)


def open_reference(artifact: Artifact, *, exact: bool) -> Decoder:
    """A decoder of an artifact in numpy, if its runtime offers one."""
    offered = _offered(artifact, "open_reference", "be evaluated in numpy: leave out --reference")

    def open_part(label: str, part: DecoderSpec) -> Decoder:
        return cast(Decoder, offered(artifact.place, part, exact=exact, part=label))

    return switching(artifact.manifest.spec, open_part)


def open_proof(artifact: Artifact, label: str, *, exact: bool) -> Decoder:
    """A decoder of one part, for a proof: a reference evaluation where the runtime does not run."""
    target, part = artifact.manifest.target, parts(artifact.manifest.spec)[label]
    if refusal(target) is None:
        open_part = runtime(target).open
        return open_part(artifact.place, part, threads=None, exact=exact, part=label)
    offered = _offered(artifact, "open_reference", "be proved on this system")
    return cast(Decoder, offered(artifact.place, part, exact=exact, part=label))


def refusal(target: str) -> EdgeError | None:
    """Why a runtime that is installed does not run on this system; None if it does."""
    check = vars(runtime(target)).get("check")
    try:
        if check is not None:
            check()
    except EdgeError as error:
        return error
    return None


def open_evictable(
    artifact: Artifact, *, threads: int | None, reference: bool = False
) -> Evictable:
    """A decoder of an artifact whose cache may be compacted, if its runtime offers one; `reference`: in
    numpy.
    """
    offered = _offered(artifact, "open_evictable", "compact or draft from its cache")
    how = _in_numpy(artifact, reference)

    def open_part(label: str, part: DecoderSpec) -> Evictable:
        return cast(Evictable, offered(artifact.place, part, threads=threads, part=label, **how))

    return switching_evictable(artifact.manifest.spec, open_part)


def open_rounding(artifact: Artifact, *, threads: int | None) -> Roundable:
    """A decoder of an artifact whose cache may go over to int8, if its runtime offers one."""
    offered = _offered(artifact, "open_rounding", "round its cache to int8")
    spec = _one_part(artifact, "int8 cache")
    return cast(Roundable, offered(artifact.place, spec, threads=threads))


def open_exits(
    artifact: Artifact, *, exit_: int, threads: int | None, reference: bool = False
) -> EarlyExit:
    """A decoder of an artifact that drafts with its first layers, if its runtime offers one;
    `reference`: in numpy.
    """
    offered = _offered(artifact, "open_exits", "stop after its first layers")
    spec = _one_part(artifact, "early exits")
    if exit_ not in spec.exits:
        kept = ", ".join(map(str, spec.exits)) or "none"
        raise Unsupported(
            f"{artifact.folder} keeps no exit after layer {exit_} (kept: {kept})",
            fix=f"convert again with --layerskip {exit_}",
        )
    how = _in_numpy(artifact, reference)
    return cast(EarlyExit, offered(artifact.place, spec, exit_=exit_, threads=threads, **how))


def _in_numpy(artifact: Artifact, reference: bool) -> dict[str, bool]:
    """How a runtime that has a reference evaluation is asked for it."""
    if not reference:
        return {}
    _offered(artifact, "open_reference", "be evaluated in numpy: leave out --reference")
    return {"reference": True}


def _one_part(artifact: Artifact, what: str) -> DecoderSpec:
    spec = artifact.manifest.spec
    if len(parts(spec)) > 1:
        raise Unsupported(
            f"a model with two sets of rotary factors has no {what} here",
            fix="convert it with --context up to its original context",
        )
    return spec


def _offered(artifact: Artifact, name: str, what: str) -> Callable[..., object]:
    target = artifact.manifest.target
    offered = vars(runtime(target)).get(name)
    if offered is None:
        able = offering("runtimes", name)
        raise Unsupported(
            f"{target} cannot {what}", fix=f"use an artifact of {' or '.join(able) or 'onnx'}"
        )
    return cast("Callable[..., object]", offered)


def offering(kind: str, name: str) -> list[str]:
    """Targets whose package of a kind is installed and has this name in it."""
    return [target for target in names("converters") if name in _contents(kind, target)]


def _contents(kind: str, target: str) -> Mapping[str, object]:
    try:
        return vars(_find(kind, target))
    except EdgeError:
        return {}


def oracle() -> Oracle:
    return cast(Oracle, _find("runtimes", "reference"))


def trainer() -> Trainer:
    return cast(Trainer, _import("runtimes.torch.train", "torch"))


def best() -> str:
    """The first of this system's targets that runs here."""
    for target in _BEST.get(platform.system(), _BEST["Linux"]):
        try:
            runtime(target)
        except EdgeError:
            continue
        return target
    return "onnx"


def names(kind: str) -> tuple[str, ...]:
    """Targets of a kind (`converters` or `runtimes`), by the folders that are there."""
    spec = importlib.util.find_spec(kind)
    folders = spec.submodule_search_locations if spec else None
    return tuple(sorted(m.name for m in pkgutil.iter_modules(folders) if m.ispkg))


def _find(kind: str, target: str) -> ModuleType:
    known = names(kind)
    if target not in known:
        raise EdgeError(f"there is no target {target!r}", fix=f"use one of: {', '.join(known)}")
    return _import(f"{kind}.{target}", target)


def _import(module: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("edge", "converters", "runtimes"):
            raise
        raise Unsupported(
            f"{target} needs the package {error.name}, which is not installed",
            fix=f"pip install {error.name}, or pip install 'edge-toolkit[{target}]'",
        ) from None
