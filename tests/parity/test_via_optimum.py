"""Architectures without a family, exported by optimum in an environment of its own, which the first
test makes: a minute, and the network or an index of packages.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Edge
from support import checkpoint, config_of, nothing_left, safetensors

from edge.artifact import network
from edge.errors import EdgeError, Unsupported
from edge.files.safetensors import SafetensorsFile
from edge.via import environment, optimum

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", ":", "!"]
VOCABULARY += [
    mark + letter for mark in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz0123456789"
]
WRITE = """
import sys, torch, transformers as t
torch.manual_seed(0)
sizes = dict(vocab_size=90, max_position_embeddings=40)
bert = t.BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, **sizes)
distil = t.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=48, num_labels=3, **sizes)
t.BertModel(bert).save_pretrained(sys.argv[1] + "/bert")
t.DistilBertForSequenceClassification(distil).save_pretrained(sys.argv[1] + "/distilbert")
"""


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose environment serves every test here; it is large, so it goes at the end."""
    home = tmp_path_factory.mktemp("via") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_HOME", str(home))
        try:
            inside = environment.ready(optimum.HERE / "optimum.txt", print)
        except Unsupported as reason:
            pytest.skip(str(reason))
    command = [str(inside.python), "-I", "-c", WRITE, str(home)]
    subprocess.run(command, check=True, env=inside.variables())
    for name in ("bert", "distilbert"):
        (home / name / "vocab.txt").write_text("\n".join(VOCABULARY))
        (home / name / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    yield home
    shutil.rmtree(home)


@pytest.fixture
def home(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_HOME", str(kept))
    return kept


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "task", "output"),
    [
        ("bert", "feature-extraction", "last_hidden_state"),
        ("distilbert", "text-classification", "logits"),
    ],
)
def test_an_encoder_becomes_a_proved_module(
    name: str, task: str, output: str, home: Path, tmp_path: Path, edge: Edge
) -> None:
    made = edge(
        "convert", home / name, "--to", "onnx", "--via", "optimum", "-o", tmp_path / "it", "--json"
    )
    assert made.code == 0, made.err
    assert set(made.json["files"]) == {
        "config.json",
        "model.onnx",
        "tokenizer_config.json",
        "vocab.txt",
    }
    found = network.read(tmp_path / "it")
    assert (found.task, [port.name for port in found.outputs]) == (task, [output])
    assert found.verified is not None
    assert found.verified["passed"]
    assert found.verified["cases"] == {"random": 3, "text": 4}
    assert 0 < found.verified["errors"][output] < 1e-5
    assert set(found.source) == {
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.txt",
    }
    assert edge("verify", tmp_path / "it", "--against", home / name).code == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_this_environment_agrees_too(home: Path, tmp_path: Path) -> None:
    """The onnxruntime and the transformers that are installed here never saw the export."""
    ort = pytest.importorskip("onnxruntime")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    optimum.convert(home / "bert", tmp_path / "it", force=False, say=print)
    ids = np.random.default_rng(0).integers(0, 80, (3, 11))
    mask = (np.arange(11) < np.array([[11], [4], [7]])).astype(np.int64)
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    (got,) = ort.InferenceSession(tmp_path / "it" / "model.onnx").run(None, feeds)
    model = transformers.BertModel.from_pretrained(home / "bert").eval()
    with torch.no_grad():
        want = model(**{key: torch.tensor(value) for key, value in feeds.items()})
    np.testing.assert_allclose(got, want.last_hidden_state.numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_changed_weight_fails_the_proof(home: Path, tmp_path: Path, edge: Edge) -> None:
    folder = tmp_path / "it"
    optimum.convert(home / "bert", folder, force=False, say=print)
    with SafetensorsFile(home / "bert" / "model.safetensors") as file:
        row = file.rows("embeddings.word_embeddings.weight", 2, 3)[0]  # of the token [CLS]
    content = (folder / "model.onnx").read_bytes()
    assert row.tobytes() in content
    (folder / "model.onnx").write_bytes(content.replace(row.tobytes(), row[::-1].tobytes()))
    made = edge("verify", folder, "--against", home / "bert", "--json")
    assert made.code == 1
    assert made.json["changed_files"] == ["model.onnx"]
    assert made.json["errors"]["last_hidden_state"] > 1e-3
    other = edge("verify", folder, "--against", home / "distilbert")
    assert "not of BertModel" in other.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_optimum_cannot_do_is_one_error(home: Path, tmp_path: Path, edge: Edge) -> None:
    """Weights that are missing would be random; an architecture that nobody knows; a lone config."""
    config = json.loads((home / "bert" / "config.json").read_text())
    half = checkpoint(tmp_path / "half", config, {"pooler.dense.bias": np.zeros(32, np.float32)})
    strange = checkpoint(tmp_path / "strange", config | {"architectures": ["Pickled"]}, {})
    for source, message in (
        (half, "lacks weights of BertModel"),
        (strange, "no architecture 'Pickled'"),
    ):
        made = edge("convert", source, "--to", "onnx", "--via", "optimum", "-o", tmp_path / "out")
        assert made.code == 3
        assert message in made.err
        assert nothing_left(tmp_path / "out")


# Without the environment


def test_a_model_without_a_family_says_what_works(tmp_path: Path, edge: Edge) -> None:
    source = checkpoint(tmp_path / "bert", {"model_type": "bert"}, {})
    made = edge("convert", source)
    assert made.code == 3
    assert "edge convert MODEL --to onnx --via optimum" in made.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--via", "tracing"], "no export to onnx via tracing"),
        (["--via", "optimum", "--to", "mlx"], "no export to mlx via optimum"),
        (["--via", "optimum", "--quant", "int4"], "--quant means nothing"),
        (["--via", "optimum", "--embed", "int8"], "--embed means nothing"),
        (["--via", "optimum", "--head", "int8"], "--head means nothing"),
        (["--via", "optimum", "--override", "embed=int8"], "--override means nothing"),
        (["--via", "optimum", "--context", "8"], "--context means nothing"),
        (["--via", "optimum", "--layerskip", "2"], "--layerskip means nothing"),
        (["--via", "optimum", "--draft-vocab", "0"], "--draft-vocab means nothing"),
        (["--via", "optimum", "--dry-run"], "--dry-run means nothing"),
        (["--via", "optimum", "--snapkv-rows", "64"], "--snapkv-rows means nothing"),
        (["--via", "optimum", "--tokenizer", "."], "--tokenizer means nothing"),
    ],
)
def test_an_option_that_it_cannot_honour_is_refused(
    tmp_path: Path, edge: Edge, options: list[str], message: str
) -> None:
    made = edge("convert", checkpoint(tmp_path / "bert", {}, {}), *options)
    assert made.code == 2
    assert message in made.err


