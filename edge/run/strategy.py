"""By which strategy an artifact decodes: plainly, from a compacted cache, or in rounds of speculation."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

from edge.artifact.manifest import Artifact
from edge.contracts import Use
from edge.decode.compact import CompactDrafter
from edge.decode.layerskip import SelfDrafter
from edge.decode.lookup import Lookup
from edge.decode.rounding import Rounding
from edge.decode.snapkv import CompactingDecoder, SnapKV
from edge.decode.speculate import Speculation
from edge.errors import EdgeError
from edge.protocols import Decoder, Evictable, Roundable
from edge.run.opening import open_decoder, open_evictable, open_exits, open_reference, open_rounding

Drafting = Literal["lookup", "snapkv"]
Kv = Literal["int8"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """`snapkv`: compact the cache after a prompt. `layerskip`: draft with the layers before this exit.
    `drafting`: draft by prompt lookup, or from a copy of the cache that `snapkv` has cut. `draft`: tokens
    of a draft. Drafts change no answer. `kv`: the type of cached keys and values, if not float32.
    `reference`: evaluate in numpy what this system cannot run. `exact`: compute in floats where a runtime's fast
    kernels round.
    """

    snapkv: SnapKV | None = None
    layerskip: int | None = None
    drafting: Drafting | None = None
    draft: int = 7
    kv: Kv | None = None
    reference: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        self._refuse_unknown()
        if self.layerskip is not None and self.drafting is not None:
            raise EdgeError("there is one drafter", fix="give --layerskip or --draft-by")
        if self.layerskip is not None and self.snapkv is not None:
            raise EdgeError(
                "--layerskip verifies with the whole cache", fix="leave out --snapkv or --layerskip"
            )
        if self.drafting == "snapkv" and self.snapkv is None:
            raise EdgeError("a cut cache drafts", fix="say how far it is cut: --snapkv 1024")
        if self.drafting == "snapkv" and self.snapkv is not None:
            self.snapkv.refuse_drafts()
        if self.kv is not None and (self.layerskip is not None or self.drafting == "snapkv"):
            raise EdgeError(
                "an int8 cache does not verify what the model drafts itself",
                fix="leave out --kv; or draft by lookup",
            )
        if self.kv is not None and self.reference:
            raise EdgeError("a reference evaluation rounds no cache", fix="leave out --reference")
        if self.exact and (self.kv or self.snapkv or self.layerskip or self.drafting):
            raise EdgeError("only plain decoding is exact", fix="leave out --exact")

    @property
    def use(self) -> Use:
        """As far as memory depends on it."""
        cut = self.snapkv
        return Use(
            exit_=self.layerskip,
            kept=None if cut is None else cut.capacity,
            piece=None if cut is None else cut.chunk,
            forked=self.drafting == "snapkv",
            rounded=self.kv is not None,
        )

    @property
    def note(self) -> str | None:
        """What a chat should know of it."""
        cuts = self.snapkv is not None and self.drafting != "snapkv"
        return self.snapkv.note if cuts and self.snapkv is not None else None

    def refuse_decoding(self, problem: str) -> None:
        """Of a model that decodes no tokens: by the names that a user knows."""
        names = list(self._asked())
        if names:
            raise EdgeError(f"{' and '.join(names)}: {problem}", fix="leave it out")

    def _asked(self) -> Iterator[str]:
        known = {"drafting": "--draft-by"}
        for field in fields(self):
            if field.name != "reference" and getattr(self, field.name) != field.default:
                yield known.get(field.name, f"--{field.name}")

    def _refuse_unknown(self) -> None:
        if self.drafting not in (None, "lookup", "snapkv"):
            raise EdgeError(f"--draft-by {self.drafting}", fix="give lookup or snapkv")
        if self.kv not in (None, "int8"):
            raise EdgeError(f"--kv {self.kv}", fix="give int8, or leave it out for float32")
        if not 1 <= self.draft <= 32:
            raise EdgeError(f"--draft {self.draft}", fix="give 1 to 32")


PLAIN = Strategy()


def opened(
    artifact: Artifact, strategy: Strategy, *, threads: int | None, exact: bool = False
) -> Decoder | Speculation:
    """What `edge.decode.generate` takes."""
    slow, exact = strategy.reference, exact or strategy.exact
    if slow and threads is not None:
        raise EdgeError("numpy chooses its threads itself", fix="leave out --threads")
    if strategy.layerskip is not None:
        early = open_exits(artifact, exit_=strategy.layerskip, threads=threads, reference=slow)
        return Speculation(early, SelfDrafter(early), strategy.draft)
    if strategy.kv is not None:
        return _rounding(artifact, strategy, threads)
    if strategy.snapkv is None and strategy.drafting is None:
        if slow:
            return open_reference(artifact, exact=exact)
        return open_decoder(artifact, threads=threads, exact=exact)
    return _flexible(artifact, strategy, threads)


def _flexible(artifact: Artifact, strategy: Strategy, threads: int | None) -> Decoder | Speculation:
    flexible = open_evictable(artifact, threads=threads, reference=strategy.reference)
    return decoding(flexible, strategy)


def decoding(flexible: Evictable, strategy: Strategy) -> Decoder | Speculation:
    """A decoder whose cache is cut, or that is drafted for, as a strategy says."""
    if strategy.snapkv is None:
        return Speculation(flexible, Lookup(flexible), strategy.draft)
    if strategy.drafting == "snapkv":
        both = CompactDrafter(flexible, strategy.snapkv)
        return Speculation(both, both, strategy.draft)
    compacting = CompactingDecoder(flexible, strategy.snapkv)
    if strategy.drafting == "lookup":
        return Speculation(compacting, Lookup(compacting), strategy.draft)
    return compacting


def _rounding(artifact: Artifact, strategy: Strategy, threads: int | None) -> Decoder | Speculation:
    return rounding(open_rounding(artifact, threads=threads), strategy)


def rounding(cache: Roundable, strategy: Strategy) -> Decoder | Speculation:
    """A decoder whose cache goes over to int8, as a strategy says."""
    inner = cache if strategy.snapkv is None else CompactingDecoder(cache, strategy.snapkv)
    decoder = Rounding(inner, cache)
    if strategy.drafting == "lookup":
        return Speculation(decoder, Lookup(decoder), strategy.draft)
    return decoder
