"""How a conversion was asked for, and what of it a model and a target can honour."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge import targets
from edge.contracts import Converter, Layout
from edge.convert.calibration import Calibration
from edge.errors import EdgeError, Unsupported
from edge.quant.recipe import Recipe, parse
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec, sees_all

DRAFT_VOCAB = 32_768  # ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to convert. `embed` and `head`: precisions of their own; `overrides`: those of weights whose
    names fit a pattern; `calibrate`: a text, for an importance matrix; `exits`: layers after which drafts
    may stop; `draft_vocab`: the first ids, of which alone such drafts are (0: all; None: as `with_exits`
    says); `snapkv_rows`: of small caches, where a target fixes sizes; `tokenizer`: a folder, if the
    source lacks one.
    """

    target: str = "onnx"
    quant: str = "int4"
    embed: str | None = None
    head: str | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    calibrate: Calibration | None = None
    context: int | None = None
    exits: tuple[int, ...] = ()
    draft_vocab: int | None = None
    snapkv_rows: tuple[int, ...] = ()
    tokenizer: Path | None = None
    force: bool = False


def recipe_for(options: Options, converter: Converter) -> Recipe:
    """The recipe that was asked for, in what its short names mean to a target."""
    return parse(
        options.quant,
        embed=options.embed,
        head=options.head,
        overrides=options.overrides,
        aliases=converter.ALIASES,
    )


def of_their_own(options: Options) -> list[str]:
    """Which ends of the model have a precision of their own."""
    return [part for part in ("embed", "head") if getattr(options, part) is not None]


def with_exits(
    checkpoint: Checkpoint, exits: tuple[int, ...], draft_vocab: int | None = None
) -> Checkpoint:
    """The same weights as a model that may stop early (`early`)."""
    return replace(checkpoint, spec=early(checkpoint.spec, exits, draft_vocab))


def early(spec: DecoderSpec, exits: tuple[int, ...], draft_vocab: int | None = None) -> DecoderSpec:
    """The same model, which may stop early. Drafts are of its first `draft_vocab` ids (0: of all), which
    costs no answer anything: a large vocabulary's head would be a fifth of every draft, and ids are given
    out by how often they are merged. Left out, 32,768 where there are twice as many.
    """
    count = len(spec.layers)
    if any(not 0 < at < count for at in exits):
        raise EdgeError(
            f"an exit after {max(exits)} of {count} layers",
            fix=f"give --layerskip 1 to {count - 1}",
        )
    vocab = _draft_vocab(spec.vocab, exits, draft_vocab)
    return replace(spec, exits=tuple(sorted(set(exits))), draft_vocab=vocab)


def _draft_vocab(vocab: int, exits: tuple[int, ...], wished: int | None) -> int | None:
    """How many ids a draft at an exit is of; None: all."""
    if wished is not None and not exits:
        raise EdgeError("--draft-vocab is of drafts at an exit", fix="give --layerskip, too")
    if wished is not None and not 0 <= wished <= vocab:
        raise EdgeError(f"--draft-vocab {wished} of {vocab} ids", fix=f"give 0 to {vocab}")
    if wished is None and exits and vocab >= 2 * DRAFT_VOCAB:
        return DRAFT_VOCAB
    return None if wished in (None, 0, vocab) else wished


def with_caches(spec: DecoderSpec, rows: tuple[int, ...], outs: Iterable[str]) -> DecoderSpec:
    """The same model, which may decode from caches of so few rows."""
    if not rows:
        return spec
    if not any("FIXED_CACHES" in vars(targets.converter(target)) for target in outs):
        raise EdgeError(
            f"caches of {', '.join(outs)} have as many rows as they need",
            fix="leave out --snapkv-rows",
        )
    if max(rows) >= spec.context:
        raise EdgeError(
            f"a cache of {max(rows)} rows beside the whole one, of {spec.context}",
            fix=f"give --snapkv-rows 1 to {spec.context - 1}",
        )
    if not sees_all(spec):
        raise Unsupported(
            "SnapKV needs attention that sees every row; this model's has a window or is block-sparse",
            fix="leave out --snapkv-rows",
        )
    return replace(spec, snapkv_rows=tuple(sorted(set(rows))))


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