def test_a_pickle_gets_nowhere_near_it(tmp_path: Path, edge: Edge) -> None:
    source = checkpoint(tmp_path / "bert", {"model_type": "bert"}, {})
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    made = edge("convert", source, "--via", "optimum", "-o", tmp_path / "out")
    assert made.code == 3
    assert "pickled weights" in made.err
    assert nothing_left(tmp_path / "out")


def test_only_weights_and_texts_are_staged(tmp_path: Path) -> None:
    """What lies beside them is never seen: pickles, code, and configs that name code."""
    source = checkpoint(
        tmp_path / "it", config_of("llama") | {"auto_map": {"AutoModel": "m.M"}}, {}
    )
    (source / "tokenizer_config.json").write_text('{"auto_map": {}, "bos_token": "x"}')
    for name in ("m.py", "pytorch_model.bin", "training_args.bin", "vocab.txt"):
        (source / name).write_text("x")
    with optimum.staged(source) as folder:
        names = {"config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"}
        assert {file.name for file in folder.iterdir()} == names
        assert json.loads((folder / "tokenizer_config.json").read_text()) == {"bos_token": "x"}
        assert "auto_map" not in json.loads((folder / "config.json").read_text())


def test_a_damaged_file_stops_before(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "it", {"model_type": "bert"}, {})
    (source / "model.safetensors").write_bytes(safetensors({"x": np.zeros(3, np.float32)})[:-1])
    with pytest.raises(EdgeError, match="cut off"):
        optimum.convert(source, tmp_path / "out", force=False, say=print)


def test_an_environment_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    wanted = tmp_path / "nothing.txt"
    wanted.write_text("a-package-that-nobody-has==1\n")
    said: list[str] = []
    for _ in range(2):  # what the first call left is no environment
        with pytest.raises(Unsupported, match=r"could not be made: .*a-package-that-nobody-has"):
            environment.ready(wanted, said.append)
    assert sum("this happens once" in line for line in said) == 2
    wanted.write_text("# nothing at all\n")
    made = environment.ready(wanted, said.append)
    assert made.python.is_file()
    count = len(said)
    assert environment.ready(wanted, said.append) == made
    assert len(said) == count
