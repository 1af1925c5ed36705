"""GGUF artifacts on llama.cpp: caches that grow and rewind, windows, damage, real tokenizers."""

import ctypes
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import VOCAB, converted, nothing_left, tiny

from edge import targets
from edge.api import verify_artifact
from edge.artifact.manifest import Artifact, write_manifest
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import Damaged, Unsupported
from edge.gguf.reader import GGUFFile
from edge.protocols import Decoder
from edge.quant import recipe as recipes
from edge.run import opening
from edge.run.model import Wish, load
from edge.source.checkpoint import Checkpoint
from edge.text.tokenizer import Tokenizer

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

IDS = [int(i) for i in np.random.default_rng(5).integers(0, VOCAB, 1400)]
PROMPT = "Once upon a time"
MODEL = "model.gguf"


def opened(folder: Path, *, exact: bool = True) -> Decoder:
    artifact = Artifact.open(folder)
    return opening.open_decoder(artifact, threads=1, exact=exact)


def close(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-4) -> bool:
    return bool(np.abs(got - want).max() <= tolerance * np.abs(want).max())


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of a context that no first cache holds."""
    folder = tmp_path_factory.mktemp("long")
    source = tiny(folder / "source", "llama", max_position_embeddings=1500)
    return converted(folder / "out", source, "fp32", target="gguf")


def oracle(source: Path, quant: str = "fp32") -> Decoder:
    return targets.oracle().oracle(Checkpoint.open(source), recipes.parse(quant))


def test_a_cache_grows_without_losing_a_row(long: Path) -> None:
    want = oracle(long.parent / "source").score(IDS)
    decoder = opened(long)
    assert close(decoder.prefill(IDS[:300]), want[299])
    assert close(decoder.prefill(IDS[300:700]), want[699])
    for at in range(700, 1200):
        got = decoder.step(IDS[at])
    assert close(got, want[1199])
    assert close(decoder.prefill(IDS[1200:]), want[-1])
    assert decoder.length == len(IDS)


def test_all_positions_come_in_pieces(long: Path) -> None:
    want = oracle(long.parent / "source").score(IDS)
    decoder = opened(long)
    assert close(decoder.score(IDS[:1]), want[:1])
    assert close(decoder.score(IDS[1:]), want[1:])


@pytest.mark.parametrize("length", [0, 1, 40, 699])
def test_what_is_rewound_is_forgotten(long: Path, length: int) -> None:
    decoder = opened(long)
    first = decoder.prefill(IDS[:700]).copy()
    decoder.rewind(length)
    decoder.prefill([7, 8, 9])
    decoder.rewind(length)
    assert decoder.length == length
    assert close(decoder.prefill(IDS[length:700]), first, 1e-5)


def test_the_fast_twin_is_near(long: Path) -> None:
    fast, exact = opened(long, exact=False).score(IDS[:600]), opened(long).score(IDS[:600])
    assert close(fast, exact, 2e-2)
    assert not close(fast, exact, 1e-6), "it is another computation"


# Contexts


@pytest.mark.parametrize(
    ("family", "changes", "longest"),
    [
        ("mistral", {}, 11),
        ("phi3", {}, 9),
        ("phi3", {"sliding_window": 4096}, 64),
        ("internlm2", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, 64),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
            7,
        ),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 7}, 64),
    ],
)
def test_a_context_ends_where_llama_cpp_computes_otherwise(
    family: str, changes: dict[str, object], longest: int, tmp_path: Path
) -> None:
    source = tiny(tmp_path / "source", family, **changes)
    artifact = convert(source, tmp_path / "out", Options(target="gguf", quant="fp32"))
    assert artifact.manifest.spec.context == longest
    decoder = opened(artifact.folder)
    assert decoder.capacity == longest
    assert close(decoder.score(IDS[:longest]), oracle(source).score(IDS[:longest]))
    with GGUFFile(artifact.folder / MODEL) as file:
        assert file[f"{file['general.architecture']}.context_length"] == longest


def test_a_longer_context_is_refused(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "mistral")
    asked = Options(target="gguf", quant="fp32", context=12)
    with pytest.raises(Unsupported, match="up to 11 tokens, not 12") as caught:
        convert(source, tmp_path / "out", asked)
    assert "--context 11" in caught.value.fix
    assert nothing_left(tmp_path / "out")
    shorter = convert(source, tmp_path / "out", replace(asked, context=10))
    assert shorter.manifest.spec.context == 10


# What is held


def test_rows_that_blocks_do_not_divide_are_refused(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama", intermediate_size=100)
    asked = Options(target="gguf", quant="rtn-int4-g32-fp16")
    with pytest.raises(Unsupported, match=r"layers\.0\.mlp\.down has 100 columns") as caught:
        convert(source, tmp_path / "out", asked)
    assert "--override 'layers.*.mlp.down=fp16'" in caught.value.fix
    mixed = replace(asked, overrides={"layers.*.mlp.down": "fp16"})
    convert(source, tmp_path / "out", mixed)
    assert verify_artifact(tmp_path / "out", str(source), tokens=24).passed


@pytest.mark.parametrize("quant", ["rtn-int4-g64-fp16", "rtn-int4-g32", "rtn-int3-g32-fp16"])
def test_what_no_type_holds_is_refused_with_those_that_are(quant: str, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama")
    with pytest.raises(Unsupported, match=f"gguf cannot hold embed as {quant}") as caught:
        convert(source, tmp_path / "out", Options(target="gguf", quant=quant))
    assert "q4_0" in caught.value.fix


def test_other_methods_use_the_same_types(tmp_path: Path) -> None:
    """Codes of any method, if their scales are in fp16 for 32 columns."""
    source = tiny(tmp_path / "source", "llama")
    converted(tmp_path / "out", source, "rtn-int4-g32-min-fp16", target="gguf")
    assert verify_artifact(tmp_path / "out", str(source), tokens=24).passed
    with GGUFFile(tmp_path / "out" / MODEL) as file:
        assert file.tensors["blk.0.attn_q.weight"].kind.name == "Q4_1"


def test_a_tied_table_in_two_precisions_lies_twice(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama", tie_word_embeddings=True)
    folder = converted(tmp_path / "out", source, "q4_0", target="gguf", embed="fp16", head="q8_0")
    with GGUFFile(folder / MODEL) as file:
        kinds = {
            name: file.tensors[name].kind.name for name in ("token_embd.weight", "output.weight")
        }
    assert kinds == {"token_embd.weight": "F16", "output.weight": "Q8_0"}
    assert verify_artifact(folder, str(source), tokens=24).passed


def test_one_table_has_one_precision_where_llama_cpp_has_one(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "openelm")
    with pytest.raises(Unsupported, match="one table for embedding and head"):
        converted(tmp_path / "out", source, "q4_0", target="gguf", embed="fp16")


def test_stacked_weights_have_one_precision(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "phi3")
    overrides = {"layers.0.attn.v": "fp16"}
    with pytest.raises(Unsupported, match=r"stacks layers\.0\.attn\.q, .* in one tensor"):
        converted(tmp_path / "out", source, "q4_0", target="gguf", overrides=overrides)


def test_a_tied_model_whose_graph_wants_a_head_gets_one(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "internlm2", tie_word_embeddings=True)
    folder = converted(tmp_path / "out", source, "fp32", target="gguf")
    assert verify_artifact(folder, str(source), tokens=24).passed


# Damage


@pytest.mark.parametrize("quant", ["fp16", "q4_0", "q8_0"])
def test_one_changed_byte_fails_the_proof(quant: str, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama")
    folder = converted(tmp_path / "out", source, quant, target="gguf")
    with GGUFFile(folder / MODEL) as file:
        at = file.tensors["blk.1.attn_k.weight"].start
    content = bytearray((folder / MODEL).read_bytes())
    content[at + 1] ^= 4  # the upper byte of a number or of a scale
    (folder / MODEL).write_bytes(content)
    report = verify_artifact(folder, str(source), tokens=24)
    assert not report.passed
    assert (report.differing_bytes, report.changed_files) == (1, (MODEL,))


def test_one_changed_key_fails_the_proof(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama")
    folder = converted(tmp_path / "out", source, "fp32", target="gguf")
    content = (folder / MODEL).read_bytes()
    (folder / MODEL).write_bytes(
        content.replace(np.float32(1e4).tobytes(), np.float32(2e4).tobytes())
    )
    report = verify_artifact(folder, str(source), tokens=24)
    assert not report.passed
    assert report.differing_bytes > 0
    assert report.logits_error > report.logits_tolerance, "the rotation is another one"


def test_a_manifest_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = converted(tmp_path / "out", tiny(tmp_path / "source", "llama"), "fp32", target="gguf")
    artifact = Artifact.open(folder)
    spec = replace(artifact.manifest.spec, vocab=VOCAB + 1)
    write_manifest(folder, replace(artifact.manifest, spec=spec))
    with pytest.raises(Damaged, match=r"of another model than its edge\.json"):
        opened(folder)


def test_a_token_that_is_none_is_refused_not_computed(long: Path) -> None:
    decoder = opened(long)
    with pytest.raises(Exception, match=r"llama\.cpp failed"):
        decoder.prefill([VOCAB])


def test_no_weight_goes_where_compilers_broke_the_kernels() -> None:
    from edge_runtimes.gguf import library  # noqa: F401 - what it does when it is first loaded
    from edge_runtimes.gguf.buffers import extra_buffers

    assert "AMX" not in extra_buffers()


# Text


def texts(assets: Path, name: str) -> tuple[list[str], list[list[int]]]:
    """llama.cpp's own test vectors: texts, and the ids of each."""
    folder = assets / "tokenizers" / "vectors"
    file = folder / f"ggml-vocab-{name}.gguf"
    said = Path(f"{file}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = Path(f"{file}.out").read_text().split("\n")
    return said, [[int(i) for i in line.split()] for line in lines[: len(said)]]


def tokenized(vocab: object, text: str) -> list[int]:
    raw = text.encode()
    out = (llama_cpp.llama_token * (len(raw) + 8))()
    count = llama_cpp.llama_tokenize(vocab, raw, len(raw), out, len(out), False, False)
    return list(out[:count])


@pytest.mark.parametrize(
    ("tokenizer", "vectors", "rows"),
    [("phi-3", "phi-3", 32064), ("llama-2", "llama-spm", 32000), ("llama-3", "llama-spm", 128256)],
)
def test_llama_cpp_cuts_texts_as_the_tokenizer_does(
    tokenizer: str, vectors: str, rows: int, tmp_path: Path, assets: Path
) -> None:
    """Our file's vocabulary, in llama.cpp, on texts meant to be hard."""
    source = tiny(tmp_path / "source", "llama", vocab_size=rows)
    for file in (assets / "tokenizers" / tokenizer).iterdir():
        shutil.copyfile(file, source / file.name)
    folder = converted(tmp_path / "out", source, "fp16", target="gguf")
    said, ids = texts(assets, vectors)
    ours = Tokenizer.load(folder)
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(folder / MODEL).encode(), params)
    vocab = llama_cpp.llama_model_get_vocab(model)
    try:
        for text, wanted in zip(said, ids, strict=True):
            assert tokenized(vocab, text) == ours.encode(text, special=False), text
            if tokenizer != "llama-3":
                assert tokenized(vocab, text) == wanted, text
        stops = {i for i in range(rows) if llama_cpp.llama_vocab_is_eog(vocab, i)}
        assert ours.stop_ids <= stops
        assert llama_cpp.llama_vocab_get_add_bos(vocab) == ours.adds_bos
    finally:
        llama_cpp.llama_model_free(model)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packaged model on two runtimes."""
    source = Path(__file__).parents[2] / "edge" / "models" / "edge-stories"
    folder = tmp_path_factory.mktemp("stories")
    return {t: converted(folder / t, source, "fp32", target=t) for t in ("onnx", "gguf")}


def test_the_packaged_model_says_the_same_on_both_runtimes(stories: dict[str, Path]) -> None:
    said = {}
    for target, folder in stories.items():
        model = load(folder)
        answer = model.generate("Tell me a story about Marla.", wish=Wish(max_tokens=120))
        said[target] = ("".join(answer), answer.generation.tokens)
    assert said["gguf"] == said["onnx"]
    assert len(said["gguf"][1]) > 20


def test_real_weights_say_the_same_on_both_runtimes(assets: Path, tmp_path: Path) -> None:
    said = {}
    for target in ("onnx", "gguf"):
        folder = converted(
            tmp_path / target, assets / "llm" / "stories-260k", "fp32", target=target
        )
        said[target] = "".join(load(folder).generate(PROMPT, raw=True, wish=Wish(max_tokens=150)))
    assert said["gguf"] == said["onnx"]
    assert "Lily" in said["gguf"]


def test_an_artifact_names_its_files(stories: dict[str, Path]) -> None:
    manifest = json.loads((stories["gguf"] / "edge.json").read_text())
    assert MODEL in manifest["files"]
    assert ctypes.sizeof(llama_cpp.llama_batch) > 0
