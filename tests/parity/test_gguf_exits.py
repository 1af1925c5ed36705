"""GGUF models cut at their exits: any llama.cpp loads the whole, and the first files are the first layers."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import VOCAB, checkpoint, config_of, converted, nothing_left, tiny, weights_of

from edge import targets
from edge.api import inspect_path, verify_artifact
from edge.artifact.manifest import Artifact, write_manifest
from edge.decode.generate import generate
from edge.decode.layerskip import SelfDrafter
from edge.decode.speculate import Speculation
from edge.errors import Damaged, Unsupported
from edge.gguf.reader import GGUFFile
from edge.gguf.shards import GGUFModel
from edge.protocols import EarlyExit
from edge.quant import recipe as recipes
from edge.run import opening
from edge.run.model import load
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec
from edge.typing import F32
from edge_runtimes.reference.decoder import ReferenceDecoder, checkpoint_weights

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

import llama_cpp

from edge_runtimes.gguf.library import Context

IDS = [int(i) for i in np.random.default_rng(4).integers(0, VOCAB, 900)]
DEEP = {"num_hidden_layers": 6, "max_position_embeddings": 1500}
EXITS = (2, 3, 5)
FIRST = "model-00001-of-00004.gguf"
HALF = [1.0 + i / 8 for i in range(8)]
LONG = {
    "sliding_window": None,
    "original_max_position_embeddings": 64,
    "rope_scaling": {"type": "longrope", "short_factor": HALF, "long_factor": HALF},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("exits") / "source", "llama", **DEEP)


@pytest.fixture(scope="module")
def folder(source: Path) -> Path:
    return converted(source.parent / "out", source, "fp32", target="gguf", exits=EXITS)


def opened(folder: Path, exit_: int) -> EarlyExit:
    return opening.open_exits(Artifact.open(folder), exit_=exit_, threads=1)


def near(got: F32, want: F32, tolerance: float = 1e-2) -> bool:
    return bool(np.abs(got - want).max() <= tolerance * np.abs(want).max())


def shallow(source: Path, exit_: int) -> ReferenceDecoder:
    """The first layers as a model of their own, in numpy."""
    opened = Checkpoint.open(source)
    spec: DecoderSpec = replace(opened.spec, layers=opened.spec.layers[:exit_])
    return ReferenceDecoder(spec, checkpoint_weights(opened))


@pytest.mark.parametrize("exit_", EXITS)
def test_drafts_are_those_of_the_first_layers(source: Path, folder: Path, exit_: int) -> None:
    """After a prompt whose cache the draft took over, and after one that it read itself."""
    for prompt in (IDS[:40], IDS[:9]):
        decoder, oracle = opened(folder, exit_), shallow(source, exit_)
        decoder.prefill(prompt)
        oracle.prefill(prompt)
        for token in IDS[40:50]:
            assert near(decoder.draft(token), oracle.step(token))


def test_drafts_go_on_after_all_kinds_of_reading(source: Path, folder: Path) -> None:
    decoder, oracle = opened(folder, 2), shallow(source, 2)
    whole = targets.oracle().oracle(Checkpoint.open(source), recipes.parse("fp32"))
    said = [11, 12, *IDS[:20], 13, 14, *IDS[20:25], 15]
    decoder.draft(11)
    decoder.finish(12)
    decoder.prefill(IDS[:20])
    decoder.draft(9)
    decoder.step(13)
    decoder.step(14)
    decoder.draft(9)
    decoder.score(IDS[20:26])
    decoder.draft(8)
    decoder.rewind(decoder.length - 1)
    decoder.finish(15)
    assert decoder.length == len(said)
    oracle.prefill(said)
    whole.prefill(said)
    for token in (3, 4, 5):
        assert near(decoder.draft(token), oracle.step(token))
    want = whole.score([3, 4, 5, 6])
    assert near(decoder.finish(6), want)
    decoder.rewind(len(said) + 2)
    whole.rewind(len(said) + 2)
    oracle.rewind(len(said) + 2)
    assert near(decoder.draft(7), oracle.step(7))
    assert near(decoder.finish(8), whole.score([7, 8]))


def test_drafts_cross_what_a_first_cache_holds(source: Path, folder: Path) -> None:
    """Whether the cache of drafts is taken over or grows by itself."""
    decoder, oracle = opened(folder, 3), shallow(source, 3)
    for at in (500, 510):
        decoder.prefill(IDS[decoder.length : at])
        oracle.prefill(IDS[oracle.length : at])
        for token in IDS[at : at + 20]:
            assert near(decoder.draft(token), oracle.step(token))
        decoder.rewind(at)
        oracle.rewind(at)
    for token in IDS[510:530]:
        decoder.draft(token)
        decoder.finish(token)
    assert decoder.length == 550


def test_a_draft_runs_only_the_first_layers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two contexts: that of the draft runs once a token, that of the whole once a round."""
    decoder = opened(folder, 2)
    decoder.prefill(IDS[:40])
    runs: list[tuple[Context, int]] = []
    run = Context.run

    def counted(self: Context, tokens: list[int], *, outputs: int) -> F32:
        runs.append((self, len(tokens)))
        return run(self, tokens, outputs=outputs)

    monkeypatch.setattr(Context, "run", counted)
    for token in (1, 2, 3):
        decoder.draft(token)
    decoder.finish(4)
    decoder.draft(5)
    counts = [count for _, count in runs]
    assert counts == [1, 1, 1, 4, 2], "the last of a round is read with the next"
    assert runs[0][0] is runs[2][0] is runs[4][0] is not runs[3][0]


