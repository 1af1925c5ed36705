"""Laws of how Core ML's weight file is written: packing codes, and putting rows together."""

import struct
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import config_of, spec_of

pytest.importorskip("coremltools")

from edge.names import shapes
from edge.quant import recipe as recipes
from edge.quant.stream import packed as pack
from edge_converters.coreml.pack import Together
from edge_converters.coreml.weight_file import WeightFile
from edge_runtimes.coreml.blobs import unpack


@given(st.sampled_from([1, 2, 3, 4, 6, 8]), st.integers(1, 40), st.integers(0, 1 << 32))
def test_packed_codes_unpack_to_themselves(bits: int, words: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << bits, (3, 8 * words), np.uint8)
    packed = pack(codes.reshape(1, -1), bits)[0]
    assert packed.size == codes.size * bits // 8
    got = packed if bits == 8 else unpack(packed, bits)
    np.testing.assert_array_equal(got, codes.ravel())


@given(
    st.integers(1, 40),
    st.integers(1, 9),
    st.lists(st.integers(1, 39), max_size=6),
    st.randoms(use_true_random=False),
)
def test_rows_come_together_once_and_whole(
    rows: int, group: int, cuts: Sequence[int], random: "np.random.Generator"
) -> None:
    """Whatever blocks a weight is cut into, and in whatever order they come."""
    weight = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    edges = sorted({0, rows, *(cut for cut in cuts if cut < rows)})
    blocks = [(a, weight[a:b]) for a, b in pairwise(edges)]
    random.shuffle(blocks)  # type: ignore[arg-type]
    together = Together(rows, group)
    found = [part for row, block in blocks for part in together.add(row, block)]
    assert sorted(row for row, _ in found) == list(range(0, rows, group))
    for row, part in found:
        np.testing.assert_array_equal(part, weight[row : row + group])


@pytest.mark.parametrize("quant", ["fp16", "int4", "int8-asym-fp16", "lut3-g1-fp16"])
def test_blobs_lie_apart_and_aligned(quant: str) -> None:
    spec, recipe = spec_of(config_of("llama")), recipes.parse(quant)
    file = WeightFile(shapes(spec), "fp16")
    for name, shape in shapes(spec).items():
        if len(shape) == 2:
            file.matrix(name, recipe.scheme(name))
        else:
            file.vector(name)
    assert file.matrix("embed", recipe.body) is file.matrix("embed", recipe.body)
    blobs = sorted(file.blobs.values(), key=lambda blob: blob.offset)
    assert blobs[0].offset == 64
    for blob, after in pairwise(blobs):
        assert blob.offset % 64 == 0
        assert blob.at(0) == blob.offset + 64
        assert blob.at(0) + blob.nbytes <= after.offset
    assert blobs[-1].at(0) + blobs[-1].nbytes <= file.nbytes
    weights = sum(recipe.scheme(n).nbytes(*s) for n, s in shapes(spec).items() if len(s) == 2)
    vectors = sum(2 * s[0] for s in shapes(spec).values() if len(s) == 1)
    assert sum(blob.nbytes for blob in blobs) == weights + vectors


def test_metadata_is_that_of_coremltools(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same 64 bytes, but for the offset, as its own writer makes."""
    from coremltools.libmilstoragepython import _BlobStorageWriter

    from edge_converters.coreml.weight_file import Blob

    file = tmp_path_factory.mktemp("blobs") / "weight.bin"
    writer = _BlobStorageWriter(str(file))
    made = {
        "fp32": writer.write_float_data(np.zeros(5, np.float32)),
        "fp16": writer.write_fp16_data(np.zeros(5, np.uint16)),
        "int8": writer.write_int8_data(np.zeros(5, np.int8)),
        "uint8": writer.write_uint8_data(np.zeros(5, np.uint8)),
        "int32": writer.write_int32_data(np.zeros(5, np.int32)),
        "int4": writer.write_int4_data(np.zeros(5, np.int8)),
        **{
            f"uint{bits}": getattr(writer, f"write_uint{bits}_data")(np.zeros(5, np.uint8))
            for bits in (1, 2, 3, 4, 6)
        },
    }
    del writer
    content = file.read_bytes()
    assert struct.unpack("<II", content[:8]) == (len(made), 2)
    for kind, offset in made.items():
        ours = Blob("it", kind, (5,), offset, offset + 64).metadata
        assert ours == content[offset : offset + 64], kind


@pytest.mark.parametrize("quant", ["fp16", "int4", "int8-asym-fp16", "lut3-g1-fp16"])
@given(rows=st.integers(1, 97))
def test_first_rows_are_metadata_over_the_same_bytes(quant: str, rows: int) -> None:
    """Which come last, where nobody who reads blob after blob meets them."""
    spec, recipe = spec_of(config_of("llama")), recipes.parse(quant)
    file = WeightFile(shapes(spec), "fp16")
    whole = file.matrix("head", recipe.scheme("head"))
    first = file.first(whole, rows)
    file.vector("norm")  # what is claimed later lies before them
    end = max(blob.data + blob.nbytes for blob in file.blobs.values())
    for own, of in ((first.values, whole.values), (first.scales, whole.scales)):
        if own is None or of is None or rows == spec.vocab:
            continue
        blob = file.placed()[own.key]
        assert (blob.data, blob.kind, blob.shape[1:]) == (of.data, of.kind, of.shape[1:])
        assert blob.nbytes * spec.vocab == of.nbytes * rows, "rows fill whole bytes"
        assert end <= blob.offset <= file.nbytes - 64
        assert blob.offset % 64 == 0
        assert struct.unpack_from("<IIQQ", blob.metadata)[2:] == (blob.nbytes, of.data)
    again = file.first(whole, rows)
    assert again == first
    assert file.nbytes - end < 64 * 5
