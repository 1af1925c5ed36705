"""The Core ML evaluator on whole packages, made by coremltools and none of our own code."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("coremltools")

from mil import ct, mb, mil, package, packages, types  # noqa: E402

from edge.errors import EdgeError  # noqa: E402
from edge_runtimes.coreml import evaluator as module  # noqa: E402
from edge_runtimes.coreml.blobs import Blobs  # noqa: E402
from edge_runtimes.coreml.evaluator import Evaluator  # noqa: E402
from edge_runtimes.coreml.program import Program  # noqa: E402
from edge_runtimes.coreml.types import TensorType  # noqa: E402

RNG = np.random.default_rng(1)


def noise(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


class Net(torch.nn.Module):
    """Convolution, attention and feed-forward: what a small vision transformer is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 32, 4, stride=4)
        self.norm = torch.nn.LayerNorm(32)
        self.qkv = torch.nn.Linear(32, 96)
        self.up, self.down = torch.nn.Linear(32, 64), torch.nn.Linear(64, 32)
        self.head = torch.nn.Linear(32, 5)

    def forward(self, x: Any) -> Any:
        x = self.patches(x).flatten(2).transpose(1, 2)  # [B, T, 32]
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        x = x + torch.nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))
        return self.head(x.mean(1)).softmax(-1)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Any]:
    """The net, and coremltools' conversion of it with all its own passes: fp16."""
    torch.manual_seed(0)
    net = Net().eval()
    traced = torch.jit.trace(net, torch.zeros(2, 3, 16, 16))
    given = [ct.TensorType(name="image", shape=(2, 3, 16, 16))]
    target = ct.target.iOS18
    return net, ct.convert(
        traced, inputs=given, minimum_deployment_target=target, skip_model_load=True
    )


def evaluate(folder: Path, precision: Any = "fp32", **inputs: np.ndarray) -> np.ndarray:
    (out,) = Evaluator(Program.open(folder), precision).call("main", inputs).values()
    return np.asarray(out, np.float32)


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-3), ("declared", 1e-2)])
def test_a_package_of_others_is_its_torch_module(
    net: tuple[Any, Any], precision: str, error: float, tmp_path: Path
) -> None:
    image = noise(2, 3, 16, 16)
    net[1].save(str(tmp_path / "net.mlpackage"))
    got = evaluate(tmp_path / "net.mlpackage", precision, image=image)
    want = net[0](torch.tensor(image)).detach().numpy()
    assert np.abs(got - want).max() < error * np.abs(want).max()


COMPRESSED = {
    "int8 per channel": lambda o: o.linear_quantize_weights(
        config=o.OptimizationConfig(o.OpLinearQuantizerConfig(mode="linear", weight_threshold=0))
    ),
    "int4 per block": lambda o: o.linear_quantize_weights(
        config=o.OptimizationConfig(
            o.OpLinearQuantizerConfig(
                dtype="int4", granularity="per_block", block_size=16, weight_threshold=0
            )
        )
    ),
    **{
        f"palette of {bits} bits": lambda o, bits=bits: o.palettize_weights(
            config=o.OptimizationConfig(
                o.OpPalettizerConfig(
                    mode="uniform", nbits=bits, granularity="per_grouped_channel", group_size=4,
                    weight_threshold=0,
                )
            )
        )
        for bits in (1, 2, 3, 4, 6, 8)
    },
    "sparse": lambda o: o.prune_weights(
        config=o.OptimizationConfig(
            o.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=0)
        )
    ),
}  # fmt: skip


