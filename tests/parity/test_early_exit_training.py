"""Layer dropout and early-exit loss (LayerSkip, arXiv 2404.16710) on the model definition."""

import pytest

torch = pytest.importorskip("torch")

from edge.nn.decoder import decoder, head, layers  # noqa: E402
from edge.spec import DecoderSpec, LayerSpec, Norm, Rope  # noqa: E402
from edge_runtimes.torch import layerskip  # noqa: E402
from edge_runtimes.torch.initial import initial  # noqa: E402
from edge_runtimes.torch.ops import TorchOps  # noqa: E402

COUNT = 4
LAYER = LayerSpec(heads=2, kv_heads=2, head_width=16, ffn_width=32)
SPEC = DecoderSpec(
    vocab=32,
    width=32,
    layers=(LAYER,) * COUNT,
    norm=Norm(eps=1e-5),
    rope=Rope(theta=10000.0, width=16),
    context=64,
    tied=True,
)
TOKENS = torch.arange(20).reshape(2, 10)


def ops() -> TorchOps:
    rng = torch.Generator().manual_seed(0)
    weights = initial(SPEC, seed=0)
    return TorchOps(
        {
            n: (w + 0.1 * torch.randn(w.shape, generator=rng)).requires_grad_()
            for n, w in weights.items()
        }
    )


def test_dropout_happens_as_often_as_it_should() -> None:
    rng = torch.Generator().manual_seed(0)
    chances = [0.0, 0.1, 0.25, 0.5, 1.0]
    kept = layerskip.keep(chances, 20000, rng).float().mean(1)
    assert kept.tolist() == pytest.approx([1 - p for p in chances], abs=0.02)
    assert (kept[0], kept[4]) == (1, 0)


def loss(
    kept: torch.Tensor, exits: dict[int, float], run: TorchOps | None = None, **how: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    return layerskip.loss(
        run or ops(),
        SPEC,
        TOKENS,
        kept=kept,
        exits=exits,
        measure=lambda logits: logits.square().mean(),
        **how,
    )


def everything() -> torch.Tensor:
    return torch.ones(COUNT, 2, dtype=torch.bool)


def test_nothing_dropped_is_the_model() -> None:
    _, logits = loss(everything(), {COUNT - 1: 1.0})
    torch.testing.assert_close(logits, decoder(ops(), SPEC, TOKENS).detach())


@pytest.mark.parametrize("first", [0, 2])
def test_a_dropped_layer_is_left_out_for_its_sequence_alone(first: int) -> None:
    kept = everything()
    kept[first, 1] = False
    _, logits = loss(kept, {COUNT - 1: 1.0})
    torch.testing.assert_close(logits[0], decoder(ops(), SPEC, TOKENS)[0].detach())

    run = ops()
    rope = run.rope(SPEC.rope, SPEC.context)
    x, d = layers(run, SPEC, run.embed("embed", TOKENS), None, rope, start=0, stop=first)
    x, d = layers(run, SPEC, x, d, rope, start=first + 1, stop=COUNT)
    torch.testing.assert_close(logits[1], head(run, SPEC, x, d)[1].detach())


class Counting(TorchOps):
    """Counts the sequences that each layer attends over."""

    def attend(self, q: torch.Tensor, *rest: torch.Tensor, **how: object) -> torch.Tensor:
        self.rows[how["index"]] = len(q)
        return super().attend(q, *rest, **how)  # type: ignore[arg-type]


def test_what_is_dropped_is_not_computed() -> None:
    run = Counting(ops().weights)
    run.rows = {}
    kept = torch.tensor([[True, True], [True, False], [False, False], [False, True]])
    total, _ = loss(kept, {COUNT - 1: 1.0}, run)
    assert run.rows == {0: 2, 1: 1, 3: 1}
    total.backward()
    grads = {name: weight.grad for name, weight in run.weights.items()}
    assert all(grads[name] is None for name in grads if name.startswith("layers.2."))
    assert all(grads[name] is not None for name in grads if not name.startswith("layers.2."))


def test_the_loss_is_the_weighted_sum_of_its_exits() -> None:
    alone = {layer: loss(everything(), {layer: 1.0})[0] for layer in (1, 3)}
    both, _ = loss(everything(), {1: 0.25, 3: 0.75})
    torch.testing.assert_close(both, 0.25 * alone[1] + 0.75 * alone[3])


def test_what_is_computed_again_has_the_same_gradients() -> None:
    kept = torch.tensor([[True, True], [True, False], [False, False], [False, True]])
    kept_grads = []
    for recompute in (False, True):
        run = ops()
        total, logits = loss(kept, {1: 0.25, 3: 0.75}, run, recompute=recompute)
        grads = torch.autograd.grad(total, list(run.weights.values()), materialize_grads=True)
        kept_grads.append((total, logits, *grads))
    assert all(torch.equal(a, b) for a, b in zip(*kept_grads, strict=True))


def test_computing_again_keeps_less() -> None:
    """Bytes that the backward pass waits for."""
    held = []
    for recompute in (False, True):
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            total, _ = loss(everything(), {1: 0.5, 3: 0.5}, recompute=recompute)
        held.append(sum(sizes.values()))
        del total
    assert held[1] < held[0] / 2
