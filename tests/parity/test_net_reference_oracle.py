"""The numpy operations of networks against plain functions of torch in float64, and against loops: code
that shares nothing with them.
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from net_cases import random
from slow_regions import BOXES, aligned

from edge.nn.resizing import Rule
from edge.ops import Act
from edge.spec import Norm
from edge_runtimes.reference.net import NumpyNetOps

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

X, MAP = random(2, 5, 8), random(2, 6, 4, 8)
ACTS: Mapping[str, Callable[[Any], Any]] = {
    "gelu": lambda x: x / 2 * torch.erfc(-x / 2**0.5),
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": lambda x: F.softplus(x, threshold=100),
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "sin": torch.sin,
    "cos": torch.cos,
    "abs": torch.abs,
}


def ops(**weights: np.ndarray) -> NumpyNetOps:
    return NumpyNetOps(lambda name: weights[name.replace(".", "_")])


def double(x: np.ndarray) -> Any:
    return torch.from_numpy(np.array(x)).double()


def first(x: Any) -> Any:
    """Channels second, as torch has them."""
    return x.movedim(-1, 1)


def same(got: np.ndarray, want: Any, within: float = 1e-6) -> None:
    """As near as so much of the largest."""
    want = want.numpy()
    assert got.dtype == np.float32
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= within * np.abs(want).max()


@pytest.mark.parametrize("kind", get_args(Act))
def test_functions(kind: Act) -> None:
    x = np.linspace(-12, 12, 997, dtype=np.float32)
    x = np.abs(x) + np.float32(0.01) if kind in ("log", "sqrt") else x
    same(ops().act(x, kind), ACTS[kind](double(x)))


def test_gelu_is_torchs_own() -> None:
    same(ops().act(4 * X, "gelu"), F.gelu(double(4 * X)))


@settings(max_examples=80, deadline=None)
@given(
    axes=st.integers(1, 2), kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3), dilation=st.integers(1, 2),
    pad=st.tuples(st.integers(0, 3), st.integers(0, 3)), groups=st.sampled_from([1, 2, 8]), bias=st.booleans(),
)  # fmt: skip
def test_convolutions(
    axes: int, kernel: tuple[int, int], stride: int, dilation: int, pad: tuple[int, int],
    groups: int, bias: bool,
) -> None:  # fmt: skip
    x = X if axes == 1 else MAP
    reach = [(k - 1) * dilation for k in kernel[:axes]]
    assume(all(n + sum(pad) > r for n, r in zip(x.shape[1:], reach, strict=False)))
    weight, added = random(16, 8 // groups, *kernel[:axes]), random(16, seed=1)
    more: Any = {"stride": stride, "dilation": dilation, "groups": groups}
    got = ops(w=weight, w_bias=added).conv(x, "w", pad=pad, bias=bias, **more)
    padded = F.pad(first(double(x)), pad * axes)
    call = F.conv1d if axes == 1 else F.conv2d
    want = call(padded, double(weight), double(added) if bias else None, **more)
    same(got, want.movedim(1, -1))


@pytest.mark.parametrize(("kernel", "stride", "cut"), [(4, 2, 0), (4, 2, 1), (4, 4, 1), (6, 2, 2)])
def test_transposed_convolutions(kernel: int, stride: int, cut: int) -> None:
    weight, bias = random(8, 3, kernel), random(3, seed=1)  # as torch has it: [C, O, k]
    matrix = weight.transpose(2, 1, 0).reshape(kernel * 3, 8)
    got = ops(w=matrix, w_bias=bias).conv_transpose(
        X, "w", kernel=kernel, stride=stride, width=3, cut=(cut, cut)
    )
    want = F.conv_transpose1d(
        first(double(X)), double(weight), double(bias), stride=stride, padding=cut
    )
    same(got, want.movedim(1, -1))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 6), taps=st.integers(1, 5), stride=st.integers(1, 3), dilation=st.integers(1, 4),
    before=st.integers(0, 5),
)  # fmt: skip
def test_convolutions_as_one_product(
    rows: int, taps: int, stride: int, dilation: int, before: int
) -> None:
    """Also of fewer rows than the kernel is long."""
    dilation = dilation if stride == 1 else 1
    kernel, reach = taps * stride, (taps * stride - 1) * dilation
    x, weight, bias = random(2, rows * stride, 8), random(6, 8, kernel), random(6, seed=1)
    after = reach - before if stride == 1 else (taps + 1) * stride - before
    assume(after >= 0)
    made = ops(w=weight.transpose(0, 2, 1).reshape(6, -1), w_bias=bias)
    if stride == 1:
        got = made.conv_rows(x, "w", kernel=kernel, pad=(before, after), dilation=dilation)
    else:
        pad = (before, after)
        got = made.conv_strided(x, "w", kernel=kernel, stride=stride, width=8, pad=pad)
    padded = F.pad(first(double(x)), (before, after))
    want = F.conv1d(padded, double(weight), double(bias), stride=stride, dilation=dilation)
    same(got, want.movedim(1, -1))


def test_a_memory_is_torchs() -> None:
    """Its rows are in another order there: input, forget, cell, output."""
    theirs = torch.nn.LSTM(8, 3, batch_first=True).double()

    def ours(weight: Any) -> np.ndarray:
        i, f, z, o = weight.detach().float().chunk(4)
        return np.asarray(torch.cat((i, f, o, z)))

    into, state, *both = theirs.parameters()
    weights = {"m.in": ours(into), "m.state": ours(state), "m.bias": ours(both[0]) + ours(both[1])}
    got = NumpyNetOps(weights.__getitem__).lstm(X, "m")
    same(got, theirs(double(X))[0].detach())


@pytest.mark.parametrize("scale", [None, 0.2])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("bias", [None, (1, 1), (1, 2), (2, 1), (2, 2)])
def test_attention(bias: tuple[int, int] | None, kept: bool, scale: float | None) -> None:
    q, k, v = random(2, 5, 8), random(2, 7, 8, seed=1), random(2, 7, 8, seed=2)
    keep = np.float32([[1, 1, 1, 0, 1, 1, 0], [1, 0, 1, 1, 1, 1, 1]]) if kept else None
    added = None if bias is None else random(*bias, 5, 7)
    got = ops().attention(q, k, v, heads=2, scale=scale, keep=keep, bias=added)
    mask = torch.zeros(2, 2, 5, 7).double()
    mask += 0 if added is None else double(added)
    if keep is not None:
        mask[double(keep)[:, None, None].expand(2, 2, 5, 7) == 0] = -torch.inf
    each = [double(a).view(2, -1, 2, 4).transpose(1, 2) for a in (q, k, v)]
    want = F.scaled_dot_product_attention(*each, attn_mask=mask, scale=scale)
    same(got, want.transpose(1, 2).flatten(2))


@settings(max_examples=80, deadline=None)
@given(
    rule=st.sampled_from(get_args(Rule)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    to=st.tuples(st.integers(1, 14), st.integers(1, 14)),
)
def test_resizing(rule: Rule, size: tuple[int, int], to: tuple[int, int]) -> None:
    x = random(2, *size, 3)
    kind, _, aligned = rule.partition("-")
    want = F.interpolate(first(double(x)), to, mode=kind, align_corners=bool(aligned))
    same(ops().resize(x, (*size, 3), to, rule), want.movedim(1, -1))


def test_norms() -> None:
    weight, bias, x = random(8, seed=2), random(8, seed=3), 3 * X + 1
    made = ops(n=weight, n_bias=bias)
    for name, w, b in (("n", double(weight), double(bias)), (None, None, None)):
        layer, rms = Norm(eps=1e-5, kind="layer"), Norm(eps=1e-6)
        same(made.norm(x, name, layer), F.layer_norm(double(x), (8,), w, b, 1e-5))
        same(made.norm(x, name, rms), F.rms_norm(double(x), (8,), w, 1e-6))
    got = made.group_norm(x, "n", groups=4, channels=8, eps=1e-5)
    want = F.group_norm(first(double(x)), 4, double(weight), double(bias), 1e-5)
    same(got, want.movedim(1, -1), 2e-6)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(2, 7), st.integers(2, 7)),
    heads=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 99),
)
def test_samples(size: tuple[int, int], heads: int, seed: int) -> None:
    """Heads one by one, places far outside as well; torch's other way to count places."""
    rows, columns = size
    v = random(2, rows * columns, 8, seed=seed)
    x, y = (
        random(2, 5, heads * 3, seed=seed + i) * 3 + n / 2 for i, n in ((1, columns), (2, rows))
    )
    weights = random(2, 5, heads * 3, seed=seed + 3)
    got = ops().sample(v, x, y, weights, size=(rows, columns, 8), heads=heads, points=3)
    out = []
    for head in range(heads):
        some, part = (
            slice(head * 3, head * 3 + 3),
            slice(head * 8 // heads, (head + 1) * 8 // heads),
        )
        places = [2 * double(a[..., some]) / (n - 1) - 1 for a, n in ((x, columns), (y, rows))]
        image = first(double(v[..., part]).view(2, rows, columns, -1))
        seen = F.grid_sample(image, torch.stack(places, -1), align_corners=True)  # [2, c, 5, 3]
        out.append(torch.einsum("bcqp,bqp->bqc", seen, double(weights[..., some])))
    same(got, torch.cat(out, -1), 2e-6)


def test_regions() -> None:
    want = aligned(MAP[0].astype(np.float64), BOXES, bins=3, samples=2)
    got = ops().roi_align(MAP[:1], np.float32(BOXES), size=(6, 4, 8), bins=3, samples=2)
    same(got, double(want))


@settings(max_examples=40, deadline=None)
@given(
    boxes=st.lists(st.tuples(*[st.floats(-9, 13, width=32)] * 4), min_size=1, max_size=3),
    bins=st.integers(1, 4),
    samples=st.integers(1, 3),
)
def test_regions_of_any_place(boxes: list[tuple[float, ...]], bins: int, samples: int) -> None:
    """Inverted, of no area, outside; but none where a last bit decides whether a sample counts."""
    corners, shares = np.array(boxes), (np.arange(bins * samples) + 0.5) / (bins * samples)
    at = corners[:, :2, None] - 0.5 + (corners[:, 2:] - corners[:, :2])[..., None] * shares
    for ends in ((-1, -1), (4, 6)):
        assume(np.abs(at - np.array(ends)[:, None]).min() > 1e-3)
    want = aligned(MAP[0].astype(np.float64), boxes, bins=bins, samples=samples)
    made = ops().roi_align(MAP[:1], np.float32(boxes), size=(6, 4, 8), bins=bins, samples=samples)
    np.testing.assert_allclose(made, want, atol=1e-4)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("normed", [False, True])
def test_experts(k: int, normed: bool) -> None:
    scores = random(2, 5, 4, seed=6)
    weights = {
        f"e_{i}_{name}": random(*shape, seed=10 * i + len(name))
        for i in range(4)
        for name, shape in {
            "up": (6, 8),
            "up_bias": (6,),
            "down": (8, 6),
            "down_bias": (8,),
        }.items()
    }
    got = ops(**weights).experts(X, scores, "e", count=4, k=k, act="silu", normed=normed)
    want = torch.zeros(2, 5, 8).double()
    for b, t in np.ndindex(2, 5):
        shares = double(scores[b, t]).softmax(-1)
        chosen = shares.topk(k).indices.tolist()
        total = float(shares[chosen].sum()) if normed else 1.0
        for i in chosen:
            w = {n: double(weights[f"e_{i}_{n}"]) for n in ("up", "up_bias", "down", "down_bias")}
            h = F.silu(F.linear(double(X[b, t]), w["up"], w["up_bias"]))
            want[b, t] += F.linear(h, w["down"], w["down_bias"]) * shares[i] / total
    same(got, want)


@pytest.mark.parametrize(("stride", "parts", "width"), [(2, 2, 2), (1, 4, 2), (4, 1, 2), (1, 8, 1)])
def test_overlaps(stride: int, parts: int, width: int) -> None:
    kernel, rows = stride * parts, (5 + parts - 1) * stride
    windows = double(X).view(2, 5, kernel, width).permute(0, 3, 2, 1).flatten(1, 2)
    want = F.fold(windows, (rows, 1), (kernel, 1), stride=(stride, 1))[..., 0].mT
    same(ops().overlap(X, stride=stride, parts=parts, width=width), want)


def test_patches() -> None:
    columns = F.unfold(first(double(MAP)), 2, stride=2).mT  # [B, P, C k k]
    want = columns.unflatten(-1, (8, 4)).transpose(2, 3).flatten(2)
    same(ops().patches(MAP, (6, 4, 8), 2), want)


def test_products() -> None:
    weight, bias = random(6, 8), random(6, seed=1)
    (got,) = ops(w=weight, w_bias=bias).linear(X, "w", biased=("w",))
    same(got, F.linear(double(X), double(weight), double(bias)))
    y = random(2, 1, 8, 3)
    same(ops().matmul(MAP, y), torch.einsum("bhwc,bgcd->bhwd", double(MAP), double(y)))
    same(ops().softmax(30 * X), (30 * double(X)).softmax(-1))
    same(ops(t=weight).embed("t", np.int64([[1, 5]])), F.embedding(torch.tensor([[1, 5]]), double(weight)))  # fmt: skip


def test_what_is_moved_and_counted() -> None:
    rows, made = np.int64([[4, 0, 4], [1, 2, 0]]), ops()
    same(made.take(X, rows), torch.stack([double(X)[b, rows[b]] for b in range(2)]))
    values, places = made.top_k(random(2, 3, 9), 4)
    want = double(random(2, 3, 9)).topk(4)
    same(values, want.values)
    assert np.array_equal(places, want.indices.numpy())
    same(made.cumsum(X), double(X).cumsum(-1))
    for kind, call in (("sum", torch.sum), ("mean", torch.mean), ("max", torch.amax)):
        for axis in (1, 2, -1):
            same(made.fold(MAP, kind, axis), call(double(MAP), axis, keepdim=True))
    for before, after in ((1, 2), (-1, -2), (-3, 2), (0, -4)):
        same(made.pad(MAP, 1, before, after), F.pad(double(MAP), (0, 0, 0, 0, before, after)))
    parts = made.split(MAP, 1, 3, 2, axis=1)
    for got, part in zip(parts, double(MAP).split([1, 3, 2], dim=1), strict=True):
        same(got, part)
    same(made.spread(X[0], MAP), double(X[0]).repeat(2, 1, 1))
    same(made.as_many(random(9, 8), X), double(random(9, 8))[:5])
    same(made.reshape(MAP, 0, -1, 4), double(MAP).view(2, -1, 4))


@pytest.mark.parametrize("shape", [(2, 5, 8), (1, 1, 8), (2, 5, 1)])
def test_pairs(shape: tuple[int, ...]) -> None:
    y = np.abs(random(*shape, seed=1)) + np.float32(0.1)
    calls = {
        "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div,
        "max": torch.maximum, "min": torch.minimum, "at_least": torch.ge,
    }  # fmt: skip
    for kind, call in calls.items():
        same(ops().pair(kind, X, y), call(double(X), double(y)).double())
        half = torch.tensor(0.5).double()
        same(ops().pair(kind, X, 0.5), call(double(X), half).double())
