"""A hostile ONNX artifact whose edge.json vouches for it: refused before ONNX Runtime sees the graph.

CVE-2022-25882, CVE-2024-27318, CVE-2026-27489, CVE-2026-34447, GHSA-cmw6-hcpp-c6jp: data outside of
the folder, by path, by link, by hard link.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attack import forge, give_tokenizer, refused, rewrite
from support import converted, tiny

from edge import api
from edge.errors import Damaged, EdgeError
from edge_runtimes.onnx import decoder, external

onnx = pytest.importorskip("onnx")
GRAPH, DATA = "model.onnx", "model.onnx.data"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    source = tiny(folder / "source", vocab_size=512)
    give_tokenizer(source, assets)
    return converted(folder / "it", source, "int4")


@pytest.fixture
def artifact(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "artifact"))


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime must not be reached."""

    def session(*_: object, **__: object) -> None:
        pytest.fail("ONNX Runtime was given the graph")

    monkeypatch.setattr(decoder.ort, "InferenceSession", session)


def graph(artifact: Path, change: Callable[[Any], object]) -> None:
    """Change the graph, and let the manifest vouch for it."""
    model = onnx.load(artifact / GRAPH, load_external_data=False)
    change(model)
    (artifact / GRAPH).write_bytes(model.SerializeToString())
    forge(artifact, GRAPH)


def tensors(model: Any) -> Iterator[Any]:
    return (tensor for tensor in model.graph.initializer if tensor.external_data)


def put(key: str, value: str) -> Callable[[Any], None]:
    """Set a field of every tensor's external data."""

    def change(model: Any) -> None:
        for tensor in tensors(model):
            fields = {field.key: field for field in tensor.external_data}
            if key in fields:
                fields[key].value = value
            else:
                tensor.external_data.add(key=key, value=value)

    return change


def test_the_forger_s_artifact_would_load(artifact: Path) -> None:
    graph(artifact, lambda model: setattr(model, "producer_name", "somebody"))
    assert len(api.load(artifact).decoder.prefill([1, 2, 3])) == 512


LOCATIONS = [
    "../secret", "/etc/passwd", "sub/../../secret", "sub/secret", "./model.onnx.data", "sub/../model.onnx.data",
    "..", ".", "", " ", "C:\\secret", "C:secret", "\\\\host\\share\\secret", "..\\secret", "//host/share",
    "file:///etc/passwd", "model.onnx.data\0", "a\0b", "x" * 300, "*/_ORT_MEM_ADDR_/*", "missing.data",
]  # fmt: skip


@pytest.mark.parametrize("location", LOCATIONS)
def test_data_outside_of_the_folder(
    artifact: Path, tmp_path: Path, unseen: None, location: str
) -> None:
    (tmp_path / "secret").write_bytes(b"s" * (artifact / DATA).stat().st_size)
    (artifact / "sub").mkdir()
    (artifact / "sub" / "secret").write_bytes(b"s" * (artifact / DATA).stat().st_size)
    graph(artifact, put("location", location))
    with refused(Damaged, GRAPH, "do not trust it"):
        api.load(artifact)


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "symbolic link": lambda secret, at: at.symlink_to(secret),
    "hard link": lambda secret, at: at.hardlink_to(secret),
    "relative link": lambda secret, at: at.symlink_to("../secret"),
    "link inside": lambda secret, at: at.symlink_to(DATA),
    "dangling link": lambda secret, at: at.symlink_to("nowhere"),
    "folder": lambda secret, at: at.mkdir(),
    "pipe": lambda secret, at: os.mkfifo(at),
    "device": lambda secret, at: at.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS.keys())
def test_data_that_is_a_link(
    artifact: Path, tmp_path: Path, unseen: None, link: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "secret").write_bytes(b"s" * (artifact / DATA).stat().st_size)
    link(tmp_path / "secret", artifact / "other.data")
    graph(artifact, put("location", "other.data"))
    with refused(Damaged, GRAPH, "other.data"):
        api.load(artifact)


@pytest.mark.parametrize(
    ("name", "link"), [(GRAPH, "symlink_to"), (DATA, "symlink_to"), (DATA, "hardlink_to")]
)
def test_files_of_the_manifest_that_are_links(
    artifact: Path, tmp_path: Path, unseen: None, name: str, link: str
) -> None:
    (artifact / name).rename(tmp_path / "elsewhere")
    getattr(artifact / name, link)(tmp_path / "elsewhere")
    with refused(Damaged, name):
        api.load(artifact)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("offset", "-4096"),
        ("offset", str(1 << 62)),
        ("offset", str((1 << 64) - 4096)),
        ("offset", "9" * 5000),
        ("offset", "0x10"),
        ("offset", "1e3"),
        ("offset", ""),
        ("offset", "\u0663"),
        ("length", "-1"),
        ("length", str((1 << 64) - 1)),
        ("length", str(1 << 40)),
        ("basepath", "/etc"),
        ("prepacked_0", "x"),
    ],
)
def test_places_that_lie(artifact: Path, unseen: None, key: str, value: str) -> None:
    graph(artifact, put(key, value))
    with refused(Damaged, GRAPH):
        api.load(artifact)


