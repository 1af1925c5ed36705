"""InternVL (arXiv 2404.16821): a picture's tiles through the tower and the projector, their rows between the
tokens of a conversation, one decoder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge import targets
from edge.artifact import integrity
from edge.artifact.manifest import Artifact
from edge.artifact.pipeline import PipelineArtifact
from edge.errors import EdgeError, Unsupported
from edge.files.config import Config
from edge.pipelines.splicing import SplicingDecoder
from edge.run.model import Answer, Model, Wish
from edge.run.opening import open_net, open_spliced
from edge.text.chat import Message
from edge.text.conversations import Form, form_of, rendered
from edge.text.tokenizer import Tokenizer
from edge.typing import F32
from edge.vision.pictures import Picture, open_picture
from edge.vision.preparation import prepare
from edge.vision.tiles import MOST, Grid, grid_of, tiles

BEGIN, PLACE, END = "<img>", "<IMG_CONTEXT>", "</img>"
MARK = "<image>"  # where a question says that a picture belongs
Image = Path | str | bytes | Picture


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as the decoder gets it: rows [N, D] of all tiles, the small one last."""

    grid: Grid
    rows: F32
    width: int
    height: int


class InternVL:
    """A loaded pipeline with one sequence in progress."""

    def __init__(
        self,
        artifact: PipelineArtifact,
        *,
        threads: int | None = None,
        exact: bool = False,
        reference: bool = False,
    ) -> None:
        self.artifact = artifact
        settings = Config(artifact.manifest.settings, str(artifact.folder))
        self.side, self.most = settings.integer("side"), settings.integer("most", high=MOST)
        self.form: Form = form_of(settings.text("template"))
        self.system = settings.text("system") if settings.has("system") else None
        parts = artifact.stages

        def how(part: Artifact) -> dict[str, Any]:
            """A reference evaluation of what has one."""
            able = "open_reference" in vars(targets.runtime(part.manifest.target))
            return {"threads": threads, "exact": exact, "reference": reference and able}

        self._tower, self._projector = (
            open_net(parts[name], **how(parts[name])) for name in ("vision", "projector")
        )
        text = parts["text"]
        self.tokenizer = Tokenizer.load(text.folder)
        self.tokenizer.check(text.manifest.decoder.vocab)
        self._place = _id(self.tokenizer, PLACE)
        for mark in (BEGIN, END):
            _id(self.tokenizer, mark)
        self.decoder = SplicingDecoder(open_spliced(text, **how(text)), self._place)
        self._model = Model(text, self.tokenizer, None, self.decoder)
        # Some checkpoints do not say that their own turns end with it.
        self._model.stop_ids |= {_id(self.tokenizer, self.form.stop)}
        vision = parts["vision"].manifest.vision
        assert vision is not None
        # A tile has its size already.
        self._preparation = replace(vision.preparation, resize=None, crop=None)

    def look(
        self,
        image: Image,
        *,
        most: int | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Shown:
        """A picture's rows, of at most so many tiles; `progress` hears of each."""
        if isinstance(image, str):
            image = Path(image)
        picture = image if isinstance(image, Picture) else open_picture(image)
        most = self.most if most is None else most
        grid = grid_of(picture.width, picture.height, side=self.side, most=most)
        rows = []
        for tile in tiles(picture, grid, side=self.side):
            pixels = prepare(Picture(rgb=tile), self._preparation)[None]
            features = self._tower(image=pixels)["features"]
            rows.append(self._projector(features=features)["rows"][0])
            progress(1)
        return Shown(grid, np.concatenate(rows), picture.width, picture.height)

    def generate(
        self,
        prompt: str,
        *,
        images: Sequence[Image | Shown] = (),
        system: str | None = None,
        most: int | None = None,
        wish: Wish | None = None,
    ) -> Answer:
        """Answer a question about pictures, or none. A picture stands where the question has `<image>`, or
        before it.
        """
        shown = [i if isinstance(i, Shown) else self.look(i, most=most) for i in images]
        ids = self.prompt_ids(prompt, [len(one.rows) for one in shown], system=system)
        width = self.decoder.spec.width
        rows = [one.rows for one in shown] or [np.zeros((0, width), np.float32)]
        self._model.forget()
        self.decoder.show(np.concatenate(rows))
        return self._model.reply(ids, wish)

    def prompt_ids(
        self, prompt: str, rows: Sequence[int], *, system: str | None = None
    ) -> list[int]:
        """Ids of a whole prompt, with so many placeholders for each picture."""
        if PLACE in prompt:
            raise EdgeError(
                f"the prompt holds {PLACE}, which stands for pictures", fix="leave it out"
            )
        missing = len(rows) - prompt.count(MARK)
        if missing < 0:
            raise EdgeError(
                f"the prompt has {prompt.count(MARK)} times {MARK}, and there are {len(rows)} pictures",
                fix="give --image for each",
            )
        text = f"{MARK}\n" * missing + prompt
        for count in rows:
            text = text.replace(MARK, BEGIN + PLACE * count + END, 1)
        said = self.system if system is None else system
        first = [] if not said else [Message("system", said)]
        whole = rendered(self.form, [*first, Message("user", text)])
        return self.tokenizer.encode(whole, special=True)


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.id_of(token)
    if found is None:
        raise Unsupported(
            f"the tokenizer has no {token}, which a picture needs",
            fix="use the tokenizer that was published with the model",
        )
    return found


def load_internvl(
    folder: Path,
    *,
    threads: int | None = None,
    exact: bool = False,
    unchecked: bool = False,
    reference: bool = False,
) -> InternVL:
    """Open an artifact of several networks; refuse it if a file is not what a manifest says."""
    artifact = PipelineArtifact.open(folder)
    if not unchecked:
        for stage in artifact.stages.values():
            integrity.check(stage)
    return InternVL(artifact, threads=threads, exact=exact, reference=reference)
