"""An adapter beside an artifact's weights makes what it makes merged into them, on each target that takes one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from adapting import model_of, saved
from beside import dequantized, error, merged_checkpoint, random_adapter
from conftest import Edge
from references import scores
from support import converted, dividing, tiny

import edge as package
from edge import targets
from edge.api import verify_artifact
from edge.artifact.manifest import Artifact
from edge.convert.calibration import Calibration
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.decode.exits import ExitDecoder
from edge.decode.snapkv import SnapKV
from edge.errors import Damaged, Unsupported
from edge.protocols import Decoder
from edge.quant.recipe import parse
from edge.run import opening
from edge.run.beside import with_adapter
from edge.run.model import Wish
from edge.run.strategy import Strategy, opened
from edge.source.checkpoint import Checkpoint
from edge.system import home
from edge_runtimes.reference.decoder import checkpoint_weights
from edge_runtimes.reference.exits import ExitReferenceDecoder

MODULES = {"onnx": "onnxruntime", "mlx": "mlx.core", "torch": "torch", "gguf": "llama_cpp"}
KINDS = pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
FAMILIES = ("llama", "phi3", "openelm", "internlm2")
TURNED = ("quip-int4-g32", "awq-int4-g32")
IDS = [5, 17, 42, 9, 88, 3, 3, 61, 20, 34, 71, 2]


@pytest.fixture(params=MODULES)
def target(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(MODULES[request.param])
    if request.param == "gguf" and request.node.callspec.params.get("dora"):
        pytest.skip("llama.cpp has no DoRA, which is refused")
    return str(request.param)


def scored(artifact: Artifact, *, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a whole sequence at once, and of its last token after a prompt and a step."""
    decoder = opening.open_decoder(artifact, threads=None, exact=exact)
    whole = decoder.score(IDS).copy()
    decoder.rewind(0)
    decoder.prefill(IDS[:-1])
    return whole, decoder.step(IDS[-1]).copy()


