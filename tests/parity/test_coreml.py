"""Core ML packages of ours: as coremltools reads them, as applications call them, and proved."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Edge
from support import VOCAB, checkpoint, config_of, converted, spec_of, tiny, weights_of

pytest.importorskip("coremltools")

from mil import ct

from edge import targets
from edge.artifact.manifest import Artifact, files_of, recipe_of, write_manifest
from edge.contracts import About, Numerics, Opening
from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.hashing import sha256
from edge.names import shapes
from edge.prove.verify import verify
from edge.quant import recipe as recipes
from edge.quant.tensor import FLOATS, QTensor, rounded
from edge.run import opening
from edge.run.model import load
from edge.run.strategy import Strategy, opened
from edge.source.checkpoint import Checkpoint
from edge.text.ids import SpecialIds
from edge_converters.coreml import convert as converter
from edge_converters.coreml import layout
from edge_converters.coreml.convert import chunks
from edge_converters.coreml.export import DATA, WEIGHTS
from edge_converters.coreml.graph import entries
from edge_runtimes.coreml import native, open_reference
from edge_runtimes.coreml.decoder import CoreMlDecoder
from edge_runtimes.coreml.evaluator import Evaluator
from edge_runtimes.coreml.program import Program

PACKAGE = "model.mlpackage"
INT4 = "rtn-int4-g32-fp16"
IDS = [int(i) for i in np.random.default_rng(3).integers(0, VOCAB, 60)]


def artifact_of(folder: Path, family: str = "llama", quant: str = INT4, **options: Any) -> Path:
    """An artifact of a tiny checkpoint, which lies beside it."""
    source = tiny(folder / "source", family, **options.pop("config", {}))
    return converted(folder / "out", source, quant, target="coreml", **options)


def oracle_of(artifact: Path, *, cache: Any = "fp32") -> Any:
    """The numpy oracle of what an artifact stores."""
    found, manifest = (
        Checkpoint.open(artifact.with_name("source")),
        Artifact.open(artifact).manifest,
    )
    recipe = recipe_of(manifest)
    numerics = Numerics(tolerance=1, vectors=recipe.body.number, cache=cache)
    return targets.oracle().oracle(
        replace(found, spec=manifest.spec), recipe, numerics=numerics, spec=manifest.spec
    )


def errors(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Of each position, relative to its largest logit: [T]."""
    result: np.ndarray = np.abs(got - want).max(axis=1) / np.abs(want).max(axis=1)
    return result


# As coremltools reads it


def read_by_coremltools(folder: Path) -> Any:
    """The program, through coremltools' own loader and its own reader of weights."""
    from coremltools.converters.mil.frontend.milproto.load import load as load_program

    model = ct.models.MLModel(str(folder), skip_model_load=True)
    return load_program(
        model.get_spec(), specification_version=9, file_weights_dir=model.weights_dir
    )


@pytest.mark.parametrize(
    ("family", "quant", "embed"),
    [
        ("llama", "fp32", None),
        ("llama", "fp16", None),
        ("phi3", "int4", None),
        ("phi3", "int8", "fp16"),
        ("mistral", "int8-asym-fp16", None),
        ("openelm", "lut3-g1-fp16", None),
        ("internlm2", "lut4-g8-fp16", "lut6-g1-fp16"),
        ("llama", "nf4-g32-fp16", "nf4-g64"),
        ("phi3small", "int4", "int8"),
    ],
)
def test_coremltools_reads_the_weights_that_were_meant(
    family: str, quant: str, embed: str | None, tmp_path: Path
) -> None:
    artifact = artifact_of(tmp_path, family, quant, embed=embed, head=embed)
    program = read_by_coremltools(artifact / PACKAGE)
    function = program.functions["step"]
    products = [op for op in function.operations if op.op_type == "linear"]
    found, recipe = (
        Checkpoint.open(tmp_path / "source"),
        recipe_of(Artifact.open(artifact).manifest),
    )
    names = [name for name, shape in found.places.items() if len(found.shape(name)) == 2]
    names = [n for n in names if n != "embed"] + (["embed"] if found.spec.tied else [])
    assert len(products) == len(names)
    for op, name in zip(products, names, strict=True):
        held = op.weight.op
        got = held.materialized_val_inference() if op.weight.val is None else op.weight.val
        want = recipe.stored(name, found[name], recipe.scheme(name))
        meant = want.dequantize() if isinstance(want, QTensor) else want
        number = recipe.scheme(name).number
        np.testing.assert_array_equal(np.asarray(got, np.float32), rounded(meant, number), name)
    (table,) = [op.x for op in function.operations if op.op_type == "gather"][:1]
    got = table.op.materialized_val_inference() if table.val is None else table.val
    want = recipe.stored("embed", found["embed"], recipe.scheme("embed", by_row=True))
    meant = want.dequantize() if isinstance(want, QTensor) else want
    number = recipe.scheme("embed", by_row=True).number
    np.testing.assert_array_equal(np.asarray(got, np.float32), rounded(meant, number))


