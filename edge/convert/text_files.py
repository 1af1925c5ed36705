"""A checkpoint's config and tokenizer files, as they go into an artifact."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.text.ids import SpecialIds
from edge.text.vocabulary import complete

TEXT_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "*.tiktoken",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)


def copy_text(
    folder: Path,
    files: Sequence[Path],
    vocab: int,
    config: Mapping[str, Any] | None = None,
) -> SpecialIds:
    """Copy the config and the tokenizer's files; a broken tokenizer is found before any work. `config`: in
    place of the file's, where that is of several networks.
    """
    for file in files:
        shutil.copyfile(file, folder / file.name)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(dict(config), indent=1) + "\n")
    complete(folder)
    return _special_ids(folder, vocab)


def text_files(source: Path, tokenizer: Path | None = None) -> list[Path]:
    """The config and the files that concern text; those of a tokenizer's own folder come first."""
    found = {file.name: file for file in _present(source)}
    found |= {} if tokenizer is None else {file.name: file for file in _present(tokenizer)}
    return [source / "config.json", *found.values()]


def _present(folder: Path) -> list[Path]:
    return [file for name in TEXT_FILES for file in sorted(folder.glob(name)) if file.is_file()]


def _special_ids(folder: Path, vocab: int) -> SpecialIds:
    """What starts a text and ends an answer; a broken tokenizer is found before any work is done."""
    if not (folder / "tokenizer.json").is_file():
        from edge.text.settings import Settings

        settings = Settings.load(folder)
        return SpecialIds(settings.bos_id, settings.eos_ids)
    from edge.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder)
    tokenizer.check(vocab)
    return SpecialIds(tokenizer.bos_id, tokenizer.stop_ids)
