"""Groma (arXiv 2404.13013): a picture through the tower, the proposer and the maps of regions, once; of what was
proposed the regions that are good enough, and a user's own; a row for each; and a decoder that reads the picture's
rows and the regions', and names regions in its answer.

N proposals, K regions, I rows of a picture, U boxes of a user, D the decoder's width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from edge.artifact.pipeline import PipelineArtifact
from edge.errors import EdgeError
from edge.families import pipeline_named
from edge.files.config import Config
from edge.nn.batches import in_slices
from edge.nn.regions.region_encoder import REGIONS
from edge.pipelines.remembered import Remembered
from edge.pipelines.sight import Image, as_picture, content_of, how, prepared, refuse_family
from edge.pipelines.splicing import spliced_by, taking_rows
from edge.protocols import Net
from edge.run.model import Answer, Model, Wish
from edge.run.opening import open_net
from edge.run.strategy import PLAIN, Strategy
from edge.system.cancellation import go_on
from edge.text.chat import Message
from edge.text.conversations import FormTemplate
from edge.text.grounded import Reading, as_json, as_spans
from edge.text.pointing import BOX, FORM, PLACE, SYSTEM, asked, ids, phrase_asked, shown
from edge.text.stream import Stream
from edge.text.tokenizer import Tokenizer
from edge.typing import F32, AnyArray
from edge.vision.boxes import Box, fit, in_parts, in_pixels
from edge.vision.pictures import Picture
from edge.vision.preparation import Preparation, prepare
from edge.vision.selection import Limits, Selection, rows_of, select
from edge.vision.tiles import Grid, tiles

FAMILY = "groma"
ONCE = ("vision", "proposer", "maps", "bridge")  # networks that look at a picture, in their order
STEPS = len(ONCE) + 1  # that `progress` hears of, where a picture was never seen


@dataclass(frozen=True, slots=True)
class Seen:
    """What a picture is whatever is asked about it: rows [I, D], maps by the names that the encoder of regions
    takes them by, and proposals: boxes [N, 4] and scores [N].
    """

    rows: F32
    maps: Mapping[str, F32]
    boxes: F32
    scores: F32

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in (self.rows, self.boxes, self.scores, *self.maps.values()))


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as the decoder gets it, with the regions that are shown of it. `rows`: [I, D]; `regions`: [K, D];
    `boxes`: of each region, in pixels; `given`: how many boxes a user gave.
    """

    rows: F32
    regions: F32
    selection: Selection
    boxes: list[Box]
    given: int
    width: int
    height: int


@dataclass(slots=True)
class Eyes:
    """The networks that see: `nets` by the names of their stages, and what goes from one to the next."""

    nets: Mapping[str, Net]
    preparation: Preparation
    side: int

    def look(self, picture: Picture, progress: Callable[[int], None] = lambda _: None) -> Seen:
        """All that is made of a picture once; it is stretched to a square, as in training."""
        (square,) = tiles(picture, Grid(1, 1), side=self.side)
        made: dict[str, Mapping[str, F32]] = {}
        given: Mapping[str, AnyArray] = {
            "image": prepare(Picture(rgb=square), self.preparation)[None]
        }
        for name in ONCE:
            made[name] = self.nets[name](**(given or _given(name, made)))
            given = {}
            progress(1)
            go_on()
        found = made["proposer"]
        return Seen(
            rows=_kept(made["bridge"]["rows"][0]),
            maps={port: _kept(x) for port, x in _given("regions", made).items()},
            boxes=_kept(found["boxes"][0]),
            scores=_kept(found["scores"][0]),
        )

    def regions(self, seen: Seen, boxes: F32, progress: Callable[[int], None]) -> F32:
        """A row for each of the boxes [K, 4]: [K, D]."""
        net = self.nets["regions"]

        def some(inputs: Mapping[str, AnyArray]) -> Mapping[str, F32]:
            go_on()
            return net(**inputs)

        inputs = {**seen.maps, "boxes": boxes[None]}
        rows = in_slices(net.spec.config, some, inputs, REGIONS)["rows"][0]
        progress(1)
        return _kept(rows)


_WIRES = pipeline_named(FAMILY, FAMILY).wires


def _given(name: str, made: Mapping[str, Mapping[str, F32]]) -> dict[str, F32]:
    """What a network takes of those before it."""
    own = [wire for wire in _WIRES if wire.into[0] == name]
    return {wire.into[1]: made[wire.out[0]][wire.out[1]] for wire in own}


