"""QLoRA and IR-QLoRA: the frozen weights are the codes' meaning, the elastic connection is its formula, and what is
written is a plain adapter.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from adapting import model_of
from finetuning import PARTS, PLAIN, TOKENS, held_of, loss_of, recipe_for, theirs
from support import checkpoint, config_of
from training import ROWS

from edge.adapters import peft as layout
from edge.quant.doubled import doubled
from edge.quant.methods import methods
from edge.quant.tensor import Scheme
from edge.source.checkpoint import Checkpoint
from edge.train.origin import origin

torch = pytest.importorskip("torch")

from edge_runtimes.torch import export  # noqa: E402
from edge_runtimes.torch.finetuned import Finetuned, LowRank, means  # noqa: E402
from edge_runtimes.torch.frozen import Frozen, FrozenCodes, floats, product  # noqa: E402
from edge_runtimes.torch.ranks import Ranks  # noqa: E402
from edge_runtimes.torch.run import Run  # noqa: E402

QLORA = replace(PLAIN, method="qlora")
IRQLORA = replace(PLAIN, method="irqlora")
ROUNDED = {"qlora": QLORA, "qlora with lengths": replace(QLORA, dora=True), "irqlora": IRQLORA}
CPU = torch.device("cpu")


@pytest.mark.parametrize("method", ["nf4", "icq"])
@pytest.mark.parametrize("columns", [64, 96, 130])
def test_frozen_codes_mean_their_levels_by_twice_rounded_scales(method: str, columns: int) -> None:
    weight = np.random.default_rng(0).standard_normal((9, columns), dtype=np.float32)
    held = FrozenCodes.of(weight, method, CPU)
    zero = "levels" if method == "nf4" else "shifted"
    made = methods()[method].quantize(weight, Scheme(4, 64, zero, "fp32", method))
    scales = doubled(made.scales).values()
    shifts = (
        np.zeros_like(scales)
        if made.zeros is None
        else doubled(made.zeros.astype("f4"), centred=False).values()
    )
    want = np.empty_like(weight)
    for row, column in np.ndindex(weight.shape):
        group = row, column // 64
        level = methods()[method].levels[made.codes[row, column]]
        want[row, column] = np.float32(level) * scales[group] + shifts[group]
    np.testing.assert_allclose(floats(held).numpy(), want, rtol=1e-6, atol=1e-7)
    assert 0 < np.abs(want - weight).max() < 0.6
    rows = torch.tensor([[3, 0], [8, 3]])
    np.testing.assert_allclose(held.take(rows).numpy(), want[rows.numpy()], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["codes", "fp32", "bf16"])
@pytest.mark.parametrize("narrow", [False, True])
def test_a_product_with_frozen_weights_and_its_gradient(
    kind: str, narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside torch's own of the weights as floats; in several blocks of rows, too."""
    monkeypatch.setattr("edge_runtimes.torch.lowbit._BLOCK", {"cpu": 3 * 64})
    weight = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    held = (
        FrozenCodes.of(weight.numpy(), "nf4", CPU)
        if kind == "codes"
        else Frozen(weight.to(torch.bfloat16) if kind == "bf16" else weight)
    )
    x = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    y = x.detach().clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow, cache_enabled=False):
        got, want = product(x, held), torch.nn.functional.linear(y, floats(held))
    assert got.dtype == want.dtype
    torch.testing.assert_close(got, want)
    got.float().square().sum().backward()
    want.float().square().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32
    assert y.grad is not None
    far = 1e-2 if narrow else 1e-5  # each block's part is rounded
    assert (x.grad - y.grad).abs().max() < far * y.grad.abs().max()


