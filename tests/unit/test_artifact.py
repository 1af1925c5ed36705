"""An artifact appears whole or not at all, and its manifest reads back as it was written."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import CONFIGS, config_of, nothing_left, spec_of

from edge.artifact.manifest import (
    MANIFEST,
    Artifact,
    Manifest,
    contained,
    files_of,
    is_artifact,
    write_manifest,
)
from edge.artifact.publishing import publishing
from edge.errors import Damaged, EdgeError
from edge.files.hashing import sha256
from edge.spec import MATRICES, DecoderSpec

SCALED = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip


def manifest(folder: Path, spec: DecoderSpec | None = None) -> Manifest:
    files = {path.name: sha256(path) for path in folder.iterdir() if path.name != MANIFEST}
    return Manifest(
        target="onnx",
        family="llama",
        name="it",
        recipe="int4",
        embed="int8",
        head="fp16",
        overrides={"layers.*.mlp.down": "int8"},
        spec=spec or spec_of(config_of("llama")),
        bos=1,
        stop=(0, 2),
        repository="some/model",
        revision="a" * 40,
        source={"config.json": "0" * 64},
        files=files,
        tools={"numpy": "2"},
    )


def half(out: Path, error: type[BaseException]) -> None:
    with publishing(out, force=True) as folder:
        (folder / "half").write_text("1")
        raise error


def finished(folder: Path) -> Path:
    folder.mkdir()
    (folder / "weights").write_bytes(b"12345")
    write_manifest(folder, manifest(folder))
    return folder


@pytest.mark.parametrize(
    "spec",
    [*(spec_of(c) for c in CONFIGS.values()), spec_of(config_of("llama", rope_scaling=SCALED))],
    ids=[*CONFIGS, "llama3-scaling"],
)
def test_a_manifest_reads_back_as_written(tmp_path: Path, spec: DecoderSpec) -> None:
    want = manifest(tmp_path, spec)
    write_manifest(tmp_path, want)
    assert Artifact.open(tmp_path).manifest == want


def test_a_verification_is_kept(tmp_path: Path) -> None:
    artifact = Artifact.open(finished(tmp_path / "it"))
    artifact.record({"passed": True, "logits_error": 1e-6})
    assert Artifact.open(artifact.folder).manifest.verified == {
        "passed": True,
        "logits_error": 1e-6,
    }
    assert artifact.nbytes == 5


def test_a_changed_file_is_told(tmp_path: Path) -> None:
    artifact = Artifact.open(finished(tmp_path / "it"))
    assert artifact.check_hashes() == ()
    (artifact.folder / "weights").write_bytes(b"12346")
    assert artifact.check_hashes() == ("weights",)


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_refused(tmp_path: Path, schema: object) -> None:
    file = finished(tmp_path / "it") / MANIFEST
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": schema}))
    with pytest.raises(Damaged, match="schema"):
        Artifact.open(file.parent)


def test_publishing_gives_the_folder_its_name_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with publishing(out, force=False) as folder:
        (folder / "a").write_text("1")
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == ["a"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_publishing_refuses_what_exists(tmp_path: Path) -> None:
    out = finished(tmp_path / "out")
    with pytest.raises(EdgeError, match="--force"), publishing(out, force=False):
        pytest.fail("the body ran")
    assert is_artifact(out)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_publishing_never_replaces_what_is_no_artifact(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("precious")
    else:
        out.mkdir()
        (out / "precious").write_text("1")
    with pytest.raises(EdgeError, match="not an artifact"), publishing(out, force=True):
        pytest.fail("the body ran")
    assert out.is_file() or (out / "precious").is_file()


def test_force_replaces_an_artifact_whole(tmp_path: Path) -> None:
    out = finished(tmp_path / "out")
    with publishing(out, force=True) as folder:
        assert is_artifact(out), "the old one is there until the new one is"
        (folder / "new").write_text("1")
    assert [path.name for path in out.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_and_keeps_the_old(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        half(tmp_path / "out", error)
    assert nothing_left(tmp_path / "out")
    old = finished(tmp_path / "old")
    with pytest.raises(error):
        half(old, error)
    assert Artifact.open(old).check_hashes() == ()


def test_leftovers_of_a_killed_conversion_go(tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "half").write_text("1")
    (tmp_path / ".out.replaced").mkdir()
    with publishing(tmp_path / "out", force=False) as folder:
        assert not list(folder.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_output_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "out").symlink_to(target)
    with pytest.raises(EdgeError), publishing(tmp_path / "out", force=True):
        pass
    assert not target.exists()
    assert not (tmp_path / ".out.partial").exists()


def test_the_current_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(EdgeError), publishing(Path(), force=True):
        pass


def test_one_rename_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever came before it was not seen; if it fails, nothing is there."""

    def refuse(*_: object) -> None:
        raise OSError("no renames today")

    monkeypatch.setattr("os.rename", refuse)
    with pytest.raises(OSError, match="no renames"):
        publish(tmp_path / "out")
    assert nothing_left(tmp_path / "out")


def publish(out: Path) -> None:
    with publishing(out, force=False) as folder:
        (folder / "a").write_text("1")


def test_files_in_folders_belong_to_an_artifact(tmp_path: Path) -> None:
    """An ecosystem's own format may be a folder."""
    inner = tmp_path / "it" / "model.package" / "Data"
    inner.mkdir(parents=True)
    (inner / "weights").write_bytes(b"123")
    folder = tmp_path / "it"
    names = {path.relative_to(folder).as_posix(): sha256(path) for path in files_of(folder)}
    assert list(names) == ["model.package/Data/weights"]
    write_manifest(folder, replace(manifest(inner), files=names))
    assert Artifact.open(folder).check_hashes() == ()
    (inner / "weights").write_bytes(b"124")
    assert Artifact.open(folder).check_hashes() == ("model.package/Data/weights",)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a//x", "", ".", "a/", "a\0/b"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_text("")
    (tmp_path / "it" / "a").mkdir(parents=True)
    with pytest.raises(Damaged, match=r"edge\.json names .* which is no file of its folder"):
        contained(tmp_path / "it", name)


def test_a_name_through_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_text("")
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "a").symlink_to(tmp_path / "real")
    with pytest.raises(Damaged, match="is a link"):
        contained(tmp_path / "it", "a/x")
    with pytest.raises(Damaged, match="lacks the file b/x"):
        contained(tmp_path / "it", "b/x")


@pytest.mark.parametrize("every", [True, False])
def test_an_artifact_of_before_says_whether_all_matrices_have_biases(
    every: bool, tmp_path: Path
) -> None:
    """Its `bias` was one flag a layer."""
    spec = spec_of(config_of("llama"))
    named = MATRICES if every else ()
    want = replace(spec, layers=tuple(replace(la, biases=named) for la in spec.layers))
    write_manifest(tmp_path, manifest(tmp_path, want))
    file = tmp_path / "edge.json"
    data = json.loads(file.read_bytes())
    for layer in data["spec"]["layers"]:
        del layer["biases"]
        layer["bias"] = every
    file.write_text(json.dumps(data))
    assert Artifact.open(tmp_path).manifest.spec == want


@pytest.mark.parametrize("biases", [["attn.x"], ["attn.k", "attn.q"], ["attn.q", "attn.q"], "all"])
def test_biases_of_no_known_matrix_are_refused(biases: Any, tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest(tmp_path))
    file = tmp_path / "edge.json"
    data = json.loads(file.read_bytes())
    data["spec"]["layers"][0]["biases"] = biases
    file.write_text(json.dumps(data))
    with pytest.raises(Damaged, match="biases"):
        Artifact.open(tmp_path)
