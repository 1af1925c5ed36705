"""Regions of pictures in OpenAI's content parts: what the server answers is what the model says without one."""

import base64
import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gromas
import numpy as np
import pytest
from serving import serving

from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.decode import generate as decoding
from edge.pipelines.groma import Groma, words_of
from edge.pipelines.runners import open_pipeline
from edge.run import model as running
from edge.run.model import Wish

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
Image = pytest.importorskip("PIL.Image")
openai = pytest.importorskip("openai")

from edge.serve.app import create  # noqa: E402 - only with the extra
from edge.serve.guard import Limits  # noqa: E402
from edge.serve.texts import Texts  # noqa: E402

TOKENS = 6
WISH = Wish(max_tokens=TOKENS)
BOXES = [(2.0, 3.0, 20.0, 30.0), (1.0, 1.0, 9.0, 9.0)]


@pytest.fixture(scope="module")
def content() -> bytes:
    """24 x 40."""
    pixels, out = (
        np.random.default_rng(0).integers(0, 256, (40, 24, 3), dtype=np.uint8),
        io.BytesIO(),
    )
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("groma")
    gromas.write(folder / "mini")
    options = Options(target="torch", quant="fp32")
    return convert_pipeline(folder / "mini", folder / "it", options).folder


@pytest.fixture(scope="module")
def alone(artifact: Path) -> Groma:
    found = open_pipeline(artifact)
    assert isinstance(found, Groma)
    return found


@pytest.fixture(scope="module")
def served(artifact: Path) -> Iterator[tuple[str, Groma]]:
    model = open_pipeline(artifact)
    limits = Limits(body=1 << 20, tokens=64, seconds=60)
    with serving(create(Texts(model.model), hosts=(), key=None, limits=limits)) as port:
        yield f"http://127.0.0.1:{port}/v1", model


@pytest.fixture
def client(served: tuple[str, Groma]) -> Any:
    return openai.OpenAI(base_url=served[0], api_key="none", max_retries=0, timeout=60)


def part(content: bytes, boxes: Any = None) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    given = {} if boxes is None else {"boxes": boxes}
    return {"type": "image_url", "image_url": {"url": url}, **given}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def answered(client: Any, messages: list[Any], **more: Any) -> Any:
    return client.chat.completions.create(
        model="edge", messages=messages, temperature=0, max_tokens=TOKENS, **more
    )


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def test_an_answer_is_that_of_the_model(client: Any, alone: Groma, content: bytes) -> None:
    found = answered(client, [user(part(content), text("What is it?"))])
    want = alone.generate("What is it?", images=[content], wish=WISH)
    assert found.choices[0].message.content == "".join(want)
    assert found.usage.prompt_tokens == len(want.generation.prompt)
    assert found.choices[0].message.regions == words_of(want).spans


def test_boxes_and_a_wish_for_regions(client: Any, alone: Groma, content: bytes) -> None:
    asked = [user(part(content, BOXES), text("Is <box> on it?"))]
    found = answered(client, asked, extra_body={"regions": True})
    question = "[grounding] Is <box> on it?"
    want = alone.generate(question, images=[content], boxes=BOXES, wish=WISH)
    assert found.choices[0].message.content == "".join(want)
    assert found.usage.prompt_tokens == len(want.generation.prompt)


def test_a_conversation_reads_what_is_new(
    client: Any, alone: Groma, content: bytes, served: tuple[str, Groma]
) -> None:
    """The picture's own turn is about its boxes, whoever keeps the conversation."""
    first = user(part(content, BOXES[:1]), text("What is <box>?"))
    said = answered(client, [first]).choices[0].message
    assert said.content
    told = [first, said.to_dict(), user(text("And now?"))]
    found = answered(client, told)
    cached = found.usage.prompt_tokens_details.cached_tokens
    assert cached > alone.look(content, BOXES[:1]).rows.shape[0] + 20
    served[1].model.forget()
    again = answered(client, told)
    assert again.choices[0].message.content == found.choices[0].message.content
    assert again.usage.prompt_tokens_details.cached_tokens == 0


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, alone: Groma) -> None:
    """Of weights that are random none names a region: its tokens are given."""
    said = "There is <p>a dog</p><roi><r1><r0></roi>.<roi><r0></roi>"
    ids = alone.tokenizer.encode(said, special=False)

    def spoken(generation: Any, words: Any, **_: Any) -> Any:
        next(iter(generation))
        return decoding.text_of(iter(ids), words)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "text_of", spoken)


