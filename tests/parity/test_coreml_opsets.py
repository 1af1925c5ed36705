"""Operations that versions of Core ML mean otherwise, against what coremltools computes of each itself."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("coremltools")

from mil import ct, inferred, mb, package

from edge.errors import Damaged
from edge_runtimes.coreml.evaluator import Evaluator
from edge_runtimes.coreml.ops import ARITHMETIC, moving_of
from edge_runtimes.coreml.ops.inferred import KINDS, infer
from edge_runtimes.coreml.program import Program

OPSETS = {
    5: ct.target.iOS15,
    6: ct.target.iOS16,
    7: ct.target.iOS17,
    8: ct.target.iOS18,
}
SHAPES = [(6, 4, 5), (6, 4), (12,), (2, 3, 4, 5), (1, 1, 7)]


def asked(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every target of one to five axes of 0, 1, -1 and sizes that are there; at most one -1."""
    sizes = sorted({0, 1, -1, shape[-1], math.prod(shape)})
    return [
        target
        for rank in range(1, 6)
        for target in itertools.product(sizes, repeat=rank)
        if target.count(-1) <= 1 and 0 in target
    ]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("opset", OPSETS)
def test_a_reshape_is_what_coremltools_infers(opset: int, shape: tuple[int, ...]) -> None:
    """Taken or refused, for every target."""
    x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    ours = moving_of(opset)["reshape"]
    taken = 0
    for target in asked(shape)[:: 1 if len(shape) < 3 else 7]:
        try:
            (want,) = inferred(OPSETS[opset], "reshape", x=x, shape=target)
        except ValueError:
            with pytest.raises(ValueError, match=r"reshape|axes"):
                ours(x, np.array(target))
            continue
        np.testing.assert_array_equal(ours(x, np.array(target)), want)
        taken += 1
    assert taken


def _in_two(a: Any) -> Any:
    return mb.reshape(x=a, shape=[0, -1])