def _kept(x: F32) -> F32:
    """Given out more than once: nobody may change it."""
    x = np.ascontiguousarray(x)
    x.flags.writeable = False
    return x


class Words:
    """`edge.decode.generate.Detokenizer` of an answer that names regions: its plain text; afterwards `regions`, and
    `marked`, the answer as the model wrote it.
    """

    def __init__(
        self, tokenizer: Tokenizer, marks: frozenset[int], about: Shown, phrase: str
    ) -> None:
        self._tokenizer, self._marks, self._about = tokenizer, marks, about
        self._stream: Stream = tokenizer.stream(skip_special=False)
        self._reading = Reading(len(about.boxes), phrase)
        self.marked = ""

    def feed(self, token: int) -> str:
        if token not in self._marks and self._tokenizer.is_special(token):
            return ""
        return self._read(self._stream.feed(token))

    def finish(self) -> str:
        return self._read(self._stream.finish()) + self._reading.finish()

    def _read(self, text: str) -> str:
        self.marked += text
        return self._reading.feed(text)

    @property
    def regions(self) -> list[dict[str, Any]]:
        """Phrase, box in pixels and score of each region that the answer named so far."""
        about = self._about
        return as_json(self._reading.grounded, about.boxes, about.selection.scores.tolist())

    @property
    def spans(self) -> list[dict[str, Any]]:
        """Where in the plain text each phrase stands, and all of its regions."""
        about = self._about
        return as_spans(self._reading.grounded, about.boxes, about.selection.scores.tolist())