def test_the_description_is_what_applications_look_at(tmp_path: Path) -> None:
    """swift-transformers asks for these names, and for lengths that are a range."""
    artifact = artifact_of(tmp_path)
    spec = ct.models.MLModel(str(artifact / PACKAGE), skip_model_load=True).get_spec()
    assert spec.specificationVersion == 9  # iOS 18, macOS 15
    assert spec.description.defaultFunctionName == "main"
    assert spec.description.metadata.userDefined["co.huggingface.exporters.name"] == "source"
    functions = {f.name: f for f in spec.description.functions}
    assert set(functions) == {"step", "prompt16", "score16", "main"}
    main = functions["main"]
    inputs = {i.name: i.type.multiArrayType for i in main.input}
    assert list(inputs) == ["inputIds", "causalMask"]
    ranges = {name: kind.shapeRange.sizeRanges[-1] for name, kind in inputs.items()}
    assert (ranges["inputIds"].lowerBound, ranges["inputIds"].upperBound) == (1, 64)
    assert (ranges["causalMask"].lowerBound, ranges["causalMask"].upperBound) == (2, 65)
    assert [o.name for o in main.output] == ["logits"]
    for function in functions.values():
        assert [s.name for s in function.state] == ["keyCache", "valueCache"]
        shapes_of = [list(s.type.stateType.arrayType.shape) for s in function.state]
        assert shapes_of == [[1, 4, 64, 16]] * 2  # heads of both layers, rows, width


@pytest.mark.parametrize("family", ["llama", "phi3", "openelm", "phi3small"])
def test_called_as_swift_transformers_does(family: str, tmp_path: Path) -> None:
    """The whole prompt, then the last token alone, with a mask of zeros one longer than the sequence:
    its LanguageModelWithStatefulKVCache, which looks at the last position of the logits.
    """
    artifact = artifact_of(tmp_path, family)
    evaluator = Evaluator(Program.open(artifact / PACKAGE), "fp32")
    want = oracle_of(artifact).score(IDS[:24])
    held = np.isfinite(want).all(axis=0)
    for total in (19, *range(20, 25)):
        new = IDS[:total] if total == 19 else IDS[total - 1 : total]
        given = {
            "inputIds": np.array([new], np.int32),
            "causalMask": np.zeros((1, 1, 1, total + 1), np.float16),
        }
        logits = evaluator.call("main", given)["logits"]
        assert logits.shape == (1, len(new), VOCAB)
        assert errors(logits[0, -1:, held].T, want[total - 1 :][:1, held]) < 1e-5


def test_functions_share_every_weight(tmp_path: Path) -> None:
    artifact = artifact_of(tmp_path, quant="fp32")
    program = Program.open(artifact / PACKAGE)
    floats = 4 * sum(
        int(np.prod(shape)) for shape in shapes(Artifact.open(artifact).manifest.spec).values()
    )
    size = (artifact / PACKAGE / WEIGHTS).stat().st_size
    assert size < floats * 1.1 + 20_000
    keys = [
        {
            a.key
            for op in f.ops
            for args in op.inputs.values()
            for a in args
            if not isinstance(a, str)
        }
        for f in program.functions.values()
    ]
    assert set.intersection(*keys) >= {key for key in keys[0] if key and key[2].shape == (96, 64)}


