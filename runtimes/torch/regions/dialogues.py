"""A run of a whole Groma on conversations about made scenes: what its detector proposes is what its decoder is shown,
with what the detector missed; the loss is of the answers alone.

B pictures, S pixels of a side, I rows of a picture, K regions of one, T tokens, D the decoder's width.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
import torch.nn.functional as F

from edge.data.regions import vocabulary
from edge.data.regions.examples import Talk
from edge.data.regions.lessons import Lesson, lesson, regions_of
from edge.data.regions.scenes import Scene
from edge.errors import EdgeError
from edge.nn.decoder import embed, head, layers
from edge.nn.networks import define
from edge.spec import DecoderSpec
from edge.text.pointing import PLACE
from edge.train.course import Position
from edge.train.origin import fitting
from edge.train.regions.dialogues import DialoguesRecipe
from edge.train.regions.small_groma import SmallGroma, networks_of, small_groma
from edge.train.regions.sources import NAMED, Drawn
from edge.vision.selection import Limits
from edge_runtimes.torch import export
from edge_runtimes.torch.held import Whole, below
from edge_runtimes.torch.initial import initial, initial_network
from edge_runtimes.torch.lessons import judged
from edge_runtimes.torch.loop import Loop
from edge_runtimes.torch.narrow import narrow
from edge_runtimes.torch.net import TorchNetOps
from edge_runtimes.torch.network_run import still
from edge_runtimes.torch.ops import TorchOps
from edge_runtimes.torch.optim import Tensors
from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.regions.detector import begun, first, net

_FAINT = 0.05  # how large a region's row begins: as a word's
_SHOWN, _LONGEST = (
    8,
    48,
)  # held scenes that are asked about while a run goes on, and tokens of an answer


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures [B, S, S, 3], and what the tower makes of them now; of each the regions that are shown [K, 4], and what
    is said.
    """

    pictures: torch.Tensor
    seen: Mapping[str, torch.Tensor]
    boxes: tuple[torch.Tensor, ...]
    lessons: tuple[Lesson, ...]

    def only(self, number: int) -> "Batch":
        """One of its pictures."""
        one = slice(number, number + 1)
        seen = {name: x[one] for name, x in self.seen.items()}
        return Batch(self.pictures[one], seen, self.boxes[one], self.lessons[one])


@dataclass(frozen=True, slots=True)
class Score:
    """The loss of all answers' tokens in sum, how many these are, and answers that are right to the letter, of all."""

    loss: torch.Tensor
    tokens: int
    right: int
    answers: int


