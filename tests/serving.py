"""A server on this machine, for tests that talk to one."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import converted

from edge.protocols import Decoder
from edge.run.model import Model, load
from edge.spec import DecoderSpec
from edge.typing import F32

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

    from edge.serve.run import config, listening

    with listening("127.0.0.1", 0) as opened:
        server = uvicorn.Server(config(app))
        thread = threading.Thread(target=server.run, args=([opened],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield opened.getsockname()[1]
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "it stops when it is told to"


@contextmanager
def served(folder: Path, **limits: Any) -> Iterator[tuple[str, Model]]:
    """The address of a server without a key, and the model it runs."""
    from edge.serve.app import create
    from edge.serve.guard import Limits
    from edge.serve.texts import Texts

    model = load(folder, threads=1)
    with serving(create(Texts(model), hosts=(), key=None, limits=Limits(**limits))) as port:
        yield f"http://127.0.0.1:{port}", model


@dataclass
class Dawdler:
    """A decoder that takes its time, and counts. Seconds for a prompt and for a token."""

    inner: Decoder
    prompt: float = 0.0
    token: float = 0.02
    prompts: int = 0
    tokens: int = 0

    @property
    def spec(self) -> DecoderSpec:
        return self.inner.spec

    @property
    def length(self) -> int:
        return self.inner.length

    @property
    def capacity(self) -> int:
        return self.inner.capacity

    def prefill(self, tokens: Sequence[int]) -> F32:
        self.prompts += 1
        time.sleep(self.prompt)
        return self.inner.prefill(tokens)

    def step(self, token: int) -> F32:
        self.tokens += 1
        time.sleep(self.token)
        return self.inner.step(token)

    def score(self, tokens: Sequence[int]) -> F32:
        return self.inner.score(tokens)

    def rewind(self, length: int) -> None:
        self.inner.rewind(length)


def slowed(model: Model, **times: float) -> Dawdler:
    """Make a model take its time."""
    slow = Dawdler(model.decoder, **times)
    model.decoder = model.source = slow
    return slow