def test_a_tied_table_of_one_precision_lies_in_the_file_once(tmp_path: Path) -> None:
    sizes = {}
    for tied in (True, False):
        folder = tmp_path / str(tied)
        config = {"tie_word_embeddings": tied, "vocab_size": 4096}
        artifact = artifact_of(folder, quant="int4", config=config)
        sizes[tied] = (artifact / PACKAGE / WEIGHTS).stat().st_size
    table = 4096 * 64 // 2
    assert table <= sizes[False] - sizes[True] <= table * 1.2


# Proof


@pytest.mark.parametrize("family", ["mistral", "phi3"])
@pytest.mark.parametrize("quant", ["fp32", "int4"])
def test_prompts_and_steps_past_the_window(family: str, quant: str, tmp_path: Path) -> None:
    """Prompts that fill no call, steps, and a rewind: up to the last position."""
    artifact = artifact_of(tmp_path, family, quant)
    spec = Artifact.open(artifact).manifest.spec
    assert (spec.layers[0].window or 99) < 12
    ids = [*IDS, *IDS[:4]]
    for exact, cache, error in ((True, "fp32", 1e-5), (False, "fp16", 1e-2)):
        want = oracle_of(artifact, cache=cache).score(ids)
        decoder = open_reference(Opening(artifact, spec, exact=exact))
        rows = [decoder.prefill(ids[:19])]
        rows += [decoder.step(token) for token in ids[19:25]]
        decoder.rewind(21)
        rows.append(decoder.prefill(ids[21:45]))
        assert errors(np.stack(rows), want[[*range(18, 25), 44]]).max() < error
        decoder.rewind(30)
        assert errors(decoder.score(ids[30:]), want[30:]).max() < error
        assert decoder.length == decoder.capacity == 64


def test_half_precision_rounds(tmp_path: Path) -> None:
    """The evaluation as declared is no copy of the exact one."""
    artifact = artifact_of(tmp_path, quant="fp16")
    spec = Artifact.open(artifact).manifest.spec
    exact, half = (
        open_reference(Opening(artifact, spec, exact=e)).score(IDS) for e in (True, False)
    )
    assert 1e-4 < errors(half, exact).max() < 1e-2


def changed(artifact: Path, at: int) -> Path:
    """One byte of the weights turned, and the manifest made to agree."""
    file = artifact / PACKAGE / WEIGHTS
    content = bytearray(file.read_bytes())
    content[at] ^= 0x44
    file.write_bytes(content)
    manifest = Artifact.open(artifact).manifest
    names = {p.relative_to(artifact).as_posix(): sha256(p) for p in files_of(artifact)}
    write_manifest(artifact, replace(manifest, files=names))
    return artifact


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    artifact = artifact_of(tmp_path_factory.mktemp("proved"))
    assert verify(Artifact.open(artifact), artifact.with_name("source"), tokens=8).passed
    return artifact


@pytest.mark.parametrize("what", ["scales", "codes"])
def test_one_byte_of_a_weight_fails_the_proof(what: str, proved: Path, tmp_path: Path) -> None:
    artifact = Path(shutil.copytree(proved.parent, tmp_path / "it")) / "out"
    manifest = Artifact.open(artifact).manifest
    file = layout(manifest.spec, recipe_of(manifest)).weights[0]
    blob = file.blobs[f"layers.1.attn.v int4-g32-fp16 {what}"]
    changed(artifact, blob.at(0) + 1)
    report = verify(Artifact.open(artifact), artifact.with_name("source"), tokens=8)
    assert not report.passed
    assert report.changed_files == ()
    assert report.differing_bytes == 1
    if what == "scales":
        assert report.logits_error > report.logits_tolerance


