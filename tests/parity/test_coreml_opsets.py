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
from edge_runtimes.coreml.ops import moving_of
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