def test_data_that_was_cut_off(artifact: Path, unseen: None) -> None:
    os.truncate(artifact / DATA, (artifact / DATA).stat().st_size - 4096)
    forge(artifact, DATA)
    with refused(Damaged, "ends past"):
        api.load(artifact)


def test_a_key_that_is_there_twice(artifact: Path, unseen: None) -> None:
    """Which of two counts differs from parser to parser."""

    def twice(model: Any) -> None:
        next(tensors(model)).external_data.add(key="location", value=DATA)

    graph(artifact, twice)
    with refused(Damaged, "two of 'location'"):
        api.load(artifact)


def test_two_values_of_one_key(artifact: Path, unseen: None) -> None:
    content = (artifact / GRAPH).read_bytes()
    entry = b"\x0a\x08location\x12\x0f" + DATA.encode()
    assert b"\x6a" + bytes([len(entry)]) + entry in content
    longer = entry + b"\x12\x09../secret"
    tensor = onnx.TensorProto.FromString(b"\x6a" + bytes([len(longer)]) + longer)
    assert tensor.external_data[0].value == "../secret", "so the last one counts there"
    raw = b"\x3a" + length(b"\x2a" + length(b"\x6a" + length(longer)))
    (artifact / GRAPH).write_bytes(raw)
    forge(artifact, GRAPH)
    with refused(Damaged, "appears twice"):
        api.load(artifact)


def length(content: bytes) -> bytes:
    """A field of a length, without its key."""
    size, out = len(content), bytearray()
    while True:
        out.append(size & 0x7F | (0x80 if size > 0x7F else 0))
        size >>= 7
        if not size:
            return bytes(out) + content


def hidden(kind: str) -> Any:
    """A model with one tensor outside of the folder, in each place where a tensor can be."""
    tensor = onnx.TensorProto(name="t", data_type=1, dims=[1], data_location=1)
    tensor.external_data.add(key="location", value="../secret")
    sparse = onnx.SparseTensorProto(values=tensor, indices=tensor, dims=[1])
    inner = onnx.GraphProto(initializer=[tensor])
    made = onnx.AttributeProto
    attributes = {
        "attribute": made(name="a", t=tensor, type=made.TENSOR),
        "attribute list": made(name="a", tensors=[tensor], type=made.TENSORS),
        "sparse attribute": made(name="a", sparse_tensor=sparse, type=made.SPARSE_TENSOR),
        "sparse attribute list": made(name="a", sparse_tensors=[sparse], type=made.SPARSE_TENSORS),
        "subgraph": made(name="a", g=inner, type=made.GRAPH),
        "subgraph list": made(name="a", graphs=[inner], type=made.GRAPHS),
    }
    model = onnx.ModelProto(ir_version=10)
    if kind in attributes:
        model.graph.node.add(op_type="Constant", attribute=[attributes[kind]])
    elif kind == "initializer":
        model.graph.initializer.append(tensor)
    elif kind == "sparse initializer":
        model.graph.sparse_initializer.append(sparse)
    elif kind == "function":
        node = onnx.NodeProto(op_type="Constant", attribute=[attributes["attribute"]])
        model.functions.add(name="f", node=[node])
    elif kind == "function attribute":
        model.functions.add(name="f", attribute_proto=[attributes["attribute"]])
    elif kind == "training":
        model.training_info.add(algorithm=inner)
    return model


