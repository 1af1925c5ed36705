"""GGUF files that edge did not make: written by gguf's own writer, by llama.cpp's converter, and
quantized by llama.cpp; run, inspected, measured, or refused by name.
"""

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from cases.qwen2 import SPLIT
from conftest import Edge
from support import converted, tiny

from edge.api import (
    Load,
    bench_artifact,
    eval_text,
    inspect_path,
    ready,
    verify_artifact,
    verify_files,
)
from edge.artifact.manifest import Artifact
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import Damaged, EdgeError, Unsupported
from edge.gguf.foreign import artifact_at
from edge.gguf.reader import GGUFFile
from edge.gguf.text import read_text
from edge.prove.verify import verify
from edge.run import opening
from edge.run.model import Wish, load
from edge.source.checkpoint import Checkpoint
from edge.text.chat import ChatTemplate, Message
from edge.text.tokenizer import Tokenizer

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
llama = pytest.importorskip("gguf_quantized")

from edge_runtimes.gguf.stored import StoredWeights  # noqa: E402

SOURCES = Path(os.environ.get("EDGE_LLAMA_CPP", ""))
SCRIPT = SOURCES / "convert_hf_to_gguf.py"
STORIES = Path(__file__).parents[2] / "edge" / "models" / "edge-stories"
WIDE = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 4}
TEXTS = (
    "",
    "Once upon a time",
    "  two  blanks  and\ttabs\n\nlines ",
    "Ünïcödé naïve 漢字 हिन्दी 🙂👩‍👩‍👧",
    "def f(x):\n    return x ** 2  # 3.14e-10",
    "<s> a </s>b<|end|>\n c <|eot_id|>d",
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged model, quantized by llama.cpp; no manifest lies beside it."""
    folder = tmp_path_factory.mktemp("file")
    plain = converted(folder / "plain", STORIES, "fp32", target="gguf") / "model.gguf"
    assert llama.quantize(plain, folder / "alone" / "none", 15, {}) is False, "no such folder"
    (folder / "alone").mkdir()
    assert llama.quantize(plain, folder / "alone" / "stories.gguf", 15, {})
    return folder / "alone" / "stories.gguf"


def test_numbers_of_a_file_that_are_none_are_an_error_with_a_name(tmp_path: Path) -> None:
    path = converted(tmp_path / "it", STORIES, "fp32", target="gguf") / "model.gguf"
    with GGUFFile(path) as found:
        entry = found.tensors["blk.1.ffn_up.weight"]
        at, spec = entry.start + 3 * entry.row_bytes, artifact_at(path).manifest.spec
    content = bytearray(path.read_bytes())
    content[at : at + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(content)
    with StoredWeights(path, spec) as stored, pytest.raises(Damaged, match=r"ffn_up.* in row 3"):
        stored("layers.1.mlp.gate", None)
    with pytest.raises(Damaged, match="the model's numbers are broken"):
        "".join(load(path).generate("Tell me a story."))


def test_a_file_of_others_says_what_the_artifact_says(file: Path, tmp_path: Path) -> None:
    """The same mixture through edge holds the same bytes, so it says the same."""
    ours = load(converted(tmp_path / "it", STORIES, "q4_k_m", target="gguf"))
    theirs = load(file)
    asked = "Tell me a story about Marla."
    said = ["".join(model.generate(asked, wish=Wish(max_tokens=60))) for model in (ours, theirs)]
    assert said[0] == said[1]
    assert len(said[0]) > 100
    assert list(file.parent.iterdir()) == [file], "nothing is written beside it"


def test_a_chat_uses_the_files_own_template(file: Path) -> None:
    model = load(file)
    template = ChatTemplate.load(STORIES)
    assert template is not None
    assert model.template is not None
    said = [Message("user", "Hello.")]
    rendered = [t.render(said, generate=True) for t in (model.template, template)]
    assert rendered[0] == rendered[1]
    assert "".join(model.chat().say("Tell me a story about Marla.", Wish(max_tokens=8)))


def test_a_file_is_inspected(file: Path, edge: Edge) -> None:
    found = edge("inspect", str(file), "--json").json
    assert found["kind"] == "GGUF file"
    assert (found["recipe"], found["embed"], found["head"]) == ("q4_k_m", "q8_0", "q8_0")
    assert found["types"] == {"Q5_0": 20, "F32": 17, "Q8_0": 5, "Q6_K": 4, "Q4_K": 4}
    assert (found["layers"], found["tied"], found["chat_template"]) == (8, True, True)
    assert found["bytes"] == file.stat().st_size


def test_a_file_is_measured(file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Once upon a time there was a quiet goat named Marla. " * 8)
    loss = eval_text(file, tmp_path / "a.txt", window=64, threads=1)
    assert 0 < loss.nats_per_token < 4
    (timing,) = bench_artifact(file, Load(prompt=20, new=4), threads=1, rounds=1)
    assert timing.artifact == "stories.gguf"
    assert timing.artifact_mb == file.stat().st_size / 1e6
    assert 2e6 < timing.bytes_per_token < 4e6


def test_the_command_line_takes_a_file(file: Path, edge: Edge) -> None:
    said = edge("run", str(file), "Tell me a story about Marla.", "--max-tokens", "8", "--json")
    assert said.json["text"].startswith("Once upon a time")
    same = edge("run", str(file), "Tell me.", "--runtime", "gguf", "--max-tokens", "2", "--json")
    assert same.code == 0


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0"])
def test_a_file_of_ggufs_own_writer(kind: str, tmp_path: Path) -> None:
    """Written tensor by tensor from a checkpoint's artifact in float32: the same logits."""
    gguf = pytest.importorskip("gguf")
    source = converted(
        tmp_path / "it", tiny(tmp_path / "source", "phi3", sliding_window=None), target="gguf"
    )
    out = tmp_path / "written.gguf"
    writer = gguf.GGUFWriter(out, "phi3")
    with GGUFFile(source / "model.gguf") as opened:
        for key in opened:
            if key.startswith("phi3."):
                add = writer.add_float32 if isinstance(opened[key], float) else writer.add_uint32
                add(key, opened[key])
        writer.add_string("tokenizer.ggml.model", "none")
        want = gguf.GGMLQuantizationType[kind]
        for name, tensor in opened.tensors.items():
            values = opened.rows(name, 0, tensor.rows).reshape(tensor.shape)
            matrix = values.ndim == 2
            raw = gguf.quants.quantize(values, want) if matrix else values
            writer.add_tensor(name, raw, raw_dtype=want if matrix else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    words = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "Q8_0": "q8_0"}
    artifact = artifact_at(out)
    assert artifact.manifest.recipe == words[kind]
    ids = [5, 9, 23, 41, 2, 60]
    decoders = [
        opening.open_decoder(artifact_at(at), threads=1, exact=True) for at in (source, out)
    ]
    logits = [decoder.score(ids) for decoder in decoders]
    bound = {"F32": 1e-6, "F16": 1e-2}.get(kind, 5e-2)
    assert np.abs(logits[0] - logits[1]).max() <= bound * np.abs(logits[0]).max()


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {}),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", {}),
    ],
)
def test_a_file_says_which_biases_and_norms_it_has(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """By its tensors alone: no manifest, no config."""
    made = converted(tmp_path / "it", tiny(tmp_path / "source", family, **changes), target="gguf")
    (tmp_path / "alone.gguf").write_bytes((made / "model.gguf").read_bytes())
    alone = artifact_at(tmp_path / "alone.gguf")
    kept = Artifact.open(made)
    for ours, theirs in zip(alone.manifest.spec.layers, kept.manifest.spec.layers, strict=True):
        assert ours.biases == theirs.biases
        assert ours.qk_norm == (theirs.qk_norm and np.float32(theirs.qk_norm))
    with GGUFFile(made / "model.gguf") as opened:
        found = {name for name in opened.tensors if name.endswith(".bias")}
    assert len(found) == sum(len(layer.biases) for layer in kept.manifest.spec.layers)
    with (
        StoredWeights(alone.place, alone.manifest.spec) as stored,
        Checkpoint.open(tmp_path / "source") as source,
    ):
        for name in (name for name in source.places if name.endswith((".bias", "norm"))):
            np.testing.assert_array_equal(stored(name, None), source[name], err_msg=name)
    ids = [5, 9, 23, 41, 2, 60]
    logits = [opening.open_decoder(at, threads=1, exact=True).score(ids) for at in (alone, kept)]
    np.testing.assert_array_equal(*logits)


@pytest.mark.skipif(not SCRIPT.is_file(), reason="EDGE_LLAMA_CPP names no sources of llama.cpp")
def test_a_file_of_llama_cpps_converter_says_the_same(assets: Path, tmp_path: Path) -> None:
    source, out = assets / "llm" / "stories-260k", tmp_path / "theirs.gguf"
    command = [sys.executable, str(SCRIPT), str(source), "--outfile", str(out), "--outtype", "f32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    folder = converted(tmp_path / "it", source, target="gguf")
    said = ["".join(load(at).generate("Once upon a time", raw=True, wish=Wish(max_tokens=80)))
            for at in (out, folder)]  # fmt: skip
    assert said[0] == said[1]
    assert "Lily" in said[0]


# Text


@pytest.mark.parametrize(
    ("name", "rows"),
    [("phi-3", 32064), ("llama-2", 32000), ("llama-3", 128256), ("mistral", 32000), ("internlm2", 92553)],
)  # fmt: skip
def test_keys_give_the_tokenizer_that_made_them(
    name: str, rows: int, assets: Path, tmp_path: Path
) -> None:
    source = tiny(tmp_path / "source", "llama", vocab_size=rows, hidden_size=32)
    for file in (assets / "tokenizers" / name).iterdir():
        shutil.copyfile(file, source / file.name)
    folder = converted(tmp_path / "out", source, "fp16", target="gguf")
    want = Tokenizer.load(folder)
    with GGUFFile(folder / "model.gguf") as opened:
        found, template = read_text(opened)
    book = (assets / "text/gutenberg/war-and-peace.txt").read_text()[20_000:50_000]
    for text in (*TEXTS, book):
        ids = found.encode(text, special=True)
        assert ids == want.encode(text, special=True), text[:60]
        assert found.decode(ids) == want.decode(ids)
    assert (found.bos_id, found.adds_bos) == (want.bos_id, want.adds_bos)
    assert found.stop_ids >= want.stop_ids
    theirs = ChatTemplate.load(folder)
    assert (template is None) == (theirs is None)
    if template is not None and theirs is not None:
        assert template.source == theirs.source


def composing(folder: Path, rows: int) -> tokenizers.Tokenizer:
    """A small tokenizer with Qwen2's steps, trained on a line: it puts a text into NFC."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.normalizer = tokenizers.normalizers.NFC()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(SPLIT), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=rows - 3,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(
        ["caf\u00e9 na\u00efve \ud55c\uae00 Vi\u1ec7t the quick fox"] * 9, trainer
    )
    made.add_special_tokens(["<|endoftext|>", "<|im_end|>"])
    made.add_tokens(["<think>"])  # no special one: Qwen3's marks are text, but never cut
    made.save(str(folder / "tokenizer.json"))
    return made


MARKED = "a<think> b <think>\n<|im_end|>"
DECOMPOSED = ("cafe\u0301", "Vie\u0323\u0302t nai\u0308ve", "\u1112\u1161\u11ab", "\u212b")


def test_a_form_that_llama_cpp_does_not_know_is_that_of_the_rule(tmp_path: Path) -> None:
    """Texts in another form than NFC: edge composes them as the source does, from either kind of file;
    llama.cpp itself does not.
    """
    source = tiny(tmp_path / "source", "qwen2", vocab_size=300)
    theirs = composing(source, 300)
    artifact = convert(source, tmp_path / "out", Options(target="gguf", quant="fp16"))
    assert verify(artifact, source, tokens=8).passed
    kept = Tokenizer.load(artifact.folder)
    with GGUFFile(artifact.folder / "model.gguf") as opened:
        assert opened["tokenizer.ggml.pre"] == "qwen2"
        found, _ = read_text(opened)
    for text in (
        *TEXTS,
        MARKED,
        *DECOMPOSED,
        *(unicodedata.normalize("NFC", t) for t in DECOMPOSED),
    ):
        ids = theirs.encode(text, add_special_tokens=False).ids
        assert found.encode(text, special=False) == ids, text
        assert kept.encode(text, special=False) == ids, text
    for text in DECOMPOSED:
        composed = unicodedata.normalize("NFC", text)
        cut = [in_llama_cpp(artifact.folder / "model.gguf", form) for form in (text, composed)]
        assert cut[0] != cut[1]
        assert cut[1] == found.encode(text, special=False)


def in_llama_cpp(file: Path, text: str) -> list[int]:
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), params)
    raw = text.encode()
    out = (llama_cpp.llama_token * (len(raw) + 8))()
    vocab = llama_cpp.llama_model_get_vocab(model)
    count = llama_cpp.llama_tokenize(vocab, raw, len(raw), out, len(out), False, False)
    llama_cpp.llama_model_free(model)
    return list(out[:count])


def vectors(file: Path) -> tuple[list[str], list[list[int]]]:
    said = Path(f"{file}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = Path(f"{file}.out").read_text().split("\n")
    return said, [[int(i) for i in line.split()] for line in lines[: len(said)]]


def right(file: Path, beside: Path) -> None:
    with GGUFFile(file) as opened:
        tokenizer, _ = read_text(opened)
    for text, ids in zip(*vectors(beside), strict=True):
        assert tokenizer.encode(text, special=False) == ids, text


@pytest.mark.parametrize("name", ["llama-spm", "phi-3"])
def test_vocabularies_of_llama_cpp(name: str, assets: Path) -> None:
    file = assets / "tokenizers" / "vectors" / f"ggml-vocab-{name}.gguf"
    right(file, file)


@pytest.mark.skipif(not SCRIPT.is_file(), reason="EDGE_LLAMA_CPP names no sources of llama.cpp")
@pytest.mark.parametrize("name", ["llama-bpe", "llama-spm", "phi-3", "gpt-2", "qwen2"])
def test_vocabularies_of_llama_cpps_sources(name: str) -> None:
    file = SOURCES / "models" / f"ggml-vocab-{name}.gguf"
    right(file, file)


@pytest.mark.skipif(not SCRIPT.is_file(), reason="EDGE_LLAMA_CPP names no sources of llama.cpp")
@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("bert-bge", "of the kind 'bert'"),
        ("falcon", "by the rule 'falcon'"),
        ("deepseek-llm", "by the rule 'deepseek-llm'"),
        ("gpt-neox", "by the rule 'none'"),
    ],
)
def test_other_tokenizers_are_refused_by_name(name: str, match: str) -> None:
    file = SOURCES / "models" / f"ggml-vocab-{name}.gguf"
    with GGUFFile(file) as opened, pytest.raises(Unsupported, match=match) as caught:
        read_text(opened)
    assert "llama" in caught.value.fix


class Keys(dict[str, Any]):
    """Stands for a file of these keys."""

    path = Path("a.gguf")


PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "a", "b", "ab"]
SPM: dict[str, Any] = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": PIECES,
    "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, 1, 1, 1],
    "tokenizer.ggml.scores": [0.0] * 259 + [-1.0, -2.0, -3.0],
}
BPE: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "llama-bpe",
    "tokenizer.ggml.tokens": ["a", "b", "ab", "<|begin|>"],
    "tokenizer.ggml.token_type": [1, 1, 1, 3],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.bos_token_id": 3,
}


def test_what_missing_keys_mean() -> None:
    tokenizer, template = read_text(Keys(SPM))
    assert tokenizer.encode("ab", special=True)[-1] == 261
    assert (tokenizer.bos_id, tokenizer.adds_bos, tokenizer.stop_ids) == (1, True, {2})
    assert template is None
    tokenizer, _ = read_text(Keys(BPE))
    assert tokenizer.encode("ab", special=True) == [3, 2]


@pytest.mark.parametrize(("rule", "ids"), [("llama-bpe", [2]), ("smaug-bpe", [0, 1])])
def test_a_word_that_is_a_token_needs_merges_or_not(rule: str, ids: list[int]) -> None:
    tokens = ["a", "b", "ab", "ba", "<|begin|>"]
    changes = {"pre": rule, "tokens": tokens, "token_type": [1, 1, 1, 1, 3], "merges": ["b a"]}
    changed = {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    tokenizer, _ = read_text(Keys({**BPE, **changed}))
    assert tokenizer.encode("ab", special=False) == ids


LIES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no tokens": (SPM, {"tokenizer.ggml.tokens": None}, "no table of tokens"),
    "no texts": (SPM, {"tokenizer.ggml.tokens": [1] * 262}, "no table of tokens"),
    "twins": (BPE, {"tokenizer.ggml.tokens": ["a", "a", "ab", "<|begin|>"]}, "of one text"),
    "few scores": (SPM, {"tokenizer.ggml.scores": [0.0]}, "not one value a token"),
    "no number": (SPM, {"tokenizer.ggml.scores": [float("nan")] * 262}, "no number"),
    "no merges": (BPE, {"tokenizer.ggml.merges": None}, "has no merges"),
    "half a merge": (BPE, {"tokenizer.ggml.merges": ["ab"]}, "no merge of two pieces"),
    "a merge of nothing": (BPE, {"tokenizer.ggml.merges": ["x y"]}, "not a tokenizer"),
    "no first token": (BPE, {"tokenizer.ggml.bos_token_id": 9}, "begin with BOS"),
    "a long piece": (SPM, {"tokenizer.ggml.tokens": [*PIECES[:-1], "a" * 600]}, "more than 512"),
    "a template of megabytes": (SPM, {"tokenizer.chat_template": "x" * (1 << 20)}, "no text of at most"),
    "a template that is none": (SPM, {"tokenizer.chat_template": 7}, "no text of at most"),
}  # fmt: skip


@pytest.mark.parametrize("case", LIES)
def test_keys_that_lie(case: str) -> None:
    keys, changes, match = LIES[case]
    changed = {key: value for key, value in {**keys, **changes}.items() if value is not None}
    with pytest.raises(Damaged, match=match):
        read_text(Keys(changed))


def test_a_file_without_byte_tokens_is_refused() -> None:
    kinds = [2, 3, 3, *[1] * 256, 1, 1, 1]
    with pytest.raises(Unsupported, match="no token for each byte"):
        read_text(Keys({**SPM, "tokenizer.ggml.token_type": kinds}))


# Refusals


def test_an_architecture_that_edge_does_not_know_is_refused_with_the_list(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "mamba")
    writer.add_uint32("mamba.block_count", 1)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for act in (load, inspect_path):
        with pytest.raises(Unsupported, match="'mamba' is none that edge knows") as caught:
            act(tmp_path / "a.gguf")
        assert "internlm2, llama, openelm, phi3, qwen2, qwen3" in caught.value.fix


NEEDS_A_MANIFEST: dict[str, Callable[[Path], object]] = {
    "verify": lambda file: verify_artifact(file, None, tokens=None),
    "files": lambda file: verify_files(file, None),
}


@pytest.mark.parametrize("case", NEEDS_A_MANIFEST)
def test_what_needs_a_manifest_is_refused(case: str, file: Path) -> None:
    with pytest.raises(EdgeError, match=r"a file that edge did not make: it has no edge\.json"):
        NEEDS_A_MANIFEST[case](file)


def test_options_that_a_file_does_not_allow(file: Path, edge: Edge) -> None:
    fast = edge("run", str(file), "Hello there.", "--fast")
    assert fast.code == 2
    assert "cannot be tuned" in fast.err
    with pytest.raises(EdgeError, match="which onnx cannot run"):
        ready(str(file), runtime="onnx")


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
    for act in (load, inspect_path):
        with pytest.raises(Damaged, match="does not begin with GGUF"):
            act(tmp_path / "a.gguf")


def test_a_cut_file_is_refused_before_llama_cpp_sees_it(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(Damaged, match="past the file: it is cut off"):
        load(tmp_path / "cut.gguf")


# A GPU


@pytest.mark.parametrize(("said", "error", "match"), [
    ("12", Unsupported, "built without a GPU"),
    ("all", EdgeError, "EDGE_GPU_LAYERS is 'all'"),
    ("-1", EdgeError, "EDGE_GPU_LAYERS is '-1'"),
])  # fmt: skip
def test_layers_for_a_gpu_are_refused_where_there_is_none(
    said: str, error: type[EdgeError], match: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this llama.cpp has a GPU")
    monkeypatch.setenv("EDGE_GPU_LAYERS", said)
    with pytest.raises(error, match=match):
        load(file)


@pytest.mark.parametrize("said", ["0", ""])
def test_no_layers_for_a_gpu(said: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_GPU_LAYERS", said)
    load(file)


@pytest.mark.parametrize(("said", "layers"), [("12", 12), ("0", 0), (None, None)])
def test_llama_cpp_is_given_the_layers(
    said: str | None, layers: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_runtimes.gguf import offload

    monkeypatch.setattr(offload.llama_cpp, "llama_supports_gpu_offload", lambda: True)
    if said is not None:
        monkeypatch.setenv("EDGE_GPU_LAYERS", said)
    assert offload.gpu_layers() == layers


def test_an_artifact_says_its_numbers_as_json(file: Path) -> None:
    assert json.loads(json.dumps(inspect_path(file)))["vocab"] == 1408
