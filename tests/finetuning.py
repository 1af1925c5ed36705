"""What tests of adapters that are trained share: checkpoints, adapters of random numbers, the losses of both sides."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from adapting import model_of
from training import on_text, speaking, texts

from edge.train.adapter import AdapterRecipe
from edge.train.origin import origin
from edge.train.recipe import TrainingRecipe

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
F = torch.nn.functional

from edge_runtimes.torch import layerskip  # noqa: E402
from edge_runtimes.torch.finetuned import Finetuned  # noqa: E402
from edge_runtimes.torch.ops import TorchOps  # noqa: E402
from edge_runtimes.torch.ranks import Ranks  # noqa: E402

PLAIN = AdapterRecipe(rank=4, alpha=6.0)
TOKENS = torch.randint(4, 200, (2, 24), generator=torch.Generator().manual_seed(1))
PARTS = {
    "down": "lora_A.default.weight",
    "up": "lora_B.default.weight",
    "magnitude": "lora_magnitude_vector.default.weight",
}


def recipe_for(folder: Path, family: str, adapter: AdapterRecipe, **changes: Any) -> TrainingRecipe:
    if not (folder / "start").exists():
        speaking(folder / "start", family)
    return on_text(texts(folder), folder / "start", adapter=adapter, **changes)


def held_of(recipe: TrainingRecipe, *, seed: int = 5) -> Finetuned:
    """With random numbers in all that learns."""
    assert recipe.adapter is not None
    held = Finetuned(recipe.adapter, origin(recipe, Path), 0, Ranks())
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in held.own.items():
            noise = torch.randn(weight.shape, generator=rng)
            weight.copy_(weight * (1 + 0.1 * noise) if name.endswith("magnitude") else 0.1 * noise)
    return held


def loss_of(
    held: Finetuned,
    spec: Any,
    exits: Mapping[int, float],
    *,
    tokens: Any = TOKENS,
    recompute: bool = False,
    seeds: Any = None,
) -> Any:
    kept = torch.ones(len(spec.layers), len(tokens), dtype=torch.bool)
    loss, _ = layerskip.loss(
        TorchOps(held.weights if seeds is None else held.seen(seeds)),
        spec,
        tokens[:, :-1],
        kept=kept,
        exits=dict(exits),
        measure=lambda logits: F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()),
        recompute=recompute,
    )
    return loss


def theirs(folder: Path, source: Path, exits: Mapping[int, float]) -> tuple[Any, Any]:
    """PEFT's model over transformers', and the same loss of it."""
    model = peft.PeftModel.from_pretrained(model_of(source), folder, is_trainable=True)
    plain = model.base_model.model
    made = plain.model(TOKENS[:, :-1], output_hidden_states=True)
    last = len(made.hidden_states) - 2
    total = 0.0
    for index, weight in exits.items():
        # The last of transformers' hidden states is normed already.
        hidden = (
            made.last_hidden_state
            if index == last
            else plain.model.norm(made.hidden_states[index + 1])
        )
        logits = plain.lm_head(hidden)
        total = total + weight * F.cross_entropy(logits.flatten(0, 1), TOKENS[:, 1:].flatten())
    return model, total
