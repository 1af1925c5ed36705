"""Small caches and exits of Core ML packages: which functions there are, what they share, and what is
refused. The laws that all runtimes keep are in test_compaction and test_drafts.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Edge
from support import VOCAB, checkpoint, config_of, converted, spec_of, tiny, weights_of

pytest.importorskip("coremltools")

from mil import ct

from edge import targets
from edge.artifact.manifest import Artifact, recipe_of
from edge.contracts import About, Opening
from edge.convert.one_pass import Job, one_pass
from edge.decode.compact import CompactDrafter
from edge.decode.exits import ExitDecoder
from edge.decode.generate import generate
from edge.decode.layerskip import SelfDrafter
from edge.decode.snapkv import CompactingDecoder, SnapKV
from edge.decode.speculate import Speculation
from edge.errors import Damaged, EdgeError, Unsupported
from edge.nn.decoder import head_name
from edge.protocols import EarlyExit
from edge.prove.verify import verify
from edge.quant import recipe as recipes
from edge.quant.tensor import QTensor, rounded
from edge.run import opening
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec, parts
from edge.text.ids import SpecialIds
from edge_converters import coreml
from edge_converters.coreml import convert as converter
from edge_converters.coreml import entries as functions
from edge_converters.coreml.entries import entries
from edge_converters.coreml.export import DATA, WEIGHTS
from edge_runtimes.coreml import native
from edge_runtimes.coreml.agreement import shares
from edge_runtimes.coreml.evaluator import Evaluator
from edge_runtimes.coreml.exits import ExitCoreMlDecoder
from edge_runtimes.coreml.flexible import FlexibleCoreMlDecoder
from edge_runtimes.coreml.program import Program
from edge_runtimes.coreml.reference import evaluated
from edge_runtimes.reference.decoder import Weights, checkpoint_weights
from edge_runtimes.reference.exits import ExitReferenceDecoder

PACKAGE = "model.mlpackage"
IDS = [int(i) for i in np.random.default_rng(7).integers(0, VOCAB, 64)]
CUT = SnapKV(capacity=12, window=4, kernel=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers in fp32, with an exit after two and two small caches, in one package."""
    folder = tmp_path_factory.mktemp("means")
    source = tiny(folder / "source", num_hidden_layers=3)
    return converted(folder / "out", source, target="coreml", exits=(2,), snapkv_rows=(16, 32))


@pytest.fixture(scope="module")
def spec(made: Path) -> DecoderSpec:
    return Artifact.open(made).manifest.spec


def flexible(folder: Path, spec: DecoderSpec, *, exact: bool = True) -> FlexibleCoreMlDecoder:
    return FlexibleCoreMlDecoder(spec, evaluated(Opening(folder, spec, exact=exact)))


def early(folder: Path, spec: DecoderSpec, exit_: int) -> EarlyExit:
    callers = evaluated(Opening(folder, spec, exact=True))
    return ExitDecoder(ExitCoreMlDecoder(spec, callers, exit_=exit_))


def early_oracle(spec: DecoderSpec, weights: Weights, exit_: int) -> EarlyExit:
    return ExitDecoder(ExitReferenceDecoder(spec, weights, exit_))


def oracle(folder: Path) -> Any:
    """The checkpoint beside an artifact in fp32, in numpy."""
    found = Checkpoint.open(folder.with_name("source"))
    return targets.oracle().oracle(found, recipe_of(Artifact.open(folder).manifest))


def near(got: np.ndarray, want: np.ndarray, error: float = 1e-5) -> bool:
    return bool(np.abs(got - want).max() <= error * np.abs(want).max())


# What a package has


def test_functions_are_those_that_were_asked_for(made: Path) -> None:
    names = set(Program.open(made / PACKAGE).functions)
    assert names == {
        "main", "step", "prompt16", "score16", "score8",
        "early2", "draft2", *(f"late2_{n}" for n in (1, 2, 4, 8, 16)),
        "observe1", "observe16",
        "cut16_step", "cut16_score8", "cut32_step", "cut32_prompt16", "cut32_score8",
    }  # fmt: skip


