"""A SentencePiece `tokenizer.model` as a `tokenizer.json`: the same pieces, merges by score.

Read through the sentencepiece library, which is needed once, when a checkpoint without a
`tokenizer.json` is converted. What the file's normalizer does is found by trying it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.errors import Damaged, Unsupported
from edge.text import scored
from edge.text.pieces import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, Piece
from edge.text.scored import SPACE

LIMIT = 16 << 20  # bytes of a tokenizer.model; the largest in use take about 4 MiB
_PROBE = "x  \uff59\n z "  # blanks in a row, a wide letter, a line break: a normalizer would show


def tokenizer_json(file: Path, names: Mapping[int, str], *, add_bos: bool) -> str:
    """The definition of a tokenizer. `names`: ids whose text the checkpoint's own files change."""
    processor = _load(file)
    try:
        prefix = _prefixes_blank(processor, file)
        pieces = [names.get(i, processor.id_to_piece(i)) for i in range(processor.vocab_size())]
    except UnicodeDecodeError:
        raise _damaged(file, "a piece is no text") from None
    kinds = (_kind(processor, index) for index in range(len(pieces)))
    found = [
        Piece(text, processor.get_score(index), CONTROL if index in names else kind)
        for index, (text, kind) in enumerate(zip(pieces, kinds, strict=True))
    ]
    if scored.longest(found) > scored.LONGEST:
        raise _damaged(file, f"a piece has more than {scored.LONGEST} letters")
    bos = processor.bos_id()
    return scored.definition(
        found,
        unknown=processor.unk_id(),
        prefix=prefix,
        bos=bos if add_bos and bos >= 0 else None,
    )


def _kind(processor: Any, index: int) -> int:
    asked = {
        UNKNOWN: processor.is_unknown,
        CONTROL: processor.is_control,
        UNUSED: processor.is_unused,
        BYTE: processor.is_byte,
    }
    return next((kind for kind, is_so in asked.items() if is_so(index)), NORMAL)


def _load(file: Path) -> Any:
    try:
        import sentencepiece
    except ModuleNotFoundError:
        raise Unsupported(
            f"{file} can be read only with the package sentencepiece, which is not installed",
            fix="pip install sentencepiece, or save a tokenizer.json with transformers",
        ) from None
    if file.stat().st_size > LIMIT:
        raise Damaged(f"{file} is larger than {LIMIT >> 20} MiB", fix="get the file again")
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(file.read_bytes())
    except (RuntimeError, UnicodeDecodeError) as error:  # its message may hold the file's bytes
        raise _damaged(file, str(error)[:200]) from None
    bytes_known = sum(processor.is_byte(i) for i in range(processor.vocab_size()))
    if bytes_known != 256:
        raise Unsupported(
            f"{file} has {bytes_known} byte pieces instead of 256",
            fix="save a tokenizer.json with transformers' save_pretrained",
        )
    return processor


def _damaged(file: Path, what: str) -> Damaged:
    problem = f"{file} is no SentencePiece model: {what}"
    return Damaged(problem, fix="get the file again: it may be cut off")


def _prefixes_blank(processor: Any, file: Path) -> bool:
    """Whether a text gets a blank in front; any other normalization cannot be represented."""
    plain = _PROBE.replace(" ", SPACE)
    found = processor.Normalize(_PROBE).replace(" ", SPACE)
    if found not in (plain, SPACE + plain):
        raise Unsupported(
            f"{file} normalizes text, which edge does not",
            fix="save a tokenizer.json with transformers' save_pretrained",
        )
    return bool(found != plain)
