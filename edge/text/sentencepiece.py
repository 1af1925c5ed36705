"""A SentencePiece `tokenizer.model` as a `tokenizer.json`: the same pieces, merges by score.

Read through the sentencepiece library, which is needed once, when a checkpoint without a
`tokenizer.json` is converted. What the file's normalizer does is found by trying it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge.errors import Damaged, Unsupported

SPACE = "\u2581"  # stands for a blank inside pieces
LIMIT = 16 << 20  # bytes of a tokenizer.model; the largest in use take about 4 MiB
LONGEST = 512  # letters of a piece that merges are sought in: their number is its square
_PROBE = "x  \uff59\n z "  # blanks in a row, a wide letter, a line break: a normalizer would show


def tokenizer_json(file: Path, names: Mapping[int, str], *, add_bos: bool) -> str:
    """The definition of a tokenizer. `names`: ids whose text the checkpoint's own files change."""
    processor = _load(file)
    try:
        prefix = _prefixes_blank(processor, file)
        pieces = [names.get(i, processor.id_to_piece(i)) for i in range(processor.vocab_size())]
    except UnicodeDecodeError:
        raise _damaged(file, "a piece is no text") from None
    taken: dict[str, int] = {}
    special = []
    for index, piece in enumerate(pieces):
        # A piece that is never used, or that another has taken, keeps its id under a name no text has.
        hidden = piece in taken or (processor.is_unused(index) and index not in names)
        taken[f"\u2581[UNUSED {index}]" if hidden else piece] = index
        if processor.is_control(index) or processor.is_unknown(index) or index in names:
            special.append((index, piece))
    normal = {
        piece: processor.get_score(index)
        for piece, index in taken.items()
        if not (processor.is_control(index) or processor.is_byte(index) or index in names)
        and not (processor.is_unknown(index) or processor.is_unused(index))
    }
    if max(map(len, normal), default=0) > LONGEST:
        raise _damaged(file, f"a piece has more than {LONGEST} letters")
    bos = processor.bos_id()
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [_added(index, text) for index, text in special],
            "normalizer": _normalizer(prefix),
            "pre_tokenizer": None,
            "post_processor": _bos_first(bos, pieces[bos]) if add_bos and bos >= 0 else None,
            "decoder": _decoder(prefix),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": pieces[processor.unk_id()],
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "ignore_merges": False,
                "vocab": taken,
                "merges": [list(pair) for pair in _merges(normal)],
            },
        }
    )


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


def _merges(scores: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Pairs that join into a piece, the likeliest piece first, as SentencePiece joins them."""
    for piece in sorted(scores, key=lambda piece: -scores[piece]):
        for at in range(1, len(piece)):
            if piece[:at] in scores and piece[at:] in scores:
                yield piece[:at], piece[at:]


def _normalizer(prefix: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"type": "Prepend", "prepend": SPACE}] if prefix else []
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    return {"type": "Sequence", "normalizers": steps}


def _decoder(prefix: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _bos_first(bos: int, text: str) -> dict[str, Any]:
    first = {"SpecialToken": {"id": text, "type_id": 0}}
    single, pair = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [first, single],
        "pair": [first, single, pair],
        "special_tokens": {text: {"id": text, "ids": [bos], "tokens": [text]}},
    }


def _added(index: int, text: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": text, **flags, "special": True}
