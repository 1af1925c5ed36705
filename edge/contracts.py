"""What a target offers: a package in `converters` is a `Converter`, one in `runtimes` a `Runtime`, and some
offer more. `edge.targets` finds them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from edge.adapters.branches import Branches
from edge.families import Family
from edge.files.datafile import Mode
from edge.names import Spec
from edge.net import NetSpec
from edge.protocols import Decoder, Net
from edge.quant.arithmetic import Arithmetic
from edge.quant.methods import Training
from edge.quant.recipe import Recipe
from edge.quant.tensor import Float, QTensor, Scheme
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec, cache_bytes
from edge.text.ids import SpecialIds
from edge.typing import F32, I64

Kind_co = TypeVar("Kind_co", bound=Spec, covariant=True)


@dataclass(frozen=True, slots=True)
class About:
    """What a writer must know beside the spec and the weights."""

    family: Family
    name: str  # of the model
    ids: SpecialIds


# What fast kernels round the inputs of a product to: int8 with a scale for each of the weights'
# groups; ggml's blocks of 32 with a scale in fp16, q8_1 with a rounded sum too; or a float. u8: codes of one
# scale and one zero for all of an input.
Rounding = Literal["int8", "q8_0", "q8_1", "fp16", "bf16", "u8"]


def as_they_are(_scheme: Scheme) -> None:
    """Inputs are not rounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Numerics:
    """How a runtime computes, as far as an oracle must know to be compared with it.

    `tolerance`: of logits, relative to the largest. `vectors`: the type in which norms and biases are
    stored. `cache`: the type of cached keys and values. `inputs`: what the inputs of a product with
    weights of a scheme are rounded to; see `edge.prove.verify`.
    """

    tolerance: float
    vectors: Float = "fp32"
    cache: Float = "fp32"
    inputs: Callable[[Scheme], Rounding | None] = as_they_are


PLAIN = Numerics(tolerance=1e-4)  # all in float32


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """By which means a run decodes, as far as its memory depends on it. `exit_`: the layers before it draft.
    `kept`: rows that its cache is cut to after a prompt, and, where `piece` is given, after each so many
    tokens of one; `forked`: the cut one drafts, and the whole one stays. `rounded`: a cache of int8, once
    a prompt is read.
    """

    exit_: int | None = None
    kept: int | None = None
    piece: int | None = None
    forked: bool = False
    rounded: bool = False

    def reads(self, tokens: int) -> int:
        """Rows of each layer that are there at most while a prompt is read."""
        if self.kept is None or self.piece is None:
            return tokens
        return min(tokens, self.kept + self.piece)

    def cut(self, tokens: int) -> int:
        """Rows that the cut cache of each layer holds; 0: nothing is cut."""
        return 0 if self.kept is None or tokens <= self.kept else self.kept

    def cutting(self, spec: DecoderSpec, tokens: int, *, answer: int, number: int) -> int:
        """Bytes that cutting takes beside the cache that was read: a cut one with room for an answer, in
        numbers of so many bytes, and what says which rows are kept: votes of every row, in float32.
        """
        cut = self.cut(tokens)
        if not cut:
            return 0
        votes = sum(4 * layer.heads * self.reads(tokens) for layer in spec.layers)
        return votes + cache_bytes(spec, min(cut + answer, spec.context), number=number)


PLAINLY = Use()


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


