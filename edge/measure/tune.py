"""Which lossless strategy pays for a model on this machine, at this length of prompt: measured once, on the
prompt itself, and kept beside the artifact in `tuning.json`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from edge.artifact.manifest import Artifact
from edge.decode.generate import generate
from edge.decode.snapkv import SnapKV
from edge.decode.speculate import Speculation
from edge.errors import EdgeError, Unsupported
from edge.measure.bench import machine
from edge.run.strategy import PLAIN, Drafting, Strategy, opened
from edge.system import processors

TUNING = "tuning.json"
TOKENS = 32  # that each strategy decodes
WORTH = 1.05  # a strategy must be so much faster than plain decoding
_DRAFTING: dict[str, Drafting] = {"lookup": "lookup", "snapkv": "snapkv"}
_LONG = 4096  # tokens of a prompt from which a cut cache reads noticeably less


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """A strategy, its speed, and what its drafts were worth."""

    strategy: Strategy
    decode_tps: float
    drafted: int = 0
    accepted: int = 0

    def __str__(self) -> str:
        kept = f", {self.accepted} of {self.drafted} drafted kept" if self.drafted else ""
        return f"{named(self.strategy)}: {self.decode_tps:.1f} tok/s{kept}"


def fastest(
    artifact: Artifact,
    prompt: Sequence[int],
    *,
    threads: int | None,
    say: Callable[[str], None],
    clock: Callable[[], float] = perf_counter,
) -> Strategy:
    """What to decode this prompt by; measures if this length was never measured on this machine."""
    file, key = artifact.folder / TUNING, _key(len(prompt), threads)
    if artifact.branches is not None:
        key += f", adapter {artifact.branches.key[:16]}"
    known = _read(file)
    if key not in known:
        say("measuring which strategy pays here, once for prompts of this length")
        tried = []
        for strategy in candidates(artifact, prompt):
            try:
                tried.append(_try(artifact, strategy, prompt, threads, clock))
            except Unsupported:  # a strategy that this artifact lacks pays nowhere
                if strategy == PLAIN:
                    raise
        for one in tried:
            say(f"  {one}")
        known[key] = asdict(_best(tried).strategy)
        _write(file, known)
    strategy = _strategy(known[key])
    say(f"decoding by {named(strategy)}")
    return strategy


def candidates(artifact: Artifact, prompt: Sequence[int]) -> Iterator[Strategy]:
    """Plain decoding, and every lossless strategy that the artifact and the prompt allow."""
    spec = artifact.manifest.decoder
    yield PLAIN
    for exit_ in spec.exits:
        for draft in (3, 7, 15):  # odd: kernels take rows in pairs, and one more than the draft
            yield Strategy(layerskip=exit_, draft=draft)
    for draft in (3, 7):
        yield Strategy(drafting="lookup", draft=draft)
    whole = all(layer.window is None and layer.sparse is None for layer in spec.layers)
    if whole and len(prompt) >= _LONG:
        for draft in (3, 7):
            yield Strategy(snapkv=SnapKV(), drafting="snapkv", draft=draft)


def named(strategy: Strategy) -> str:
    """In the words of the command line."""
    if strategy.layerskip is not None:
        return f"--layerskip {strategy.layerskip} --draft {strategy.draft}"
    if strategy.drafting is not None:
        cut = "" if strategy.snapkv is None else f" --snapkv {strategy.snapkv.capacity}"
        return f"--draft-by {strategy.drafting}{cut} --draft {strategy.draft}"
    return "plain decoding"


def _try(
    artifact: Artifact,
    strategy: Strategy,
    prompt: Sequence[int],
    threads: int | None,
    clock: Callable[[], float],
) -> Tried:
    source = opened(artifact, strategy, threads=threads)
    room = artifact.manifest.decoder.context - len(prompt) - 1
    made = generate(source, prompt, max_tokens=max(1, min(TOKENS, room)), clock=clock)
    for _ in made:
        pass
    if not isinstance(source, Speculation):
        return Tried(strategy=strategy, decode_tps=made.decode_tps)
    tally = source.tally
    return Tried(
        strategy=strategy,
        decode_tps=made.decode_tps,
        drafted=tally.drafted,
        accepted=tally.accepted,
    )


def _best(tried: Sequence[Tried]) -> Tried:
    """The fastest, if it is faster than the first, which is plain."""
    best = max(tried, key=lambda one: one.decode_tps)
    return best if best.decode_tps >= WORTH * tried[0].decode_tps else tried[0]


def _key(length: int, threads: int | None) -> str:
    """Prompts between two powers of two are alike."""
    return f"{machine()}, {processors.threads(threads)} threads, {1 << max(8, length.bit_length())} tokens"


def _strategy(data: dict[str, object]) -> Strategy:
    """What was kept; anything else is plain decoding."""
    snapkv = SnapKV() if data.get("snapkv") is not None else None
    layerskip, draft = data.get("layerskip"), data.get("draft")
    if not isinstance(draft, int) or not isinstance(layerskip, int | None):
        return PLAIN
    drafting = _DRAFTING.get(str(data.get("drafting")))
    try:
        return Strategy(snapkv=snapkv, layerskip=layerskip, drafting=drafting, draft=draft)
    except EdgeError:
        return PLAIN


def _read(file: Path) -> dict[str, dict[str, object]]:
    """A tuning file that cannot be read is none: it is measured again."""
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    rows = data.items() if isinstance(data, dict) else ()
    return {key: row for key, row in rows if isinstance(row, dict) and "drafting" in row}


def _write(file: Path, known: dict[str, dict[str, object]]) -> None:
    """In a folder that cannot be written to, nothing is kept."""
    partial = file.with_name(f".{TUNING}")
    try:
        partial.write_text(json.dumps(known, indent=1) + "\n")
        partial.replace(file)
    except OSError:
        partial.unlink(missing_ok=True)
