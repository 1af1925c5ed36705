"""llama.cpp's mixtures of types: the same types and the same bytes as its own quantizer's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import converted, nothing_left, run, tiny

from edge.api import verify_artifact
from edge.artifact import vectors as kept
from edge.artifact.manifest import Artifact
from edge.convert.calibration import Calibration, measure
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import Damaged, EdgeError, Unsupported
from edge.gguf.architectures import architecture, places
from edge.gguf.kinds import BY_NAME
from edge.gguf.mixtures import RULES, mixed
from edge.gguf.reader import GGUFFile
from edge.measure.recall import text as world
from edge.quant.ggml import BLOCKS, MIXTURES
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
llama = pytest.importorskip("gguf_quantized")

STORIES = Path(__file__).parents[2] / "edge" / "models" / "edge-stories"
MODEL = "model.gguf"
WIDE = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 4}
# Cases in which rules differ: layers, heads that a kv head serves, ties, stacks, rows of other lengths.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ungrouped": ("llama", {**WIDE, "num_hidden_layers": 9}),
    "grouped, tied": (
        "llama",
        {**WIDE, "num_hidden_layers": 17, "num_key_value_heads": 1, "tie_word_embeddings": True},
    ),
    "large": (
        "llama",
        {
            "hidden_size": 256,
            "intermediate_size": 32,
            "num_hidden_layers": 80,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
        },
    ),
    "stacked": ("phi3", {**WIDE, "num_hidden_layers": 4, "intermediate_size": 288}),
    "own head": ("internlm2", {**WIDE, "tie_word_embeddings": True}),
    "layers differ": ("openelm", {"model_dim": 256, "head_dim": 16, "ffn_dim_divisor": 64}),
    "odd rows": ("llama", {"hidden_size": 192, "intermediate_size": 80, "num_attention_heads": 4}),
}
FAST = [word for word in RULES if not word.startswith(("iq1", "iq2", "iq3_x"))]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each case, and its file in float32."""
    folder = tmp_path_factory.mktemp("plain")
    for case, (family, changes) in CASES.items():
        tiny(folder / case / "source", family, **changes)
        converted(folder / case / "plain", folder / case / "source", target="gguf")
    return {case: folder / case for case in CASES}


def columns(file: Path) -> dict[str, int]:
    """Inputs of each matrix of the layers."""
    with GGUFFile(file) as opened:
        every = opened.tensors.items()
        return {n: t.shape[1] for n, t in every if n.startswith("blk.") and len(t.shape) == 2}


def made_up(file: Path) -> dict[str, np.ndarray]:
    """Importances of no meaning."""
    rng = np.random.default_rng(3)
    return {
        name: rng.gamma(0.5, size=count).astype(np.float32) for name, count in columns(file).items()
    }


def tensors_of(checkpoint: Checkpoint, file: Path) -> dict[str, tuple[str, ...]]:
    """Canonical names -> tensors of a file."""
    arch = architecture(checkpoint.family.known_as["gguf"])
    with GGUFFile(file) as opened:
        found = places(checkpoint.spec, arch, head="output.weight" in opened.tensors)
    return {name: tuple(place.tensor for place in at) for name, at in found.items()}


def spec_of(source: Path) -> tuple[DecoderSpec, str]:
    with Checkpoint.open(source) as checkpoint:
        return checkpoint.spec, checkpoint.family.known_as["gguf"]


@pytest.mark.parametrize("calibrated", [True, False], ids=["calibrated", "plain"])
@pytest.mark.parametrize("case", CASES)
def test_every_weight_has_the_type_that_llama_cpp_gives_it(
    plain: dict[str, Path], case: str, calibrated: bool
) -> None:
    source, file = plain[case] / "source", plain[case] / "plain" / MODEL
    spec, name = spec_of(source)
    with Checkpoint.open(source) as checkpoint:
        tensors = tensors_of(checkpoint, file)
    for word, rules in RULES.items():
        theirs = llama.types(file, rules.file_type, made_up(file) if calibrated else {})
        try:
            ours = mixed(word, spec, architecture(name), calibrated=calibrated)
        except Unsupported:
            assert not calibrated
            assert not llama.quantize(file, plain[case] / "none", rules.file_type, {}), word
            continue
        for canonical, type_ in ours.items():
            if canonical == "head" and spec.tied:
                continue
            assert theirs[tensors[canonical][0]] == {"fp16": "f16"}.get(
                type_, type_.replace("_k", "_K")
            ), (word, canonical)
            last = tensors[canonical][-1]
            if last == "output.weight":
                assert theirs[last] == ours["head"].replace("_k", "_K"), word