class DialoguesRun(Loop):
    """`start`: a detector of the recipe's shape, or a whole Groma, to go on from."""

    unit = "pictures"
    judged = True

    def __init__(
        self,
        recipe: DialoguesRecipe,
        out: Path,
        *,
        ranks: Ranks | None = None,
        start: Path | None = None,
    ) -> None:
        ranks = ranks or Ranks()
        self.recipe = recipe
        self.mine = ranks.mine(recipe.splits)
        self.source = Drawn(recipe.tower.side, recipe.scenes, recipe.seed)
        self.model = small_groma(recipe)
        weights = _first(self.model, recipe.seed)
        if start is not None:
            weights |= begun(start, self.model, networks_of(start))
        held = Whole(weights.items(), ranks)
        super().__init__(out, ranks=ranks, held=held, rates=recipe.rates, total=recipe.seen)
        self._still = [still(self.weights, one.still) for one in recipe.dialogues]
        self.words = tokenizers.Tokenizer.from_str(vocabulary.files()["tokenizer.json"].decode())
        place = self.words.token_to_id(PLACE)
        assert place is not None, f"the tokenizer has {PLACE}"
        self._place = place
        regions = recipe.regions
        self.limits = Limits(score=regions.score, overlap=regions.overlap, most=regions.most)
        ranks.share_threads()

    def start(self) -> Position:
        return Position()

    def step(self) -> None:
        at = self.at
        at.stage = self.recipe.course(at.tokens)
        course, kept = self.recipe.dialogues[at.stage], self._still[at.stage]
        for name, weight in self.weights.items():
            weight.requires_grad_(name not in kept)
        each = course.batch // self.recipe.splits
        batches = [
            self.batch(
                range(at.tokens + split * each, at.tokens + (split + 1) * each), course.asked
            )
            for split in self.mine
        ]
        tokens, asked = self.ranks.total(
            sum(sum(one.answers) for batch in batches for one in batch.lessons), self.asked
        )
        loss, right, answers = 0.0, 0, 0
        for batch in batches:
            score = self.score(batch)
            torch.autograd.backward(score.loss / tokens)
            loss += float(score.loss.detach()) / tokens
            right, answers = right + score.right, answers + score.answers
        loss, hits, heard = self.ranks.total(loss, right, answers)
        self.update(loss, times=course.rate, still=kept)
        self.advance(course.batch)
        self.stopped = asked > 0
        self.remember(at.stage, hits / max(1, heard))

    def batch(self, numbers: Sequence[int], asked: int, *, held: bool = False) -> Batch:
        """Scenes of these numbers, and of what can be said of each so much."""
        scenes = [self.source.scene(number, held=held) for number in numbers]
        rng = random.Random(f"talks {self.recipe.seed} {held} {list(numbers)}")
        talks = [rng.sample(one.talks, min(asked, len(one.talks))) for one in scenes]
        return self.about(scenes, talks)

    def about(self, scenes: Sequence[Scene], talks: Sequence[Sequence[Talk]]) -> Batch:
        """What a model is shown of scenes, by what its detector proposes now, and these conversations about them."""
        pictures, there = zip(*(self.source.shown(one, NAMED) for one in scenes), strict=True)
        image = torch.from_numpy(np.stack(pictures)).to(self.ranks.device)
        with torch.no_grad():
            seen = self._see("vision", image=image)
            found = self._see("proposer", features=seen["mean"])
        boxes, lessons = [], []
        rows = (self.recipe.tower.side // self.recipe.tower.patch // 2) ** 2
        for number, (one, own) in enumerate(zip(there, talks, strict=True)):
            proposals = [found[name][number].float().cpu().numpy() for name in ("boxes", "scores")]
            shown, region = regions_of(proposals[0], proposals[1], one, self.limits)
            boxes.append(torch.from_numpy(shown).to(self.ranks.device))
            lessons.append(lesson(own, rows, len(shown), region, self._encode))
        return Batch(image, seen, tuple(boxes), tuple(lessons))

    def score(self, batch: Batch) -> Score:
        """What the answers of a batch cost."""
        tokens, answers = _padded(batch.lessons, self.ranks.device)
        logits = self.logits(batch, tokens[:, :-1])
        told, wanted = answers[:, 1:], tokens[:, 1:]
        scores = logits[told].float()
        loss = F.cross_entropy(scores, wanted[told], reduction="sum")
        wrong = torch.zeros_like(told)
        wrong[told] = scores.argmax(-1) != wanted[told]
        right, count = judged(told, wrong)
        return Score(loss, int(told.sum()), right, count)

    def logits(self, batch: Batch, tokens: torch.Tensor) -> torch.Tensor:
        """[B, T] -> [B, T, V], with the rows of pictures and regions where tokens leave a place."""
        rows = self.rows(batch)
        spec = self._text(tokens.shape[1])
        ops = TorchOps(self._own("text"))
        with narrow(self.ranks.device.type, self.recipe.precision):
            x = embed(ops, spec, tokens)
            places = tokens.eq(self._place)
            # In the order of the batch, as places are counted.
            x = x.masked_scatter(places[..., None], torch.cat(rows).to(x.dtype))
            rope = ops.rope(spec.rope, spec.context)
            x, d = layers(ops, spec, x, None, rope, start=0, stop=len(spec.layers))
            return head(ops, spec, x, d)

    def rows(self, batch: Batch) -> list[torch.Tensor]:
        """Of each picture what stands in its places, in order: its own rows, its regions', and once more those that
        are referred to: [I + K + referred, D].
        """
        learns = any(
            weight.requires_grad
            for name, weight in self.weights.items()
            if name.startswith("vision/")
        )
        with narrow(self.ranks.device.type, self.recipe.precision):
            again = learns and torch.is_grad_enabled()
            seen = self._see("vision", image=batch.pictures) if again else batch.seen
            own = self._see("bridge", features=seen["features"])["rows"]
            hidden = ("earlier_2", "earlier_1", "features")
            maps = self._see("maps", **{f"hidden_{i}": seen[n] for i, n in enumerate(hidden)})
            out = []
            for number, (boxes, one) in enumerate(zip(batch.boxes, batch.lessons, strict=True)):
                given = {name: x[number : number + 1] for name, x in maps.items()}
                regions = self._see("regions", boxes=boxes[None], **given)["rows"][0]
                out.append(torch.cat([own[number], regions, regions[one.referred]]))
        return out

    @torch.no_grad()
    def answer(self, batch: Batch, most: int = _LONGEST) -> list[str]:
        """What the model says to the question of each, token by token, marks and all."""
        said: list[str] = []
        end = self.words.token_to_id("</s>")
        for number, one in enumerate(batch.lessons):
            own, made = batch.only(number), list[int]()
            begin = one.ids[: one.answers.index(True)]
            while len(made) < most and (not made or made[-1] != end):
                given = torch.tensor([begin + made], device=self.ranks.device)
                made.append(int(self.logits(own, given)[0, -1].argmax()))
            said.append(self.words.decode([x for x in made if x != end], skip_special_tokens=False))
        return said

    def sample(self) -> None:
        """Questions about scenes that are no lessons: what is said, and what should be."""
        scenes = [self.source.scene(number, held=True) for number in range(_SHOWN)]
        talks = [[one.talks[number % len(one.talks)]] for number, one in enumerate(scenes)]
        said = self.answer(self.about(scenes, talks))
        (self.out / "samples").mkdir(parents=True, exist_ok=True)
        lines = [
            {"topic": one.topic, "asked": one.asked, "wanted": one.answer, "said": words}
            for (one,), words in zip(talks, said, strict=True)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.out / "samples" / f"{self.at.tokens:09}.jsonl").write_text(text, encoding="utf-8")
        self.log()

    def export(self) -> Path | None:
        if not self.ranks.first:
            return None
        weights = {name: self._own(name) for name in self.model.specs}
        export.write_pipeline(self.out / "model", self.model, weights, rows=self.model.rows)
        return self.out / "model"

    def _see(self, name: str, **given: torch.Tensor) -> Mapping[str, torch.Tensor]:
        ops = TorchNetOps(self._own(name), device=self.ranks.device)
        return define(ops, net(self.model, name), **given)

    def _text(self, length: int) -> DecoderSpec:
        spec = self.model.specs["text"]
        assert isinstance(spec, DecoderSpec), "it reads"
        if length > spec.context:
            raise EdgeError(
                f"a conversation of {length} tokens, and the decoder has a context of {spec.context}",
                fix="ask fewer questions about a picture, or lengthen the context in the recipe",
            )
        return fitting(spec, length)

    def _encode(self, text: str) -> list[int]:
        return list(self.words.encode(text).ids)

    def _own(self, name: str) -> Tensors:
        return below(self.weights, name)


def _first(model: SmallGroma, seed: int) -> Tensors:
    weights = first(model, seed)
    for name in ("maps", "regions", "bridge"):
        made = initial_network(net(model, name), seed)
        weights |= {f"{name}/{own}": weight for own, weight in made.items()}
    weights["regions/up"] *= _FAINT
    spec = model.specs["text"]
    assert isinstance(spec, DecoderSpec), "it reads"
    made = initial(spec, seed)
    made["head"] = made["embed"].clone()
    return weights | {f"text/{own}": weight for own, weight in made.items()}


def _padded(lessons: Sequence[Lesson], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and what of them is answers: [B, T]."""
    longest = max(len(one.ids) for one in lessons)
    tokens, answers = np.zeros((2, len(lessons), longest), np.int64)
    for row, one in enumerate(lessons):
        tokens[row, : len(one.ids)], answers[row, : len(one.ids)] = one.ids, one.answers
    return torch.from_numpy(tokens).to(device), torch.from_numpy(answers).bool().to(device)
