"""The model definition on torch against transformers: logits and gradients of a tiny Phi-3."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from edge.families import family_of  # noqa: E402
from edge.files.config import Config  # noqa: E402
from edge.names import stored  # noqa: E402
from edge.nn.decoder import decoder  # noqa: E402
from edge.spec import DecoderSpec, LayerSpec, Norm, Rope  # noqa: E402
from edge.train.origin import Ids, config  # noqa: E402
from edge_runtimes.torch import export  # noqa: E402
from edge_runtimes.torch.initial import initial  # noqa: E402
from edge_runtimes.torch.ops import TorchOps  # noqa: E402

LAYER = LayerSpec(heads=4, kv_heads=2, head_width=16, ffn_width=96)
SPEC = DecoderSpec(
    vocab=64, width=64, layers=(LAYER,) * 3, norm=Norm(eps=1e-5),
    rope=Rope(theta=10000.0, width=16), context=512, tied=True,
)  # fmt: skip
IDS = Ids(bos=1, stop=(2, 3))


def weights() -> dict[str, torch.Tensor]:
    """Nothing zero and no norm of one: every tensor must matter."""
    rng = torch.Generator().manual_seed(0)
    return {
        name: (w + 0.1 * torch.randn(w.shape, generator=rng)).requires_grad_()
        for name, w in initial(SPEC, seed=0).items()
    }


def fused(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Under the names of the checkpoint."""
    family = family_of(Config(config(SPEC, IDS), "config.json"))
    tensors = stored(family.names.places(SPEC))
    return {name: export.tensor(place, weights) for name, place in tensors.items()}


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize("length", [7, 300])  # within a block of queries, and across blocks
def test_logits_and_gradients_are_transformers(length: int, window: int | None) -> None:
    layers = tuple(dataclasses.replace(layer, window=window) for layer in SPEC.layers)
    spec, ours = dataclasses.replace(SPEC, layers=layers), weights()
    settings = config(spec, IDS) | {"sliding_window": window}
    theirs = transformers.Phi3ForCausalLM(transformers.Phi3Config(**settings)).float()
    missing, unknown = theirs.load_state_dict(fused(ours), strict=False)
    assert (missing, unknown) == (["lm_head.weight"], [])
    tokens = torch.randint(4, SPEC.vocab, (2, length), generator=torch.Generator().manual_seed(1))

    got = decoder(TorchOps(ours), spec, tokens)
    want = theirs(tokens).logits

    assert (got - want).norm() / want.norm() < 1e-5
    got.square().mean().backward()
    want.square().mean().backward()
    for name, gradient in fused({n: w.grad for n, w in ours.items()}).items():
        expected = theirs.get_parameter(name).grad
        assert (gradient - expected).norm() / expected.norm() < 1e-4, name


@pytest.mark.parametrize("biased", [(), ("q",), ("v",), ("q", "k", "v")])
def test_a_product_of_stacked_weights_adds_the_biases_that_there_are(
    biased: tuple[str, ...],
) -> None:
    """Without a cache several weights are one product: rows without a bias get none."""
    rng = torch.Generator().manual_seed(0)
    held = {
        name: torch.randn(rows, 8, generator=rng)
        for name, rows in zip("qkv", (6, 4, 4), strict=True)
    }
    held |= {f"{name}.bias": torch.randn(len(held[name]), generator=rng) for name in "qkv"}
    x = torch.randn(1, 5, 8, generator=rng)
    got = TorchOps(held).linear(x, "q", "k", "v", biased=biased)
    for name, part in zip("qkv", got, strict=True):
        want = x @ held[name].T + (held[f"{name}.bias"] if name in biased else 0)
        torch.testing.assert_close(part, want)