def test_lengths_follow_the_context() -> None:
    config = config_of("llama", max_position_embeddings=8192)
    spec = replace(spec_of(config), exits=(1,), snapkv_rows=(1280, 8192))
    names = {entry.name for entry in entries(spec)}
    assert {"observe1", "observe64", "cut1280_step", "cut1280_prompt512", "late1_16"} <= names
    assert not [name for name in names if name.startswith("cut8192")], "as large as the whole"


def test_the_weight_file_does_not_grow(made: Path, tmp_path: Path) -> None:
    plain = converted(tmp_path / "plain", made.with_name("source"), target="coreml")
    sizes = [(folder / PACKAGE / WEIGHTS).stat().st_size for folder in (made, plain)]
    assert 0 <= sizes[0] - sizes[1] < 1000, sizes


def test_every_function_reads_the_same_weights(made: Path) -> None:
    """By their place in the file: what a function of some layers reads, the whole model reads."""
    program = Program.open(made / PACKAGE)

    def read(name: str) -> set[object]:
        arguments = [
            argument
            for op in program.functions[name].ops
            for items in op.inputs.values()
            for argument in items
        ]
        found = {a.key for a in arguments if not isinstance(a, str)} - {None}
        return {key for key in found if key[2].kind == "fp32" and len(key[2].shape) == 2}

    whole = read("step")
    assert len(whole) == 3 * 7 + 4  # matrices, embedding, head, rotary tables
    for name in ("early2", "draft2", "late2_4", "observe16", "cut32_step", "cut32_prompt16"):
        assert read(name) <= whole, name
    assert read("early2") | read("late2_1") == whole


def test_a_small_cache_has_states_of_its_own(made: Path) -> None:
    functions = Program.open(made / PACKAGE).functions
    whole, small = functions["early2"].states, functions["cut32_step"].states
    assert {name: kind.shape for name, kind in whole.items()} == {
        "keyCache": (1, 6, 64, 16), "valueCache": (1, 6, 64, 16),
    }  # fmt: skip
    assert {name: kind.shape for name, kind in small.items()} == {
        "keyCache32": (1, 6, 32, 16), "valueCache32": (1, 6, 32, 16),
    }  # fmt: skip


def test_coremltools_reads_every_function(made: Path) -> None:
    """Its own loader, which checks types and states."""
    from coremltools.converters.mil.frontend.milproto.load import load

    model = ct.models.MLModel(str(made / PACKAGE), skip_model_load=True)
    spec = model.get_spec()
    program = load(spec, specification_version=9, file_weights_dir=model.weights_dir)
    assert len(program.functions) == len(spec.description.functions) == 19
    outputs = {f.name: [o.name for o in f.output] for f in spec.description.functions}
    assert outputs["early2"] == ["nextHidden"]
    assert outputs["draft2"] == ["nextHidden", "logits"]
    assert outputs["observe16"] == ["logits", "queries0", "queries1", "queries2"]


def test_an_artifact_with_all_of_it_is_proved(made: Path) -> None:
    report = verify(Artifact.open(made), made.with_name("source"), tokens=8)
    assert report.passed, report


# Small caches


def test_decoding_after_a_cut_calls_functions_of_few_rows(made: Path, spec: DecoderSpec) -> None:
    decoder = flexible(made, spec)
    (caller,) = decoder._keepers
    called: list[str] = []
    call = caller.call
    caller.call = lambda name, inputs: called.append(name) or call(name, inputs)  # type: ignore
    compact = CompactingDecoder(decoder, CUT)
    compact.prefill(IDS[:40])
    assert called == ["prompt16", "prompt16", "prompt16", "observe16"]
    assert set(caller._evaluator._states) == {"keyCache16", "valueCache16"}, (
        "the whole is given back"
    )
    called.clear()
    for token in IDS[40:44]:
        compact.step(token)
    assert called == ["cut16_step"] * 4
    compact.rewind(0)
    assert caller._evaluator._states == {}
    called.clear()
    compact.prefill(IDS[:6])
    assert called == ["prompt16"]


