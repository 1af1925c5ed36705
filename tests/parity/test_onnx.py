"""ONNX artifacts against the numpy oracle of the same codes, transformers, and ONNX Runtime itself."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import (
    VOCAB,
    checkpoint,
    config_of,
    converted,
    environment,
    nothing_left,
    tiny,
    weights_of,
)

from edge import targets
from edge.api import eval_text, verify_artifact
from edge.artifact.manifest import Artifact
from edge.contracts import Opening
from edge.errors import Unsupported
from edge.protocols import Decoder
from edge.quant import recipe as recipes
from edge.quant.rtn import quantize
from edge.quant.stream import packed as pack
from edge.quant.tensor import Scheme
from edge.run.model import Wish, load
from edge.source.checkpoint import Checkpoint

ort = pytest.importorskip("onnxruntime")

PROMPT = "Once upon a time"
STORIES = "llm/stories-260k"
SAMPLE = "text/tinystories/tinystories_sample.txt"
IDS = [int(i) for i in np.random.default_rng(3).integers(0, VOCAB, 30)]


def decoders(
    source: Path, artifact: Path, quant: str, embed: str | None = None, head: str | None = None
) -> tuple[Decoder, Decoder, Decoder, Decoder]:
    """The exact twin and the fast entry, each with the oracle that it must equal."""
    recipe = recipes.parse(quant, embed=embed, head=head)
    found = Checkpoint.open(source)
    exact, fast = (
        targets.runtime("onnx").open(Opening(artifact, found.spec, threads=1, exact=exact))
        for exact in (True, False)
    )
    alike = [targets.runtime("onnx").numerics(recipe, exact=exact) for exact in (True, False)]
    oracles = [targets.oracle().oracle(found, recipe, numerics=kind) for kind in alike]
    return exact, oracles[0], fast, oracles[1]


def errors(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Of each position, relative to its largest logit: [T]."""
    result: np.ndarray = np.abs(got - want).max(axis=1) / np.abs(want).max(axis=1)
    return result


def as_rounded(got: np.ndarray, want: np.ndarray, plain: np.ndarray) -> None:
    """The same rounding, but for ties: exact somewhere, and nowhere worse than rounding itself."""
    error = errors(got, want)
    assert error.min() <= 1e-5
    assert np.median(error) <= max(1e-3, float(np.median(errors(want, plain))))


RECIPES = ("fp32", "fp16", "bf16", "int8", "rtn-int4-g32", "int4-g64", "int4-g128", "int4-g64-asym")
RECIPES += ("int8-asym-fp16", "q4_0", "q8_0")
INT4 = "rtn-int4-g32"
OWN = [
    (INT4, "int8", None),
    (INT4, None, "int8"),
    (INT4, "fp16", "fp32"),
    ("fp16", "int8", INT4),
    ("int4-min", "int4-asym", "int4-min"),
    ("q4_1", "fp16", "q4_1"),
]


@pytest.mark.parametrize("quant", RECIPES)
def test_stories_equal_the_oracle_of_their_codes(assets: Path, tmp_path: Path, quant: str) -> None:
    """A real model; 172, the width of its feed-forward, divides into no group."""
    source = assets / STORIES
    embed = INT4 if quant == "int4-g128" else None  # its rows of 64 hold no group of 128
    artifact = converted(tmp_path / "out", source, quant, embed=embed)
    exact, oracle, fast, rounded = decoders(source, artifact, quant, embed)
    ids = load(artifact).tokenizer.encode((assets / SAMPLE).read_text()[:300], special=True)
    want = oracle.score(ids)
    assert errors(exact.score(ids), want).max() <= (1e-4 if quant == "fp32" else 1e-3)
    as_rounded(fast.score(ids), rounded.score(ids), want)


@pytest.mark.parametrize("quant", ["int2-g32-asym", "rtn-int4-g32-asym"])
def test_zeros_of_an_odd_number_of_groups(quant: str, tmp_path: Path) -> None:
    """Seven of them fill no whole bytes (onnxruntime#22253, where a row of 107 was counted wrongly)."""
    source = tiny(tmp_path / "source", intermediate_size=7 * 32)
    artifact = converted(tmp_path / "out", source, quant)
    exact, oracle, fast, rounded = decoders(source, artifact, quant)
    want = oracle.score(IDS)
    assert errors(exact.score(IDS), want).max() <= 1e-3
    as_rounded(fast.score(IDS), rounded.score(IDS), want)


