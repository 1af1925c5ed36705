"""Each operation of the Core ML evaluator against torch or a closed form, from a package on disk."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("coremltools")

from mil import mb, package, packages  # noqa: E402

from edge.errors import Damaged, Unsupported  # noqa: E402
from edge_runtimes.coreml.evaluator import Evaluator  # noqa: E402
from edge_runtimes.coreml.ops import ARITHMETIC, MOVING  # noqa: E402
from edge_runtimes.coreml.program import Function, Program  # noqa: E402

F = torch.nn.functional
RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


X, Y = noise(2, 3, 4), noise(2, 3, 4)
UP = np.abs(X) + 0.1
IMAGE, KERNEL = noise(2, 4, 9, 8), noise(6, 2, 3, 2)
DEPTH, TAPS = noise(8, 1, 3, 3), noise(5, 3, 3)
I32 = np.array([[3, 0], [1, 2]], np.int32)
Q, K, V = noise(1, 2, 5, 8), noise(1, 2, 7, 8), noise(1, 2, 7, 6)
MASK = np.where(RNG.random((5, 7)) < 0.3, -1e4, 0).astype(np.float32)


def op(kind: str, **fixed: Any) -> Callable[..., Any]:
    """An operation of one or two inputs, by its parameters' names."""

    def build(*values: Any) -> Any:
        return getattr(mb, kind)(**dict(zip(("x", "y"), values, strict=False)), **fixed)

    return build


