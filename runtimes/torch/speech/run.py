"""A run of FlashSpeech: three stages, one after the other, each on batches of prepared speech."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from edge.train.course import STATE, Position
from edge.train.speech.batches import Examples
from edge.train.speech.origin import SpeechOrigin, speech_origin
from edge.train.speech.recipe import SpeechRecipe
from edge_runtimes.torch import export, state
from edge_runtimes.torch.held import Whole
from edge_runtimes.torch.loop import Loop
from edge_runtimes.torch.optim import Tensors
from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.speech import adversarial
from edge_runtimes.torch.speech.adversarial import Listener
from edge_runtimes.torch.speech.initial import initial
from edge_runtimes.torch.speech.looks import Looks
from edge_runtimes.torch.speech.networks import Batch, Networks, own
from edge_runtimes.torch.speech.stages import (
    Adversarial,
    Consistency,
    Means,
    Part,
    Refinement,
    Stage,
)

VOICE = "voice.wav"
LOOKED = 8  # held-out sentences


class SpeechRun(Loop):
    unit = "utterances"

    def __init__(
        self,
        recipe: SpeechRecipe,
        out: Path,
        *,
        ranks: Ranks | None = None,
        find: Callable[[str], Path] = Path,
        start: str | None = None,
        data: Sequence[str] = (),
    ) -> None:
        ranks = ranks or Ranks()
        self.recipe = recipe
        self.mine = ranks.mine(recipe.splits)
        self.origin = speech_origin(recipe, data, find, start)
        model = self.origin.model
        listener = None
        if self.origin.heard is not None:
            listener = Listener(self.origin.heard, model.mean, model.scale, ranks.device)
        super().__init__(
            out,
            ranks=ranks,
            held=Whole(_first(recipe, self.origin, listener).items(), ranks),
            rates=recipe.rates,
            total=recipe.steps * recipe.utterances.batch,
        )
        self.networks = Networks(
            {name: model.specs[name] for name in model.learned()}, self.weights, ranks.device
        )
        self.examples = Examples(self.origin.rows, recipe.utterances, recipe.seed, model.latent)
        self.stages = _stages(recipe, self._means(), listener)
        self.looks = Looks(
            out,
            model,
            self.networks,
            self.origin.sentences(LOOKED),
            recipe.consistency,
            ranks.device,
        )
        ranks.share_threads()

    def start(self) -> Position:
        return Position(texts=self.origin.rows.digest)

    def restore(self) -> None:
        self.at.stage = state.position(self.out / STATE).stage
        super().restore()

    def rate(self) -> float:
        """Up and down over the two stages that learn the same networks, and again over the third."""
        begin, end = self.recipe.span(self.at.step)
        gone, whole = self.at.step - begin, end - begin
        rates, batch = self.rates, self.recipe.utterances.batch
        warmup = rates.warmup / batch if rates.warmup >= 1 else rates.warmup * whole
        left = (whole - gone) / max(1.0, rates.decay * whole)
        return max(0.0, min(1.0, (gone + 1) / max(1.0, warmup), left))

    def step(self) -> None:
        number, gone = self.recipe.stage(self.at.step)
        if number != self.at.stage:
            self.at.stage, self.at.since = number, self.at.step
        stage, batch = self.stages[number], self.recipe.utterances.batch
        each = batch // self.recipe.splits
        parts = [self.part(range(split * each, (split + 1) * each)) for split in self.mine]
        with sdpa_kernel(
            SDPBackend.MATH
        ):  # what torch fuses for long rows is slow where they are short
            costs = stage.step(gone, parts)
        *found, asked = self.ranks.total(*costs.values(), self.asked)
        told = dict(zip(costs, found, strict=True))
        still = {name for name in self.weights if not stage.learns(name, gone)}
        loss = sum(cost for name, cost in told.items() if name in stage.summed)
        self.update(loss, times=stage.times(gone), still=still, count=stage.count(gone))
        self.tell(told)
        self.at.tokens += batch
        self.stopped = asked > 0
        if self.ranks.first and self._looks():
            self.looks.look(self.at.step, {"stage": self.at.stage + 1, **told})

    def part(self, numbers: range) -> Part:
        """Some examples of this step."""
        drawn = self.examples.take(self.at.step, numbers)
        batch = Batch.of(drawn, self.ranks.device)
        whole = self.recipe.utterances.batch
        return Part(step=self.at.step, numbers=numbers, of=whole, batch=batch)

    def export(self) -> Path | None:
        if not self.ranks.first:
            return None
        model = self.origin.model
        weights: dict[str, Mapping[str, torch.Tensor]] = {
            name: own(self.weights, name) for name in model.learned()
        }
        for name, part in model.joined.items():
            weights[name] = {key: torch.from_numpy(weight) for key, weight in part.weights()}
        texts = {**model.texts, VOICE: self.origin.voice}
        export.write_pipeline(self.out / "model", replace(model, texts=texts), weights)
        return self.out / "model"

    def _tensors(self) -> Tensors:
        """Of what some stage has learned so far: the others are as they began, so that a recipe may get stages that
        its run has not come to.
        """
        stages = self.stages[: self.at.stage + 1]
        begun = {
            name
            for name in self.weights
            if any(s.learns(name, i) for s in stages for i in range(2))
        }
        every = super()._tensors()
        return {name: tensor for name, tensor in every.items() if name.partition("/")[2] in begun}

    def _looks(self) -> bool:
        return self.at.step % self.recipe.samples == 0 or self.at.tokens >= self.total

    def _means(self) -> Means:
        return Means(
            networks=self.networks,
            weights=self.weights,
            examples=self.examples,
            ranks=self.ranks,
            precision=self.recipe.precision,
        )


def _stages(recipe: SpeechRecipe, means: Means, listener: Listener | None) -> tuple[Stage, ...]:
    first = Consistency(means, recipe.consistency)
    second: Stage = first
    if recipe.adversarial is not None:
        assert listener is not None, "what is told apart is heard by someone"
        second = Adversarial(means, recipe.adversarial, recipe.consistency, listener)
    third = first if recipe.refinement is None else Refinement(means, recipe.refinement)
    return first, second, third


def _first(
    recipe: SpeechRecipe, origin: SpeechOrigin, listener: Listener | None
) -> dict[str, torch.Tensor]:
    """The weights that a run starts from."""
    out: dict[str, torch.Tensor] = {}
    for number, name in enumerate(origin.model.learned()):
        made = initial(origin.model.specs[name], recipe.seed + number)
        out |= {f"{name}/{key}": weight for key, weight in made.items()}
    out |= {name: torch.from_numpy(weight) for name, weight in origin.weights()}
    if recipe.adversarial is not None:
        assert listener is not None
        made = adversarial.initial(recipe.adversarial, listener.width, recipe.seed)
        out |= {f"{adversarial.NAME}/{key}": weight for key, weight in made.items()}
    return out