def test_rows_that_hold_no_group_are_refused_for_the_embedding(
    assets: Path, tmp_path: Path
) -> None:
    with pytest.raises(Unsupported, match="--embed"):
        converted(tmp_path / "out", assets / STORIES, "int4-g128")


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(("quant", "embed", "head"), OWN)
def test_embedding_and_head_of_their_own(
    tmp_path: Path, quant: str, embed: str | None, head: str | None, tied: bool
) -> None:
    source = tiny(tmp_path / "source", "phi3", tie_word_embeddings=tied)
    artifact = converted(tmp_path / "out", source, quant, embed=embed, head=head)
    exact, oracle, fast, rounded = decoders(source, artifact, quant, embed, head)
    want = oracle.score(IDS)
    assert errors(exact.score(IDS), want).max() <= 1e-3
    as_rounded(fast.score(IDS), rounded.score(IDS), want)


def test_another_oracle_would_not_do(tmp_path: Path) -> None:
    """The bound tells int4 from float weights, and groups of 32 from groups of 64."""
    source = tiny(tmp_path / "source")
    exact, oracle, _, _ = decoders(source, converted(tmp_path / "a", source, INT4), INT4)
    other = decoders(source, converted(tmp_path / "b", source, "int4-g64"), "int4-g64")[0]
    want = oracle.score(IDS)
    assert errors(exact.score(IDS), want).max() <= 1e-3
    assert errors(other.score(IDS), want).max() > 1e-2


# A real model beside transformers


@pytest.fixture(scope="module")
def stories(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("stories") / "fp32", assets / STORIES)


