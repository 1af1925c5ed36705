"""InternVL (arXiv 2404.16821): a picture's tiles through the tower and the projector, their rows between the
tokens of a conversation, one decoder.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from edge.artifact import integrity
from edge.artifact.pipeline import PipelineArtifact
from edge.errors import EdgeError
from edge.files.config import Config
from edge.pipelines.remembered import Remembered
from edge.pipelines.sight import Image, as_picture, content_of, how, id_of, prepared, refuse_family
from edge.pipelines.splicing import spliced_by, taking_rows
from edge.protocols import Net
from edge.run.model import Answer, Model, Wish
from edge.run.opening import open_net
from edge.run.strategy import PLAIN, Strategy
from edge.system.cancellation import go_on
from edge.text.chat import Message
from edge.text.conversations import FormTemplate, form_of
from edge.text.tokenizer import Tokenizer
from edge.typing import F32
from edge.vision.pictures import Picture
from edge.vision.preparation import Preparation, prepare
from edge.vision.tiles import MOST, Grid, grid_of, tiles

FAMILY = "internvl"
BEGIN, PLACE, END = "<img>", "<IMG_CONTEXT>", "</img>"
MARK = "<image>"  # where a question says that a picture belongs


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as the decoder gets it: rows [N, D] of all tiles, the small one last."""

    grid: Grid
    rows: F32
    width: int
    height: int


@dataclass(slots=True)
class Eyes:
    """The networks that see, and what a tile of `side` pixels is made of for them."""

    tower: Net
    projector: Net
    preparation: Preparation
    side: int

    def rows(self, picture: Picture, grid: Grid, progress: Callable[[int], None]) -> F32:
        """Of all tiles, one after another: [N, D]."""
        made = np.zeros((0, 0, 0), np.float32)
        for i, tile in enumerate(tiles(picture, grid, side=self.side)):
            pixels = prepare(Picture(rgb=tile), self.preparation)[None]
            features = self.tower(image=pixels)["features"]
            some = self.projector(features=features)["rows"][0]
            # Of forty tiles they take 80 MB: once.
            made = made if i else np.empty((grid.tiles, *some.shape), np.float32)
            made[i] = some
            progress(1)
            go_on()
        found = made.reshape(-1, made.shape[-1])
        found.flags.writeable = False  # for it is given out more than once
        return found