class _Bound:
    """coremltools.optimize.coreml with the model given."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        found = getattr(ct.optimize.coreml, name)
        return (lambda **k: found(self._model, **k)) if name.endswith("_weights") else found


@pytest.mark.parametrize("how", COMPRESSED)
def test_compressed_weights_are_what_coremltools_decompresses(
    net: tuple[Any, Any], how: str, tmp_path: Path
) -> None:
    """The two packages compute the same, the second from plain weights."""
    small = COMPRESSED[how](_Bound(net[1]))
    small.save(str(tmp_path / "small.mlpackage"))
    plain = ct.optimize.coreml.decompress_weights(small)
    plain.save(str(tmp_path / "plain.mlpackage"))
    kinds = {op.kind for op in Program.open(tmp_path / "small.mlpackage").default.ops}
    assert any(kind.startswith("constexpr_") for kind in kinds)
    image = noise(2, 3, 16, 16)
    got, want = (evaluate(tmp_path / f"{n}.mlpackage", image=image) for n in ("small", "plain"))
    assert np.abs(got - want).max() < 1e-3


@pytest.mark.parametrize("how", ["affine", "palette", "sparse", "cast"])
def test_the_compressed_types_of_ios_16(how: str, tmp_path: Path) -> None:
    """Flat bytes and a shape instead of tensors."""
    values = noise(6, 8)
    table = np.linspace(-1, 1, 16, dtype=np.float32)
    codes = RNG.integers(0, 16, 48)
    bits = RNG.random(48) < 0.5
    build = {
        "affine": lambda: mb.constexpr_affine_dequantize(
            quantized_data=(codes - 8).astype(np.int8).reshape(6, 8),
            zero_point=np.int8(3), scale=np.abs(values[:, 0]), axis=0,
        ),
        "palette": lambda: mb.constexpr_lut_to_dense(
            indices=(codes[::2] | codes[1::2] << 4).astype(np.uint8), lut=table,
            shape=np.array([6, 8], np.uint32),
        ),
        "sparse": lambda: mb.constexpr_sparse_to_dense(
            nonzero_data=values.reshape(-1)[bits], mask=np.packbits(bits, bitorder="little"),
            shape=np.array([6, 8], np.uint32),
        ),
        "cast": lambda: mb.constexpr_cast(
            source_val=values.astype(np.float16), output_dtype="fp32"
        ),
    }  # fmt: skip
    want = {
        "affine": (codes.reshape(6, 8) - 11) * np.abs(values[:, :1]),
        "palette": table[codes].reshape(6, 8),
        "sparse": np.where(bits.reshape(6, 8), values, 0),
        "cast": values.astype(np.float16),
    }
    with mil.Function({"a": mb.placeholder((1, 8))}, opset_version=ct.target.iOS16) as function:
        function.set_outputs([mb.linear(x=function.inputs["a"], weight=build[how]())])
    program = mil.Program()
    program.add_function("main", function)
    ct.convert(
        program, minimum_deployment_target=ct.target.iOS16, skip_model_load=True,
        compute_precision=ct.precision.FLOAT32, pass_pipeline=ct.PassPipeline.EMPTY,
    ).save(str(tmp_path / "old.mlpackage"))  # fmt: skip
    x = noise(1, 8)
    got = evaluate(tmp_path / "old.mlpackage", a=x)
    np.testing.assert_allclose(got, x @ want[how].astype(np.float32).T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_table_of_vectors(axis: int, tmp_path: Path) -> None:
    codes = RNG.integers(0, 4, (6, 4)).astype(types.np_uint2_dtype)
    tables = noise(2, 1, 4, 2)  # one for three rows, vectors of two

    def build(a: Any) -> Any:
        weight = mb.constexpr_lut_to_dense(indices=codes, lut=tables, vector_axis=axis)
        return mb.matmul(x=weight, y=a)

    want = np.empty((6, 4, 2), np.float32)
    for (i, j), code in np.ndenumerate(codes):
        want[i, j] = tables[i // 3, 0, code]
    want = want.transpose(0, 2, 1).reshape(12, 4) if axis == 0 else want.reshape(6, 8)
    x = np.eye(want.shape[1], dtype=np.float32)
    got = evaluate(package(tmp_path / "case.mlpackage", build, x), a=x)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_packed_codes_are_read_as_coremltools_writes_them(bits: int, tmp_path: Path) -> None:
    from coremltools.libmilstoragepython import _BlobStorageWriter

    codes = RNG.integers(0, 1 << bits, 77).astype(np.uint8)
    file = tmp_path / "weight.bin"
    writer = _BlobStorageWriter(str(file))
    at = getattr(writer, f"write_uint{bits}_data")(codes)
    signed = writer.write_int4_data((codes % 16).astype(np.int8) - 8)
    del writer
    blobs = Blobs(lambda _: file)
    np.testing.assert_array_equal(blobs.read("", at, TensorType(f"uint{bits}", (77,))), codes)
    got = blobs.read("", signed, TensorType("int4", (7, 11)))
    np.testing.assert_array_equal(got.ravel(), (codes % 16).astype(np.int8) - 8)


def _append(a: Any, at: Any, rows: Any) -> Any:
    """Write one row of a state, and give the sum of what is now in it."""
    held = mb.read_state(input=rows)
    before = mb.reduce_sum(x=mb.slice_by_index(x=held, begin=[0, 0], end=[5, 4]), axes=[0, 1])
    begin = mb.concat(values=[at, np.array([0], np.int32)], axis=0)
    end = mb.concat(values=[mb.add(x=at, y=1), np.array([4], np.int32)], axis=0)
    held = mb.slice_update(x=held, update=a, begin=begin, end=end)
    held = mb.coreml_update_state(state=rows, value=held)
    return mb.sub(x=mb.reduce_sum(x=held, axes=[0, 1]), y=before)


def _overwritten(a: Any, at: Any, rows: Any) -> Any:
    """What was read before an update is what it was."""
    held = mb.read_state(input=rows)
    begin = mb.concat(values=[at, np.array([0], np.int32)], axis=0)
    end = mb.concat(values=[mb.add(x=at, y=1), np.array([4], np.int32)], axis=0)
    new = mb.slice_update(x=held, update=a, begin=begin, end=end)
    new = mb.coreml_update_state(state=rows, value=new)
    return mb.reduce_sum(x=mb.sub(x=new, y=held), axes=[0, 1])


@pytest.mark.parametrize("in_place", [True, False])
def test_states_outlive_a_call_and_are_shared_by_functions(
    in_place: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half, at = np.zeros((1, 4), np.float16), np.zeros(1, np.int32)
    entries = {"append": (_append, (half, at)), "over": (_overwritten, (half, at))}
    folder = packages(tmp_path / "s.mlpackage", entries, states={"rows": (5, 4)})
    program = Program.open(folder)
    plans = {name: module._plan(f).in_place for name, f in program.functions.items()}
    assert len(plans["append"]) == 1  # a slice was taken before: nobody sees the difference
    assert not plans["over"]  # somebody holds what was read
    if not in_place:
        plan = module._plan
        monkeypatch.setattr(module, "_plan", lambda f: replace(plan(f), in_place=frozenset()))
    evaluator = Evaluator(program, "declared")
    for _ in range(2):
        sums = np.zeros(5)
        for row, name, value in [
            (0, "append", 1),
            (3, "over", 8),
            (3, "append", 4),
            (0, "over", 2),
        ]:
            given = {"a": np.full((1, 4), value, np.float16), "b": np.array([row], np.int32)}
            (got,) = evaluator.call(name, given).values()
            assert got == 4 * value - sums[row], (row, name)
            sums[row] = 4 * value
        evaluator.reset()


def test_a_symbolic_length(tmp_path: Path) -> None:
    """Shapes that are known only when it runs, as a range of lengths has them."""
    symbol = mil.get_new_symbol()
    with mil.Function(
        {"a": mb.placeholder((1, symbol))}, opset_version=ct.target.iOS18
    ) as function:
        x = function.inputs["a"]
        size = mb.slice_by_index(x=mb.shape(x=x), begin=[1], end=[2], squeeze_mask=[True])
        steps = mb.cast(x=mb.range_1d(start=0, end=size, step=1), dtype="fp32")
        function.set_outputs([mb.add(x=x, y=steps)])
    program = mil.Program()
    program.add_function("main", function)
    lengths = ct.RangeDim(lower_bound=1, upper_bound=9, default=2)
    ct.convert(
        program, inputs=[ct.TensorType("a", shape=(1, lengths))], skip_model_load=True,
        minimum_deployment_target=ct.target.iOS18, pass_pipeline=ct.PassPipeline.EMPTY,
        compute_precision=ct.precision.FLOAT32,
    ).save(str(tmp_path / "range.mlpackage"))  # fmt: skip
    for length in (1, 5):
        got = evaluate(tmp_path / "range.mlpackage", a=np.ones((1, length), np.float32))
        np.testing.assert_array_equal(got, [np.arange(length) + 1])


def test_wrong_inputs_are_refused(tmp_path: Path) -> None:
    folder = package(tmp_path / "case.mlpackage", lambda a: mb.relu(x=a), noise(2, 3))
    evaluator = Evaluator(Program.open(folder), "fp32")
    with pytest.raises(EdgeError, match=r"takes a, not b"):
        evaluator.call("main", {"b": noise(2, 3)})
    with pytest.raises(EdgeError, match=r"input a of main is fp32\[2, 3\], not \[3, 2\]"):
        evaluator.call("main", {"a": noise(3, 2)})


def test_a_copied_package_is_the_same(net: tuple[Any, Any], tmp_path: Path) -> None:
    """Nothing depends on where a package lies."""
    image = noise(2, 3, 16, 16)
    net[1].save(str(tmp_path / "net.mlpackage"))
    shutil.copytree(tmp_path / "net.mlpackage", tmp_path / "other")
    np.testing.assert_array_equal(
        evaluate(tmp_path / "net.mlpackage", image=image),
        evaluate(tmp_path / "other", image=image),
    )
