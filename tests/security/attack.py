"""What hostile tests share: how an attack is refused, and an artifact whose manifest vouches for it."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import nothing_left

from edge.artifact.manifest import MANIFEST
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import EdgeError
from edge.files.hashing import sha256

SOON = 5.0  # seconds of processor time
Change = Callable[[dict[str, Any]], object]


@contextmanager
def refused(kind: type[EdgeError], *words: str) -> Iterator[None]:
    """One error of this kind, soon, that says these words."""
    start = time.process_time()  # the clock would also count who else uses the machine
    with pytest.raises(EdgeError) as caught:
        yield
    assert time.process_time() - start < SOON
    assert type(caught.value) is kind, repr(caught.value)
    text = str(caught.value)
    assert len(text) < 1000, "an error is read by a person"
    assert not [word for word in words if word not in text], text


def attempt(source: Path, kind: type[EdgeError], *words: str, **options: str) -> None:
    """Conversion is refused, and leaves nothing."""
    out = source.parent / "out"
    with refused(kind, *words):
        convert(source, out, Options(**options))
    assert nothing_left(out)


def rewrite(folder: Path, change: Change) -> None:
    """Change an artifact's manifest."""
    data = json.loads((folder / MANIFEST).read_text())
    change(data)
    (folder / MANIFEST).write_text(json.dumps(data))


def forge(folder: Path, *names: str) -> None:
    """Make the manifest vouch for files as they are now, as whoever made all of it would."""
    rewrite(folder, lambda d: d["files"].update({name: sha256(folder / name) for name in names}))


def give_tokenizer(folder: Path, assets: Path) -> None:
    """A tokenizer of 512 tokens, for an artifact that has none."""
    shutil.copyfile(assets / "llm/stories-260k/tokenizer.json", folder / "tokenizer.json")