class InternVL:
    """A loaded pipeline with one sequence in progress."""

    def __init__(
        self,
        artifact: PipelineArtifact,
        *,
        threads: int | None = None,
        exact: bool = False,
        strategy: Strategy = PLAIN,
    ) -> None:
        refuse_family(artifact, FAMILY)
        self.artifact = artifact
        settings = Config(artifact.manifest.settings, str(artifact.folder))
        self.side, self.most = settings.integer("side"), settings.integer("most", high=MOST)
        form = form_of(settings.text("template"))
        self._remembered = Remembered[F32]()
        parts = artifact.stages
        preparation = prepared(parts["vision"], self.side)
        self._rows = int(parts["projector"].manifest.network.config.outputs[0].shape[1])

        opening = partial(how, strategy=strategy, threads=threads, exact=exact)
        tower, projector = (
            open_net(parts[name], **opening(parts[name])) for name in ("vision", "projector")
        )
        self.eyes = Eyes(tower, projector, preparation, self.side)
        text = parts["text"]
        self.tokenizer = Tokenizer.load(text.folder)
        self.tokenizer.check(text.manifest.decoder.vocab)
        self.place = id_of(self.tokenizer, PLACE)
        for mark in (BEGIN, END):
            id_of(self.tokenizer, mark)
        spliced = taking_rows(text, strategy, **opening(text))
        self.decoder, source = spliced_by(spliced, self.place, strategy, text.manifest.target)
        template = FormTemplate(form, settings.text("system") if settings.has("system") else None)
        self.model = Model(text, self.tokenizer, template, source)
        # Some checkpoints do not say that their own turns end with it.
        self.model.stop_ids |= {id_of(self.tokenizer, form.stop)}
        self.model.sight = self

    def look(
        self,
        image: Image,
        *,
        most: int | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Shown:
        """A picture's rows, of at most so many tiles; `progress` hears of each. Those of a picture that was
        shown before are there.
        """
        picture = as_picture(image)
        grid = self.grid(picture, most)

        def rows() -> F32:
            return self.eyes.rows(picture, grid, progress)

        made = self._remembered.get(content_of(picture, grid), rows)
        return Shown(grid, made, picture.width, picture.height)

    def grid(self, picture: Picture, most: int | None) -> Grid:
        """How a picture of at most so many tiles is cut."""
        most = self.most if most is None else most
        return grid_of(picture.width, picture.height, side=self.side, most=most)

    def count(self, picture: Picture, most: int | None) -> int:
        """Rows that a picture takes."""
        return self._rows * self.grid(picture, most).tiles

    def placed(self, text: str, rows: Sequence[int]) -> str:
        return placed(text, rows)

    def joined(self, parts: Sequence[str | int]) -> str:
        return joined(parts)

    def show(self, pictures: Iterable[tuple[Picture, int | None]]) -> None:
        """What stands in the places of the next prompt."""
        self.show_rows([self.look(picture, most=most).rows for picture, most in pictures])

    def show_rows(self, rows: Sequence[F32]) -> None:
        nothing = np.zeros((0, self.decoder.spec.width), np.float32)
        # Those of one picture are as large as they need to be: no copy.
        every = rows[0] if len(rows) == 1 else np.concatenate([nothing, *rows])
        self.model.decoder.rewind(self.decoder.until(every))
        self.decoder.show(every)

    def generate(
        self,
        prompt: str,
        *,
        images: Sequence[Image | Shown] = (),
        system: str | None = None,
        most: int | None = None,
        wish: Wish | None = None,
    ) -> Answer:
        """Answer a question about pictures, or none, with nothing before it. A picture stands where the
        question has `<image>`, or before it.
        """
        self.model.forget()
        return self.chat(system=system).ask(prompt, images, most=most, wish=wish)

    def chat(self, *, system: str | None = None) -> "Conversation":
        """A conversation whose cache is kept between turns."""
        return Conversation(self, [] if system is None else [Message("system", system)])


@dataclass(slots=True)
class Conversation:
    """What was said, and the rows [N, D] of all pictures so far, in the order of their places."""

    model: InternVL
    messages: list[Message]
    rows: list[F32] = field(default_factory=list)

    def ask(
        self,
        text: str,
        images: Sequence[Image | Shown] = (),
        *,
        most: int | None = None,
        wish: Wish | None = None,
    ) -> Answer:
        """The user's turn -> the assistant's, which is not remembered."""
        return self._asked(text, images, most, wish)[0]

    def _asked(
        self, text: str, images: Sequence[Image | Shown], most: int | None, wish: Wish | None
    ) -> tuple[Answer, Message, list[F32]]:
        """The answer, and what to remember of the question."""
        model = self.model
        shown = [i if isinstance(i, Shown) else model.look(i, most=most) for i in images]
        user = Message("user", placed(text, [len(one.rows) for one in shown]))
        rows = [*self.rows, *(one.rows for one in shown)]
        ids = model.model.encode([*self.messages, user])
        model.show_rows(rows)
        return model.model.reply(ids, wish), user, rows

    def say(
        self,
        text: str,
        images: Sequence[Image | Shown] = (),
        *,
        most: int | None = None,
        wish: Wish | None = None,
    ) -> Iterator[str]:
        """The user's turn -> the assistant's, in pieces. A turn that fails or is left early is not remembered."""
        answer, user, rows = self._asked(text, images, most, wish)
        yield from answer
        self.messages = [*self.messages, user, Message("assistant", answer.text)]
        self.rows = rows


def placed(text: str, rows: Sequence[int]) -> str:
    """A user's text with so many placeholders for each picture: where it has `<image>`, or before it."""
    missing = len(rows) - text.count(MARK)
    if missing < 0:
        raise EdgeError(
            f"the prompt has {text.count(MARK)} times {MARK}, and there are {len(rows)} pictures",
            fix="give a picture for each",
        )
    first, *between = (f"{MARK}\n" * missing + text).split(MARK)
    parts: list[str | int] = [first]
    for count, text in zip(rows, between, strict=True):
        parts += [count, text]
    return joined(parts)


def joined(parts: Sequence[str | int]) -> str:
    """A user's text, in which a number stands for a picture of so many rows."""
    if any(isinstance(part, str) and PLACE in part for part in parts):
        raise EdgeError(f"the prompt holds {PLACE}, which stands for pictures", fix="leave it out")
    return "".join(part if isinstance(part, str) else BEGIN + PLACE * part + END for part in parts)


def load_internvl(
    folder: Path,
    *,
    threads: int | None = None,
    exact: bool = False,
    unchecked: bool = False,
    strategy: Strategy = PLAIN,
) -> InternVL:
    """Open an artifact of several networks; refuse it if a file is not what a manifest says."""
    artifact = PipelineArtifact.open(folder)
    if not unchecked:
        integrity.check(artifact)
    return InternVL(artifact, threads=threads, exact=exact, strategy=strategy)