@pytest.mark.parametrize("case", ["own head", "stacked", "odd rows"])
@pytest.mark.parametrize("word", ["q2_k", "q3_k_m", "q4_k_m", "q5_k_s", "q6_k", "iq4_nl", "iq4_xs"])
def test_every_byte_is_what_llama_cpp_writes(
    plain: dict[str, Path], tmp_path: Path, case: str, word: str
) -> None:
    source, file = plain[case] / "source", plain[case] / "plain" / MODEL
    assert llama.quantize(file, tmp_path / "theirs", RULES[word].file_type, {}, threads=2)
    same(converted(tmp_path / "ours", source, word, target="gguf") / MODEL, tmp_path / "theirs")


@pytest.mark.parametrize("word", ["q3_k_s", "iq4_xs", "iq3_xxs"])
def test_every_byte_is_what_llama_cpp_writes_with_importances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    source = tiny(tmp_path / "source", "llama", **WIDE, num_key_value_heads=2)
    file = converted(tmp_path / "plain", source, target="gguf") / MODEL
    importance = made_up(file)
    with Checkpoint.open(source) as checkpoint:
        every = tensors_of(checkpoint, file).items()
    table = {name: importance[at[0]] for name, at in every if at[0] in importance}
    monkeypatch.setattr("edge.convert.conversion.measure", lambda *_: table)
    monkeypatch.setattr(Calibration, "windows", lambda *_: [[1, 2]])
    monkeypatch.setattr("edge.convert.conversion.vocabulary_of", lambda _: source)
    asked = Options(target="gguf", quant=word, calibrate=Calibration(Path("x.txt"), "x", 32))
    ours = convert(source, tmp_path / "ours", asked).folder / MODEL
    assert llama.quantize(file, tmp_path / "theirs", RULES[word].file_type, importance)
    same(ours, tmp_path / "theirs")
    without = llama.quantize(file, tmp_path / "other", RULES[word].file_type, {})
    assert not without or (tmp_path / "other").read_bytes() != (tmp_path / "theirs").read_bytes()


def same(ours: Path, theirs: Path) -> None:
    with GGUFFile(ours) as mine, GGUFFile(theirs) as other:
        assert set(mine.tensors) == set(other.tensors)
        assert mine["general.file_type"] == other["general.file_type"]
        for name, tensor in other.tensors.items():
            assert mine.tensors[name].kind == tensor.kind, name
            stored = [file.raw(name, 0, tensor.rows) for file in (mine, other)]
            np.testing.assert_array_equal(*stored, err_msg=name)


# Proof


@pytest.mark.parametrize("case", ["own head", "stacked", "odd rows", "layers differ"])
@pytest.mark.parametrize("word", ["q2_k", "q3_k_l", "q4_k_m", "q5_k_m", "iq4_xs", "iq3_s"])
def test_a_mixture_is_proved(plain: dict[str, Path], tmp_path: Path, case: str, word: str) -> None:
    source = plain[case] / "source"
    artifact = convert(source, tmp_path / "it", Options(target="gguf", quant=word))
    manifest = artifact.manifest
    assert manifest.recipe == word
    assert "llama-cpp-python" in manifest.tools
    tokens = min(24, manifest.spec.context - 2)
    report = verify_artifact(artifact.folder, str(source), tokens=tokens)
    assert report.passed, report
    assert report.logits_error <= report.logits_tolerance < 0.075