Oracle = Callable[..., Any]
Case = tuple[Callable[..., Any], tuple[np.ndarray, ...], Oracle]
CASES: dict[str, Case] = {
    "abs": (op("abs"), (X,), torch.abs),
    "add": (op("add"), (X, Y[0]), torch.add),
    "ceil": (op("ceil"), (X,), torch.ceil),
    "clip": (op("clip", alpha=-0.5, beta=0.25), (X,), lambda x: x.clip(-0.5, 0.25)),
    "cos": (op("cos"), (X,), torch.cos),
    "erf": (op("erf"), (X,), torch.erf),
    "exp": (op("exp"), (X,), torch.exp),
    "exp2": (op("exp2"), (X,), torch.exp2),
    "floor": (op("floor"), (X,), torch.floor),
    "floor_div": (op("floor_div"), (X, UP), lambda x, y: torch.floor(x / y)),
    "gelu exact": (op("gelu", mode="EXACT"), (X,), F.gelu),
    "gelu tanh": (
        op("gelu", mode="TANH_APPROXIMATION"), (X,), lambda x: F.gelu(x, approximate="tanh"),
    ),
    "gelu sigmoid": (
        op("gelu", mode="SIGMOID_APPROXIMATION"), (X,), lambda x: x * torch.sigmoid(1.702 * x),
    ),
    "inverse": (op("inverse", epsilon=1e-4), (UP,), lambda x: 1 / (x + 1e-4)),
    "leaky_relu": (op("leaky_relu", alpha=0.1), (X,), lambda x: F.leaky_relu(x, 0.1)),
    "log": (op("log", epsilon=1e-3), (UP,), lambda x: torch.log(x + 1e-3)),
    "maximum": (op("maximum"), (X, Y), torch.maximum),
    "minimum": (op("minimum"), (X, Y), torch.minimum),
    "mod": (op("mod"), (X, UP), torch.remainder),
    "mul": (op("mul"), (X, Y), torch.mul),
    "pow": (op("pow"), (UP, Y), torch.pow),
    "real_div": (op("real_div"), (X, UP), torch.div),
    "relu": (op("relu"), (X,), torch.relu),
    "round": (op("round"), (X,), torch.round),
    "rsqrt": (op("rsqrt", epsilon=1e-3), (UP,), lambda x: torch.rsqrt(x + 1e-3)),
    "sigmoid": (op("sigmoid"), (X * 40,), torch.sigmoid),
    "sign": (op("sign"), (X,), torch.sign),
    "silu": (op("silu"), (X * 40,), F.silu),
    "sin": (op("sin"), (X,), torch.sin),
    "softplus": (op("softplus"), (X * 40,), F.softplus),
    "sqrt": (op("sqrt"), (UP,), torch.sqrt),
    "square": (op("square"), (X,), torch.square),
    "sub": (op("sub"), (X, Y), torch.sub),
    "tanh": (op("tanh"), (X,), torch.tanh),
    "cast": (op("cast", dtype="int32"), (X * 9,), lambda x: x.int()),
    "select": (
        lambda x, y: mb.select(cond=mb.greater(x=x, y=y), a=x, b=y), (X, Y), torch.maximum,
    ),
    "softmax": (op("softmax", axis=1), (X * 100,), lambda x: x.softmax(1)),
    "layer_norm": (
        op("layer_norm", axes=[-1], gamma=Y[0, 0], beta=Y[0, 1], epsilon=1e-5),
        (X,), lambda x: F.layer_norm(x, (4,), torch.tensor(Y[0, 0]), torch.tensor(Y[0, 1])),
    ),
    "layer_norm of two axes": (
        op("layer_norm", axes=[1, 2], epsilon=1e-5), (X,), lambda x: F.layer_norm(x, (3, 4)),
    ),
    "batch_norm": (
        op("batch_norm", mean=Y[0, 0], variance=UP[0, 0], gamma=X[0, 0], beta=X[1, 0]),
        (IMAGE,),
        lambda x: F.batch_norm(x, *(torch.tensor(a) for a in (Y[0, 0], UP[0, 0], X[0, 0], X[1, 0]))),
    ),
    "instance_norm": (op("instance_norm", epsilon=1e-5), (IMAGE,), F.instance_norm),
    "linear": (
        op("linear", weight=noise(5, 4), bias=np.arange(5, dtype=np.float32)),
        (X,), None,
    ),
    "matmul": (op("matmul", transpose_y=True), (X, Y), lambda x, y: x @ y.mT),
    "matmul x": (op("matmul", transpose_x=True), (X, Y), lambda x, y: x.mT @ y),
    "einsum": (
        lambda x, y: mb.einsum(values=[x, y], equation="nchw,nwhu->nchu"),
        (noise(2, 3, 4, 5), noise(2, 5, 4, 6)),
        lambda x, y: torch.einsum("nchw,nwhu->nchu", x, y),
    ),
    "conv": (
        op("conv", weight=KERNEL, bias=noise(6), strides=[2, 1], pad_type="custom",
           pad=[1, 0, 2, 1], dilations=[1, 2], groups=2),
        (IMAGE,), None,
    ),
    "conv same": (
        op("conv", weight=noise(6, 4, 3, 2), strides=[2, 2], pad_type="same"), (IMAGE,), None,
    ),
    "conv of a sequence": (
        op("conv", weight=noise(5, 3, 2), pad_type="valid"), (X,), None,
    ),
    "conv of each channel": (
        op("conv", weight=DEPTH, pad_type="custom", pad=[1, 1, 0, 2], groups=4), (IMAGE,),
        lambda x: F.conv2d(F.pad(x, (0, 2, 1, 1)), torch.tensor(DEPTH), groups=4),
    ),
    "conv of a sequence, padded and dilated": (
        op("conv", weight=TAPS, pad_type="custom", pad=[4, 1], dilations=[2], strides=[2]), (X,),
        lambda x: F.conv1d(F.pad(x, (4, 1)), torch.tensor(TAPS), stride=2, dilation=2),
    ),
    "max_pool": (
        op("max_pool", kernel_sizes=[3, 2], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        (IMAGE,), lambda x: F.max_pool2d(x, (3, 2), 2, 1),
    ),
    "avg_pool": (
        op("avg_pool", kernel_sizes=[2, 2], strides=[1, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        (IMAGE,), lambda x: F.avg_pool2d(x, 2, (1, 2), 1),
    ),
    "avg_pool without padding": (
        op("avg_pool", kernel_sizes=[2, 2], strides=[1, 2], pad_type="custom", pad=[1, 1, 1, 1],
           exclude_padding_from_average=True),
        (IMAGE,), lambda x: F.avg_pool2d(x, 2, (1, 2), 1, count_include_pad=False),
    ),
    "scaled_dot_product_attention": (
        lambda q, k, v: mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=MASK),
        (Q, K, V),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, torch.tensor(MASK)),
    ),
    "attention with a mask of truths": (
        lambda q, k, v: mb.scaled_dot_product_attention(
            query=q, key=k, value=v, attn_mask=MASK == 0),
        (Q, K, V),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, torch.tensor(MASK == 0)),
    ),
    "attention with a mask of a batch": (
        lambda q, k, v: mb.scaled_dot_product_attention(
            query=q, key=k, value=v, attn_mask=MASK[None, None, :1]),
        (Q, K, V),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, torch.tensor(MASK[None, None, :1])),
    ),
    "reduce_sum": (op("reduce_sum", axes=[0, 2]), (X,), lambda x: x.sum((0, 2))),
    "reduce_mean": (
        op("reduce_mean", axes=[-1], keep_dims=True), (X,), lambda x: x.mean(-1, keepdim=True),
    ),
    "reduce_max": (op("reduce_max", axes=[1]), (X,), lambda x: x.amax(1)),
    "reduce_min": (op("reduce_min", axes=[1]), (X,), lambda x: x.amin(1)),
    "reduce_prod": (op("reduce_prod", axes=[1]), (X,), lambda x: x.prod(1)),
    "reduce_l1_norm": (op("reduce_l1_norm", axes=[1]), (X,), lambda x: x.norm(1, 1)),
    "reduce_l2_norm": (op("reduce_l2_norm", axes=[1]), (X,), lambda x: x.norm(2, 1)),
    "reduce_log_sum": (op("reduce_log_sum", axes=[1]), (UP,), lambda x: x.sum(1).log()),
    "reduce_log_sum_exp": (
        op("reduce_log_sum_exp", axes=[1]), (X * 100,), lambda x: x.logsumexp(1),
    ),
    "reduce_sum_square": (op("reduce_sum_square", axes=[1]), (X,), lambda x: (x * x).sum(1)),
    "reduce_argmax": (op("reduce_argmax", axis=2), (X,), lambda x: x.argmax(2)),
    "reduce_argmin": (op("reduce_argmin", axis=2), (X,), lambda x: x.argmin(2)),
    "concat": (
        lambda x, y: mb.concat(values=[x, y], axis=-1), (X, Y), lambda x, y: torch.cat((x, y), -1),
    ),
    "concat interleaved": (
        lambda x, y: mb.concat(values=[x, y], axis=1, interleave=True), (X, Y),
        lambda x, y: torch.stack((x, y), 2).reshape(2, 6, 4),
    ),
    "expand_dims": (op("expand_dims", axes=[0, -1]), (X,), lambda x: x[None, ..., None]),
    "fill": (lambda x: mb.add(x=x, y=mb.fill(shape=mb.shape(x=x), value=2.0)), (X,), lambda x: x + 2),
    "flatten2d": (op("flatten2d", axis=1), (X,), lambda x: x.reshape(2, 12)),
    "gather": (op("gather", indices=[2, 0, 0], axis=1), (X,), lambda x: x[:, [2, 0, 0]]),
    "gather by an input": (
        lambda i: mb.gather(x=noise(4, 3), indices=i, axis=0), (I32,), None,
    ),
    "gather_along_axis": (
        lambda x, i: mb.gather_along_axis(x=x, indices=i, axis=1),
        (noise(2, 4), I32), lambda x, i: torch.gather(x, 1, i.long()),
    ),
    "identity": (op("identity"), (X,), lambda x: x),
    "pad": (
        op("pad", pad=[1, 0, 0, 2], mode="constant", constant_val=3.0),
        (X,), lambda x: F.pad(x, (0, 2, 1, 0), value=3.0),
    ),
    "pad by reflection": (
        op("pad", pad=[1, 2], mode="reflect"), (X,), lambda x: F.pad(x, (1, 2), mode="reflect"),
    ),
    "range_1d": (
        lambda i: mb.range_1d(start=0, end=mb.reduce_sum(x=i, axes=[0, 1]), step=2),
        (I32,), lambda i: torch.arange(0, 6, 2),
    ),
    "reshape": (op("reshape", shape=[0, -1, 2]), (X,), lambda x: x.reshape(2, 6, 2)),
    "shape": (op("shape"), (X,), lambda x: torch.tensor(x.shape)),
    "slice_by_index": (
        op("slice_by_index", begin=[0, 1, -3], end=[1, 0, 4], stride=[1, 1, 2],
           end_mask=[False, True, False], squeeze_mask=[True, False, False]),
        (X,), lambda x: x[0, 1:, -3::2],
    ),
    "slice_by_size": (
        op("slice_by_size", begin=[0, 1, 1], size=[2, 1, -1]), (X,), lambda x: x[:, 1:2, 1:],
    ),
    "slice_update": (
        lambda x, y: mb.slice_update(x=x, update=y, begin=[0, 1, 0], end=[2, 3, 4]),
        (X, noise(2, 2, 4)), lambda x, y: torch.cat((x[:, :1], y), 1),
    ),
    "split": (
        lambda x: mb.split(x=x, split_sizes=[1, 3], axis=2), (X,), lambda x: x.split((1, 3), 2),
    ),
    "split evenly": (
        lambda x: mb.split(x=x, num_splits=2, axis=2), (X,), lambda x: x.split(2, 2),
    ),
    "squeeze": (op("squeeze", axes=[0]), (X[:1],), lambda x: x[0]),
    "stack": (
        lambda x, y: mb.stack(values=[x, y], axis=1), (X, Y), lambda x, y: torch.stack((x, y), 1),
    ),
    "tile": (op("tile", reps=[1, 2, 3]), (X,), lambda x: x.tile(1, 2, 3)),
    "transpose": (op("transpose", perm=[2, 0, 1]), (X,), lambda x: x.permute(2, 0, 1)),
    "tan, inferred by coremltools": (op("tan"), (X,), torch.tan),
    "cumsum": (op("cumsum", axis=1), (X,), lambda x: x.cumsum(1)),
    "cumsum exclusive": (
        op("cumsum", axis=1, exclusive=True), (X,), lambda x: F.pad(x, (0, 0, 1, -1)).cumsum(1),
    ),
    "cumsum reverse": (
        op("cumsum", axis=-1, reverse=True), (X,), lambda x: x.flip(-1).cumsum(-1).flip(-1),
    ),
    "cumsum both": (
        op("cumsum", axis=-1, exclusive=True, reverse=True),
        (X,), lambda x: F.pad(x.flip(-1), (1, -1)).cumsum(-1).flip(-1),
    ),
    "topk, inferred by coremltools": (op("topk", k=2, axis=2), (X,), lambda x: x.topk(2, 2)),
}  # fmt: skip
for _kind, _oracle in {
    "equal": torch.eq, "not_equal": torch.ne, "greater": torch.gt, "greater_equal": torch.ge,
    "less": torch.lt, "less_equal": torch.le,
}.items():  # fmt: skip

    def _compare(x: Any, y: Any, kind: str = _kind) -> Any:
        return mb.cast(x=getattr(mb, kind)(x=x, y=y), dtype="fp32")

    _both = np.where(X > 0, X, Y)
    CASES[_kind] = (_compare, (X, _both), lambda x, y, oracle=_oracle: oracle(x, y).float())