@pytest.mark.parametrize("opset", OPSETS)
def test_a_package_says_which_it_means(opset: int, tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    folder = package(tmp_path / "case.mlpackage", _in_two, x, target=OPSETS[opset])
    program = Program.open(folder)
    assert program.functions["main"].opset == opset
    (got,) = Evaluator(program, "fp32").call("main", {"a": x}).values()
    assert got.shape == (6, 4)


def test_from_ios_17_on_a_0_counts_from_the_right(tmp_path: Path) -> None:
    x = np.arange(120, dtype=np.float32).reshape(6, 4, 5)
    folder = package(tmp_path / "case.mlpackage", _in_two, x, target=ct.target.iOS17)
    (got,) = Evaluator(Program.open(folder), "fp32").call("main", {"a": x}).values()
    np.testing.assert_array_equal(got, x.reshape(4, 30))


def test_the_same_program_called_ios_16_is_damaged(tmp_path: Path) -> None:
    x = np.zeros((6, 4, 5), np.float32)
    folder = package(tmp_path / "case.mlpackage", _in_two, x, target=ct.target.iOS17)
    file = folder / "Data/com.apple.CoreML/model.mlmodel"
    model = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    function = model.mlProgram.functions["main"]
    function.block_specializations["CoreML6"].CopyFrom(function.block_specializations["CoreML7"])
    function.opset = "CoreML6"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(Damaged, match=r"reshape .* cannot be evaluated"):
        Evaluator(Program.open(folder), "fp32").call("main", {"a": x})


X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
WHOLE = np.arange(-6, 6, dtype=np.int32).reshape(3, 4)
EDGES = np.array(
    [0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 1e-8, 88, -88, 3e38, -3e38, np.inf, -np.inf], np.float32
)
LEFT, RIGHT = (side.ravel() for side in np.meshgrid(EDGES, EDGES))
TIES = np.round(X)
ALONG: tuple[dict[str, Any], ...] = tuple({"axis": axis} for axis in (0, 1, 2, -1, -2))
GIVEN: dict[str, list[dict[str, Any]]] = {
    **{kind: [{"x": X}, {"x": EDGES}] for kind in (
        "abs", "ceil", "cos", "erf", "exp", "floor", "log", "relu", "round", "rsqrt", "sigmoid", "sin",
        "softplus", "sqrt", "square", "tanh", "inverse",
    )},
    **{kind: [
        {"x": X, "y": X[0, 0]}, {"x": X[:1], "y": X[:, :1]}, {"x": X, "y": np.float32(2)},
        {"x": LEFT, "y": RIGHT}, {"x": WHOLE, "y": WHOLE[::-1]},
    ] for kind in (
        "add", "sub", "mul", "maximum", "minimum", "greater_equal", "greater", "less", "equal",
    )},
    "real_div": [{"x": X, "y": X[0, 0]}, {"x": LEFT, "y": RIGHT}],
    "pow": [{"x": abs(X), "y": X}, {"x": LEFT, "y": RIGHT}, {"x": X, "y": np.float32(2)}],
    "gelu": [
        {"x": x, "mode": mode} for x in (X * 5, EDGES[:11]) for mode in ("EXACT", "TANH_APPROXIMATION")
    ],
    "clip": [{"x": x, "alpha": -0.5, "beta": 0.5} for x in (X, EDGES)],
    "cast": [
        {"x": x, "dtype": kind} for x in (X * 3, WHOLE) for kind in ("int32", "fp32", "bool", "fp16")
    ],
    **{kind: [
        {"x": X, "axes": axes, "keep_dims": keep}
        for axes in ([0], [-1], [0, 2], [-1, 0]) for keep in (False, True)
    ] for kind in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min")},
    "softmax": [{"x": X * 50, **along} for along in ALONG],
    "cumsum": [
        {"x": X, "reverse": reverse, **along}
        for along in ALONG[:4] for reverse in (False, True)
    ],
    "topk": [
        {"x": TIES, "k": k, "ascending": ascending, **along}
        for along in ALONG for k in (1, 2) for ascending in (False, True)
    ],
    "concat": [{"values": [X, X], **along} for along in ALONG],
    "gather": [
        *({"x": X, "indices": rows, **along} for along in ALONG
          for rows in (np.array([[0, 1], [-1, 0]], np.int32), np.int32(1))),
        {"x": X, "indices": np.array([[0, 2], [1, 0]], np.int32), "axis": 1, "batch_dims": 1},
        {"x": X, "indices": np.array([[0], [3]], np.int32), "axis": 2, "batch_dims": 1},
    ],
    "gather_along_axis": [{"x": X, "indices": (X > 0).astype(np.int32), **along} for along in ALONG],
    "pad": [
        {"x": X, "pad": np.array(pad), "mode": "constant", "constant_val": 2.0}
        for pad in ([1, 2], [1, 0, 2, 1], [0, 0, 1, 1, 2, 3])
    ],
    "tile": [{"x": X, "reps": np.array(reps)} for reps in ([2, 2, 2], [3, 1, 2])],
    "expand_dims": [{"x": X, "axes": np.array(axes)} for axes in ([0], [-1], [0, 1], [0, -1])],
    "squeeze": [{"x": X[None, :, None], "axes": np.array(axes)} for axes in ([0], [2], [0, -3])],
    "transpose": [{"x": X, "perm": np.array(perm)} for perm in ([2, 0, 1], [-1, 0, 1])],
    "split": [{"x": X, "split_sizes": np.array([1, 3]), "axis": -1}],
    "slice_by_size": [
        {"x": X, "begin": np.array([0, 1, -1]), "size": np.array([-1, 2, 1])},
        {"x": X, "begin": np.array([0, 0, -3]), "size": np.array([1, 1, 2])},
    ],
    "slice_by_index": [
        {"x": X, "begin": np.array([0, -2, 3]), "end": np.array([2, 3, 0]),
         "stride": np.array([1, 1, -2]), "end_mask": np.array([False, True, last])}
        for last in (False, True)
    ],
    "matmul": [
        {"x": X[:, None], "y": np.ones((1, 5, 4, 2), np.float32)}, {"x": X, "y": X[0].T},
        {"x": X, "y": X, "transpose_y": True},
    ],
    "select": [{"cond": X > 0, "a": X, "b": -X}],
}  # fmt: skip


@pytest.mark.parametrize("kind", GIVEN)
def test_an_operation_is_what_coremltools_infers(kind: str) -> None:
    """Ties, infinities, negative axes, broadcasts."""
    for given in GIVEN[kind]:
        with np.errstate(all="ignore"):
            wanted = inferred(ct.target.iOS18, kind, **given)
            found = (
                infer(kind, given)
                if kind in KINDS
                else {**ARITHMETIC, **moving_of(8)}[kind](**given)
            )
        got = found if isinstance(found, tuple) else (found,)
        for have, want in zip(got, wanted, strict=True):
            assert np.shape(have) == want.shape, given
            np.testing.assert_allclose(
                np.asarray(have).astype(want.dtype), want, rtol=2e-6, atol=1e-6, err_msg=str(given)
            )
