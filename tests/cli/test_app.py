"""`edge app`: the folder that an app loads says what `edge run` does."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import internvls
import pytest
import tokenizers
from conftest import Edge
from support import ROOT, converted

from edge.api import convert_model
from edge.convert.options import Options
from edge.text.chat import ChatTemplate, Message, encode_chat
from edge.text.tokenizer import Tokenizer

STORIES = ROOT / "edge/models/edge-stories"
TALK = [
    Message("system", " Be brief. "),
    Message("user", "Marla had a red kite."),
    Message("assistant", "Yes."),
    Message("user", "What did Marla have?\n"),
]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("app") / "it", STORIES, "int4")


def rendered(chat: dict[str, Any], talk: list[Message]) -> str:
    """As an app does."""
    told = talk[0].role == "system"
    text = "" if told else chat["start"]
    for message in talk:
        around = chat["roles"][message.role]
        said = message.content.strip() if around["trims"] else message.content
        text += around["prefix"] + said + around["suffix"]
    return text + chat["answer"]


def test_an_app_is_the_artifact_and_a_description(
    edge: Edge, artifact: Path, tmp_path: Path
) -> None:
    out = tmp_path / "app"
    said = edge("app", str(artifact), "-o", str(out))
    assert (said.code, said.out) == (0, ""), said.err
    made = json.loads((out / "app.json").read_text())
    told = [*made["modules"]["text"]["files"], made["tokenizer"]]
    assert {file["name"] for file in told} | {"app.json"} == {
        str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()
    }
    for file in told:
        content = (out / file["name"]).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (
            file["sha256"],
            file["bytes"],
        )
    assert made["modules"]["text"]["target"] == "onnx"
    assert made["selftest"] is None  # no app over ONNX Runtime reads one
    layer = {"heads": 6, "kv_heads": 6, "head_width": 32, "scale": pytest.approx(32**-0.5)}
    rotary = made["decoder"].pop("rotary")
    assert made["decoder"] == {"vocab": 1408, "context": 2048, "layers": [layer] * 8}
    wanted = [10000 ** (-pair / 16) for pair in range(16)]
    assert rotary == {"frequencies": pytest.approx(wanted, rel=1e-5), "magnitude": 1.0}
    tokens, needed = zip(*((one["tokens"], one["bytes"]) for one in made["memory"]), strict=True)
    assert tokens == (512, 1024, 2048)
    assert list(needed) == sorted(needed)
    assert made["sampling"]["temperature"] == 0


def test_its_conversations_become_the_same_ids(edge: Edge, artifact: Path, tmp_path: Path) -> None:
    made = edge("app", str(artifact), "-o", str(tmp_path / "app"), "--json").json
    assert made == json.loads((tmp_path / "app/app.json").read_text())
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "app/tokenizer.json"))
    template = ChatTemplate.load(STORIES)
    assert template is not None
    for talk in (TALK, TALK[1:], TALK[3:]):
        ids = library.encode(rendered(made["chat"], talk), add_special_tokens=False).ids
        if made["bos"] is not None and ids[:1] != [made["bos"]]:
            ids = [made["bos"], *ids]
        assert ids == encode_chat(Tokenizer.load(STORIES), template, talk)
    stops = Tokenizer.load(STORIES).stop_ids
    assert set(made["stop"]) == stops


def test_an_app_of_several_networks(edge: Edge, tmp_path: Path) -> None:
    internvls.write(tmp_path / "source")
    convert_model(str(tmp_path / "source"), "onnx", tmp_path / "it", Options(quant="fp32"))
    made = edge("app", str(tmp_path / "it"), "-o", str(tmp_path / "app"), "--json").json
    assert set(made["modules"]) == {"vision", "projector", "text"}
    assert all((tmp_path / "app" / name / "edge.json").is_file() for name in made["modules"])
    assert made["pictures"]["template"] == "internlm2-chat"
    assert rendered(made["chat"], TALK[3:]) == (
        "<|im_start|>system\nA helper.<|im_end|>"
        "<|im_start|>user\nWhat did Marla have?\n<|im_end|><|im_start|>assistant\n"
    )


def test_what_is_there_is_replaced_only_when_told_to(
    edge: Edge, artifact: Path, tmp_path: Path
) -> None:
    command = ("app", str(artifact), "-o", str(tmp_path / "app"))
    assert edge(*command).code == 0
    again = edge(*command)
    assert again.code == 2
    assert "exists already" in again.err
    assert edge(*command, "--force").code == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("Dear all")
    kept = edge("app", str(artifact), "-o", str(tmp_path / "mine"), "--force")
    assert kept.code == 2
    assert "will not be replaced" in kept.err
    assert (tmp_path / "mine/letter.txt").is_file()


def test_a_damaged_artifact_makes_no_app(edge: Edge, artifact: Path, tmp_path: Path) -> None:
    made = Path(shutil.copytree(artifact, tmp_path / "it"))
    data = bytearray((made / "model.onnx.data").read_bytes())
    data[7] ^= 1
    (made / "model.onnx.data").write_bytes(data)
    done = edge("app", str(made), "-o", str(tmp_path / "app"))
    assert done.code == 4
    assert "model.onnx.data is not what edge.json says of it" in done.err
    assert not (tmp_path / "app").exists()


def test_what_is_no_artifact_and_what_has_no_form_are_refused(
    edge: Edge, artifact: Path, tmp_path: Path
) -> None:
    assert edge("app", str(tmp_path), "-o", str(tmp_path / "app")).code == 4
    made = Path(shutil.copytree(artifact, tmp_path / "it"))
    odd = "{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}"
    (made / "chat_template.jinja").write_text(odd)
    done = edge("app", str(made), "-o", str(tmp_path / "app"))
    assert "cannot be written as prefixes and suffixes" in done.err
    assert not (tmp_path / "app").exists()