def test_greedy_text_is_transformers(assets: Path, stories: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.LlamaForCausalLM.from_pretrained(assets / STORIES)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(assets / STORIES)
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        made = theirs.generate(ids, max_new_tokens=60, do_sample=False)[0, ids.shape[1] :]
    answer = load(stories).generate(PROMPT, raw=True, wish=Wish(max_tokens=60))
    text = "".join(answer)
    assert list(answer.generation.prompt) == ids[0].tolist()
    assert answer.generation.tokens == made.tolist()
    assert PROMPT + text == tokenizer.decode([*ids[0], *made], skip_special_tokens=True)
    assert text.startswith(", there was a little girl named Lily.")


def test_loss_is_transformers(assets: Path, stories: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.LlamaForCausalLM.from_pretrained(assets / STORIES)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(assets / STORIES)
    ids = tokenizer((assets / SAMPLE).read_text(), add_special_tokens=False).input_ids
    losses = []
    with torch.no_grad():
        for at in range(0, len(ids), 511):
            part = torch.tensor([[1, *ids[at : at + 511]]])
            logits = theirs(part).logits[0, :-1]
            losses += torch.nn.functional.cross_entropy(
                logits, part[0, 1:], reduction="none"
            ).tolist()
    found = eval_text(stories, assets / SAMPLE, window=None, threads=1)
    assert found.tokens == len(ids) == len(losses)
    assert found.nats_per_token == pytest.approx(np.mean(losses), abs=5e-4)
    assert found.nats_per_token_se == pytest.approx(np.std(losses) / len(losses) ** 0.5, abs=5e-4)


@pytest.mark.parametrize("quant", ["fp32", "int4"])
def test_a_real_model_verifies(assets: Path, tmp_path: Path, quant: str) -> None:
    artifact = converted(tmp_path / "out", assets / STORIES, quant)
    report = verify_artifact(artifact, str(assets / STORIES), tokens=24)
    assert report.passed, report
    kept = Artifact.open(artifact).manifest.verified
    assert kept == json.loads(json.dumps(report.json()))


# The cache


def test_rewound_is_as_good_as_fresh(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "phi3")
    artifact = converted(tmp_path / "out", source, "int4")
    used, _, fresh, _ = decoders(source, artifact, "int4")
    fresh = decoders(source, artifact, "int4")[0]
    used.score(IDS[::-1])
    used.rewind(0)
    used.score(IDS[:11])
    used.step(5)
    used.rewind(11)
    np.testing.assert_array_equal(used.score(IDS[11:]), fresh.score(IDS)[11:])


def test_growing_the_cache_changes_nothing(tmp_path: Path) -> None:
    """The first cache has 512 rows; one with all rows from the start is the judge."""
    source = tiny(tmp_path / "source", max_position_embeddings=2048)
    artifact = converted(tmp_path / "out", source)
    found = Checkpoint.open(source)
    ids = np.random.default_rng(0).integers(0, VOCAB, 1100).tolist()
    grown, whole = (
        targets.runtime("onnx").open(Opening(artifact, found.spec, threads=2, exact=True))
        for _ in range(2)
    )
    whole.reserve(2048)  # type: ignore[attr-defined]  # of this runtime alone
    a, b = grown.prefill(ids[:500]).copy(), whole.prefill(ids[:500]).copy()
    np.testing.assert_array_equal(a, b)
    for end in (505, 515, 1030, 1100):  # across 512 and 1024, by steps and by chunks
        start = grown.length
        parts = [[token] for token in ids[start:end]] if end < 600 else [ids[start:end]]
        for part in parts:
            a, b = grown.prefill(part).copy(), whole.prefill(part).copy()
            assert errors(a[None], b[None]).max() <= 1e-5
    oracle = targets.oracle().oracle(found, recipes.parse("fp32"))
    assert errors(a[None], oracle.prefill(ids)[None]).max() <= 1e-4


def test_what_lies_in_unused_rows_never_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buffers begin as NaN here: a row that is read before it is written poisons the logits."""
    import edge_runtimes.onnx.decoder as module

    source = tiny(tmp_path / "source", "phi3")
    artifact = converted(tmp_path / "out", source, "int4")
    clean = decoders(source, artifact, "int4")
    zeros = np.zeros

    def poisoned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.full(shape, np.nan, dtype) if dtype is np.float32 else zeros(shape, dtype)

    monkeypatch.setattr(module.np, "zeros", poisoned)
    dirty = decoders(source, artifact, "int4")
    monkeypatch.undo()
    for ours, theirs in ((dirty[0], clean[0]), (dirty[2], clean[2])):
        for part in (IDS[:13], IDS[13:14], IDS[14:]):
            np.testing.assert_array_equal(ours.prefill(part), theirs.prefill(part))
        ours.rewind(7)
        theirs.rewind(7)
        np.testing.assert_array_equal(ours.score(IDS[:5]), theirs.score(IDS[:5]))


def test_heads_of_an_odd_width_are_refused_before_any_work(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", head_dim=12)
    with pytest.raises(Unsupported, match=r"layers\.0\.attn: its heads are 12 wide"):
        converted(tmp_path / "out", source)
    assert nothing_left(tmp_path / "out")


# Others' software


@pytest.mark.parametrize("family", ["llama", "phi3", "phi3small", "qwen2", "qwen3"])
def test_genai_loads_the_folder_and_gives_the_same_tokens(
    assets: Path, tmp_path: Path, family: str
) -> None:
    genai = pytest.importorskip("onnxruntime_genai")
    config = config_of(family, vocab_size=512, max_position_embeddings=128, eos_token_id=None)
    source = checkpoint(tmp_path / "source", config, weights_of(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (source / name).write_bytes((assets / STORIES / name).read_bytes())
    artifact = converted(tmp_path / "out", source)
    prompt, count = [1, *(400 + i for i in range(12))], 40

    model = genai.Model(str(artifact))
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=len(prompt) + count, do_sample=False)
    generator = genai.Generator(model, params)
    generator.append_tokens(np.array([prompt], np.int32))
    theirs: list[int] = []
    while not generator.is_done():
        generator.generate_next_token()
        theirs.append(int(generator.get_next_tokens()[0]))

    decoder = load(artifact).decoder
    ours = [int(decoder.prefill(prompt).argmax())]
    while len(ours) < len(theirs):
        ours.append(int(decoder.step(ours[-1]).argmax()))
    assert len(theirs) >= 20
    assert ours == theirs


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("rows", "columns", "group"), [(5, 64, 32), (3, 70, 32), (4, 100, 128)])
def test_packed_weights_are_what_matmulnbits_means(
    tmp_path: Path, rows: int, columns: int, group: int, bits: int
) -> None:
    """One operator of ONNX Runtime on our bytes equals a product with the dequantized weights."""
    ort = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    made = quantize(
        np.random.default_rng(0).standard_normal((rows, columns), np.float32), Scheme(bits, group)
    )
    groups = made.scheme.groups(columns)
    codes = pack(np.ascontiguousarray(made.codes), bits).reshape(rows, groups, -1)
    tensor = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node(
        "MatMulNBits", ["a", "b", "scales"], ["y"], domain="com.microsoft",
        K=columns, N=rows, bits=bits, block_size=group, accuracy_level=0,
    )  # fmt: skip
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [tensor("a", onnx.TensorProto.FLOAT, [2, columns])],
        [tensor("y", onnx.TensorProto.FLOAT, [2, rows])],
        [
            onnx.numpy_helper.from_array(codes, "b"),
            onnx.numpy_helper.from_array(made.scales.reshape(rows, groups), "scales"),
        ],
    )
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    a = np.random.default_rng(1).standard_normal((2, columns), np.float32)
    (got,) = session.run(None, {"a": a})
    np.testing.assert_allclose(got, a @ made.dequantize().T, atol=2e-5)


# The graph


def nodes(file: Path) -> Iterator[object]:
    onnx = pytest.importorskip("onnx")
    yield from onnx.load(file, load_external_data=False).graph.node


def levels(file: Path) -> set[int]:
    found = [node for node in nodes(file) if node.op_type == "MatMulNBits"]  # type: ignore[attr-defined]
    assert found
    return {a.i for node in found for a in node.attribute if a.name == "accuracy_level"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", ["llama", "phi3", "openelm"])
def test_what_the_graphs_are_made_of(tmp_path: Path, family: str) -> None:
    onnx = pytest.importorskip("onnx")
    source = tiny(tmp_path / "source", family)
    folder = converted(tmp_path / "out", source, "int4")
    with Checkpoint.open(source) as opened:
        layers = len(opened.spec.layers)
    graphs = [folder / name for name in ("model.onnx", "score.onnx", "exact.onnx")]
    assert [levels(file) for file in graphs] == [{4}, {4}, {0}]
    for file in graphs:
        kinds = Counter(node.op_type for node in nodes(file))  # type: ignore[attr-defined]
        assert kinds["GroupQueryAttention"] == layers
        model = onnx.load(file, load_external_data=False)
        used = {name for node in model.graph.node for name in node.input}
        made = {
            name for node in model.graph.node if node.op_type == "Split" for name in node.output
        }
        assert not made - used, "a Split whose parts nobody reads"
        assert file.stat().st_size < 100_000
        data = {
            f.value for t in model.graph.initializer for f in t.external_data if f.key == "location"
        }
        assert data == {"model.onnx.data"}
    assert sorted(path.name for path in folder.glob("*.data")) == ["model.onnx.data"]


def test_a_tied_table_of_one_precision_lies_on_disk_once(tmp_path: Path) -> None:
    sizes = [
        converted(
            tmp_path / f"out-{tied}",
            tiny(tmp_path / f"source-{tied}", vocab_size=4096, tie_word_embeddings=tied),
        )
        .joinpath("model.onnx.data")
        .stat()
        .st_size
        for tied in (True, False)
    ]
    assert sizes[1] - sizes[0] == 4096 * 64 * 4


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source")
    hashes = [
        Artifact.open(converted(tmp_path / name, source, "int4")).manifest.files
        for name in ("a", "b")
    ]
    assert hashes[0] == hashes[1]


def test_a_shorter_context_has_shorter_tables(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source")
    artifact = converted(tmp_path / "out", source, context=16)
    spec = Artifact.open(artifact).manifest.spec
    with Checkpoint.open(source) as opened:
        assert spec == replace(opened.spec, context=16)
    decoder = targets.runtime("onnx").open(Opening(artifact, spec, threads=1))
    assert decoder.capacity == 16
    assert decoder.prefill(IDS[:16]).shape == (VOCAB,)


_MEASURE = """
import resource, sys
from pathlib import Path
from edge.convert.conversion import Options, convert
import edge_converters.onnx, edge.text.tokenizer
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
convert(Path(sys.argv[1]), Path(sys.argv[2]), Options(quant="int4"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_conversion_holds_little_in_memory(tmp_path: Path) -> None:
    """96 MB of weights pass through; what stays is a few blocks."""
    source = tiny(tmp_path / "source", vocab_size=187_500)
    assert (source / "model.safetensors").stat().st_size > 95e6
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(source), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    assert int(done.stdout) * 1024 < 48e6


@pytest.mark.parametrize("quant", ["fp16", "int4", "int4-asym", "int8", "int4-min"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("alike", [True, False])
def test_a_drafts_head_is_the_first_rows_of_the_heads_own_bytes(
    quant: str, tied: bool, alike: bool, tmp_path: Path
) -> None:
    """Also where the embedding, whole, is in the same graph."""
    embed = quant if alike and quant != "int4-min" else "fp16"  # which no embedding can have
    options = {"exits": (1,), "embed": embed, "head": quant}
    source = tiny(tmp_path / "source", tie_word_embeddings=tied)
    folders = [
        converted(tmp_path / f"out-{vocab}", source, quant, **options, draft_vocab=vocab)
        for vocab in (0, 41)
    ]
    sizes = [(folder / "model.onnx.data").stat().st_size for folder in folders]
    assert sizes[0] == sizes[1]
    want, got = (drafted(folder / "draft-1.onnx") for folder in folders)
    assert got.shape == (1, 1, 41)
    np.testing.assert_allclose(got, want[:, :, :41], rtol=1e-6, atol=1e-6)


def drafted(file: Path) -> np.ndarray:
    """Logits after the first of all tokens, from a graph that drafts with one layer."""
    session = ort.InferenceSession(file)
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    feeds: dict[str, np.ndarray] = {
        value.name: np.zeros(
            [n if isinstance(n, int) else 1 for n in value.shape], kinds[value.type]
        )
        for value in session.get_inputs()
    }
    feeds["total.0"] += 1
    return session.run(["logits"], feeds)[0]