@pytest.mark.parametrize("kind", ROUNDED)
@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_losses_and_gradients_are_pefts_over_the_rounded_weights(
    family: str, kind: str, tmp_path: Path
) -> None:
    """A checkpoint of what the codes mean, with the adapter as it is written, in PEFT."""
    recipe = recipe_for(tmp_path, family, ROUNDED[kind])
    held, start = held_of(recipe), origin(recipe, Path)
    means_ = {
        name: weight if isinstance(weight, torch.Tensor) else floats(weight)
        for name, weight in held.frozen.items()
    }
    tensors = {n: export.tensor(p, means_).numpy() for n, p in start.tensors.items()}
    config = config_of(family, vocab_size=ROWS)
    checkpoint(tmp_path / "meant", config, tensors)
    (tmp_path / "adapter").mkdir()
    layout.write(tmp_path / "adapter", held.adapter())
    model, want = theirs(tmp_path / "adapter", tmp_path / "meant", {0: 0.3, 1: 0.7})
    got = loss_of(held, start.spec, {0: 0.3, 1: 0.7})
    assert abs(float(got - want)) < 1e-5
    got.backward()
    want.backward()
    learned = dict(model.named_parameters())
    for module in held.modules:
        for part, name in PARTS.items():
            own = held.own.get(f"{module.key}.{part}")
            if own is not None:
                expected = learned[f"base_model.model.{module.name}.{name}"].grad
                assert (own.grad - expected).norm() / expected.norm() < 1e-5, name
    if kind == "irqlora":
        assert all(held.own[f"{module.key}.pooled"].grad.abs() > 0 for module in held.modules)


@pytest.mark.parametrize(
    ("rank", "columns", "rows"), [(4, 12, 8), (4, 10, 6), (3, 9, 9), (2, 7, 5), (5, 5, 5)]
)
def test_the_elastic_connection_is_its_formula(rank: int, columns: int, rows: int) -> None:
    """A number at a time: means of runs of inputs go to runs of ranks, and those of ranks to runs of outputs."""
    rng = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng)

    learned = LowRank(1.0, random(rank, columns), random(rows, rank), None, random(1), random(1))
    x = random(columns)

    def passed(numbers: torch.Tensor, count: int) -> list[float]:
        runs = np.gcd(len(numbers), count)
        size, each = len(numbers) // runs, count // runs
        return [float(sum(numbers[i // each * size :][:size])) / size for i in range(count)]

    low = learned.down @ x + learned.pooled * torch.tensor(passed(x, rank), dtype=torch.float32)
    want = learned.up @ low + learned.spread * torch.tensor(passed(low, rows), dtype=torch.float32)
    down, up = learned.both()
    torch.testing.assert_close(up @ (down @ x), want)
    made = learned.delta()
    np.testing.assert_allclose(made.up @ made.down @ x.numpy(), want.numpy(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(means(rank, columns, CPU).sum(1), torch.ones(rank))


@pytest.mark.parametrize("kind", ROUNDED)
def test_it_begins_with_the_rounded_weights(kind: str, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, "llama", ROUNDED[kind])
    held = Finetuned(ROUNDED[kind], origin(recipe, Path), 0, Ranks())
    with Checkpoint.open(tmp_path / "start") as opened:
        for name, weight in held.merged().items():
            source, layer = opened[name], name.startswith("layers.") and opened[name].ndim == 2
            assert isinstance(held.frozen[name], FrozenCodes) == layer
            if layer:
                far = np.abs(weight.numpy() - source).max() / np.abs(source).max()
                assert 1e-3 < far < 0.25
            else:
                np.testing.assert_array_equal(weight.numpy(), source)


@pytest.mark.parametrize("kind", ["qlora", "irqlora"])
def test_a_run_learns_and_what_it_writes_is_what_it_trained(kind: str, tmp_path: Path) -> None:
    """peft#2105, unsloth-zoo#810: the adapter is merged into the weights that it learned beside."""
    adapter = replace(ROUNDED[kind], merged=True)
    recipe = recipe_for(tmp_path, "llama", adapter, steps=4)
    run = Run(recipe, tmp_path / "run", compiled=False)
    run.go()
    assert run.export() == tmp_path / "run" / "adapter"
    assert isinstance(run.held, Finetuned)
    own = loss_of(run.held, run.spec, {1: 1.0})
    logits = model_of(tmp_path / "run" / "model")(TOKENS[:, :-1]).logits
    want = torch.nn.functional.cross_entropy(logits.flatten(0, 1), TOKENS[:, 1:].flatten())
    assert abs(float(own - want)) < 1e-4
    if kind == "irqlora":
        moved = [w for name, w in run.held.own.items() if name.endswith(("pooled", "spread"))]
        assert all(abs(float(weight)) > 0 for weight in moved)
