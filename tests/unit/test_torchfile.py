"""Torch's files come out as torch itself loads them, and nothing of them runs."""

import collections
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support import config_of, tiny, weights_of

from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.torchfile import TorchFile
from edge.files.unpickled import plain
from edge.source.checkpoint import Checkpoint

torch = pytest.importorskip("torch")
FLOATS = ["float32", "float16", "bfloat16", "float64"]


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


@pytest.mark.parametrize("kind", FLOATS)
def test_every_view_reads_as_torch_loads_it(tmp_path: Path, kind: str) -> None:
    """burn#5383 ignored strides, candle#1546 offsets, burn#5392 died of an empty tensor."""
    base = torch.arange(120).reshape(2, 3, 4, 5).to(getattr(torch, kind))
    views = {
        "plain": base, "transposed": base[0, 0].T, "offset": base[1, 1:], "step": base[0, 0, ::2],
        "last": base.permute(0, 2, 3, 1), "scalar": base[0, 0, 0, 0], "empty": base[:0],
        "parameter": torch.nn.Parameter(base[0]), "tied": base,
    }  # fmt: skip
    path = saved(tmp_path / "a.bin", views)
    want = torch.load(path, weights_only=True)
    with TorchFile(path) as file:
        assert set(file.entries) == set(views)
        assert file.entries["tied"] == file.entries["plain"]
        for name, tensor in want.items():
            rows = tensor.shape[0] if tensor.shape else 1
            assert file.entries[name].shape == tuple(tensor.shape)
            expected = tensor.detach().float().numpy().reshape(rows, *tensor.shape[1:])
            np.testing.assert_array_equal(file.rows(name, 0, rows), expected, strict=True)
            np.testing.assert_array_equal(file.rows(name, rows // 2, rows), expected[rows // 2 :])


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_a_nested_state_dict(tmp_path: Path, key: str) -> None:
    layer = torch.nn.Linear(3, 2)
    with TorchFile(saved(tmp_path / "a.pt", {key: layer.state_dict(), "epoch": 3})) as file:
        assert set(file.entries) == {"weight", "bias"}


def test_several_state_dicts_are_refused(tmp_path: Path) -> None:
    one = {"w": torch.ones(2)}
    with pytest.raises(Unsupported, match="several"):
        TorchFile(saved(tmp_path / "a.pt", {"model": one, "state_dict": one}))


@pytest.mark.parametrize("sharded", [False, True])
def test_a_checkpoint_equals_its_safetensors(tmp_path: Path, sharded: bool) -> None:
    source, other = tiny(tmp_path / "a"), tiny(tmp_path / "b")
    (other / "model.safetensors").unlink()
    weights = {k: torch.from_numpy(v) for k, v in weights_of(config_of("llama")).items()}
    if sharded:
        names = sorted(weights)
        table = {k: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, k in enumerate(names)}
        for shard in set(table.values()):
            saved(other / shard, {k: weights[k] for k in names if table[k] == shard})
        text = str({"weight_map": table}).replace("'", '"')
        (other / "pytorch_model.bin.index.json").write_text(text)
    else:
        saved(other / "pytorch_model.bin", weights)
    with Checkpoint.open(source) as want, Checkpoint.open(other) as got:
        for name in want.places:
            np.testing.assert_array_equal(got[name], want[name], strict=True)


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("protocol", range(6))
def test_no_code_runs(tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    content = pickle.dumps({"w": Evil(canary)}, protocol)
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(Unsupported, match="may run code"):
        plain(tmp_path / "a.pkl")
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("a/data.pkl", content)
    with pytest.raises(Unsupported, match="may run code"):
        TorchFile(tmp_path / "a.bin")
    assert not canary.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cpip\nmain\n(tR.",  # CVE-2025-1716
        b"(S'true'\nios\nsystem\n.", b"(cos\nsystem\no.", b"\x82\x01.", b"]h\0.",
        b"]q\0h\0a.", b"(lp0\ng0\na.", b"K\x01", b"..", b"}K\x01b.", b")\x81.", b"(((.",
    ],
)  # fmt: skip
def test_hostile_pickles(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(EdgeError):
        plain(tmp_path / "a")


def test_laughs_and_nested_keys(tmp_path: Path) -> None:
    """Either would take exponential time."""
    for content in (
        b"]" + b"q\0]h\0ah\0a" * 40 + b".",
        b"}K\x01" + b"q\0h\0\x86" * 60 + b"K\x01s.",
    ):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(EdgeError):
            plain(tmp_path / "a")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data(tmp_path: Path, protocol: int) -> None:
    value = {"a": [1, -2, 1 << 40, True, None, 2.5], "é\n": ("x", b"\xff", b""), 3: {}}
    value["c"] = collections.Counter("hello")
    value["o"] = collections.OrderedDict(x=1)
    (tmp_path / "a").write_bytes(pickle.dumps(value, protocol))
    assert plain(tmp_path / "a") == value


def _zip(path: Path, change: dict[str, bytes | None]) -> Path:
    """A file of torch's, written again with other records."""
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2, 3)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            record = name.split("/", 1)[1]
            content = change.get(record, old.read(name))
            if content is not None:
                new.writestr(f"a/{record}", content)
        for record in change.keys() - {n.split("/", 1)[1] for n in old.namelist()}:
            new.writestr(f"a/{record}", change[record] or b"")
    return path


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"byteorder": b"big"}, Unsupported), ({"data/0": b"short"}, Damaged),
        ({"data/0": None}, Damaged), ({"data.pkl": None}, Damaged),
        ({"constants.pkl": b""}, Unsupported), ({"code/x.py": b""}, Unsupported),
        ({"../x": b""}, Damaged),
    ],
)  # fmt: skip
def test_hostile_archives(
    tmp_path: Path, change: dict[str, bytes | None], kind: type[EdgeError]
) -> None:
    with pytest.raises(kind):
        TorchFile(_zip(tmp_path / "a.bin", change))


def test_lying_headers(tmp_path: Path) -> None:
    """GHSA-w8jq-xcqf-f792, GHSA-7q5r-7gvp-wc82: flags and names of one header, not of the other."""
    good = _zip(tmp_path / "a.bin", {}).read_bytes()
    for at, value in ((6, 1), (8, 8), (30, 120)):
        for first in (0, good.index(b"PK\1\2")):
            bad = bytearray(good)
            bad[first + at + (2 if first and at < 30 else 16 if first else 0)] = value
            (tmp_path / "b.bin").write_bytes(bad)
            with pytest.raises(EdgeError):
                TorchFile(tmp_path / "b.bin")
    for size in range(0, len(good), 7):
        (tmp_path / "b.bin").write_bytes(good[:size])
        with pytest.raises(EdgeError):
            TorchFile(tmp_path / "b.bin")


def test_elements_twice_and_legacy_files(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="twice"):
        TorchFile(saved(tmp_path / "a.bin", {"w": torch.ones(1, 3).expand(9, 3)}))
    torch.save({"w": torch.ones(2)}, tmp_path / "b.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(Unsupported, match="is no zip"):
        TorchFile(tmp_path / "b.bin")