PLACES = [
    "initializer", "sparse initializer", "attribute", "attribute list", "sparse attribute",
    "sparse attribute list", "subgraph", "subgraph list", "function", "function attribute", "training",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_in_any_place_is_found(tmp_path: Path, place: str) -> None:
    (tmp_path / GRAPH).write_bytes(hidden(place).SerializeToString())
    with refused(Damaged, "'../secret'"):
        external.check(tmp_path / GRAPH)


def test_the_walk_knows_every_place_of_the_format() -> None:
    """A later ONNX may put tensors elsewhere: its own description says where."""
    found: dict[str, dict[int, str]] = {}
    todo = [onnx.ModelProto.DESCRIPTOR]
    seen = set()
    while todo:
        message = todo.pop()
        for inner in message.fields:
            kind = inner.message_type
            if kind is not None:
                found.setdefault(message.name, {})[inner.number] = kind.name
                if kind.name not in seen:
                    seen.add(kind.name)
                    todo.append(kind)
    holding = {"TensorProto"}
    while more := {m for m, f in found.items() if set(f.values()) & holding} - holding:
        holding |= more
    want = {
        m: {n: kind for n, kind in f.items() if kind in holding}
        for m, f in found.items()
        if m in holding and m != "TensorProto"
    }
    known = {m: dict(f) for m, f in external._INSIDE.items() if m in want}
    assert known == want


def nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = b"\x0a" + length(b"\x2a" + length(b"\x32" + length(content)))
    return b"\x3a" + length(content)


WIRES = {
    "empty field": b"\x3a",
    "cut length": b"\x3a\xff",
    "long length": b"\x3a\xff\xff\xff\xff\x7f",
    "endless varint": b"\x3a" + b"\xff" * 20,
    "past the end": b"\x3a\x05\x2a\x01",
    "inner past outer": b"\x3a\x04\x2a\x7f\x00\x00" + b"\x00" * 200,
    "group": b"\x3b\x3c",
    "field zero": b"\x02\x00",
    "wire type 7": b"\x3f",
    "nested": nested(2000),
    "many fields": b"\x08\x00" * (external._FIELDS + 1),
    "location no text": b"\x3a\x0b\x2a\x09\x6a\x07\x0a\x01\xff\x12\x02\xff\xfe",
    "large": b"\x3a" + length(b"\x00") + b"\x12" + length(b"x" * external.LIMIT),
}


@pytest.mark.parametrize("content", WIRES.values(), ids=WIRES.keys())
def test_protobufs_that_lie(artifact: Path, unseen: None, content: bytes) -> None:
    (artifact / GRAPH).write_bytes(content)
    forge(artifact, GRAPH)
    with refused(Damaged, GRAPH):
        api.load(artifact)


# What ONNX Runtime is left to judge: graphs of plain files that are not what edge.json says.


def without_an_output(model: Any) -> None:
    del model.graph.output[-1]


def of_doubles(model: Any) -> None:
    """An output of eight bytes a value where the buffer has four."""
    last = next(node for node in model.graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "narrow"
    model.graph.node.append(onnx.helper.make_node("Cast", ["narrow"], ["logits"], to=11))
    next(o for o in model.graph.output if o.name == "logits").type.tensor_type.elem_type = 11


def of_more_rows(model: Any) -> None:
    """An output larger than the buffer that it is bound to."""
    last = next(node for node in model.graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "few"
    model.graph.node.append(onnx.helper.make_node("Concat", ["few"] * 50, ["logits"], axis=1))


def of_terabytes(model: Any) -> None:
    """A tensor that no machine holds, before the first result."""
    shape = onnx.helper.make_tensor("shape", 7, [3], [1 << 20] * 3)
    model.graph.initializer.append(shape)
    model.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["shape"], ["bomb"]))
    model.graph.node.append(onnx.helper.make_node("ReduceSum", ["bomb"], ["zero"], keepdims=0))
    of_more_rows(model)
    model.graph.node[-1].input[0] = "sum"
    model.graph.node.append(onnx.helper.make_node("Add", ["few", "zero"], ["sum"]))


def of_dimensions(model: Any) -> None:
    """Sizes whose product overflows 64 bits to what the data holds."""
    tensor = next(tensors(model))
    tensor.dims[:] = [1 << 32, 1 << 32]


def of_an_operator_elsewhere(model: Any) -> None:
    model.graph.node[0].domain = "evil"
    model.opset_import.add(domain="evil", version=1)


LIES = [
    without_an_output, of_doubles, of_more_rows, of_terabytes, of_dimensions, of_an_operator_elsewhere
]  # fmt: skip


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_graphs_that_lie(artifact: Path, lie: Callable[[Any], None]) -> None:
    graph(artifact, lie)
    with refused(Damaged, GRAPH):
        api.load(artifact).decoder.prefill([1, 2, 3])


def test_names_that_are_no_text(artifact: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is tried again with less care, and nothing is printed where results go."""
    content = (artifact / GRAPH).read_bytes()
    for name in (b"present.0.key", b"input_ids", b"logits"):
        (artifact / GRAPH).write_bytes(content.replace(name, b"\xff" * len(name)))
        forge(artifact, GRAPH)
        with refused(Damaged, GRAPH):
            api.load(artifact)
    assert capfd.readouterr().out == ""


def test_a_manifest_whose_cache_would_not_fit(artifact: Path) -> None:
    """2^24 heads of 2^24: refused by what the graph has, before any buffer is made."""
    huge = {"heads": 1 << 24, "kv_heads": 1 << 24, "head_width": 1 << 24}
    rewrite(artifact, lambda d: [layer.update(huge) for layer in d["spec"]["layers"]])
    with refused(Damaged, GRAPH):
        api.load(artifact)


def test_a_tokenizer_of_ids_that_the_model_has_not(artifact: Path) -> None:
    """Such an id would read past the embedding."""
    definition = json.loads((artifact / "tokenizer.json").read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    definition["added_tokens"].append({"id": 512, "content": "<|far|>", **flags})
    (artifact / "tokenizer.json").write_text(json.dumps(definition))
    forge(artifact, "tokenizer.json")
    with refused(EdgeError, "<|far|>", "512"):
        api.load(artifact)