REGIONS = [
    {
        "phrase": "a dog",
        "start": 9,
        "end": 14,
        "boxes": [[1.0, 1.0, 9.0, 9.0], [2.0, 3.0, 20.0, 30.0]],
        "scores": [1.0, 1.0],
    },
    {
        "phrase": "a cup",
        "start": 15,
        "end": 15,
        "boxes": [[2.0, 3.0, 20.0, 30.0]],
        "scores": [1.0],
    },
]


@pytest.mark.usefixtures("scripted")
def test_regions_of_an_answer(client: Any, content: bytes) -> None:
    asked = [user(part(content, BOXES), text("Where is <p>a cup</p>?"))]
    message = answered(client, asked).choices[0].message
    assert message.content == "There is a dog."
    assert message.regions == REGIONS


@pytest.mark.usefixtures("scripted")
def test_regions_come_with_the_last_piece(client: Any, content: bytes) -> None:
    asked = [user(part(content, BOXES), text("Where is <p>a cup</p>?"))]
    pieces = [one.choices[0] for one in answered(client, asked, stream=True)]
    assert "".join(one.delta.content or "" for one in pieces) == "There is a dog."
    assert pieces[-1].delta.regions == REGIONS
    assert pieces[-1].finish_reason is not None
    assert not any("regions" in one.delta.to_dict() for one in pieces[:-1])


def test_what_the_model_is_told_to_take(served: tuple[str, Groma]) -> None:
    with urllib.request.urlopen(f"{served[0]}/models") as said:
        (entry,) = json.load(said)["data"]
    assert entry["regions"] == {"boxes": 100}
    assert entry["input_modalities"] == ["text", "image"]


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[0, 0, 25, 30]], "leaves the picture, which is 24 x 40"),
        ([[20, 3, 2, 30]], "a side of less than 2 pixels"),
        ([[5, 5, 6, 30]], "a side of less than 2 pixels"),
        ([[1, 2, 3]], "boxes"),
        ([["1", "2", "3", "4"]], "boxes"),
        ([[1, 2, 3, 1e300]], "boxes"),
        ([[1, 1, 9, 9]] * 101, "boxes"),
        ("1,2,3,4", "boxes"),
    ],
)
def test_boxes_that_are_none(client: Any, content: bytes, boxes: Any, words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        answered(client, [user(part(content, boxes), text("What is <box>?"))])


def test_questions_that_are_none(client: Any, content: bytes) -> None:
    picture = part(content)
    cases: list[tuple[list[Any], str]] = [
        ([user(text("Hello."))], "0 pictures"),
        ([user(picture, picture, text("?"))], "2 pictures"),
        ([user(picture, text("What is <box>?"))], "1 times <box>"),
        ([user(picture, text("<image>"))], "holds <image>"),
        ([user(picture, text("?")), {"role": "assistant", "content": "<image>"}], "holds <image>"),
        ([user(part(b"no picture"), text("?"))], "none of JPEG"),
        ([user({**text("?"), "boxes": [[1, 1, 9, 9]]})], "boxes are of a picture"),
    ]
    for messages, words in cases:
        with pytest.raises(openai.BadRequestError, match=words):
            answered(client, messages)
    with pytest.raises(openai.BadRequestError, match="answers about a picture"):
        client.completions.create(model="edge", prompt="Once", max_tokens=2)
    assert answered(client, [user(picture, text("?"))]).choices[0].message.content is not None