class Groma:
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
        self.side = settings.integer("side")
        self.limits = Limits(
            score=settings.number("score"),
            overlap=settings.number("overlap"),
            most=settings.integer("most"),
        )
        self._seen, self._regions = Remembered[Seen](), Remembered[F32]()
        parts = artifact.stages
        opening = partial(how, strategy=strategy, threads=threads, exact=exact)
        nets = {name: open_net(parts[name], **opening(parts[name])) for name in (*ONCE, "regions")}
        self.eyes = Eyes(nets, prepared(parts["vision"], self.side), self.side)
        text = parts["text"]
        self.tokenizer = Tokenizer.load(text.folder)
        self.tokenizer.check(text.manifest.decoder.vocab)
        tokens = ids(self.tokenizer.id_of)
        self.place, self._marks = tokens[PLACE], frozenset(tokens.values())
        spliced = taking_rows(text, strategy, **opening(text))
        self.decoder, source = spliced_by(spliced, self.place, strategy, text.manifest.target)
        self.model = Model(text, self.tokenizer, FormTemplate(FORM, SYSTEM), source)
        stop = self.tokenizer.id_of(FORM.stop)
        self.model.stop_ids |= set() if stop is None else {stop}
        self.model.words, self.model.pointing = self._words, self
        self._about: tuple[Shown, str] | None = None  # of the prompt that comes next

    @property
    def most(self) -> int:
        return self.limits.most

    def look(
        self,
        image: Image,
        boxes: Sequence[Box] = (),
        *,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Shown:
        """A picture, and the regions of it that are shown; `boxes`: a user's own, in pixels, which are among them.
        `progress` hears of each of `STEPS`. What was made of a picture before is there.
        """
        picture = as_picture(image)
        fit(boxes, picture.width, picture.height, most=self.limits.most)
        seen = self.seen(picture, progress)
        chosen = self.chosen(seen, boxes, picture)
        rows = self._regions.get(
            content_of(picture, chosen.boxes.tobytes()),
            lambda: self.eyes.regions(seen, chosen.boxes, progress),
        )
        in_picture = in_pixels(chosen.boxes, picture.width, picture.height)
        return Shown(seen.rows, rows, chosen, in_picture, len(boxes), picture.width, picture.height)

    def seen(self, picture: Picture, progress: Callable[[int], None] = lambda _: None) -> Seen:
        """What a picture is, whatever is asked about it."""
        return self._seen.get(content_of(picture), lambda: self.eyes.look(picture, progress))

    def chosen(self, seen: Seen, boxes: Sequence[Box], picture: Picture) -> Selection:
        """The regions that are shown, a user's boxes among them."""
        given = in_parts(boxes, picture.width, picture.height)
        return select(seen.boxes, seen.scores, self.limits, given=given)

    def generate(
        self,
        prompt: str,
        *,
        images: Sequence[Image | Shown] = (),
        boxes: Sequence[Box] = (),
        system: str | None = None,
        wish: Wish | None = None,
    ) -> Answer:
        """Answer a question about a picture, with nothing before it. A box of the user stands where the question
        has `<box>`, or at its end.
        """
        self.model.forget()
        return self.chat(images, boxes, system=system).ask(prompt, wish=wish)

    def chat(
        self,
        images: Sequence[Image | Shown],
        boxes: Sequence[Box] = (),
        *,
        system: str | None = None,
    ) -> "Conversation":
        """A conversation about one picture, whose cache is kept between turns."""
        if len(images) != 1:
            raise EdgeError(
                f"there are {len(images)} pictures, and this model answers about one",
                fix="give one picture for each conversation",
            )
        (image,) = images
        if isinstance(image, Shown) and boxes:
            raise EdgeError("the boxes were given with the picture", fix="look at it again")
        about = image if isinstance(image, Shown) else self.look(image, boxes)
        first = [] if system is None else [Message("system", system)]
        return Conversation(self, about, [*first, *shown(len(about.rows), len(about.regions))])

    def show(self, about: Shown, referred: Sequence[int], phrase: str = "") -> None:
        """What stands in the places of the next prompt: the picture, its regions, and those that were referred to in
        it; `phrase`: what it asks for, if that is one.
        """
        rows = rows_of(about.rows, about.regions, referred)
        self.model.decoder.rewind(self.decoder.until(rows))
        self.decoder.show(rows)
        self._about = about, phrase

    def told(
        self, turns: Sequence[Message], picture: Picture, boxes: Sequence[Box], about: int
    ) -> list[int]:
        """The prompt of a conversation that somebody else keeps, whose turn number `about` is about these boxes."""
        seen = self.look(picture, boxes)
        referred, regions = seen.selection.referred, len(seen.regions)
        said = [
            Message(turn.role, asked(turn.content, referred if i == about else (), regions))
            for i, turn in enumerate(turns)
        ]
        first = [turn for turn in said if turn.role == "system"]
        rest = [turn for turn in said if turn.role != "system"]
        ids = self.model.encode([*first, *shown(len(seen.rows), regions), *rest])
        self.show(seen, referred, phrase_asked(turns[-1].content))
        return ids

    def _words(self, _inside: bool) -> Words:
        assert self._about is not None, "a prompt was shown"
        return Words(self.tokenizer, self._marks, *self._about)


@dataclass(slots=True)
class Conversation:
    """What was said about a picture, and the regions that questions referred to so far."""

    model: Groma
    about: Shown
    messages: list[Message]
    referred: list[int] = field(default_factory=list)
    last: Answer | None = None  # that is remembered

    def ask(self, text: str, *, wish: Wish | None = None) -> Answer:
        """The user's turn -> the assistant's, which is not remembered."""
        return self._asked(text, wish)[0]

    def _asked(self, text: str, wish: Wish | None) -> tuple[Answer, Message, list[int]]:
        """The answer, and what to remember of the question."""
        user, referred, ids = self.prompt(text)
        self.model.show(self.about, referred, phrase_asked(text))
        return self.model.model.reply(ids, wish), user, referred

    def prompt(self, text: str) -> tuple[Message, list[int], list[int]]:
        """A question as the model is told it, the regions that all questions referred to with it, and the ids of all
        that was said.
        """
        own, regions = self.about.selection.referred, len(self.about.regions)
        # The first question is about every box; a later one about those that it has a place for.
        new = list(own[: text.count(BOX)] if self.last else own)
        user = Message("user", asked(text, new, regions))
        return user, [*self.referred, *new], self.model.model.encode([*self.messages, user])

    def say(self, text: str, *, wish: Wish | None = None) -> Iterator[str]:
        """The user's turn -> the assistant's, in pieces. A turn that fails or is left early is not remembered."""
        answer, user, referred = self._asked(text, wish)
        yield from answer
        self.messages = [*self.messages, user, Message("assistant", words_of(answer).marked)]
        self.referred, self.last = referred, answer


def words_of(answer: Answer) -> Words:
    """How an answer of this pipeline is read."""
    assert isinstance(answer.words, Words), "it is of a model that points"
    return answer.words