@pytest.mark.parametrize("at", [0, 4, 64, 72, 80])
def test_a_byte_of_the_header_or_of_metadata_is_no_weight_but_counts(
    at: int, proved: Path, tmp_path: Path
) -> None:
    artifact = Path(shutil.copytree(proved.parent, tmp_path / "it")) / "out"
    manifest = Artifact.open(changed(artifact, at)).manifest
    with Checkpoint.open(artifact.with_name("source")) as found:
        about = About(found.family, manifest.name, SpecialIds(None, frozenset()))
        writer = layout(manifest.spec, recipe_of(manifest)).open(artifact, about, "compare")
        writer.finish()
        assert writer.differing == 1
        writer.close()


# Several packages


@pytest.mark.parametrize("family", ["llama", "openelm", "phi3small"])
def test_a_large_model_is_several_packages(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"num_hidden_layers": 3} if family != "openelm" else {}
    whole = artifact_of(tmp_path / "whole", family, config=config)
    monkeypatch.setattr(converter, "LIMIT", 20_000)
    artifact = artifact_of(tmp_path / "cut", family, config=config)
    names = sorted(path.name for path in artifact.iterdir() if path.is_dir())
    count = len(names)
    assert count > 1
    assert names == [f"model-{i + 1:05d}-of-{count:05d}.mlpackage" for i in range(count)]
    spec = Artifact.open(artifact).manifest.spec
    one, several = (open_reference(Opening(a, spec, exact=True)) for a in (whole, artifact))
    want = one.score(IDS[:30])
    held = np.isfinite(want).all(axis=0)
    assert errors(several.score(IDS[:30])[:, held], want[:, held]).max() < 1e-5
    report = verify(Artifact.open(artifact), artifact.with_name("source"), tokens=8)
    assert report.passed, report
    monkeypatch.undo()
    with pytest.raises(Damaged, match=r"has no model\.mlpackage/Data"):
        verify(Artifact.open(artifact), artifact.with_name("source"), tokens=8)
    shutil.rmtree(artifact / names[-1])
    with pytest.raises(Damaged, match=r"should hold model\.mlpackage"):
        open_reference(Opening(artifact, spec, exact=True))


def test_chunks_hold_every_layer_once_and_fit() -> None:
    spec = spec_of(config_of("llama", num_hidden_layers=7))
    recipe = recipes.parse("int4")
    for limit in (1, 10_000, 30_000, 100_000, 1 << 40):
        found = chunks(spec, recipe, limit)
        assert [c.index for c in found] == list(range(len(found)))
        assert [i for c in found for i in range(c.start, c.stop)] == list(range(7))
        assert found[0].first
        assert found[-1].final
    assert len(found) == 1
    assert len(chunks(spec, recipe, 1)) == 7


def test_lengths_follow_the_context() -> None:
    lengths = {
        context: [
            e.name for e in entries(spec_of(config_of("llama", max_position_embeddings=context)))
        ]
        for context in (8, 64, 512, 4096)
    }
    assert lengths == {
        8: ["step"],
        64: ["step", "prompt16", "score16"],
        512: ["step", "prompt16", "prompt64", "score16"],
        4096: ["step", "prompt64", "prompt512", "score64"],
    }


# What is written


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (artifact_of(tmp_path / name, "phi3") for name in ("a", "b"))
    for file in files_of(first):
        name = file.relative_to(first)
        assert file.read_bytes() == (second / name).read_bytes(), name


def test_a_package_has_the_files_that_core_ml_wants(tmp_path: Path) -> None:
    package = artifact_of(tmp_path) / PACKAGE
    names = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert names == {"Manifest.json", f"{DATA}/model.mlmodel", WEIGHTS}
    manifest = json.loads((package / "Manifest.json").read_text())
    items = manifest["itemInfoEntries"]
    assert items[manifest["rootModelIdentifier"]]["path"] == "com.apple.CoreML/model.mlmodel"
    assert {item["path"] for item in items.values()} == {
        "com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights",
    }  # fmt: skip


