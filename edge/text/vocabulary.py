"""What says how a checkpoint splits text: whichever file it has, as a tokenizer.json."""

from collections.abc import Iterator
from pathlib import Path

from edge.errors import Damaged
from edge.text import ranks, scored
from edge.text.settings import Settings

LIMIT = 128 << 20  # bytes of a tokenizer.json; the largest vocabularies in use take about 35 MiB
_KINDS = (
    "tokenizer.json",
    "tokenizer.model",
    "*.tiktoken",
)  # of several, the first is the authority


def vocabulary_of(folder: Path) -> Path | None:
    """The file that says how a text is split; None where there is none."""
    return next(_each(folder), None)


def vocabularies(folder: Path) -> list[Path]:
    """Every file that says it, the authority first."""
    return list(_each(folder))


def _each(folder: Path) -> Iterator[Path]:
    for kind in _KINDS:
        found = sorted(file for file in folder.glob(kind) if file.is_file())
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise Damaged(f"{folder} has several vocabularies: {names}", fix="leave the right one")
        yield from found


def definition_of(folder: Path, settings: Settings) -> str:
    """The tokenizer.json of a checkpoint, or what its vocabulary says in that form."""
    file = vocabulary_of(folder)
    if file is None:
        raise Damaged(
            f"{folder / _KINDS[0]} does not exist",
            fix=f"name a folder that holds one of {', '.join(_KINDS)}",
        )
    if file.suffix == ".tiktoken":
        return ranks.tokenizer_json(file, settings.added, settings.kind)
    if file.suffix == ".model":
        from edge.text import sentencepiece

        names = {token.id: token.text for token in settings.added}
        # Llama's tokenizers start a text with BOS unless their config says otherwise.
        return sentencepiece.tokenizer_json(
            file, names, add_bos=settings.add_bos is not False, prefix=settings.prefix
        )
    if file.stat().st_size > LIMIT:
        problem = f"{file} is larger than {LIMIT >> 20} MiB"
        raise Damaged(problem, fix="this is no tokenizer: get the file again")
    text = file.read_bytes().decode(errors="replace")
    return text if settings.prefix is None else scored.prefixed(text, settings.prefix)


def complete(folder: Path) -> None:
    """Another vocabulary alone gets a tokenizer.json beside it, once, so that no run reads it again."""
    file, found = folder / _KINDS[0], vocabulary_of(folder)
    if found is not None and found != file:
        file.write_text(definition_of(folder, Settings.load(folder)))
