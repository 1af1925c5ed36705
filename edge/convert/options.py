"""How a conversion was asked for, and what of it a model and a target can honour."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge import targets
from edge.contracts import Converter, Layout
from edge.convert.calibration import Calibration
from edge.errors import EdgeError, Unsupported
from edge.families import family_of
from edge.files.config import Config
from edge.quant.recipe import Recipe, parse
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec, sees_all

DRAFT_VOCAB = 32_768  # ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to convert. `embed` and `head`: precisions of their own; `overrides`: those of weights whose
    names fit a pattern; `size`: bytes of all files, in which the others have the bits that lose least;
    `calibrate`: a text that says how to round, read on the device `calibrate_on`; `exits`: layers after which drafts
    may stop; `draft_vocab`: the first ids, of which alone such drafts are (0: all; None: as `with_exits` says);
    `snapkv_rows`: of small caches, where a target fixes sizes; `spliced`: rows may go in for tokens; `tokenizer`: a
    folder, if the source lacks one; `adapter`: a folder of what is merged into the weights. Of networks that see
    pictures, `labels`: a file of what each row of the head means, which `wordnet`, a folder, gives names; `classes`: a
    file of those that the head is cut to; `image_size`: pixels of a picture's side.
    """

    target: str = "onnx"
    quant: str | None = None  # None: `usual`
    embed: str | None = None
    head: str | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    calibrate: Calibration | None = None
    calibrate_on: str | None = None  # None: `edge.targets.calibrates_on`
    context: int | None = None
    exits: tuple[int, ...] = ()
    draft_vocab: int | None = None
    adapter: Path | None = None
    snapkv_rows: tuple[int, ...] = ()
    spliced: bool = False
    stage: str | None = None  # of a checkpoint of several networks, which of them
    tokenizer: Path | None = None
    labels: Path | None = None
    wordnet: Path | None = None
    classes: Path | None = None
    image_size: int | None = None
    force: bool = False


def usual(options: Options, config: Config) -> Options:
    """With a recipe where none was asked for: 4 bits for a decoder, whose every token reads all weights; 8 for
    a network that multiplies many rows by them at once.
    """
    return options if options.quant else replace(options, quant=_usual(config))


def _usual(config: Config) -> str:
    return "int4" if family_of(config).network is None else "int8"


def recipe_for(options: Options, converter: Converter, config: Config) -> Recipe:
    """The recipe that was asked for of a model of this config, in what its short names mean to a target."""
    aliases, bodies = converter.ALIASES, vars(converter).get("BODIES", {})
    if family_of(config).network is not None:
        aliases, bodies = {**aliases, **vars(converter).get("NET_ALIASES", {})}, {}
    return parse(
        options.quant or _usual(config),
        embed=options.embed,
        head=options.head,
        overrides=options.overrides,
        aliases=aliases,
        bodies=bodies,
    )


def of_their_own(options: Options) -> list[str]:
    """Which ends of the model have a precision of their own."""
    return [part for part in ("embed", "head") if getattr(options, part) is not None]


def with_exits(
    checkpoint: Checkpoint, exits: tuple[int, ...], draft_vocab: int | None = None
) -> Checkpoint:
    """The same weights as a model that may stop early (`early`)."""
    return replace(checkpoint, spec=early(checkpoint.decoder, exits, draft_vocab))


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


def refuse_given(problem: str, given: Mapping[str, object], *, fix: str | None = None) -> None:
    """Options that a model has no use for are not ignored; `given`: by the names that a user knows."""
    names = [name for name, value in given.items() if value not in (None, ())]
    if names:
        raise EdgeError(f"{' and '.join(names)}: {problem}", fix=fix or "leave it out")


def refuse_longer(layout: Layout[DecoderSpec], target: str, context: int | None) -> None:
    """A context that the target does not compute right is not silently shortened."""
    longest = layout.spec.context
    if context is not None and longest < context:
        raise Unsupported(
            f"{target} computes this model as its source does up to {longest} tokens, not {context}",
            fix=f"give --context {longest} at most, or leave it out; or use the target onnx",
        )


def refuse_fewer(layout: Layout[DecoderSpec], target: str, draft_vocab: int | None) -> None:
    """Drafts of fewer ids that were asked for are not silently drafts of all."""
    spec = layout.spec
    if draft_vocab not in (None, 0, spec.vocab) and spec.draft_vocab is None:
        raise Unsupported(
            f"{target} drafts of all {spec.vocab:,} ids, not of {draft_vocab}",
            fix="leave out --draft-vocab, or use the target onnx",
        )
