"""What a file is, as a number: sha256."""

import hashlib
from collections.abc import Callable
from pathlib import Path

_CHUNK = 1 << 22  # bytes


def sha256(path: Path, progress: Callable[[int], None] = lambda _: None) -> str:
    """The hash of a file, read in pieces."""
    digest, buffer = hashlib.sha256(), bytearray(_CHUNK)
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(buffer):
            digest.update(memoryview(buffer)[:got])
            progress(got)
    return digest.hexdigest()
