"""Models that are fetched."""

from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from edge.source import registry
from edge.source.naming import resolve
from edge.source.taken import taken_in
from edge.typing import Say


def pull_model(model: str, *, say: Say, file: Path | None = None) -> dict[str, Any]:
    """Fetch a model of the registry, or any owner/name of the hub; `file`: weights that the user has, of a
    model that is published as a file alone.
    """
    from edge.source.pull import pull, read_pins

    named = resolve(model)
    if file is not None or (named.entry is not None and named.entry.url is not None):
        return taken_in(named.entry, file)
    if named.entry is not None and named.entry.package is not None:
        raise EdgeError(f"{model} ships with edge: there is nothing to fetch", fix="edge run it")
    if named.source is None:
        raise registry.nearest(model)
    folder = pull(named.kept, named.source, say=say)
    pin = read_pins()[named.kept]
    found = {"source": named.source, "revision": pin.revision, "files": pin.files}
    return {"path": str(folder), **found}