class Layout(Protocol[Kind_co]):
    """Where everything of an artifact will lie, known from shapes alone."""

    @property
    def spec(self) -> Kind_co:
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
    `mixed(mixture, spec, known_as, *, calibrated)`: the type of each matrix of a mixture, by name. One
    that takes networks that are no decoders has `net_layout` and `net_memory`: the same of a `NetSpec`; and
    `NET_ALIASES`, where short names mean others there. `BODIES`: what short names mean for matrices of a
    decoder's layers, where a text may say better how to round these. `WHOLE_GROUPS`: whether groups must divide
    rows.
    """

    TOOLS: tuple[str, ...]  # packages whose versions the manifest records
    ALIASES: Mapping[str, str]  # what the short names of recipes mean here

    def layout(self, spec: DecoderSpec, recipe: Recipe) -> Layout[DecoderSpec]:
        """Refuses by name what the target cannot hold."""
        ...

    def memory(self, spec: DecoderSpec) -> int:
        """Peak resident bytes of a conversion."""
        ...


class Rows(Protocol):
    """An artifact's matrices as its files mean them, decoded by code that shares nothing with what packed
    them.
    """

    def rows(self, name: str, start: int, stop: int, *, by_row: bool) -> F32:
        """Rows [stop - start, K], from any thread; `by_row`: of the table that is looked up, where that and
        the head are one weight.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Opening:
    """What a decoder is opened over, and how it was asked to be.

    `spec`: of the artifact, or of one of its parts (`edge.spec.parts`), whose label `part` is. `threads`:
    None leaves their number to the runtime. `exact`: with float activations, for proof. `reference`: in
    numpy, where the runtime has `open_reference`. `branches`: of an adapter, for a runtime that has such `ADAPTERS`.
    """

    folder: Path
    spec: DecoderSpec
    _: KW_ONLY
    part: str = ""
    threads: int | None = None
    exact: bool = False
    reference: bool = False
    branches: Branches | None = None


@dataclass(frozen=True, slots=True)
class NetOpening:
    """What a network is opened over, and how: as `Opening`. `alone`: no other network is called between its calls."""

    folder: Path
    spec: NetSpec
    _: KW_ONLY
    alone: bool = True
    threads: int | None = None
    exact: bool = False
    reference: bool = False


class Runtime(Protocol):
    """What a package in `runtimes` offers. `ADAPTERS`, if it has that: which kinds of adapters every decoder that it
    opens takes as `branches`. `BASE`, if it has that: what of `memory` a process takes once, whatever it runs.

    Some can do more, and have `open_evictable(opening)`, which gives an `edge.protocols.Evictable`,
    `open_rounding(opening)` for a `Roundable`, or `open_exits(opening, *, exit_)` for
    `edge.decode.exits.Halves`: none of them exact. `open_spliced(opening)` gives an `edge.protocols.Spliced`, of
    an artifact whose spec is `spliced`, and `open_spliced_rounding(opening)` a `SplicedRoundable`.

    One that does not run on every system has `check`, which refuses the others, and may have
    `open_reference(opening)`: a slow decoder in numpy, for proof anywhere. One whose artifacts hold types
    that only a library makes has `stored(folder, spec)`. One that runs networks that are no decoders has
    `open_net(opening)`, which gives an `edge.protocols.Net` over a `NetOpening`, and `net_memory(spec,
    recipe, activations)`: the peak of a run whose widest operation takes so many bytes; `FEW_SIZES`, if it should only
    be called at the `steps` of each size.
    """

    def open(self, opening: Opening) -> Decoder:
        """A decoder over an artifact's folder."""
        ...

    def numerics(self, recipe: Recipe, *, exact: bool) -> Numerics:
        """How a decoder that was opened so computes."""
        ...

    def read_back(self, folder: Path, spec: Spec, recipe: Recipe) -> Rows:
        """What the files of an artifact mean."""
        ...

    def memory(self, spec: DecoderSpec, recipe: Recipe, *, tokens: int, use: Use = PLAINLY) -> int:
        """Peak resident bytes of a run whose sequence reaches this many tokens."""
        ...


class StoredWeights(Protocol):
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


class Walk(Protocol):
    """A text on its way through a decoder's layers. `layer`: the one that comes next; `streams`: what goes into
    it, [T, D] of each window; perhaps read anew whenever it is asked for.
    """

    @property
    def layer(self) -> int: ...

    @property
    def streams(self) -> Sequence[F32]: ...

    def through(
        self,
        hear: Callable[[tuple[str, ...], F32], None] | None,
        advance: Callable[[int], None],
    ) -> list[F32]:
        """What comes out of this layer, window by window; `hear` is told what, [T, K], its matrices of these
        names multiply.
        """
        ...

    def one(self, window: int, hear: Callable[[tuple[str, ...], F32], None] | None) -> F32:
        """The same of one window, [T, D]; several may be asked for at once."""
        ...

    def last(self, hear: Callable[[tuple[str, ...], F32], None]) -> None:
        """Behind all layers: `hear` is told what the head multiplies."""
        ...

    def forget(self) -> None:
        """Let go of this layer's weights; what is asked for again is read again."""
        ...

    def replace(self, name: str, weight: F32) -> None:
        """Go through this layer by another weight than the checkpoint's."""
        ...

    def arrive(self, streams: Sequence[F32]) -> None:
        """Go on after this layer from what came out of it."""
        ...