def test_an_answer_that_fills_a_cache_goes_on_in_the_next(made: Path, spec: DecoderSpec) -> None:
    """As it would have in one that was large enough from the start."""
    got, want = (
        CompactingDecoder(flexible(made, replace(spec, snapkv_rows=rows)), CUT)
        for rows in ((16, 32), (32,))
    )
    for one in (got, want):
        one.prefill(IDS[:40])
    sizes = []
    for token in IDS[40:63]:
        assert near(got.step(token), want.step(token))
        sizes.append((got.inner._size, want.inner._size))  # type: ignore[attr-defined]
    assert sizes == [(16, 32)] * 4 + [(32, 32)] * 16 + [(64, 64)] * 3
    assert got.rows == (12 + 23,) * 3


@pytest.mark.parametrize("window", [1, 4, 16, 21])
@pytest.mark.parametrize("total", [40, 64])
def test_votes_of_any_window_are_the_oracle_s(
    made: Path, spec: DecoderSpec, window: int, total: int
) -> None:
    """Padded, in two calls, or step by step where the context ends."""
    decoder, want = flexible(made, spec), oracle(made)
    for one in (decoder, want):
        one.prefill(IDS[: total - window])
    (logits, votes), (meant, counted) = (
        one.observe(IDS[total - window : total]) for one in (decoder, want)
    )
    assert near(logits, meant)
    for mine, theirs in zip(votes, counted, strict=True):
        assert mine.shape == theirs.shape == (4, total)
        assert near(mine, theirs)


def test_a_prompt_over_what_was_kept_may_need_the_whole(made: Path, spec: DecoderSpec) -> None:
    """And is cut again: as a decoder does that never had a small cache."""
    got, want = CompactingDecoder(flexible(made, spec), CUT), CompactingDecoder(oracle(made), CUT)
    for one in (got, want):
        one.prefill(IDS[:20])
        one.step(IDS[20])
    assert near(got.prefill(IDS[21:50]), want.prefill(IDS[21:50]))
    assert got.rows == want.rows == (12, 12, 12)
    assert near(got.score(IDS[50:61]), want.score(IDS[50:61]))


def test_a_model_with_two_sets_of_factors_is_cut(tmp_path: Path) -> None:
    config = config_of(
        "phi3",
        sliding_window=None,
        original_max_position_embeddings=24,
        rope_scaling={
            "type": "longrope", "short_factor": [1.1] * 8, "long_factor": [2.5] * 8,
        },
    )  # fmt: skip
    source = checkpoint(tmp_path / "source", config, weights_of(config))
    folder = converted(tmp_path / "out", source, target="coreml", snapkv_rows=(16,))
    names = set(Program.open(folder / PACKAGE).functions)
    assert {"short_cut16_step", "cut16_step", "short_observe1"} <= names
    artifact = Artifact.open(folder)
    for length in (20, 40):
        compact = CompactingDecoder(
            opening.open_evictable(artifact, threads=None, reference=True), CUT
        )
        want = CompactingDecoder(
            targets.oracle().oracle(  # type: ignore[arg-type]
                Checkpoint.open(source),
                recipe_of(artifact.manifest),
                spec=part_of(artifact.manifest.spec, length),
            ),
            CUT,
        )
        got = [compact.prefill(IDS[:length]), compact.step(3)]
        meant = [want.prefill(IDS[:length]), want.step(3)]
        assert all(near(a, b, 1e-3) for a, b in zip(got, meant, strict=True))


def part_of(spec: DecoderSpec, length: int) -> DecoderSpec:
    return next(part for part in parts(spec).values() if length < part.context)


def kept(count: int, layers: int = 3) -> list[np.ndarray]:
    return [np.tile(np.arange(count), (2, 1)) for _ in range(layers)]


def test_what_a_small_cache_cannot_keep_is_refused_by_name(made: Path, spec: DecoderSpec) -> None:
    decoder = flexible(made, spec)
    decoder.prefill(IDS[:40])
    with pytest.raises(Unsupported, match=r"keeps 32 rows, .* hold fewer: 16, 32(.|\n)*rows 288"):
        decoder.keep(kept(32))
    with pytest.raises(Unsupported, match=r"keeps 35 rows"):
        decoder.fork(kept(35))
    with pytest.raises(Unsupported, match="share one table of rows on coreml, and 8 to 9 are kept"):
        decoder.keep([*kept(8, 2), *kept(9, 1)])
    assert decoder.rows == (40, 40, 40)
    decoder.keep(kept(31))
    assert decoder.rows == (31, 31, 31)