def test_one_changed_byte_fails_the_proof(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama", **WIDE, num_key_value_heads=2)
    file = converted(tmp_path / "it", source, "q4_k_m", target="gguf") / MODEL
    with GGUFFile(file) as opened:
        tensor = opened.tensors["blk.0.attn_q.weight"]
    assert tensor.kind.name == "Q4_K"
    content = bytearray(file.read_bytes())
    content[tensor.start + 3 * tensor.row_bytes + 20] ^= 1
    file.write_bytes(content)
    report = verify_artifact(file.parent, str(source), tokens=24)
    assert not report.passed
    assert (report.differing_bytes, report.changed_files) == (1, (MODEL,))


def test_an_overridden_weight_keeps_its_precision(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama", **WIDE, num_key_value_heads=2)
    overrides = {"layers.0.mlp.down": "q6_k", "layers.*.mlp.down": "q8_0"}
    asked = Options(target="gguf", quant="q4_k_s", embed="fp16", head="iq4_xs", overrides=overrides)
    artifact = convert(source, tmp_path / "it", asked)
    with GGUFFile(artifact.folder / MODEL) as file:
        found = {name: file.tensors[f"{name}.weight"].kind.name for name in (
            "token_embd", "output", "blk.0.ffn_down", "blk.1.ffn_down", "blk.1.attn_v", "blk.1.attn_q")}  # fmt: skip
    want = {
        "token_embd": "F16",
        "output": "IQ4_XS",
        "blk.0.ffn_down": "Q6_K",
        "blk.1.ffn_down": "Q8_0",
        "blk.1.attn_v": "Q5_K",
        "blk.1.attn_q": "Q4_K",
    }
    assert found == want
    assert verify_artifact(artifact.folder, str(source), tokens=24).passed


def test_one_weight_of_a_recipe_of_ours_may_be_of_a_type_of_theirs(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama", **WIDE, num_key_value_heads=2)
    artifact = convert(source, tmp_path / "it", Options(target="gguf", quant="q4_0", head="q6_k"))
    assert artifact.manifest.recipe == "q4_0"
    with GGUFFile(artifact.folder / MODEL) as file:
        assert file.tensors["output.weight"].kind.name == "Q6_K"
    assert verify_artifact(artifact.folder, str(source), tokens=24).passed


@pytest.mark.parametrize("name", [name for name in BLOCKS if not name.startswith("iq1")])
def test_stored_weights_are_what_others_read(name: str) -> None:
    """ggml's reference, through our ctypes, beside gguf-py's own readers."""
    quants = pytest.importorskip("gguf.quants", reason="gguf is not installed")
    gguf = pytest.importorskip("gguf")
    from edge_converters.gguf.quantizer import Quantizer
    from edge_runtimes.gguf.stored import to_float

    kind = BY_NAME[name.upper()]
    weights = np.random.default_rng(1).normal(size=(5, 512)).astype(np.float32)
    raw = Quantizer({"a": np.ones(512, np.float32)})("a", 0, weights, kind)
    found = to_float(raw, kind)
    try:
        want = quants.dequantize(raw, gguf.GGMLQuantizationType[kind.name])
    except (NotImplementedError, KeyError):
        pytest.skip(f"gguf-py reads no {kind.name}")
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)
    bits = kind.nbytes * 8 / kind.block
    error = np.square(found - weights).mean()
    assert error < (1 if name.startswith("tq") else 8 * 4.0**-bits), "it is the same weight"


# Importance


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "world.txt"
    file.write_text(world(seed=1, count=12))
    return file


def test_importances_are_mean_squares_of_inputs(assets: Path, text: Path, tmp_path: Path) -> None:
    """Beside hooks on the linear layers of transformers, on real weights."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    source = assets / "llm" / "stories-260k"
    windows = [[1, *range(20, 60)], [1, *range(100, 130)]]
    with Checkpoint.open(source) as checkpoint:
        found = measure(checkpoint, windows)
        names = {
            place.tensor.removesuffix(".weight"): name for name, place in checkpoint.places.items()
        }
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    sums: dict[str, Any] = {}
    for module_name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module_name in names:

            def hook(_module: Any, inputs: Any, _out: Any, at: str = names[module_name]) -> None:
                squares = inputs[0].double().square().reshape(-1, inputs[0].shape[-1]).sum(0)
                sums[at] = sums.get(at, 0) + squares.detach().numpy()

            module.register_forward_hook(hook)
    with torch.no_grad():
        for window in windows:
            model(torch.tensor([window]))
    assert set(found) == {name for name in sums if name.startswith("layers.")}
    count = sum(map(len, windows))
    for name, mean in found.items():
        np.testing.assert_allclose(mean, sums[name] / count, rtol=2e-4, err_msg=name)


def test_a_calibrated_artifact_says_by_what(text: Path, tmp_path: Path) -> None:
    asked = Options(target="gguf", quant="iq3_xxs", calibrate=Calibration.of(text, 600))
    artifact = convert(STORIES, tmp_path / "it", asked)
    found = artifact.manifest.calibration
    assert found is not None
    assert found["text"] == text.name
    assert found["window"] == 512
    assert 600 <= found["tokens"] <= 602
    assert found["sha256"] == Calibration.of(text).sha256
    assert kept.IMPORTANCE in artifact.manifest.files
    assert verify_artifact(artifact.folder, str(STORIES), tokens=24).passed
    table = kept.read(artifact.folder / kept.IMPORTANCE)
    assert len(table) == 7 * 8
    table["layers.0.mlp.down"][::2] *= 100
    kept.write(artifact.folder / kept.IMPORTANCE, table)
    report = verify_artifact(artifact.folder, str(STORIES), tokens=24)
    assert report.differing_bytes > 0, "other importances make other codes"
    assert not report.passed


@pytest.mark.parametrize("type_", ["q2_k", "q3_k", "iq4_xs"])
def test_importances_keep_what_a_text_needs(text: Path, tmp_path: Path, type_: str) -> None:
    """Outputs on another text of a trained model's widest matrices: nearer with importances."""
    from edge_converters.gguf.quantizer import Quantizer
    from edge_runtimes.gguf.stored import to_float

    other = tmp_path / "other.txt"
    other.write_text(world(seed=2, count=12))
    kind = BY_NAME[type_.upper()]
    with Checkpoint.open(STORIES) as checkpoint:
        means = [
            measure(checkpoint, Calibration.of(file, 1500).windows(STORIES, 512))
            for file in (text, other)
        ]
        lost = {True: 0.0, False: 0.0}
        for name in [f"layers.{i}.mlp.down" for i in range(8)]:
            weights = checkpoint[name]
            for calibrated in lost:
                given = {name: means[0][name]} if calibrated else {}
                error = to_float(Quantizer(given)(name, 0, weights, kind), kind) - weights
                lost[calibrated] += float((np.square(error) @ means[1][name]).sum())
    assert lost[True] < 0.95 * lost[False]


def test_importances_do_not_cost_what_they_should_keep(text: Path, tmp_path: Path) -> None:
    """Loss on text of the packaged model; most of its rows, of 192, fall back to blocks of 32."""
    from edge.api import eval_text

    other = tmp_path / "other.txt"
    other.write_text(world(seed=2, count=8))
    losses = []
    for number, calibrate in enumerate((None, Calibration.of(text, 2000))):
        asked = Options(target="gguf", quant="q2_k", calibrate=calibrate)
        folder = convert(STORIES, tmp_path / f"{number}", asked).folder
        losses.append(eval_text(folder, other, window=512, threads=1))
    assert losses[1].nats_per_token < losses[0].nats_per_token + losses[0].nats_per_token_se / 10


# Refusals


@pytest.mark.parametrize("word", ["iq1_s", "iq2_xxs", "iq2_m", "iq3_xs", "q2_k_s"])
def test_what_needs_importances_is_refused_before_anything_is_written(
    word: str, tmp_path: Path
) -> None:
    source = tiny(tmp_path / "source", "llama", **WIDE)
    with pytest.raises(Unsupported, match=f"{word} needs an importance matrix") as caught:
        convert(source, tmp_path / "it", Options(target="gguf", quant=word))
    assert "--calibrate" in caught.value.fix
    assert nothing_left(tmp_path / "it")


def test_other_targets_refuse_a_mixture_by_its_name(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama")
    for options in ({"quant": "q4_k_m"}, {"quant": "int4", "head": "q6_k"}):
        with pytest.raises(Unsupported, match=r"onnx cannot hold q\d_k.*only the library of gguf"):
            convert(source, tmp_path / "it", Options(target="onnx", **options))


def test_a_type_of_single_weights_is_no_recipe(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama")
    with pytest.raises(EdgeError, match="q4_k is a type of single weights") as caught:
        convert(source, tmp_path / "it", Options(target="gguf", quant="q4_k"))
    assert "q4_k_m" in caught.value.fix


@pytest.mark.parametrize("quant", ["q4_0", "fp16"])
def test_a_text_is_not_read_for_nothing(quant: str, text: Path, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama")
    asked = Options(target="gguf", quant=quant, calibrate=Calibration.of(text))
    with pytest.raises(EdgeError, match="--calibrate would change nothing"):
        convert(source, tmp_path / "it", asked)


def test_texts_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "short").write_text("a few")
    for name in ("missing", "binary"):
        with pytest.raises(EdgeError, match="cannot be read as UTF-8 text"):
            Calibration.of(tmp_path / name)
    with pytest.raises(EdgeError, match=r"is of \d tokens"):
        Calibration.of(tmp_path / "short").windows(STORIES, 512)


def test_a_model_without_a_tokenizer_reads_no_text(text: Path, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama", **WIDE)
    asked = Options(target="gguf", quant="q2_k", calibrate=Calibration.of(text))
    with pytest.raises(EdgeError, match="no tokenizer to read --calibrate with"):
        convert(source, tmp_path / "it", asked)
    assert nothing_left(tmp_path / "it")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
@pytest.mark.parametrize("word", ["q4_k_m", "iq3_s"])
def test_weights_that_no_model_has_end_no_process(value: float, word: str, tmp_path: Path) -> None:
    from support import checkpoint, config_of, weights_of

    config = config_of("llama", **WIDE)
    weights = weights_of(config)
    weights["model.layers.0.self_attn.q_proj.weight"][3, 7] = value
    source = checkpoint(tmp_path / "source", config, weights)
    with pytest.raises(EdgeError, match=r"layers\.0\.self_attn\.q_proj\.weight holds .*row 3"):
        converted(tmp_path / "it", source, word, target="gguf")
    assert nothing_left(tmp_path / "it")


HOSTILE = {
    "not a number": {"layers.0.attn.q": np.full(256, np.nan, np.float32)},
    "negative": {"layers.0.attn.q": np.full(256, -1, np.float32)},
    "of another length": {"layers.0.attn.q": np.ones(255, np.float32)},
    "too large": {"layers.0.attn.q": np.full(256, 3e38, np.float32)},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_importances_that_no_text_gives(case: str, tmp_path: Path) -> None:
    from edge_converters.gguf.quantizer import Quantizer

    kept.write(tmp_path / kept.IMPORTANCE, HOSTILE[case])
    weights = np.ones((2, 256), np.float32)
    with pytest.raises(EdgeError):
        Quantizer.of_folder(tmp_path)("layers.0.attn.q", 0, weights, BY_NAME["Q4_K"])


def test_a_needed_importance_that_is_missing_ends_no_process() -> None:
    from edge_converters.gguf.quantizer import Quantizer

    with pytest.raises(Damaged, match="has no importance of a"):
        Quantizer({})("a", 0, np.ones((1, 256), np.float32), BY_NAME["IQ2_XXS"])


def test_the_command_line(text: Path, tmp_path: Path) -> None:
    made = run(
        "convert", "edge-stories", "--to", "gguf", "--quant", "q3_k_m", "--calibrate", str(text),
        "--calibrate-tokens", "256", "-o", str(tmp_path / "it"), "--json",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert made.stderr == "", "llama.cpp is silent"
    assert kept.IMPORTANCE in json.loads(made.stdout)["files"]
    alone = run(
        "convert",
        "edge-stories",
        "--to",
        "gguf",
        "--quant",
        "rtn-int4-g32-fp16",
        "--calibrate-tokens",
        "64",
    )
    assert alone.returncode == 2
    assert "--calibrate would change nothing" in alone.stderr


# Plans


@pytest.mark.parametrize("word", ["q4_k_m", "q2_k", "iq3_xs", "iq1_s"])
def test_a_plan_says_the_size(word: str, tmp_path: Path) -> None:
    from edge.api import plan_model

    source = tiny(tmp_path / "source", "llama", **WIDE, num_key_value_heads=2)
    (planned,) = plan_model(str(source), "gguf", Options(quant=word), threads=1)
    assert planned.recipe == word
    assert 0.2 < planned.disk_bytes / planned.parameters < 0.7, "bytes a weight"
    if word in FAST:
        file = converted(tmp_path / "it", source, word, target="gguf") / MODEL
        assert planned.disk_bytes <= file.stat().st_size < 1.1 * planned.disk_bytes


def test_every_mixture_has_rules() -> None:
    assert RULES.keys() == MIXTURES.keys()
    numbers = [rules.file_type for rules in RULES.values()]
    assert len(set(numbers)) == len(numbers)
    assert all(
        BY_NAME[name.upper()].nbytes == scheme.block_bytes for name, scheme in BLOCKS.items()
    )
    assert all(BY_NAME[name.upper()].block == scheme.group for name, scheme in BLOCKS.items())


def test_a_manifest_keeps_the_order_of_its_overrides(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama")
    overrides = {"layers.0.mlp.down": "fp16", "layers.*.mlp.down": "q8_0"}
    folder = converted(tmp_path / "it", source, "q4_0", target="gguf", overrides=overrides)
    assert list(Artifact.open(folder).manifest.overrides) == list(overrides)
    assert verify_artifact(folder, str(source), tokens=24).passed
