"""Damaged and hostile Core ML packages: one clear error each, nothing outside is touched."""

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("coremltools")

from attack import refused
from mil import ct, mb, package
from support import converted, dividing, tiny

from edge.artifact.manifest import Artifact
from edge.errors import Damaged, EdgeError, Unsupported
from edge.run import opening
from edge_runtimes.coreml import package as packages
from edge_runtimes.coreml.evaluator import Evaluator
from edge_runtimes.coreml.ops import ARITHMETIC, MOVING
from edge_runtimes.coreml.program import Program

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
X = np.ones((1, 32), np.float32)


def _build(a: Any) -> Any:
    weight = np.arange(32 * 8, dtype=np.float32).reshape(8, 32)
    return mb.reshape(x=mb.linear(x=a, weight=weight, bias=np.ones(8, np.float32)), shape=[2, 4])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package(tmp_path_factory.mktemp("good") / "good.mlpackage", _build, X)


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A package to break."""
    return Path(shutil.copytree(good, tmp_path / "bad.mlpackage"))


def run(folder: Path) -> dict[str, np.ndarray]:
    return Evaluator(Program.open(folder), "fp32").call("main", {"a": X})


def test_the_package_that_is_broken_below_works(folder: Path) -> None:
    (got,) = run(folder).values()
    assert got.ravel()[0] == 32 * 31 / 2 + 1


def manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "Manifest.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def root_path(folder: Path, path: Any) -> None:
    def change(content: dict[str, Any]) -> None:
        content["itemInfoEntries"][content["rootModelIdentifier"]]["path"] = path

    manifest(folder, change)


def linked(folder: Path, name: str) -> None:
    """The same file or folder, but behind a link."""
    at = folder / name
    moved = folder.parent / "elsewhere"
    at.rename(moved)
    at.symlink_to(moved)


PLACES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda f: (f / "Manifest.json").unlink(), "lacks the file Manifest.json"),
    "a manifest that is no JSON": (
        lambda f: (f / "Manifest.json").write_text("{"), "is not JSON",
    ),
    "a manifest of no object": (lambda f: (f / "Manifest.json").write_text("[]"), "JSON object"),
    "no items": (lambda f: manifest(f, lambda m: m.pop("itemInfoEntries")), "names no root model"),
    "no root": (lambda f: manifest(f, lambda m: m.pop("rootModelIdentifier")), "no root model"),
    "an item that is a number": (
        lambda f: manifest(f, lambda m: m["itemInfoEntries"].update({m["rootModelIdentifier"]: 3})),
        "names no root model",
    ),
    "a path that climbs": (lambda f: root_path(f, "../../../etc/passwd"), "no file of its folder"),
    "a path from the root": (lambda f: root_path(f, "/etc/passwd"), "no file of its folder"),
    "a path to nothing": (lambda f: root_path(f, "com.apple.CoreML/none"), "lacks the file"),
    "a path with a zero": (lambda f: root_path(f, "a\0b"), "no file of its folder"),
    "a path of a number": (lambda f: root_path(f, 7), "names no root model"),
    "no path": (lambda f: root_path(f, ""), "no file of its folder"),
    "a model behind a link": (lambda f: linked(f, MODEL), "is a link"),
    "a folder behind a link": (lambda f: linked(f, "Data"), "is a link"),
    "weights behind a link": (lambda f: linked(f, WEIGHTS), "is a link"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "lacks the file weights/weight.bin"),
    "no model": (lambda f: (f / MODEL).unlink(), "lacks the file"),
    "a model of garbage": (lambda f: (f / MODEL).write_bytes(b"\xff" * 99), "is no Core ML model"),
    "an empty model": (lambda f: (f / MODEL).write_bytes(b""), "model of no type, not an ML program"),
}  # fmt: skip


@pytest.mark.parametrize("case", PLACES)
def test_a_broken_package_is_one_error(case: str, folder: Path) -> None:
    spoil, message = PLACES[case]
    spoil(folder)
    with pytest.raises((Damaged, Unsupported), match=message):
        run(folder)


def test_a_package_that_is_a_link_or_a_file(good: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(good)
    (tmp_path / "file").write_text("")
    for name in ("link", "file", "nothing"):
        with pytest.raises(Damaged, match="is no package"):
            Program.open(tmp_path / name)


def test_a_program_is_of_bounded_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MODEL_LIMIT", 100)
    with pytest.raises(Damaged, match="is larger than"):
        Program.open(folder)


def weight(at: int, value: int, size: int) -> Callable[[Path], None]:
    """Write a number into the weight file."""

    def spoil(folder: Path) -> None:
        content = bytearray((folder / WEIGHTS).read_bytes())
        content[at : at + size] = value.to_bytes(size, "little")
        (folder / WEIGHTS).write_bytes(content)

    return spoil


def cut(length: int) -> Callable[[Path], None]:
    return lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:length]) and None


BLOBS = {  # the first metadata lies at 64: mark, type, bytes, offset of the data
    "no mark": (weight(64, 1, 4), "is no fp32"),
    "another type": (weight(68, 1, 4), "is no fp32"),
    "an unknown type": (weight(68, 99, 4), "is no fp32"),
    "too few bytes": (weight(72, 8, 8), "has 8 bytes, which is no 256 of fp32"),
    "bytes without end": (weight(72, 1 << 63, 8), "bytes, which is no 256 of fp32"),
    "data past the end": (weight(80, 1 << 40, 8), "lies outside"),
    "data at the end": (weight(80, 1280, 8), "lies outside"),
    "data before the start": (weight(80, 0, 8), "lies outside"),
    "data cut off": (cut(1000), "lies outside"),
    "metadata cut off": (cut(80), "lies outside"),
    "nothing": (cut(0), "lies outside"),
}


@pytest.mark.parametrize("case", BLOBS)
def test_a_broken_weight_file_is_one_error(case: str, folder: Path) -> None:
    spoil, message = BLOBS[case]
    spoil(folder)
    with pytest.raises(Damaged, match=message):
        run(folder)


def spec_of(folder: Path) -> Any:
    return ct.proto.Model_pb2.Model.FromString((folder / MODEL).read_bytes())


def code(model: Any) -> Any:
    function = model.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


def operation(model: Any, kind: str) -> Any:
    return next(op for op in code(model).operations if op.type == kind)


def constant(model: Any, like: str) -> Any:
    """The constant whose name holds a text."""
    return next(op for op in code(model).operations if like in op.outputs[0].name)


def _rename(model: Any, name: str) -> None:
    value = constant(model, "weight").attributes["val"]
    value.blobFileValue.fileName = name


def _offset(model: Any, offset: int) -> None:
    constant(model, "weight").attributes["val"].blobFileValue.offset = offset


def _huge(model: Any) -> None:
    value = constant(model, "weight")
    for kind in (value.attributes["val"].type, value.outputs[0].type):
        kind.tensorType.dimensions[0].constant.size = 1 << 40


def _grow(model: Any, kind: str, argument: str, values: list[int]) -> None:
    """Replace the reshape by an operation that makes much of little."""
    op = operation(model, "reshape")
    op.type = kind
    del op.inputs["shape"]
    if kind == "fill":
        del op.inputs["x"]
        op.inputs["value"].arguments.add().value.CopyFrom(_ints([1], scalar=True))
    op.inputs[argument].arguments.add().value.CopyFrom(_ints(values))


def _ints(values: list[int], *, scalar: bool = False) -> Any:
    value = ct.proto.MIL_pb2.Value()
    kind = value.type.tensorType
    kind.dataType = ct.proto.MIL_pb2.INT32
    if not scalar:
        kind.rank = 1
        kind.dimensions.add().constant.size = len(values)
    value.immediateValue.tensor.ints.values.extend(values)
    return value


def _no_opset(model: Any) -> None:
    model.mlProgram.functions["main"].opset = "CoreML99"


def _no_function(model: Any) -> None:
    model.mlProgram.functions.clear()


def _network(model: Any) -> None:
    model.neuralNetwork.SetInParent()


def _loop(model: Any) -> None:
    operation(model, "reshape").blocks.add()


def _later(model: Any) -> None:
    operation(model, "linear").inputs["x"].arguments[0].name = "nobody"


def _no_state(model: Any) -> None:
    op = operation(model, "reshape")
    op.type = "read_state"
    op.inputs["input"].arguments.add().name = "cache"


def _shape(model: Any) -> None:
    operation(model, "reshape").outputs[0].type.tensorType.dimensions[0].constant.size = 5


def _rank(model: Any) -> None:
    operation(model, "reshape").outputs[0].type.tensorType.rank = 5


def _double(model: Any) -> None:
    operation(model, "reshape").outputs[0].type.tensorType.dataType = ct.proto.MIL_pb2.FLOAT64


def _list(model: Any) -> None:
    operation(model, "reshape").outputs[0].type.listType.SetInParent()


def _few(model: Any) -> None:
    shape = constant(model, "shape").attributes["val"]
    shape.immediateValue.tensor.ints.values.pop()


def _tuple(model: Any) -> None:
    constant(model, "shape").attributes["val"].immediateValue.tuple.SetInParent()


def _argument(model: Any) -> None:
    operation(model, "reshape").inputs["sneaky"].arguments.add().name = "a"


PROGRAMS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "weights above the package": (
        lambda m: _rename(m, "@model_path/../../../etc/passwd"), "no file of its folder",
    ),
    "weights anywhere": (lambda m: _rename(m, "/etc/passwd"), "outside of the package"),
    "weights of no name": (lambda m: _rename(m, ""), "outside of the package"),
    "an offset past the end": (lambda m: _offset(m, 1 << 50), "lies outside"),
    "an offset in the header": (lambda m: _offset(m, 8), "lies outside"),
    "a tensor without end": (_huge, r"asks for a tensor of \[1099511627776, 32\]"),
    "a tile without end": (
        lambda m: _grow(m, "tile", "reps", [1 << 20, 1 << 20]), "asks for a tensor",
    ),
    "a fill without end": (
        lambda m: _grow(m, "fill", "shape", [1 << 20, 1 << 20]), "asks for a tensor",
    ),
    "a fill of less than nothing": (
        lambda m: _grow(m, "fill", "shape", [-1, 4]), "asks for a tensor",
    ),
    "no code": (_no_opset, "has no code for 'CoreML99'"),
    "an output that nobody made": (
        lambda m: code(m).outputs.append("ghost"), "gives what nothing in it makes",
    ),
    "no function": (_no_function, "holds no function"),
    "a network": (_network, "a neuralNetwork, not an ML program"),
    "a loop": (_loop, "blocks of its own"),
    "a value that nobody made": (_later, r"linear .* cannot be evaluated: 'nobody'"),
    "a state that nobody has": (_no_state, "read_state of no state"),
    "a shape that is not so": (_shape, r"cannot be evaluated: shape \[2, 4\], not fp32\[5, 4\]"),
    "a rank that is not so": (_rank, "rank 5 has 2 sizes"),
    "a type that we lack": (_double, "has no FLOAT64"),
    "a type that is no tensor": (_list, "not a listType"),
    "a constant that is short": (_few, r"a constant of int32\[2\] has 1 values"),
    "a constant that is no tensor": (_tuple, "is no tensor"),
    "an argument too many": (_argument, "cannot be evaluated"),
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRAMS)
def test_a_broken_program_is_one_error(case: str, folder: Path) -> None:
    spoil, message = PROGRAMS[case]
    model = spec_of(folder)
    spoil(model)
    (folder / MODEL).write_bytes(model.SerializeToString())
    with pytest.raises((Damaged, Unsupported), match=message):
        run(folder)


ROW = np.ones((1 << 16, 1), np.float32)
COLUMN = np.ones((1, 1 << 16), np.float32)
IMAGE = np.ones((1 << 8, 1, 4, 4), np.float32)
KERNEL = np.ones((1, 1, 3, 3), np.float32)
FAR = np.array([1 << 30, 1 << 30])
GROWING: dict[str, tuple[str, dict[str, Any]]] = {
    "a conv of wide padding": (
        "conv", {"x": IMAGE, "weight": KERNEL, "pad_type": "custom", "pad": np.full(4, 1 << 12)},
    ),
    "a conv of far taps": (
        "conv", {"x": IMAGE, "weight": KERNEL, "pad_type": "same", "dilations": FAR},
    ),
    "a pool of large windows": (
        "max_pool", {"x": IMAGE, "kernel_sizes": FAR, "pad_type": "same"},
    ),
    "a pool of many large windows": (
        "avg_pool", {"x": np.ones((1, 1, 999, 999), np.float32), "kernel_sizes": np.array([300, 300])},
    ),
    "a bias of many rows": ("conv", {"x": IMAGE, "weight": KERNEL, "bias": COLUMN[0]}),
    "steps back": ("conv", {"x": IMAGE, "weight": KERNEL, "strides": np.array([-1, -1])}),
    "a linear bias of many rows": (
        "linear", {"x": ROW, "weight": ROW[:1], "bias": ROW},
    ),
    "a choice of rows and columns": ("select", {"cond": ROW > 0, "a": COLUMN, "b": COLUMN}),
    "limits that are rows": ("clip", {"x": ROW, "alpha": COLUMN, "beta": COLUMN}),
    "an epsilon of columns": ("rsqrt", {"x": ROW, "epsilon": COLUMN}),
    "a mean of many channels": (
        "batch_norm", {"x": ROW, "mean": COLUMN[0], "variance": COLUMN[0]},
    ),
    "a mask of many batches": (
        "scaled_dot_product_attention",
        {"query": ROW, "key": ROW[:1], "value": ROW[:1], "attn_mask": COLUMN.reshape(-1, 1, 1)},
    ),
    "indices of other rows": (
        "gather_along_axis", {"x": ROW[:, :, None], "indices": np.zeros((1, 1 << 16, 1), np.int32), "axis": 2},
    ),
    "one value many times": ("concat", {"values": [ROW] * (1 << 16), "axis": 0}),
    "one value many times over": ("stack", {"values": [ROW] * (1 << 16), "axis": 0}),
}  # fmt: skip


@pytest.mark.parametrize("case", GROWING)
def test_an_operation_makes_no_more_than_it_may(case: str) -> None:
    """Refused before it allocates: a few MiB, where each asks for many GiB."""
    kind, arguments = GROWING[case]
    operations = {**ARITHMETIC, **MOVING}
    tracemalloc.start()
    try:
        with pytest.raises((Damaged, TypeError, ValueError)):
            operations[kind](**arguments)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_an_answer_or_one_error(good: Path, data: st.DataObject) -> None:
    """No traceback, whatever is changed."""
    content = bytearray((good / MODEL).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    folder = good.parent / "fuzzed.mlpackage"
    if not folder.exists():
        shutil.copytree(good, folder)
    (folder / MODEL).write_bytes(content)
    try:
        program = Program.open(folder)
        inputs = {"a": X} if "main" in program.functions else {}
        Evaluator(program, "fp32").call(next(iter(program.functions)), inputs)
    except EdgeError:
        pass


@pytest.mark.parametrize("outputs", [[], ["logits", "logits"]], ids=["none", "two"])
def test_a_decoder_whose_functions_have_no_one_output(tmp_path: Path, outputs: list[str]) -> None:
    made = converted(
        tmp_path / "it", tiny(tmp_path / "source", **dividing("llama")), "fp16", target="coreml"
    )
    file = made / "model.mlpackage" / MODEL
    spec = ct.utils.load_spec(str(file))
    for block in spec.mlProgram.functions["step"].block_specializations.values():
        block.outputs[:] = outputs
    file.write_bytes(spec.SerializeToString())
    with refused(Damaged):
        opening.open_reference(Artifact.open(made), exact=False).prefill([1, 2, 3])