def test_an_artifact_without_small_caches_says_how_to_get_them(tmp_path: Path) -> None:
    folder = converted(tmp_path / "out", tiny(tmp_path / "source"), target="coreml")
    decoder = flexible(folder, Artifact.open(folder).manifest.spec)
    compact = CompactingDecoder(decoder, CUT)
    with pytest.raises(Unsupported, match=r"no small cache(.|\n)*--snapkv-rows 1280"):
        compact.prefill(IDS[:40])


WANTED: dict[str, tuple[dict[str, Any], str]] = {
    "no fixed sizes": ({"target": "onnx"}, "caches of onnx have as many rows as they need"),
    "too many": ({"snapkv_rows": (64,)}, "a cache of 64 rows beside the whole one, of 64"),
    "a window": ({"family": "mistral"}, "has a window or is block-sparse"),
}


@pytest.mark.parametrize("case", WANTED)
def test_small_caches_that_cannot_be_are_refused(case: str, tmp_path: Path) -> None:
    changes, message = WANTED[case]
    options = {"target": "coreml", "snapkv_rows": (32,), **changes}
    source = tiny(tmp_path / "source", options.pop("family", "llama"))
    with pytest.raises(EdgeError, match=message):
        converted(tmp_path / "out", source, **options)


@pytest.mark.parametrize("rows", [(32, 16), (16, 16), (0,)])
def test_a_spec_names_rows_that_rise(rows: tuple[int, ...], spec: DecoderSpec) -> None:
    with pytest.raises(Damaged, match=r"caches of .* rows"):
        replace(spec, snapkv_rows=rows)


# Exits


def test_drafts_are_the_oracle_s(made: Path, spec: DecoderSpec) -> None:
    found = Checkpoint.open(made.with_name("source"))
    got, want = early(made, spec, 2), early_oracle(spec, checkpoint_weights(found), 2)
    for one in (got, want):
        one.prefill(IDS[:20])
    for count in (0, 1, 2, 4, 7, 20):  # rows less one that are finished together
        ids = IDS[got.length : got.length + count]
        assert all(near(got.draft(token), want.draft(token)) for token in ids)
        assert near(got.finish(5), want.finish(5))
    assert got.length == want.length == 60
    for one in (got, want):
        one.draft(1)
        one.draft(2)
    assert near(got.finish(3), want.finish(3)), "where no padding fits"