REFUSED = {
    "bf16": "as bf16: it holds fp32, fp16",
    "int3": "as rtn-int3-g32: it holds .*integers of 4 or 8 bits",
    "int4-min": "as rtn-int4-g32-min: it holds .*with integer zeros",
    "int4-g64": "layers.0.mlp.down as int4-g64: its rows of 96 do not divide into groups",
    "int4-asym": "layers.0.mlp.down as int4-g32-asym: the zeros of its rows of 96 do not fill bytes",
    "lut4-g32": "as kmeans-lut4-g32: its 97 rows do not divide by 32",
}


@pytest.mark.parametrize("quant", REFUSED)
def test_what_core_ml_cannot_hold_is_refused_by_name(quant: str, tmp_path: Path) -> None:
    embed = "fp16" if quant.startswith("int") else None
    with pytest.raises(Unsupported, match=f"coreml cannot hold .*{REFUSED[quant]}"):
        artifact_of(tmp_path, quant=quant, embed=embed, head=embed)


def test_rows_that_fill_no_bytes_are_refused(tmp_path: Path) -> None:
    config = {"intermediate_size": 100}
    with pytest.raises(Unsupported, match="its rows of 100 do not fill bytes"):
        artifact_of(tmp_path, quant="lut3-g1", config=config)


# Runtimes


def test_this_system_asks_for_the_reference(proved: Path) -> None:
    with pytest.raises(Unsupported, match=r"Core ML runs on macOS 15 and later(.|\n)*--reference"):
        opening.open_decoder(Artifact.open(proved), threads=None, exact=False)
    opened_so = opened(Artifact.open(proved), Strategy(reference=True), threads=None)
    assert isinstance(opened_so, CoreMlDecoder)
    with pytest.raises(EdgeError, match="chooses its threads itself"):
        opened(Artifact.open(proved), Strategy(reference=True), threads=2)


def test_a_target_without_a_reference_says_so(tmp_path: Path) -> None:
    artifact = Artifact.open(converted(tmp_path / "out", tiny(tmp_path / "source")))
    with pytest.raises(Unsupported, match="onnx cannot be evaluated in numpy"):
        opening.open_reference(artifact, exact=False)


def test_a_manifest_that_lies_is_refused(proved: Path, tmp_path: Path) -> None:
    spec = Artifact.open(proved).manifest.spec
    for other in (replace(spec, vocab=98), replace(spec, context=65)):
        with pytest.raises(Damaged, match="is of another model than its edge"):
            open_reference(Opening(proved, other, exact=True))
    with pytest.raises(Damaged, match=r"is of another model|have no function short_step"):
        open_reference(Opening(proved, spec, exact=True, part="short-"))