@pytest.mark.parametrize("quant", ["fp16", "q8_0", "q4_0"])
def test_every_precision_answers_as_it_does_plainly(quant: str, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama", num_hidden_layers=3)
    folder = converted(tmp_path / "out", source, quant, target="gguf", exits=(1,))
    plain = opening.open_decoder(Artifact.open(folder), threads=1, exact=False)
    early = opening.open_exits(Artifact.open(folder), exit_=1, threads=1)
    want = list(generate(plain, IDS[:20], max_tokens=12))
    both = Speculation(early, SelfDrafter(early), 3)
    got = list(generate(both, IDS[:20], max_tokens=12))
    assert both.tally.drafted > 0
    first = next((i for i, (a, b) in enumerate(zip(got, want, strict=True)) if a != b), None)
    if first is None:
        return
    # One attends in parts, the other in one kernel: inputs fall to either side of a tie of their rounding.
    plain.rewind(0)
    logits = plain.prefill([*IDS[:20], *want[:first]])
    tolerance = targets.runtime("gguf").numerics(recipes.parse(quant), exact=False).tolerance
    margin = abs(float(logits[got[first]] - logits[want[first]]))
    assert margin <= 2 * tolerance * float(np.abs(logits).max())


def test_layers_that_add_nothing_have_every_draft_accepted(tmp_path: Path) -> None:
    """The first layers then say what the whole model says."""
    config = config_of("llama", num_hidden_layers=4)
    weights = {
        name: np.zeros_like(value) if re.search(r"layers\.[23].*(o|down)_proj", name) else value
        for name, value in weights_of(config).items()
    }
    source = checkpoint(tmp_path / "source", config, weights)
    folder = converted(tmp_path / "out", source, "fp32", target="gguf", exits=(2,))
    early = opening.open_exits(Artifact.open(folder), exit_=2, threads=1)
    both = Speculation(early, SelfDrafter(early), 4)
    plain = opening.open_decoder(Artifact.open(folder), threads=1, exact=False)
    want = list(generate(plain, IDS[:20], max_tokens=30))
    assert list(generate(both, IDS[:20], max_tokens=30)) == want
    assert both.tally.accepted == both.tally.drafted > 20


# Files


def test_a_cut_model_is_the_same_model(source: Path, folder: Path, tmp_path: Path) -> None:
    """Tensor by tensor and key by key; each layer where its exit says."""
    whole = converted(tmp_path / "whole", source, "fp32", target="gguf")
    files = sorted(file.name for file in folder.glob("*.gguf"))
    assert files == [f"model-0000{i}-of-00004.gguf" for i in (1, 2, 3, 4)]
    with GGUFFile(whole / "model.gguf") as one, GGUFModel(folder / FIRST) as cut:
        assert set(cut) - set(one) == {"split.no", "split.count", "split.tensors.count"}
        assert all(cut[key] == one[key] for key in one)
        assert set(cut.tensors) == set(one.tensors)
        for name, tensor in one.tensors.items():
            same = np.array_equal(cut.raw(name, 0, tensor.rows), one.raw(name, 0, tensor.rows))
            assert same, name
            np.testing.assert_array_equal(cut.rows(name, 0, 1), one.rows(name, 0, 1))
        assert cut.counts == [3 + 2 * 9, 9, 2 * 9, 9]
    with GGUFFile(folder / files[1]) as second:
        assert {name.split(".")[1] for name in second.tensors} == {"2"}
        assert set(second) == {"split.no", "split.count", "split.tensors.count"}
        assert [second.kind(key) for key in second] == [2, 2, 5], "as llama.cpp's own splitter"


def test_any_llama_cpp_loads_the_whole_by_the_first_name(folder: Path) -> None:
    """Through its own loader, which finds the others; and it says what the decoder says."""
    params = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(str(folder / FIRST).encode(), params)
    assert model
    try:
        assert llama_cpp.llama_model_n_layer(model) == 6
        assert llama_cpp.llama_model_n_params(model) == inspect_path(folder)["parameters"]
    finally:
        llama_cpp.llama_model_free(model)


def test_a_cut_model_is_proved_as_a_whole(source: Path, folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert verify_artifact(copy, str(source), tokens=24).passed
    assert set(inspect_path(copy)["files"]) >= {
        f"model-0000{i}-of-00004.gguf" for i in (1, 2, 3, 4)
    }
    third = copy / "model-00003-of-00004.gguf"
    content = bytearray(third.read_bytes())
    content[-40] ^= 64
    third.write_bytes(content)
    report = verify_artifact(copy, str(source), tokens=24)
    assert not report.passed
    assert (report.differing_bytes, report.changed_files) == (1, (third.name,))
    with pytest.raises(Damaged, match=r"model-00003-of-00004\.gguf is not the file that was"):
        load(copy)


@pytest.mark.parametrize("name", ["phi3", "internlm2"])
def test_other_architectures_stop_early_too(name: str, tmp_path: Path) -> None:
    """Phi-3's rotary factors lie in the first file."""
    changes = LONG if name == "phi3" else {"tie_word_embeddings": True}
    source = tiny(tmp_path / "source", name, num_hidden_layers=3, **changes)
    folder = converted(tmp_path / "out", source, "fp32", target="gguf", exits=(1,))
    decoder, oracle = opened(folder, 1), shallow(source, 1)
    decoder.prefill(IDS[:20])
    oracle.prefill(IDS[:20])
    assert near(decoder.draft(5), oracle.step(5))


def test_lists_of_a_number_a_layer_are_refused(tmp_path: Path) -> None:
    """llama.cpp takes one number in place of a key's, and wants a list as long as there are layers."""
    source = tiny(tmp_path / "source", "openelm")
    with pytest.raises(Unsupported, match=r"'openelm' has lists .*\n  fix: leave out --layerskip"):
        converted(tmp_path / "out", source, target="gguf", exits=(1,))
    assert nothing_left(tmp_path / "out")


def test_a_list_cannot_be_overridden(tmp_path: Path) -> None:
    """Why they are refused: should llama.cpp learn it, this fails."""
    from edge_runtimes.gguf.library import Model

    source = tiny(tmp_path / "source", "openelm", num_query_heads=[4] * 3, num_kv_heads=[2] * 3)
    folder = converted(tmp_path / "out", source, "fp32", target="gguf")
    numbers = {"openelm.block_count": 1, "openelm.attention.head_count": 4}
    with pytest.raises(Damaged, match="wrong array length"):
        Model([folder / "model.gguf"], numbers=numbers, mapped=True)


def test_an_exit_that_was_not_kept_is_named(folder: Path) -> None:
    with pytest.raises(Unsupported, match=r"no exit after layer 4 \(kept: 2, 3, 5\)"):
        opened(folder, 4)


# Damage


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "model-00004-of-00004.gguf").unlink()
    with pytest.raises(Damaged, match=r"lacks the file model-00004-of-00004\.gguf"):
        Artifact.open(copy)


@pytest.mark.parametrize("hidden", [True, False])
def test_a_file_that_the_manifest_hides_is_looked_for(copy: Path, hidden: bool) -> None:
    """The manifest names three of four files, and the fourth is a link, or gone."""
    name = "model-00004-of-00004.gguf"
    artifact = Artifact.open(copy)
    files = {file: digest for file, digest in artifact.manifest.files.items() if file != name}
    write_manifest(copy, replace(artifact.manifest, files=files))
    (copy / name).rename(copy.parent / name)
    if hidden:
        (copy / name).symlink_to(copy.parent / name)
    with pytest.raises(Damaged, match="is a link" if hidden else "lacks the file"):
        opening.open_decoder(Artifact.open(copy), threads=1, exact=False)


def test_a_file_of_another_model_is_refused(copy: Path, tmp_path: Path) -> None:
    """Of other weights by its hash; of another shape by its tensors, too."""
    third = "model-00003-of-00004.gguf"
    for name, changes in (("weights", {"seed": 1}), ("shape", {"intermediate_size": 128})):
        other = tiny(tmp_path / name, "llama", **{**DEEP, **changes})
        out = converted(tmp_path / f"{name}-out", other, "fp32", target="gguf", exits=EXITS)
        shutil.copyfile(out / third, copy / third)
        with pytest.raises(Damaged, match="hash differs"):
            load(copy)
    with pytest.raises(Damaged, match="its keys make it"):
        opened(copy, 2)


def test_files_cut_elsewhere_are_refused(copy: Path, source: Path, tmp_path: Path) -> None:
    """Of the same weights, cut at other layers: a tensor would be there twice."""
    out = converted(tmp_path / "out", source, "fp32", target="gguf", exits=(2, 4, 5))
    for number, words in ((2, "lies in another file"), (3, "not those of one model")):
        name = f"model-0000{number}-of-00004.gguf"
        kept = (copy / name).read_bytes()
        shutil.copyfile(out / name, copy / name)
        with pytest.raises(Damaged, match=words):
            opened(copy, 2)
        (copy / name).write_bytes(kept)
    opened(copy, 2)