@pytest.mark.parametrize(("limit", "starts"), [(36_000, [0, 1, 3]), (50_000, [0, 2])])
def test_exits_may_lie_anywhere_among_packages(
    limit: int, starts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one, between two, in the first and in the last."""
    monkeypatch.setattr(converter, "LIMIT", limit)
    monkeypatch.setattr(functions, "LATE", (1, 4))
    source = tiny(tmp_path / "source", num_hidden_layers=4)
    folder = converted(
        tmp_path / "out", source, "int4", target="coreml", exits=(1, 2, 3), snapkv_rows=(16,)
    )
    spec, want = Artifact.open(folder).manifest.spec, oracle(folder)
    assert [share.start for share in flexible(folder, spec)._layers] == starts
    answer = list(generate(want, IDS[:20], max_tokens=8))
    for exit_ in spec.exits:
        decoder = early(folder, spec, exit_)
        strategy = Speculation(decoder, SelfDrafter(decoder), 3)
        assert list(generate(strategy, IDS[:20], max_tokens=8)) == answer
    both = CompactDrafter(flexible(folder, spec), CUT)
    assert list(generate(Speculation(both, both, 3), IDS[:20], max_tokens=8)) == answer


def trimmed(folder: Path, quant: str, count: int, family: str = "llama", **config: Any) -> Any:
    """An artifact whose drafts are of the first ids, as the converter writes it: folder, checkpoint,
    recipe.
    """
    found = Checkpoint.open(tiny(folder / "source", family, **config))
    found = replace(found, spec=replace(found.spec, exits=(1,), draft_vocab=count))
    recipe = recipes.parse(quant, aliases=coreml.ALIASES)
    about = About(found.family, "it", SpecialIds(None, frozenset()))
    writer = coreml.layout(found.spec, recipe).open(folder / "out", about)
    one_pass(found, [Job(writer, None)], lambda _: None)
    writer.close()
    return folder / "out", found, recipe


@pytest.mark.parametrize(
    ("quant", "config"),
    [
        ("fp32", {}),
        ("int4", {"tie_word_embeddings": True}),
        ("lut4-g8-fp16", {"vocab_size": 104}),
    ],
)
def test_a_trimmed_head_reads_the_first_rows(
    quant: str, config: dict[str, Any], tmp_path: Path
) -> None:
    folder, found, recipe = trimmed(tmp_path, quant, 32, **config)
    weights = checkpoint_weights(found, recipe, vectors=recipe.body.number)
    got, want = early(folder, found.spec, 1), early_oracle(found.spec, weights, 1)
    for one in (got, want):
        one.prefill(IDS[:5])
    drafted, whole = got.draft(5), want.draft(5)
    assert drafted.shape == whole.shape
    assert near(drafted[:32], whole[:32])
    assert (drafted[32:] == -np.inf).all()
    assert near(got.finish(6), want.finish(6))
    stored = recipe.stored("head", found[head_name(found.spec)], recipe.scheme("head"))
    meant = stored.dequantize() if isinstance(stored, QTensor) else stored
    meant = rounded(meant, recipe.scheme("head").number)
    np.testing.assert_array_equal(head_by_coremltools(folder), meant[:32])


def head_by_coremltools(folder: Path) -> np.ndarray:
    """The head of a draft, through coremltools' own reader of weights."""
    from coremltools.converters.mil.frontend.milproto.load import load

    model = ct.models.MLModel(str(folder / PACKAGE), skip_model_load=True)
    program = load(model.get_spec(), specification_version=9, file_weights_dir=model.weights_dir)
    products = [op for op in program.functions["draft1"].operations if op.op_type == "linear"]
    held = products[-1].weight
    value = held.op.materialized_val_inference() if held.val is None else held.val
    return np.asarray(value, np.float32)


def test_a_trimmed_head_forbids_what_the_whole_forbids(tmp_path: Path) -> None:
    """Of 88, 90 and 91, one lies below 89."""
    folder, found, _ = trimmed(tmp_path, "fp32", 89, "phi3small")
    decoder = early(folder, found.spec, 1)
    decoder.prefill(IDS[:5])
    assert np.isfinite(decoder.draft(5)).tolist() == [True] * 88 + [False] * 9


def test_rows_that_share_a_table_are_not_cut_apart(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"30 rows of head .*: 8 share a table(.|\n)*vocab 24"):
        trimmed(tmp_path, "lut4-g8-fp16", 30, vocab_size=104)


# What a manifest promises


def without(folder: Path, made: Path, *names: str) -> Path:
    """The same package, but these functions."""
    shutil.copytree(made, folder)
    changed(folder, lambda model: [model.mlProgram.functions.pop(name) for name in names])
    return folder


def changed(folder: Path, change: Callable[[Any], Any]) -> None:
    file = folder / PACKAGE / DATA / "model.mlmodel"
    model = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    change(model)
    file.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("name", ["cut32_step", "observe1", "step"])
def test_a_cut_cache_that_was_promised(
    name: str, made: Path, spec: DecoderSpec, tmp_path: Path
) -> None:
    folder = without(tmp_path / "it", made, name)
    with pytest.raises(Damaged, match=f"have no function {name}"):
        flexible(folder, spec)


@pytest.mark.parametrize("name", ["early2", "draft2", "late2_1", "step"])
def test_an_exit_that_was_promised(
    name: str, made: Path, spec: DecoderSpec, tmp_path: Path
) -> None:
    folder = without(tmp_path / "it", made, name)
    with pytest.raises(Damaged, match=f"have no function {name}"):
        early(folder, spec, 2)


def test_other_lengths_serve_where_one_is_missing(
    made: Path, spec: DecoderSpec, tmp_path: Path
) -> None:
    folder = without(tmp_path / "it", made, "late2_4", "observe16", "cut16_score8", "prompt16")
    got, want = early(folder, spec, 2), early(made, spec, 2)
    for one in (got, want):
        one.prefill(IDS[:5])
        one.draft(6)
        one.draft(7)
    assert near(got.finish(8), want.finish(8))
    votes = [flexible(f, spec).observe(IDS[:5])[1] for f in (folder, made)]
    assert all(near(a, b) for a, b in zip(*votes, strict=True))


def dimension(model: Any, function: str, output: str, axis: int, size: int) -> None:
    """Say another size of an output."""
    code = model.mlProgram.functions[function]
    block = code.block_specializations[code.opset]
    for op in block.operations:
        for out in op.outputs:
            if out.name == output:
                out.type.tensorType.dimensions[axis].constant.size = size


def rows_of(model: Any, function: str, rows: int) -> None:
    """Say another number of rows of the states."""
    for item in model.mlProgram.functions[function].inputs:
        if item.type.WhichOneof("type") == "stateType":
            kind = item.type.stateType.wrappedType.tensorType
            kind.dimensions[2].constant.size = rows


def outputs(model: Any, function: str, *names: str) -> None:
    """Give these alone."""
    code = model.mlProgram.functions[function]
    code.block_specializations[code.opset].outputs[:] = names


def given(model: Any, function: str, name: str, other: str) -> None:
    """Ask for an input by another name."""
    (found,) = [i for i in model.mlProgram.functions[function].inputs if i.name == name]
    found.name = other


LIES: dict[str, Callable[[Any], Any]] = {
    "cut32_step": lambda m: rows_of(m, "cut32_step", 16),
    "late2_4": lambda m: rows_of(m, "late2_4", 32),
    "draft2": lambda m: dimension(m, "draft2", "logits", 2, 98),
    "early2": lambda m: dimension(m, "early2", "nextHidden", 2, 65),
    "observe16": lambda m: dimension(m, "observe16", "queries1", 1, 8),
    "observe1": lambda m: dimension(m, "observe1", "queries2", 3, 1 << 20),
    "late2_2": lambda m: outputs(m, "late2_2"),
    "late2_8": lambda m: given(m, "late2_8", "position", "causalMask"),
    "late2_1": lambda m: outputs(m, "late2_1", "logits", "logits"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_function_of_other_sizes_is_refused_by_name(
    name: str, made: Path, spec: DecoderSpec, tmp_path: Path
) -> None:
    folder = without(tmp_path / "it", made)
    changed(folder, LIES[name])
    with pytest.raises(
        Damaged, match=f"another model than its edge.json: its function {name} differs"
    ):
        evaluated(Opening(folder, spec, exact=True))


def test_functions_that_give_something_else(made: Path, spec: DecoderSpec, tmp_path: Path) -> None:
    folder = without(tmp_path / "it", made)
    changed(folder, lambda m: outputs(m, "observe16", "logits", "queries0", "queries2"))
    changed(folder, lambda m: outputs(m, "draft2", "nextHidden"))
    with pytest.raises(Damaged, match="no queries of layer 1"):
        flexible(folder, spec).observe(IDS[:5])
    with pytest.raises(Damaged, match="draft2 gives no logits"):
        early(folder, spec, 2).draft(3)
    changed(folder, lambda m: outputs(m, "draft2", "logits"))
    with pytest.raises(Damaged, match="early2 gives no stream"):
        early(folder, spec, 2).draft(3)


FEW = {"keyCache": (1, 6, 64, 16), "keyCache16": (1, 6, 32, 16)}


@pytest.mark.parametrize("layers", [2, 4])
def test_packages_of_other_layers_are_refused(layers: int, spec: DecoderSpec) -> None:
    other = replace(spec, layers=(spec.layers[0],) * layers, exits=())
    with pytest.raises(Damaged, match="caches are not those of edge"):
        shares([FEW], other)


@pytest.mark.parametrize(
    "lie",
    [
        {"keyCache": (1, 5, 64, 16)},
        {"keyCache": (1, 6, 64, 8)},
        {"keyCache16": (1, 60, 32, 16)},
        {"keyCache16": (1, 6, 32, 8)},
        {"keyCache16": (1, 6, 1 << 20, 16)},
        {"valueCache": (2, 6, 64, 16)},
    ],
)
def test_caches_that_differ_in_more_than_rows_are_refused(lie: Any, spec: DecoderSpec) -> None:
    assert shares([FEW], spec) == [range(3)]
    halves = [{"keyCache": (1, heads, 64, 16)} for heads in (2, 4)]
    assert shares(halves, spec) == [range(1), range(1, 3)]
    with pytest.raises(Damaged, match="caches are not those of edge"):
        shares([FEW | lie], spec)


# Core ML itself, or what stands in for it


class _State(dict[str, np.ndarray]):
    """coremltools.models.MLState as far as we use it."""

    def read_state(self, name: str) -> np.ndarray:
        return self[name].copy()

    def write_state(self, name: str, value: np.ndarray) -> None:
        assert value.dtype == np.float16
        self[name] = value.copy()


_opened = cache(lambda path: Program.open(Path(path)))


class _Fake:
    """coremltools.models.CompiledMLModel, evaluated in numpy: a state is of one set of names."""

    def __init__(self, path: str, *, compute_units: Any, function_name: str) -> None:
        self._program, self._name = _opened(path), function_name
        self._evaluator = Evaluator(self._program, "declared")

    def make_state(self) -> _State:
        state = _State()
        state.names = set(self._program.functions[self._name].states)  # type: ignore[attr-defined]
        return state

    def predict(self, data: Mapping[str, np.ndarray], state: _State | None) -> Any:
        names = set(self._program.functions[self._name].states)
        assert (state is None) == (not names)
        assert state is None or state.names == names  # type: ignore[attr-defined]
        self._evaluator._states = {} if state is None else state
        return self._evaluator.call(self._name, data)


@pytest.fixture
def on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ct.models.utils, "compile_model", lambda path, place: path)
    monkeypatch.setattr(ct.models, "CompiledMLModel", _Fake)


def test_states_of_core_ml_are_cut_and_forked(
    made: Path, spec: DecoderSpec, on_a_mac: None
) -> None:
    """How states are read, written and given back; that Core ML does so is for a Mac to show."""
    got = FlexibleCoreMlDecoder(spec, native.predicted(Opening(made, spec)))
    want = flexible(made, spec, exact=False)
    answers = []
    for decoder in (got, want):
        both = CompactDrafter(decoder, CUT)
        made_by = Speculation(both, both, 3)
        answers.append(list(generate(made_by, IDS[:30], max_tokens=12)))
        decoder.rewind(0)
        compact = CompactingDecoder(decoder, CUT)
        answers[-1] += list(generate(compact, IDS[:30], max_tokens=12))
    assert answers[0] == answers[1]
    assert set(got._keepers[0]._states) == {("keyCache32", "valueCache32")}  # type: ignore[attr-defined]


def test_exits_of_core_ml_share_one_state(made: Path, spec: DecoderSpec, on_a_mac: None) -> None:
    opening = Opening(made, spec)
    both = [
        ExitDecoder(ExitCoreMlDecoder(spec, callers, exit_=2))
        for callers in (native.predicted(opening), evaluated(opening))
    ]
    answers = [
        list(generate(Speculation(one, SelfDrafter(one), 4), IDS[:20], max_tokens=12))
        for one in both
    ]
    assert answers[0] == answers[1]


# The command line


def test_the_command_line_cuts_and_exits(assets: Path, tmp_path: Path, edge: Edge) -> None:
    source, out = assets / "llm/stories-260k", tmp_path / "out"
    edge_convert = edge(
        "convert", source, "--to", "coreml", "--quant", "fp16", "-o", out,
        "--layerskip", "2", "--snapkv-rows", "96",
    )  # fmt: skip
    assert edge_convert.code == 0, edge_convert.err
    prompt = "Once upon a time there was a little girl. " * 8
    run = ("run", out, prompt, "--raw", "--max-tokens", "8", "--reference")
    plain = edge(*run)
    exits = edge(*run, "--layerskip", "2")
    assert exits.code == 0, exits.err
    assert exits.out == plain.out
    cut = edge(*run, "--snapkv", "64", "--json")
    assert cut.code == 0, cut.err
    assert json.loads(cut.out)["cache_rows"] < 75
    refused = edge(*run, "--layerskip", "3")
    assert refused.code == 3
    assert "--layerskip 3" in refused.err
    assert edge(*run[:-1], "--snapkv", "64").code == 3