@KINDS
@pytest.mark.parametrize("family", FAMILIES)
def test_beside_is_merged(family: str, dora: bool, target: str, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", family, sliding_window=None)
    adapter = random_adapter(tmp_path / "adapter", source, dora=dora)
    base = Artifact.open(converted(tmp_path / "base", source, target=target))
    before = {name: (base.folder / name).stat().st_mtime_ns for name in base.files}
    merged = Artifact.open(
        converted(
            tmp_path / "out", merged_checkpoint(tmp_path / "made", source, adapter), target=target
        )
    )
    beside = with_adapter(base, tmp_path / "adapter")
    plain, _ = scored(base, exact=True)
    for exact in (True, False):
        want, got = scored(merged, exact=exact), scored(beside, exact=exact)
        # llama.cpp's fast cache is of float16.
        near = 2e-3 if target == "gguf" and not exact else 2e-5
        assert error(got[0], want[0]) < near
        assert error(got[1], want[1]) < near
    assert error(want[0], plain) > 0.1, "it changes what the model says"
    assert error(scored(base, exact=True)[0], plain) == 0, "the next one without it is without it"
    assert not base.check_hashes()
    assert before == {name: (base.folder / name).stat().st_mtime_ns for name in base.files}


@KINDS
@pytest.mark.parametrize("family", ["llama", "phi3", "openelm"])
def test_beside_codes_is_numpy_with_what_they_mean(
    family: str, dora: bool, target: str, tmp_path: Path
) -> None:
    """Those kernels that round inputs to int8 are proved by `edge verify`, below."""
    source = tiny(tmp_path / "source", family, sliding_window=None, **dividing(family))
    adapter = random_adapter(tmp_path / "adapter", source, dora=dora)
    quant = "q8_0" if target == "gguf" else "rtn-int4-g32"
    base = Artifact.open(converted(tmp_path / "base", source, quant, target=target))
    beside = with_adapter(base, tmp_path / "adapter")
    want = dequantized(base, source, adapter).score(IDS)
    if target != "gguf":
        assert error(scored(beside, exact=True)[0], want) < 1e-5
    if target not in ("onnx", "gguf"):
        assert error(scored(beside, exact=False)[0], want) < 1e-5


@pytest.mark.parametrize(
    ("target", "recipe"),
    [
        *((target, recipe) for target in ("onnx", "mlx", "torch") for recipe in TURNED),
        ("onnx", "smoothquant-w8a8"),
    ],
)
def test_beside_columns_that_were_turned_or_balanced(
    target: str, recipe: str, tmp_path: Path, short_stories: Path, world_text: Path
) -> None:
    """What a product's input is divided by, or rotated into, is no matter of the adapter's."""
    pytest.importorskip(MODULES[target])
    adapter = random_adapter(tmp_path / "adapter", short_stories, dora=True)
    text = Calibration.of(world_text, 512)
    options = Options(target=target, quant=recipe, calibrate=text)
    base = convert(short_stories, tmp_path / "base", options)
    beside = with_adapter(base, tmp_path / "adapter")
    want = dequantized(base, short_stories, adapter).score(IDS)
    assert error(scored(beside, exact=True)[0], want) < 1e-4


# What decodes otherwise


STRATEGIES = {
    "plain": Strategy(),
    "exit": Strategy(layerskip=1),
    "lookup": Strategy(drafting="lookup"),
    "a cut copy": Strategy(drafting="snapkv", snapkv=SnapKV(capacity=24, window=8)),
    "reuse": Strategy(snapkv=SnapKV(capacity=64, window=8)),
}


@KINDS
def test_every_lossless_way_says_the_same(
    dora: bool, target: str, tmp_path: Path, short_stories: Path
) -> None:
    """Drafts by the first layers, by the prompt or by a cut cache, and a cache that is large enough."""
    random_adapter(tmp_path / "adapter", short_stories, dora=dora, rank=2)
    drafts = None if target == "gguf" else 512
    options = Options(target=target, quant="fp32", exits=(1,), draft_vocab=drafts)
    artifact = convert(short_stories, tmp_path / "out", options)
    beside = with_adapter(artifact, tmp_path / "adapter")
    prompt = [1 + 37 * i % 900 for i in range(40)]
    said = {name: answer(beside, strategy, prompt) for name, strategy in STRATEGIES.items()}
    assert len(set(said["plain"])) > 1, "no answer that any decoder would give"
    assert said == dict.fromkeys(STRATEGIES, said["plain"])
    assert answer(artifact, Strategy(), prompt) != said["plain"]


@KINDS
def test_drafts_have_what_an_adapter_makes_of_the_head(
    dora: bool, target: str, tmp_path: Path
) -> None:
    """Of its first rows, where drafts are of the first ids (lorax#570)."""
    source = tiny(tmp_path / "source", "llama", num_hidden_layers=3)
    adapter = random_adapter(tmp_path / "adapter", source, dora=dora, seed=1)
    assert "lm_head" in adapter.modules
    few = None if target == "gguf" else 60
    out = converted(tmp_path / "out", source, target=target, exits=(1,), draft_vocab=few)
    beside = with_adapter(Artifact.open(out), tmp_path / "adapter")
    drafting = opening.open_exits(beside, exit_=1, threads=None)
    drafting.prefill(IDS)
    with Checkpoint.open(merged_checkpoint(tmp_path / "made", source, adapter)) as merged:
        weights = checkpoint_weights(merged)
        halves = ExitReferenceDecoder(replace(merged.decoder, exits=(1,)), weights, 1)
        want = ExitDecoder(halves)
        want.prefill(IDS)
        assert error(drafting.draft(7)[:few], want.draft(7)[:few]) < 2e-3
        assert error(drafting.finish(9), want.finish(9)) < 2e-3


def answer(artifact: Artifact, strategy: Strategy, prompt: list[int]) -> list[int]:
    from edge.decode.generate import generate

    return list(generate(opened(artifact, strategy, threads=None), prompt, max_tokens=24))


def test_a_cut_cache_is_that_of_the_merged_model(
    target: str, tmp_path: Path, short_stories: Path
) -> None:
    adapter = random_adapter(tmp_path / "adapter", short_stories)
    merged = merged_checkpoint(tmp_path / "made", short_stories, adapter)
    options = Options(target=target, quant="fp32")
    beside = with_adapter(convert(short_stories, tmp_path / "base", options), tmp_path / "adapter")
    strategy = Strategy(snapkv=SnapKV(capacity=16, window=4))
    prompt = [1 + 37 * i % 900 for i in range(60)]
    assert answer(beside, strategy, prompt) == answer(
        convert(merged, tmp_path / "merged", options), strategy, prompt
    )


def test_an_int8_cache_takes_an_adapter(tmp_path: Path, short_stories: Path) -> None:
    """Its graph is another than the one that reads the prompt."""
    pytest.importorskip("onnxruntime")
    random_adapter(tmp_path / "adapter", short_stories)
    base = convert(short_stories, tmp_path / "base", Options(target="onnx", quant="fp32"))
    beside = with_adapter(base, tmp_path / "adapter")
    prompt = [1 + 37 * i % 900 for i in range(300)]
    decoder = opening.open_rounding(beside, threads=None)
    decoder.prefill(prompt)
    decoder.round()
    want = opening.open_decoder(beside, threads=None, exact=True)
    want.prefill(prompt)
    assert error(decoder.step(7).copy(), want.step(7)) < 0.05
    other = opening.open_decoder(base, threads=None, exact=True)
    other.prefill(prompt)
    assert error(other.step(7), want.step(7)) > 0.2


def test_rows_of_another_network_take_an_adapter(target: str, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama")
    adapter = random_adapter(tmp_path / "adapter", source)
    options = Options(target=target, quant="fp32", spliced=True)
    beside = with_adapter(convert(source, tmp_path / "base", options), tmp_path / "adapter")
    decoder = opening.open_spliced(beside, exact=True)
    with Checkpoint.open(merged_checkpoint(tmp_path / "made", source, adapter)) as merged:
        want = targets.oracle().oracle(merged, parse("fp32"))
        assert error(decoder.prefill_rows(decoder.embed(IDS)), want.prefill(IDS)) < 2e-5


def test_two_adapters_of_one_artifact_are_open_at_once(target: str, tmp_path: Path) -> None:
    """Weights are shared by decoders of one artifact, where a runtime shares any: adapters are not."""
    source = tiny(tmp_path / "source", "llama")
    base = Artifact.open(converted(tmp_path / "base", source, target=target))
    want, decoders = [], list[Decoder]()
    for seed in (0, 1):
        adapter = random_adapter(tmp_path / f"adapter-{seed}", source, seed=seed)
        beside = with_adapter(base, tmp_path / f"adapter-{seed}")
        decoders.append(opening.open_decoder(beside, threads=None, exact=True))
        want.append(dequantized(base, source, adapter).score(IDS))
    for decoder, logits in zip(decoders, want, strict=True):
        assert error(decoder.score(IDS), logits) < 2e-5


def test_a_long_context_has_it_in_both_parts(tmp_path: Path, target: str) -> None:
    factors = {"short_factor": [1.0] * 8, "long_factor": [1.5] * 8}
    source = tiny(
        tmp_path / "source",
        "phi3",
        sliding_window=None,
        max_position_embeddings=64,
        original_max_position_embeddings=32,
        rope_scaling={"type": "longrope", **factors},
    )
    adapter = random_adapter(tmp_path / "adapter", source)
    base = Artifact.open(converted(tmp_path / "base", source, target=target))
    beside = opening.open_decoder(
        with_adapter(base, tmp_path / "adapter"), threads=None, exact=True
    )
    made = Artifact.open(
        converted(
            tmp_path / "made",
            merged_checkpoint(tmp_path / "merged", source, adapter),
            target=target,
        )
    )
    merged = opening.open_decoder(made, threads=None, exact=True)
    for ids in (IDS, [1 + i % 90 for i in range(40)]):  # of the short factors, and of the long ones
        beside.rewind(0)
        merged.rewind(0)
        assert error(beside.prefill(ids).copy(), merged.prefill(ids)) < 2e-5


# As others compute it


SAVED = {
    "lora": {},
    "dora": {"use_dora": True},
    # A scale of another rule, and of others for some modules (vllm#10798, TensorRT-LLM#1668).
    "rslora": {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
}


@pytest.mark.parametrize("kind", SAVED)
@pytest.mark.parametrize("target", ["onnx", "mlx", "torch"])
def test_logits_are_pefts(kind: str, target: str, tmp_path: Path) -> None:
    """Of an adapter that PEFT made and saved."""
    pytest.importorskip(MODULES[target])
    source = tiny(tmp_path / "source", "llama")
    modules = ["q_proj", "v_proj", "up_proj", "down_proj"]
    how = {"r": 4, "lora_alpha": 6, "target_modules": modules, **SAVED[kind]}
    want = scores(saved(tmp_path / "adapter", source, **how), IDS)
    base = Artifact.open(converted(tmp_path / "base", source, target=target))
    got = scored(with_adapter(base, tmp_path / "adapter"), exact=True)[0]
    assert error(got, want) < 2e-5
    assert error(scores(model_of(source), IDS), want) > 0.05


# Commands


@KINDS
def test_verify_proves_logits_with_it(
    dora: bool, target: str, tmp_path: Path, short_stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the checkpoint through the recipe, with the adapter beside that: int8 inputs and all."""
    random_adapter(tmp_path / "adapter", short_stories, dora=dora)
    quant = "q4_0" if target == "gguf" else "rtn-int4-g32"
    base = convert(short_stories, tmp_path / "base", Options(target=target, quant=quant))
    source, adapter = str(short_stories), tmp_path / "adapter"
    assert verify_artifact(base.folder, source, tokens=8, adapter=adapter).passed
    assert Artifact.open(base.folder).manifest.verified is None, "it says nothing of the artifact"
    assert verify_artifact(base.folder, source, tokens=8).passed
    assert Artifact.open(base.folder).manifest.verified is not None
    # An artifact that is opened without it is found out.
    monkeypatch.setattr(opening, "_plainly", lambda a: opening.Opening(a.place, a.manifest.decoder))
    assert not verify_artifact(base.folder, source, tokens=8, adapter=adapter).passed


def test_commands_take_it(
    edge: Edge, tmp_path: Path, short_stories: Path, world_text: Path
) -> None:
    adapter = tmp_path / "adapter"
    random_adapter(adapter, short_stories, rank=2)
    out = tmp_path / "out"
    assert edge("convert", short_stories, "--to", "onnx", "--quant", "fp32", "-o", out).code == 0
    given = ["Once upon a time", "--max-tokens", "8", "--json"]
    plain, beside = edge("run", out, *given), edge("run", out, *given, "--adapter", adapter)
    assert beside.code == plain.code == 0
    assert beside.json["tokens"] != plain.json["tokens"]
    assert "adapter" not in plain.json
    told = beside.json["adapter"]
    assert told["folder"] == str(adapter)
    assert sorted(told["files"]) == ["adapter_config.json", "adapter_model.safetensors"]
    assert all(len(digest) == 64 for digest in told["files"].values())
    model = package.load(out, adapter=adapter)
    wish = Wish(max_tokens=8)
    assert "".join(model.generate("Once upon a time", wish=wish)) == beside.json["text"]

    text = ["--text", world_text, "--json"]
    losses = [edge("eval", out, *text, *more) for more in ((), ("--adapter", adapter))]
    assert [loss.code for loss in losses] == [0, 0]
    assert losses[0].json["nats_per_token"] != losses[1].json["nats_per_token"]
    assert losses[1].json["adapter"] == told
    timed = edge(
        "bench", out, "-p", "8", "-n", "4", "--rounds", "1", "--adapter", adapter, "--json"
    )
    assert timed.code == 0
    assert timed.json["adapter"] == told
    proved = edge("verify", out, "--against", short_stories, "--tokens", "4", "--adapter", adapter)
    assert proved.code == 0, proved.err


@KINDS
def test_inspect_says_what_an_adapter_changes(dora: bool, edge: Edge, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama")
    how = {"r": 4, "lora_alpha": 6, "use_dora": dora, "target_modules": ["q_proj", "down_proj"]}
    model = saved(tmp_path / "adapter", source, **how)
    told = edge("inspect", tmp_path / "adapter", "--json")
    assert told.code == 0
    learned = sum(value.numel() for value in model.parameters() if value.requires_grad)
    assert {key: told.json[key] for key in told.json if key not in ("files", "sha256")} == {
        "kind": "adapter",
        "method": "DoRA" if dora else "LoRA",
        "ranks": [4],
        "scales": [1.5],
        "modules": {"q_proj": 2, "down_proj": 2},
        "layers": 2,
        "parameters": learned,
        "base": str(source),
    }
    assert edge("inspect", tmp_path / "adapter").code == 0
    assert "is no checkpoint, no artifact and no adapter" in edge("inspect", tmp_path).err


# Refusals


def test_an_adapter_of_another_model_is_refused_by_its_first_odd_module(
    edge: Edge, tmp_path: Path, short_stories: Path
) -> None:
    other = tiny(tmp_path / "other", "phi3", tie_word_embeddings=True)
    random_adapter(tmp_path / "adapter", other)
    out = converted(tmp_path / "out", short_stories, target="onnx")
    made = edge("run", out, "Hi there.", "--adapter", tmp_path / "adapter")
    assert made.code == 4
    assert "changes model.layers.0.mlp.gate_up_proj as a matrix of [" in made.err
    assert "the model's is [" in made.err
    random_adapter(tmp_path / "llama", tiny(tmp_path / "third", "llama"))
    with pytest.raises(Damaged, match=r"changes 'lm_head', which the model does not have"):
        with_adapter(Artifact.open(out), tmp_path / "llama")
    early = edge("run", short_stories, "Hi there.", "--adapter", tmp_path / "adapter")
    assert early.code == 4
    assert not home.artifacts().exists(), "found before anything was converted"


@pytest.mark.parametrize(
    ("target", "kind"), [("gguf", "DoRA"), ("coreml", "LoRA")], ids=["gguf", "coreml"]
)
def test_a_target_that_cannot_says_what_can_be_done(target: str, kind: str, tmp_path: Path) -> None:
    pytest.importorskip({"gguf": "llama_cpp", "coreml": "coremltools"}[target])
    source = tiny(tmp_path / "source", "llama")
    random_adapter(tmp_path / "adapter", source, dora=kind == "DoRA")
    artifact = Artifact.open(converted(tmp_path / "out", source, target=target))
    with pytest.raises(Unsupported, match=f"{target} runs no {kind} adapter") as caught:
        with_adapter(artifact, tmp_path / "adapter")
    assert f"edge convert MODEL --adapter FOLDER --to {target}" in caught.value.fix


def test_what_is_no_decoder_takes_none(edge: Edge, tmp_path: Path, short_stories: Path) -> None:
    out = converted(tmp_path / "out", short_stories, target="onnx")
    nothing = edge("run", out, "Hi there.", "--adapter", tmp_path / "nothing")
    assert nothing.code == 2
    assert "there is no adapter" in nothing.err
    hashes = edge("verify", out, "--files", "--adapter", tmp_path / "nothing")
    assert hashes.code == 2
    reads = Path(package.__file__).parent / "models" / "edge-reads"
    several = edge("run", reads, "What is it?", "--adapter", tmp_path)
    assert several.code == 2
    assert "one decoder of text alone" in several.err
    seen = edge("run", "What is it?", "--image", tmp_path / "a.png", "--adapter", tmp_path)
    assert seen.code == 2
    assert "--adapter" in seen.err


def test_a_gguf_file_of_anyone_takes_it(tmp_path: Path, short_stories: Path) -> None:
    """What a manifest would say is in its keys."""
    pytest.importorskip("llama_cpp")
    adapter = random_adapter(tmp_path / "adapter", short_stories)
    out = converted(tmp_path / "out", short_stories, target="gguf")
    file = (out / "model.gguf").rename(tmp_path / "anyones.gguf")
    model = package.load(file, adapter=tmp_path / "adapter", exact=True)
    with Checkpoint.open(merged_checkpoint(tmp_path / "made", short_stories, adapter)) as merged:
        want = targets.oracle().oracle(merged, parse("fp32")).score(IDS)
    assert error(model.decoder.score(IDS), want) < 2e-5


def test_a_graph_that_lacks_a_product_is_refused(tmp_path: Path) -> None:
    """A stranger's graph may call its weights by any name."""
    pytest.importorskip("onnxruntime")
    source = tiny(tmp_path / "source", "llama")
    random_adapter(tmp_path / "adapter", source)
    artifact = Artifact.open(converted(tmp_path / "out", source, target="onnx"))
    file = artifact.folder / "model.onnx"
    file.write_bytes(file.read_bytes().replace(b"layers.1.mlp.down", b"layers.1.mlp.dowm"))
    beside = with_adapter(artifact, tmp_path / "adapter")
    with pytest.raises(Damaged, match=r"model.onnx does not multiply by layers.1.mlp.down"):
        opening.open_decoder(beside, threads=None, exact=False)
    opening.open_decoder(artifact, threads=None, exact=False)  # whose names are no matter else
