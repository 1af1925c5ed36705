"""Artifacts of several networks whose manifest lies: of what they are, where, and how they work together."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import internvls
import pytest
from attack import Change, refused, rewrite

from edge.artifact.manifest import MANIFEST
from edge.artifact.pipeline import PipelineArtifact, fingerprint
from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.hashing import sha256
from edge.pipelines.internvl import load_internvl

pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("internvl")
    internvls.write(folder / "mini")
    options = Options(target="torch", quant="fp32")
    return convert_pipeline(folder / "mini", folder / "it", options).folder


@pytest.fixture
def artifact(whole: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(whole, tmp_path / "it"))


def set_to(**changes: Any) -> Change:
    return lambda d: d.update(changes)


def settings(**changes: Any) -> Change:
    return lambda d: d["settings"].update(changes)


LIES: dict[str, tuple[Change, type[EdgeError]]] = {
    "another schema": (set_to(schema=99), Damaged),
    "no family": (set_to(family=None), Damaged),
    "a family that is none": (set_to(family="os"), Damaged),
    "a family of one network": (set_to(family="llama"), Damaged),
    "no networks": (set_to(stages={}), Damaged),
    "networks of numbers": (set_to(stages={"text": 1}), Damaged),
    "a list of networks": (set_to(stages=["text"]), Damaged),
    "no settings": (set_to(settings=None), Damaged),
    "settings of a text": (set_to(settings="x"), Damaged),
    "a network less": (lambda d: d["stages"].pop("projector"), Damaged),
    "a path": (lambda d: d["stages"].update({"../it": "0" * 64}), Damaged),
    "an absolute path": (lambda d: d["stages"].update({"/tmp": "0" * 64}), Damaged),
    "nothing of a name": (lambda d: d["stages"].update({"": "0" * 64}), Damaged),
    "another hash": (lambda d: d["stages"].update(text="0" * 64), Damaged),
    "a proof of a text": (set_to(verified="yes"), Damaged),
    "no side": (lambda d: d["settings"].pop("side"), Damaged),
    "a side of none": (settings(side=0), Damaged),
    "a side that the tower has not": (settings(side=32), Damaged),
    "a side of gigabytes": (settings(side=1 << 40), Damaged),
    "more tiles than any": (settings(most=41), Damaged),
    "no tiles": (settings(most=0), Damaged),
    "a conversation that is none": (settings(template="{{ evil }}"), Unsupported),
    "no conversation": (settings(template=None), Damaged),
    "a system message of a list": (settings(system=["x"]), Damaged),
}


@pytest.mark.parametrize(("change", "kind"), LIES.values(), ids=LIES.keys())
def test_manifests_that_lie(artifact: Path, change: Change, kind: type[EdgeError]) -> None:
    rewrite(artifact, change)
    with refused(kind):
        load_internvl(artifact)


def vouch(artifact: Path, name: str) -> None:
    """As whoever made all of it would."""
    digest = fingerprint(artifact / name)
    rewrite(artifact, lambda d: d["stages"].update({name: digest}))


def exchanged(artifact: Path, name: str, other: str) -> None:
    shutil.rmtree(artifact / name)
    shutil.copytree(artifact / other, artifact / name)
    vouch(artifact, name)


@pytest.mark.parametrize(
    ("name", "other"),
    [(a, b) for a in ("vision", "projector", "text") for b in ("vision", "projector", "text") if a != b],
)  # fmt: skip
def test_a_network_in_anothers_place(artifact: Path, name: str, other: str) -> None:
    exchanged(artifact, name, other)
    with refused(Damaged, "does not give"):
        load_internvl(artifact)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["spec"]["config"].update(width=128),
        lambda d: d["spec"]["config"].update(side=8),
        lambda d: d["spec"]["config"].update(channels=32),
    ],
    ids=["wider rows", "more patches", "fewer channels"],
)
def test_networks_that_do_not_fit(artifact: Path, change: Change) -> None:
    rewrite(artifact / "projector", change)
    vouch(artifact, "projector")
    with refused(Damaged, "does not give"):
        load_internvl(artifact)


def test_a_tower_that_shows_nothing(artifact: Path) -> None:
    rewrite(artifact / "vision", lambda d: d.update(vision=None))
    vouch(artifact, "vision")
    with refused(Damaged, "sees no squares"):
        load_internvl(artifact)


def test_a_link_out_of_the_folder(artifact: Path, tmp_path: Path) -> None:
    shutil.move(artifact / "text", tmp_path / "elsewhere")
    (artifact / "text").symlink_to(tmp_path / "elsewhere")
    with refused(Damaged):
        PipelineArtifact.open(artifact)


BROKEN: dict[str, Callable[[Path], object]] = {
    "no folder": lambda a: shutil.rmtree(a / "text"),
    "no manifest": lambda a: (a / "text" / MANIFEST).unlink(),
    "a folder for a manifest": lambda a: (
        (a / "text" / MANIFEST).unlink(),
        (a / "text" / MANIFEST).mkdir(),
    ),
    "no weights": lambda a: (a / "vision" / "model.safetensors").unlink(),
    "no tokenizer": lambda a: (a / "text" / "tokenizer.json").unlink(),
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_missing_is_said(artifact: Path, damage: Callable[[Path], object]) -> None:
    damage(artifact)
    with pytest.raises(EdgeError):
        load_internvl(artifact)


def test_a_tokenizer_without_places_for_pictures(artifact: Path) -> None:
    file = artifact / "text" / "tokenizer.json"
    file.write_text(file.read_text().replace("<IMG_CONTEXT>", "<IMG_CONTEXX>"))
    rewrite(artifact / "text", lambda d: d["files"].update({file.name: sha256(file)}))
    vouch(artifact, "text")
    with refused(Unsupported, "<IMG_CONTEXT>"):
        load_internvl(artifact)


def test_a_conversation_py_is_read_and_bounded(tmp_path: Path) -> None:
    """It may hold anything, and none of it runs."""
    from edge.text.conversations import system_message

    evil = tmp_path / "evil"
    file = tmp_path / "conversation.py"
    for content, kind in (
        (f"open({str(evil)!r}, 'w')\nf(name='a', system_message='b')", "b"),
        ("f(name='a', system_message='b' + 'c')", None),
        ("f(name='a', system_message=f'{open}')", None),
        ("", None),
    ):
        file.write_text(content)
        assert system_message(tmp_path, "a") == kind
    for bad in (b"def", b"\0", b"(" * 5000, b"\xff\xfe", b"x" * (1 << 20) + b"y"):
        file.write_bytes(bad)
        with refused(Damaged):
            system_message(tmp_path, "a")
    assert not evil.exists()
