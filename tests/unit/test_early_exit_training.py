"""Layer dropout and early-exit loss against the closed formulas of LayerSkip (arXiv 2404.16710)."""

import pytest

torch = pytest.importorskip("torch")

from edge.nn.decoder import decoder, head, layers  # noqa: E402
from edge.spec import DecoderSpec, LayerSpec, Norm, Rope  # noqa: E402
from runtimes.torch import layerskip  # noqa: E402
from runtimes.torch.initial import initial  # noqa: E402
from runtimes.torch.ops import TorchOps  # noqa: E402

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
    return TorchOps({n: w + 0.1 * torch.randn(w.shape, generator=rng) for n, w in weights.items()})


@pytest.mark.parametrize("count", [2, 8, 32])
def test_dropout_grows_with_depth_and_time(count: int) -> None:
    assert layerskip.dropout(0, count, 1.0, 0.2) == 0
    assert layerskip.dropout(count - 1, count, 0.0, 0.2) == 0
    assert layerskip.dropout(count - 1, count, 1.0, 0.2) == pytest.approx(0.2)
    half = layerskip.dropout(count - 1, count, 0.5, 0.2)
    assert half == pytest.approx((2**0.5 - 1) * 0.2)


@pytest.mark.parametrize("every", [1, 3, 8])
def test_exit_weights_are_the_paper_s(every: int) -> None:
    count, scale = 8, 0.2
    e = [scale * sum(range(layer + 1)) for layer in range(count - 1)]
    e.append(count - 1 + scale * sum(range(count - 1)))
    for step in range(2 * every):
        on = [layer for layer in range(count) if (layer + step) % every == 0 or layer == count - 1]
        total = sum(e[layer] for layer in on)
        got = layerskip.exit_weights(count, scale, step=step, every=every)
        assert got == pytest.approx({layer: e[layer] / total for layer in on if e[layer]})


def test_rotation_reaches_every_exit() -> None:
    seen = {
        layer for step in range(8) for layer in layerskip.exit_weights(8, 1.0, step=step, every=8)
    }
    assert seen == set(range(1, 8))  # e(0) is zero


def test_dropout_happens_as_often_as_it_should() -> None:
    rng = torch.Generator().manual_seed(0)
    kept = layerskip.keep(8, 20000, 1.0, 0.3, rng).float().mean(1)
    for layer in range(8):
        assert float(kept[layer]) == pytest.approx(
            1 - layerskip.dropout(layer, 8, 1.0, 0.3), abs=0.02
        )


def loss(kept: torch.Tensor, exits: dict[int, float]) -> tuple[torch.Tensor, torch.Tensor]:
    return layerskip.loss(
        ops(), SPEC, TOKENS, kept=kept, exits=exits, measure=lambda logits: logits.square().mean()
    )


def test_nothing_dropped_is_the_model() -> None:
    kept = torch.ones(COUNT, 2, dtype=torch.bool)
    _, logits = loss(kept, {COUNT - 1: 1.0})
    torch.testing.assert_close(logits, decoder(ops(), SPEC, TOKENS))


def test_a_dropped_layer_is_left_out_for_its_sequence_alone() -> None:
    kept = torch.ones(COUNT, 2, dtype=torch.bool)
    kept[2, 1] = False
    _, logits = loss(kept, {COUNT - 1: 1.0})
    torch.testing.assert_close(logits[0], decoder(ops(), SPEC, TOKENS)[0])

    run = ops()
    rope = run.rope(SPEC.rope, SPEC.context)
    x, d = layers(run, SPEC, run.embed("embed", TOKENS), None, rope, start=0, stop=2)
    x, d = layers(run, SPEC, x, d, rope, start=3, stop=4)
    torch.testing.assert_close(logits[1], head(run, SPEC, x, d)[1])


def test_the_loss_is_the_weighted_sum_of_its_exits() -> None:
    kept = torch.ones(COUNT, 2, dtype=torch.bool)
    alone = {layer: loss(kept, {layer: 1.0})[0] for layer in (1, 3)}
    both, _ = loss(kept, {1: 0.25, 3: 0.75})
    torch.testing.assert_close(both, 0.25 * alone[1] + 0.75 * alone[3])
