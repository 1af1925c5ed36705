"""A run that trains an adapter, beside a checkpoint's weights or those of an MLX artifact, rounded as they are.

Its state is the file that torch's runs have: one goes on with what the other began. B sequences, T positions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from edge.errors import EdgeError, Unsupported
from edge.files.safetensors import SafetensorsFile
from edge.train.adapter import AdapterRecipe, modules
from edge.train.batches import Batch
from edge.train.costs import Likelihood
from edge.train.course import STATE, Course, Position, position
from edge.train.origin import fitting, origin
from edge.train.recipe import NONE, TrainingRecipe
from edge.train.sources.kinds import source_of
from edge.train.written import write_adapter
from edge_runtimes.mlx import finetuned
from edge_runtimes.mlx.adam import Adam
from edge_runtimes.mlx.computing import on_cpu
from edge_runtimes.mlx.finetuned import Frozen, Learned
from edge_runtimes.mlx.folder import Folder
from edge_runtimes.mlx.stored import MlxRows
from edge_runtimes.mlx.weights import Weights


class TuningRun(Course):
    """In float32, or on a GPU in the type that weights have, if the recipe's precision is narrow."""

    def __init__(
        self, recipe: TrainingRecipe, out: Path, *, find: Callable[[str], Path] = Path
    ) -> None:
        self.recipe, self.adapter = recipe, adapter_of(recipe)
        self.origin = origin(recipe, find, target="mlx")
        self.source = source_of(recipe, self.origin, say=True)
        self.cost = _cost(self.source.cost)
        super().__init__(out, rates=recipe.rates, total=recipe.total(self.source.tokens))
        self.modules = modules(self.adapter, self.origin.tensors)
        self.frozen, first = self._read()
        self.learned: Learned = {name: mx.array(values) for name, values in first.items()}
        self.optimizer = Adam(self.learned)

    def start(self) -> Position:
        return self.source.start()

    def step(self) -> None:
        at, rates, splits = self.at, self.rates, self.recipe.splits
        drawn = self.source.draw(at, range(splits))
        total = sum(float(self._weights(batch).sum()) for batch in drawn.batches)
        loss, gradients = 0.0, dict[str, mx.array]()
        for split, batch in enumerate(drawn.batches):
            rows = len(batch.tokens)
            seeds = [drawn.seed + split * rows + row for row in range(rows)]
            own, made = self.measured(batch, seeds, total)
            gradients = {name: gradients.get(name, 0) + values for name, values in made.items()}
            mx.eval(own, gradients)
            loss += float(own)
        self.check(loss)
        rate = self.rate()
        self.count(loss)
        self.learned = self.optimizer.step(
            self.learned,
            gradients,
            at.step,
            matrix=rate * rates.matrix,
            other=rate * rates.other,
            shrink=rates.shrink,
        )
        mx.eval(self.learned, self.optimizer.state)
        at.tokens, at.places = at.tokens + drawn.tokens, list(drawn.places)
        self.stopped = self.asked

    def measured(self, batch: Batch, seeds: list[int], total: float) -> tuple[mx.array, Learned]:
        """A batch's part of the loss, where all count `total`, and its gradients."""
        tokens, weights = mx.array(batch.tokens), mx.array(self._weights(batch) / total)

        def loss(learned: Learned) -> mx.array:
            return finetuned.loss(
                self.frozen_for(tokens.shape[1] - 1),
                self.adapter,
                self.modules,
                learned,
                tokens[:, :-1],
                seeds=seeds,
                measure=lambda logits: likelihood(logits, tokens[:, 1:], weights),
                recompute=self.recipe.recompute,
            )

        found: tuple[mx.array, Learned] = mx.value_and_grad(loss)(self.learned)
        return found

    def frozen_for(self, length: int) -> Frozen:
        """With the rotary tables that a row of this length has."""
        return self.frozen.of_length(fitting(self.frozen.spec, length))

    def save(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        new = self.out / f"new-{STATE}"
        told = {"position": self.at.json(), "shards": "1"}
        mx.save_safetensors(str(new), self._tensors(), told)
        new.rename(self.out / STATE)

    def restore(self) -> None:
        """Go back to what `save` wrote, here or on torch."""
        file, wanted = self.out / STATE, self._tensors()
        with SafetensorsFile(file) as checked:
            shapes = {name: (entry.dtype, entry.shape) for name, entry in checked.entries.items()}
        if shapes != {name: ("F32", values.shape) for name, values in wanted.items()}:
            raise EdgeError(
                f"{file} is the state of another model, or of another optimizer",
                fix="resume it by its own recipe, or name another folder",
            )
        found: Any = mx.load(str(file), return_metadata=True)
        arrays, told = found
        self.arrive(position(file, told.get("position", "")))
        kinds: dict[str, Learned] = {"weight": {}, "mean": {}, "square": {}}
        for name, values in arrays.items():
            kind, _, own = name.partition("/")
            kinds[kind][own] = values
        self.learned = kinds.pop("weight")
        self.optimizer.state = {f"{kind}/{n}": v for kind in kinds for n, v in kinds[kind].items()}

    def export(self) -> Path:
        made = finetuned.adapter(self.adapter, self.modules, self.learned)
        return write_adapter(self.out, made, self.origin, self.adapter)

    def _tensors(self) -> Learned:
        weights = {f"weight/{name}": values for name, values in self.learned.items()}
        return weights | self.optimizer.state

    def _weights(self, batch: Batch) -> np.ndarray:
        """What each token that is predicted counts: [B, T]."""
        return np.array(self.cost.table, np.float32)[batch.parts[:, 1:]]

    def _read(self) -> tuple[Frozen, dict[str, np.ndarray]]:
        """Every weight, and what learning begins with."""
        start, spec = self.origin.start, self.origin.spec
        assert start is not None
        exact = self.recipe.precision == "fp32" or on_cpu()
        with Folder(start, spec) as opened:
            stored = MlxRows.over(opened)

            def rows(name: str) -> np.ndarray:
                return stored.rows(name, 0, opened.shape(name)[0], by_row=False)

            first = dict(finetuned.first(self.adapter, self.modules, rows, self.recipe.seed))
            weights = Weights(opened, exact=exact)
            frozen = Frozen.of(spec, weights, self.modules if self.adapter.dora else (), rows)
            # A graph that is never evaluated asks for each weight as a step will.
            learned = {name: mx.array(values) for name, values in first.items()}
            token = mx.zeros((1, 1), mx.int32)
            finetuned.loss(
                frozen, self.adapter, self.modules, learned, token, seeds=[0], measure=mx.sum
            )
        return frozen, first


def likelihood(logits: mx.array, targets: mx.array, weights: mx.array) -> mx.array:
    """Cross-entropy in nats: logits [B, T, V], targets and weights [B, T] -> a number."""
    wide = logits.astype(mx.float32)
    picked = mx.take_along_axis(wide, targets[..., None], axis=-1)[..., 0]
    each = mx.logsumexp(wide, axis=-1) - picked
    return (
        mx.where(weights == 0, 0.0, each) * weights
    ).sum()  # infinite where it may not be predicted


def adapter_of(recipe: TrainingRecipe) -> AdapterRecipe:
    """What a recipe trains beside its weights; refuses by name what is trained on torch alone."""
    adapter = recipe.adapter
    if adapter is None:
        raise Unsupported(
            "on MLX an adapter is trained, and this recipe trains whole weights",
            fix="give the recipe an adapter: table, as recipes/lora.yaml has it, or leave out --on",
        )
    other = {
        f"method {adapter.method}": adapter.base is not None,
        "merged": adapter.merged,
        "skip": recipe.skip != NONE,
        "average": recipe.average is not None,
        f"optimizer {recipe.rates.optimizer}": recipe.rates.optimizer != "adam",
        "sharded": bool(recipe.sharded),
    }
    if lacking := [name for name, asked in other.items() if asked]:
        fix = "leave it out of the recipe, or train on torch: leave out --on"
        if adapter.base is not None:
            fix = "start from an MLX artifact, whose weights are rounded already; or leave out --on"
        raise Unsupported(f"MLX trains without {lacking[0]}, which this recipe has", fix=fix)
    return adapter


def _cost(found: object) -> Likelihood:
    if not isinstance(found, Likelihood) or found.judged:
        raise Unsupported(
            "MLX learns from texts and conversations alone",
            fix="train this recipe on torch: leave out --on",
        )
    return found