class _Fake:
    """coremltools.models.CompiledMLModel as far as we use it, evaluated in numpy."""

    made: list[str] = []  # noqa: RUF012

    def __init__(self, path: str, *, compute_units: Any, function_name: str) -> None:
        self._program, self._name = Program.open(Path(path)), function_name
        assert compute_units in (ct.ComputeUnit.CPU_AND_GPU, ct.ComputeUnit.CPU_ONLY)
        self.made.append(function_name)

    def make_state(self) -> dict[str, np.ndarray]:
        return {}

    def predict(
        self, data: Mapping[str, np.ndarray], state: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        evaluator = Evaluator(self._program, "declared")
        evaluator._states = state
        return evaluator.call(self._name, data)


def test_functions_of_core_ml_share_one_state(
    proved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How predictions are called; that Core ML answers so is for a Mac to show."""
    compiled: list[str] = []

    def compile_model(path: str, place: str) -> str:
        compiled.append(path)
        return path

    monkeypatch.setattr(ct.models.utils, "compile_model", compile_model)
    monkeypatch.setattr(ct.models, "CompiledMLModel", _Fake)
    _Fake.made.clear()
    spec = Artifact.open(proved).manifest.spec
    decoder = CoreMlDecoder(spec, native.predicted(Opening(proved, spec)))
    want = open_reference(Opening(proved, spec))
    for one in (decoder, want):
        one.prefill(IDS[:20])
    np.testing.assert_array_equal(decoder.step(5), want.step(5))
    assert len(compiled) == 1
    assert _Fake.made == ["prompt16", "step"]


def test_core_ml_is_told_no_threads(proved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import edge_runtimes.coreml as runtime

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))
    spec = Artifact.open(proved).manifest.spec
    with pytest.raises(Unsupported, match="chooses its threads itself"):
        runtime.open(Opening(proved, spec, threads=2))
    assert runtime.numerics(recipes.parse("fp32"), exact=True).cache == "fp16"
    assert targets.refusal("coreml") is None
    monkeypatch.setattr("platform.mac_ver", lambda: ("14.5", ("", "", ""), "arm64"))
    assert isinstance(targets.refusal("coreml"), EdgeError)


# Real models

STORIES = "llm/stories-260k"
Real = Callable[[str], Path]


def greedy(artifact: Path, prompt: str, *, reference: bool) -> tuple[str, Sequence[int]]:
    model = load(artifact, exact=reference, strategy=Strategy(reference=reference))
    answer = model.generate(prompt, raw=True)
    text = "".join(piece for piece, _ in zip(answer, range(60), strict=False))
    return text, answer.generation.tokens


@pytest.mark.parametrize("quant", ["fp32", "fp16"])
def test_stories_are_those_of_onnx(assets: Path, tmp_path: Path, quant: str) -> None:
    """A real model whose feed-forward, 172 wide, divides into no group."""
    source = assets / STORIES
    ours = converted(tmp_path / "coreml", source, quant, target="coreml")
    theirs = converted(tmp_path / "onnx", source, "fp32")
    for prompt in ("Once upon a time", "Lily and Tom went to the park."):
        assert greedy(ours, prompt, reference=True) == greedy(theirs, prompt, reference=False)


def test_the_command_line_asks_for_the_reference(assets: Path, tmp_path: Path, edge: Edge) -> None:
    artifact = converted(tmp_path / "out", assets / STORIES, "fp16", target="coreml")
    refused = edge("run", artifact, "Once upon a time", "--max-tokens", "3", "--raw")
    assert refused.code == 3
    assert "--reference" in refused.err
    done = edge("run", artifact, "Once upon a time", "--max-tokens", "3", "--raw", "--reference")
    assert done.code == 0, done.err
    assert done.out.strip()
    assert "--reference" in edge("doctor", "--json").json["run"]["coreml"]


def test_what_holds_no_group_of_a_real_model_is_refused(assets: Path, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"layers\.0\.mlp\.down .* rows of 172 do not divide"):
        converted(tmp_path / "out", assets / STORIES, "rtn-int4-g32-fp16", target="coreml")


@pytest.mark.parametrize("target", ["coreml", "mlx"])
def test_a_short_name_keeps_such_rows_in_floats(assets: Path, tmp_path: Path, target: str) -> None:
    out = converted(tmp_path / "out", assets / STORIES, "int8", target=target)
    recipe = recipe_of(Artifact.open(out).manifest)
    assert recipe.scheme("layers.0.mlp.down") == FLOATS["fp16"]
    assert recipe.scheme("layers.0.mlp.up").bits == 8
    assert verify(Artifact.open(out), assets / STORIES, tokens=8).passed


def test_the_packaged_model_is_that_of_onnx(tmp_path: Path) -> None:
    from edge.source.registry import find

    entry = find("edge-stories")
    assert entry is not None
    ours = converted(tmp_path / "coreml", entry.checkpoint(), "fp32", target="coreml", context=256)
    theirs = converted(tmp_path / "onnx", entry.checkpoint(), "fp32", context=256)
    prompt = "Tell me a story about Marla."
    assert greedy(ours, prompt, reference=True) == greedy(theirs, prompt, reference=False)


def test_weights_of_a_checkpoint_of_other_numbers_are_another_model(tmp_path: Path) -> None:
    artifact = artifact_of(tmp_path)
    other = checkpoint(tmp_path / "other", config_of("llama"), weights_of(config_of("llama"), 7))
    report = verify(Artifact.open(artifact), other, tokens=8)
    assert not report.passed
    assert report.differing_bytes > 1000
