"""Networks on torch: every operation at its edges and whole networks against numpy, and gradients."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from net_cases import CASES, LAYER, RMS, Case, random

from edge.net import NetSpec
from edge.nn.networks import define
from edge.nn.projector import ProjectorSpec
from edge.nn.vit import VitSpec
from edge.quant.rtn import quantize
from edge.quant.tensor import Scheme
from edge_runtimes.reference.net import NumpyNetOps

torch = pytest.importorskip("torch")

from edge.quant.stream import packed as pack  # noqa: E402
from edge_runtimes.torch.lowbit import Codes  # noqa: E402
from edge_runtimes.torch.net import TorchNetOps  # noqa: E402

Arrays = Mapping[str, Any]
VIT = {"grid": (2, 3), "patch": 2, "width": 8, "layers": 2, "heads": 2, "ffn_width": 12}
NETS: Mapping[str, Any] = {
    "plain": VitSpec(**VIT, norm=LAYER, last=LAYER),
    "stem": VitSpec(**VIT, norm=LAYER, stem=((2, 4), (2, 6)), last=LAYER, classes=5),
    "InternViT-6B": VitSpec(**VIT, norm=RMS, qk_norm=RMS, layer_scale=True, qkv_bias=False),
    "classes": VitSpec(**VIT, norm=LAYER, last=LAYER, classes=5),
    "v1": ProjectorSpec(side=4, channels=8, width=6, norm=LAYER, order="v1"),
    "v2": ProjectorSpec(side=4, channels=8, width=6, norm=LAYER, order="v2"),
}
KINDS = {VitSpec: "vit", ProjectorSpec: "projector"}
MOVED = 1e-6  # for differences in float64


def network(name: str) -> Case:
    """A whole network as a case: two pictures, random weights."""
    config = NETS[name]
    spec = NetSpec(kind=KINDS[type(config)], config=config)
    weights = {
        weight: 0.4 * random(*shape, seed=i + 1)
        for i, (weight, shape) in enumerate(config.shapes().items())
    }
    (port,) = config.inputs
    sizes = [2 if isinstance(size, str) else size for size in port.shape]
    return Case(
        f"net {name}", lambda ops, **given: define(ops, spec, **given),
        {port.name: random(*sizes)}, weights,
    )  # fmt: skip


ALL = [*CASES, *(network(name) for name in NETS)]
BY_NAME = {case.name: case for case in ALL}


def tensors(
    arrays: Arrays, dtype: Any, *, grad: bool = False, jitter: float = 0.0
) -> dict[str, Any]:
    """Floats in a type, moved a little if asked for; numbers as they are."""
    out = {}
    for name, array in arrays.items():
        found = torch.from_numpy(np.array(array))
        if found.is_floating_point():
            found = found.to(dtype)
            found += jitter * torch.from_numpy(random(*array.shape, seed=99 + len(out)))
            found.requires_grad_(grad)
        out[name] = found
    return out


def computed(case: Case, weights: Arrays, inputs: Arrays, **more: Any) -> dict[str, Any]:
    return dict(case.define(TorchNetOps(weights, **more), **inputs))


def oracle(case: Case) -> dict[str, np.ndarray]:
    return dict(case.define(NumpyNetOps(lambda name: case.weights[name]), **case.inputs))


def off(got: Any, want: Any) -> float:
    """The largest difference, of the largest output."""
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))


@pytest.mark.parametrize("stacks", [False, True])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_as_numpy(case: Case, *, stacks: bool) -> None:
    with torch.inference_mode():
        got = computed(
            case,
            tensors(case.weights, torch.float32),
            tensors(case.inputs, torch.float32),
            stacks=stacks,
        )
    want = oracle(case)
    assert list(got) == list(want)
    for name, out in want.items():
        assert got[name].dtype == torch.float32
        assert off(got[name].numpy(), out) < 2e-6, name


def loss(case: Case, weights: Arrays, inputs: Arrays, **more: Any) -> Any:
    """One number of all outputs, each element with a weight of its own."""
    outputs = computed(case, weights, inputs, **more).values()
    parts = [out * torch.from_numpy(random(*out.shape, seed=5)).to(out.dtype) for out in outputs]
    return sum(part.sum() for part in parts)


def gradients(case: Case, dtype: Any, **more: Any) -> dict[str, Any]:
    """Of each weight and each float input, off the kinks, where none is defined; zeros where there is none."""
    weights = tensors(case.weights, dtype, grad=True, jitter=1e-3)
    inputs = tensors(case.inputs, dtype, grad=True, jitter=1e-3)
    total = loss(case, weights, inputs, **more)
    if total.requires_grad:
        total.backward()
    leaves = [(name, leaf) for name, leaf in (weights | inputs).items() if leaf.requires_grad]
    return {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves
    }


@pytest.mark.parametrize("case", ALL, ids=str)
def test_gradients_of_float32_are_those_of_float64(case: Case) -> None:
    want = gradients(case, torch.float64)
    got = gradients(case, torch.float32, stacks=True)
    assert list(got) == list(want)
    for name, gradient in want.items():
        if name.endswith("attn.k.bias"):  # a softmax does not see it
            assert gradient.abs().max() < 1e-12
            continue
        assert gradient.dtype == torch.float64
        assert off(got[name].double().numpy(), gradient.numpy()) < 1e-5, name


@pytest.mark.parametrize("case", ALL, ids=str)
def test_gradients_are_differences(case: Case) -> None:
    """Along a random direction of each weight and each input, in float64."""
    leaves = gradients(case, torch.float64)
    with torch.no_grad():
        for name, gradient in leaves.items():
            step = MOVED * torch.from_numpy(random(*gradient.shape, seed=7)).double()
            ends = []
            for sign in (1, -1):
                weights = tensors(case.weights, torch.float64, jitter=1e-3)
                inputs = tensors(case.inputs, torch.float64, jitter=1e-3)
                (weights if name in weights else inputs)[name] += sign * step
                ends.append(float(loss(case, weights, inputs)))
            difference = (ends[0] - ends[1]) / 2
            scale = float((gradient.abs() * step.abs()).sum())
            assert abs(difference - float((gradient * step).sum())) < 1e-5 * scale + 1e-13, name


def test_every_weight_of_a_network_has_a_gradient() -> None:
    for name in NETS:
        case = BY_NAME[f"net {name}"]
        found = gradients(case, torch.float64)
        assert found.keys() == {*case.weights, *case.inputs}
        assert all(gradient.abs().max() > 0 for gradient in found.values())


def low_bit(case: Case, scheme: Scheme) -> tuple[Case, dict[str, Any]]:
    """The case with what codes of its matrices mean, and the weights as a runtime has them."""
    plain, stored = dict(case.weights), tensors(case.weights, torch.float32)
    for weight, array in case.weights.items():
        if array.ndim == 2 and weight != "position":
            found = quantize(array, scheme)
            plain[weight] = found.dequantize()
            codes, scales = (pack(found.codes, scheme.bits), found.scales)
            stored[weight] = Codes(
                torch.from_numpy(codes), torch.from_numpy(scales), None, scheme, array.shape[1]
            )
    return Case(case.name, case.define, case.inputs, plain), stored


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    "name", ["embed", "linear of several", "linear of a map", "net InternViT-6B", "net v2"]
)
def test_low_bit_products_are_those_of_what_codes_mean(name: str, bits: int) -> None:
    case, stored = low_bit(BY_NAME[name], Scheme(bits, 32, "middle", "fp32"))
    with torch.inference_mode():
        got = computed(case, stored, tensors(case.inputs, torch.float32))
    for output, out in oracle(case).items():
        assert off(got[output].numpy(), out) < 2e-6, output


@pytest.mark.parametrize("name", ["net plain", "net InternViT-6B", "net v1"])
def test_narrow_products_leave_the_stream_wide(name: str) -> None:
    """As a decoder's: bfloat16 matrices, float32 between them."""
    case = BY_NAME[name]
    weights = tensors(case.weights, torch.float32)
    narrow = {k: w.bfloat16() if w.ndim > 1 and k != "position" else w for k, w in weights.items()}
    with torch.inference_mode():
        inputs = tensors(case.inputs, torch.float32)
        got = computed(case, narrow, inputs, dtype=torch.bfloat16)
    for output, out in oracle(case).items():
        assert off(got[output].float().numpy(), out) < 5e-2, output


def test_a_constant_is_made_once_and_has_its_shape() -> None:
    ops, made = TorchNetOps({}), []

    def make() -> np.ndarray:
        made.append(1)
        return np.ones((2, 3), np.float32)

    assert ops.const("c", (2, 3), make) is ops.const("c", (2, 3), make)
    assert len(made) == 1
    with pytest.raises(AssertionError, match=r"d: \(2, 3\), not \(3, 2\)"):
        ops.const("d", (3, 2), make)
