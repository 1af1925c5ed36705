"""A server on this machine, for tests that talk to one."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import converted

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}Tom said: {% endif %}"
)


def talking(assets: Path, folder: Path) -> Path:
    """An artifact of a small model that tells stories, with a template."""
    source = folder / "talking"
    source.mkdir()
    for file in (assets / "llm/stories-260k").iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    (source / "chat_template.jinja").write_text(TEMPLATE)
    return converted(folder / "artifact", source, "int8")


@contextmanager
def serving(app: Any) -> Iterator[int]:
    """The port at which an application answers, until the body ends."""
    import uvicorn

    from edge.serve.run import listening

    with listening("127.0.0.1", 0) as opened:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=server.run, args=([opened],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield opened.getsockname()[1]
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "it stops when it is told to"