GATES = {"weight_ih": noise(20, 4), "weight_hh": noise(20, 5), "bias": noise(20)}  # of five each


def _lstm(x: Any) -> Any:
    start = np.zeros((3, 5), np.float32)
    return mb.lstm(x=x, initial_h=start, initial_c=start, output_sequence=True, **GATES)[0]


def _torch_lstm(x: Any) -> Any:
    """torch has the new content before the gate of what comes out, and Core ML after it."""
    first, second, third, last = (np.arange(5) + 5 * i for i in range(4))
    order = np.concatenate([first, second, last, third])
    layer = torch.nn.LSTM(4, 5)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor(GATES["weight_ih"][order]))
        layer.weight_hh_l0.copy_(torch.tensor(GATES["weight_hh"][order]))
        layer.bias_ih_l0.copy_(torch.tensor(GATES["bias"][order]))
        layer.bias_hh_l0.zero_()
        return layer(x)[0]


CASES["lstm"] = (_lstm, (X,), _torch_lstm)
for _kind in ("and", "or", "xor"):

    def _logic(x: Any, y: Any, kind: str = _kind) -> Any:
        truths = [mb.greater(x=v, y=0.0) for v in (x, y)]
        both = getattr(mb, f"logical_{kind}")(x=truths[0], y=truths[1])
        return mb.cast(x=mb.logical_not(x=both), dtype="fp32")

    _torch = getattr(torch, f"logical_{_kind}")
    CASES[f"logical_{_kind}"] = (
        _logic, (X, Y), lambda x, y, oracle=_torch: (~oracle(x > 0, y > 0)).float(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """One package with a function for each case."""
    folder = tmp_path_factory.mktemp("ops") / "cases.mlpackage"
    entries = {name_of(case): CASES[case][:2] for case in CASES}
    return Program.open(packages(folder, entries))


def name_of(case: str) -> str:
    return re.sub(r"\W", "_", case)


def _constants(program: Program, function: Function) -> dict[str, torch.Tensor]:
    """What the operation under test was given as constants, by parameter."""
    ops = function.ops
    values = {
        o.outputs[0][0]: o.inputs["val"][0].read(program.blobs) for o in ops if o.kind == "const"
    }
    last = ops[-1]
    return {
        name: torch.tensor(values[arguments[0]])
        for name, arguments in last.inputs.items()
        if arguments[0] in values and isinstance(values[arguments[0]], np.ndarray)
    }


def _with_weights(program: Program, function: Function, x: torch.Tensor) -> torch.Tensor:
    """What torch makes of an operation whose weights lie in the package."""
    held, kind = _constants(program, function), function.ops[-1].kind
    if kind == "linear":
        return F.linear(x, held["weight"], held["bias"])
    if kind == "gather":
        return held["x"][x.long()]
    weight = held["weight"]
    if x.ndim == 3:
        return F.conv1d(x, weight)
    if "bias" not in held:  # same: 9 by 8 with 3 by 2 in steps of 2 lacks 2 rows and no column
        return F.conv2d(F.pad(x, (0, 0, 1, 1)), weight, stride=2)
    padded = F.pad(x, (2, 1, 1, 0))
    return F.conv2d(padded, weight, held["bias"], stride=(2, 1), dilation=(1, 2), groups=2)


@pytest.mark.parametrize("case", CASES)
def test_an_operation_is_what_torch_makes_of_it(case: str, program: Program) -> None:
    _, arrays, oracle = CASES[case]
    function = program.functions[name_of(case)]
    got = Evaluator(program, "fp32").call(function.name, dict(zip("abc", arrays, strict=False)))
    tensors = [torch.tensor(array) for array in arrays]
    want = _with_weights(program, function, *tensors) if oracle is None else oracle(*tensors)
    wanted = list(want) if isinstance(want, tuple) else [want]
    assert len(got) == len(wanted)
    for have, should in zip(got.values(), wanted, strict=True):
        np.testing.assert_allclose(have, should.numpy(), rtol=1e-4, atol=1e-5)


def test_every_operation_has_a_case() -> None:
    """Compressed weights and states have tests of their own."""
    have = {name.split()[0].rstrip(",") for name in CASES}
    ours = {kind for kind in (*ARITHMETIC, *MOVING) if not kind.startswith("constexpr_")}
    assert ours - have - {"logical_not"} == set()


def test_an_unknown_operation_is_named(tmp_path: Path) -> None:
    folder = package(tmp_path / "case.mlpackage", op("local_response_norm", size=3), IMAGE)
    with pytest.raises(Unsupported, match="no operation local_response_norm"):
        Evaluator(Program.open(folder), "fp32").call("main", {"a": IMAGE})


def test_an_operation_that_fails_is_named(tmp_path: Path) -> None:
    build = CASES["gather by an input"][0]
    folder = package(tmp_path / "case.mlpackage", build, I32)
    with pytest.raises(Damaged, match=r"gather .* cannot be evaluated"):
        Evaluator(Program.open(folder), "fp32").call("main", {"a": I32 + 9})


@pytest.mark.parametrize(("precision", "error"), [("declared", 2e-3), ("fp32", 1e-6)])
def test_what_is_declared_is_rounded_and_fp32_is_not(
    precision: str, error: float, tmp_path: Path
) -> None:
    x = noise(4, 64)

    def build(a: Any) -> Any:
        return mb.reduce_sum(x=mb.exp(x=mb.mul(x=a, y=np.float16(0.5))), axes=[-1])

    folder = package(tmp_path / "case.mlpackage", build, x.astype(np.float16))
    half = x.astype(np.float16)
    (got,) = Evaluator(Program.open(folder), precision).call("main", {"a": half}).values()
    want = np.exp(half.astype(np.float32) / 2).sum(-1)
    worst = np.abs(got / want - 1).max()
    assert worst < error
    assert (worst < 1e-5) == (precision == "fp32")