class Oracle(Protocol):
    """What `edge_runtimes.reference` offers: any checkpoint, through any recipe, in numpy."""

    def oracle(
        self,
        checkpoint: Checkpoint,
        recipe: Recipe,
        *,
        numerics: Numerics = PLAIN,
        spec: DecoderSpec | None = None,
        stored: StoredWeights | None = None,
        meant: Rows | None = None,
        branches: Branches | None = None,
    ) -> Decoder:
        """`spec`: one of the parts of the checkpoint's, if not the whole. `stored`: weights that the
        recipe's own rules do not make; `meant`: matrices of layers that they do not. `branches`: of an adapter.
        """
        ...

    def net_oracle(
        self, checkpoint: Checkpoint, recipe: Recipe, *, numerics: Numerics = PLAIN
    ) -> Net:
        """The same of a network that is no decoder."""
        ...

    def walk(
        self,
        checkpoint: Checkpoint,
        windows: Sequence[Sequence[int]],
        recipe: Recipe | None = None,
    ) -> Walk:
        """At the first layer, by the embedding that a recipe makes."""
        ...


class Calibrator(Arithmetic, Protocol):
    """By what a text is read and matrices are rounded by it: what the `calibrator(device)` of a runtime's module
    `calibrating` gives. Whichever does, arrays are numpy's on their way in and out, and the same every time.
    """

    @property
    def device(self) -> str:
        """One of `edge.targets.CALIBRATE_ON`."""
        ...

    @property
    def told(self) -> str:
        """Which library, of which version, on which processor: what last bits of its sums depend on."""
        ...

    def walk(
        self,
        checkpoint: Checkpoint,
        windows: Sequence[Sequence[int]],
        recipe: Recipe | None = None,
    ) -> Walk:
        """As `Oracle.walk`."""
        ...

    def steadily(self) -> AbstractContextManager[None]:
        """In it sums come out alike, however many threads there are."""
        ...

    def memory(self, spec: DecoderSpec) -> int:
        """Bytes that it takes beside `edge.convert.calibrated.memory`."""
        ...


class Trainer(Protocol):
    """What the `train` of a runtime that trains offers."""

    def train(
        self,
        recipe: Path,
        out: Path,
        *,
        find: Callable[[str], Path],
        start: str | None,
        data: Sequence[str],
        resume: bool,
    ) -> Path | None:
        """Run a recipe; the folder of the checkpoint that it made, None in every process but the first.

        `find`: the folder of an id or a path. `start`, `data`: instead of what the recipe names; of
        lessons, `data` is the folder of what they draw with.
        """
        ...


class Tuner(Protocol):
    """What `edge_runtimes.torch.tuning` offers: codes that are trained with a text."""

    def layer(
        self,
        spec: DecoderSpec,
        index: int,
        weights: Mapping[str, F32],
        codes: Mapping[str, QTensor],
        pairs: Sequence[tuple[F32, F32]],
        training: Training,
        advance: Callable[[int], None],
        device: str,
    ) -> dict[str, QTensor]:
        """Codes of some matrices of a layer, trained: so that of what comes in, the layer makes what is wanted, [T, D]
        each of `pairs`. `weights`: all of the layer's, in floats; of matrices that are not trained as they are stored.
        """
        ...

    def scales(
        self,
        spec: DecoderSpec,
        weights: Mapping[str, F32],
        codes: Mapping[str, QTensor],
        pairs: Sequence[tuple[F32, F32]],
        head: F32,
        training: Training,
        advance: Callable[[int], None],
        device: str,
    ) -> dict[str, QTensor]:
        """Codes of matrices of all layers as they are, with other scales: so that of what comes into the first layer
        the model makes the distribution that is made in floats, by `head`, of what then comes out of the last, [T, D]
        each of `pairs`. `weights`: all others, as they are stored.
        """
        ...
