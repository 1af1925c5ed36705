"""Pictures in OpenAI's content parts: what the server answers is what the model says without one."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import internvls
import numpy as np
import pytest
from serving import serving

from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.pipelines.internvl import InternVL, load_internvl
from edge.run.model import Wish
from edge.text.chat import Message

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
Image = pytest.importorskip("PIL.Image")
openai = pytest.importorskip("openai")

from edge.serve import pictures  # noqa: E402 - only with the extra
from edge.serve.app import create  # noqa: E402
from edge.serve.guard import Limits  # noqa: E402
from edge.serve.texts import Texts  # noqa: E402

WISH = Wish(max_tokens=6)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    found = {name: folder / f"{name}.png" for name in ("small", "large", "wide")}
    for file, (width, height) in zip(found.values(), ((9, 9), (24, 24), (32, 16)), strict=True):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    return found


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("internvl")
    internvls.write(folder / "mini")
    options = Options(target="onnx", quant="fp32")
    return convert_pipeline(folder / "mini", folder / "it", options).folder


@pytest.fixture(scope="module")
def alone(artifact: Path) -> InternVL:
    return load_internvl(artifact)


@pytest.fixture(scope="module")
def served(artifact: Path) -> Iterator[tuple[str, InternVL]]:
    model = load_internvl(artifact)
    limits = Limits(body=1 << 20, tokens=64, seconds=60)
    with serving(create(Texts(model.model), hosts=(), key=None, limits=limits)) as port:
        yield f"http://127.0.0.1:{port}/v1", model


@pytest.fixture
def client(served: tuple[str, InternVL]) -> Any:
    return openai.OpenAI(base_url=served[0], api_key="none", max_retries=0, timeout=60)


def part(content: bytes, kind: str = "png", **more: Any) -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}", **more}}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def ask(client: Any, *messages: dict[str, Any], **more: Any) -> Any:
    ways = {"model": "it", "temperature": 0, "max_tokens": 6, **more}
    return client.chat.completions.create(messages=list(messages), **ways)


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


@pytest.mark.parametrize("names", [("large",), ("small", "wide", "large"), ()])
def test_the_server_says_what_the_model_says(
    client: Any, alone: InternVL, files: dict[str, Path], names: tuple[str, ...]
) -> None:
    want = alone.generate("What is it?", images=[files[name] for name in names], wish=WISH)
    said = "".join(want)
    shown = [part(files[name].read_bytes()) for name in names]
    found = ask(client, user(*shown, text("What is it?")))
    assert found.choices[0].message.content == said
    assert found.usage.prompt_tokens == len(want.generation.prompt)
    chunks = ask(client, user(text("What is it?"), *shown), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == said


def test_turns_of_a_conversation(client: Any, alone: InternVL, files: dict[str, Path]) -> None:
    """The client sends all of it again; pictures of two turns stand in their places."""
    chat = alone.chat()
    alone.model.forget()
    first = "".join(chat.say("What is it?", [files["large"]], wish=WISH))
    second = "".join(chat.say("And this?", [files["small"]], wish=WISH))
    begin = user(part(files["large"].read_bytes()), text("What is it?"))
    assert ask(client, begin).choices[0].message.content == first
    rest = user(part(files["small"].read_bytes()), text("And this?"))
    found = ask(client, begin, {"role": "assistant", "content": first}, rest)
    assert found.choices[0].message.content == second


def test_a_picture_of_an_earlier_client_does_not_answer(
    client: Any, alone: InternVL, files: dict[str, Path]
) -> None:
    """Two pictures have the same placeholders, and the cache holds those of the first."""
    other = files["large"].with_name("other.png")
    pixels = np.random.default_rng(9).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(other)
    for file in (files["large"], other, files["large"]):
        want = "".join(alone.generate("?", images=[file], wish=WISH))
        found = ask(client, user(part(file.read_bytes()), text("?")))
        assert found.choices[0].message.content == want
    assert ask(client, user(text("?"))).choices[0].message.content == "".join(
        alone.generate("?", wish=WISH)
    )


def test_the_tower_is_asked_once(
    client: Any, served: tuple[str, InternVL], monkeypatch: pytest.MonkeyPatch
) -> None:
    eyes, asked = served[1].eyes, []
    watched = replace(eyes, tower=lambda **given: asked.append(1) or eyes.tower(**given))
    monkeypatch.setattr(served[1], "eyes", watched)
    pixels = np.random.default_rng(11).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    file = io_png(pixels)
    for said in ("What?", "Why?", "What?"):
        ask(client, user(part(file), text(said)))
    assert len(asked) == 5


def io_png(pixels: np.ndarray) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("order", ["before", "after", "between", "only"])
def test_a_picture_stands_where_its_part_does(
    client: Any, alone: InternVL, files: dict[str, Path], order: str
) -> None:
    """First, as the model was trained, unless it stands between texts; a text may speak of `<image>` itself."""
    shown = part(files["small"].read_bytes())
    parts, prompt = {
        "before": ([shown, text("What?")], "What?"),
        "after": ([text("What?"), shown], "What?"),
        "between": ([text("This "), shown, text(" or that?")], "This <image> or that?"),
        "only": ([shown], ""),
    }[order]
    want = alone.generate(prompt, images=[files["small"]], wish=WISH)
    said = "".join(want)
    found = ask(client, user(*parts))
    assert found.choices[0].message.content == said
    assert found.usage.prompt_tokens == len(want.generation.prompt)
    tag = "Is <image> a tag?"
    ids = alone.model.encode([Message("user", tag)])
    assert ask(client, user(text(tag))).usage.prompt_tokens == len(ids)


def test_a_url_alone(client: Any, alone: InternVL, files: dict[str, Path]) -> None:
    """As a text, where the API has an object of it: some clients and servers take both."""
    bare = {"type": "image_url", "image_url": part(files["small"].read_bytes())["image_url"]["url"]}
    found = ask(client, user(bare, text("What?")))
    want = "".join(alone.generate("What?", images=[files["small"]], wish=WISH))
    assert found.choices[0].message.content == want


def test_low_detail_is_one_tile(client: Any, alone: InternVL, files: dict[str, Path]) -> None:
    want = alone.generate("What?", images=[files["large"]], most=1, wish=WISH)
    said = "".join(want)
    found = ask(client, user(part(files["large"].read_bytes(), detail="low"), text("What?")))
    assert found.choices[0].message.content == said
    assert found.usage.prompt_tokens == len(want.generation.prompt)


def test_ways_to_write_a_data_url(client: Any, files: dict[str, Path]) -> None:
    """Unpadded (matatonic/openedai-vision#4), in lines as Python's encodebytes has them, with a parameter."""
    content = files["small"].read_bytes()
    plain = base64.b64encode(content).decode()
    assert plain.endswith("=")
    want = ask(client, user(url(f"data:image/png;base64,{plain}"), text("?")))
    for begin, data in (
        ("data:image/png;base64,", plain.rstrip("=")),
        ("data:image/png;base64,", base64.encodebytes(content).decode()),
        ("DATA:IMAGE/PNG;BASE64,", plain),
        ("data:image/png;charset=utf-8;base64,", plain),
        ("data:image/jpeg;base64,", plain),  # a PNG all the same
    ):
        found = ask(client, user(url(begin + data), text("?")))
        assert found.choices[0].message.content == want.choices[0].message.content


def url(address: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": address}}


GIF = b"GIF89a" + bytes(20)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([url("https://example.com/a.png")], "nothing is fetched"),
        ([url("file:///etc/passwd")], "nothing is fetched"),
        ([url("/etc/passwd")], "nothing is fetched"),
        ([url("data:text/html;base64,AAAA")], "nothing is fetched"),
        ([url("data:image/png;base64,!!!")], "no base64"),
        ([url("data:image/png;base64,")], "picture"),
        ([part(b"not a picture")], "picture"),
        ([part(GIF, "gif")], "picture"),
        ([part(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg+xml")], "picture"),
        ([text("<IMG_CONTEXT>")], "stands for pictures"),
        ([{"type": "image_url"}], "has image_url"),
        ([{"type": "text", "text": "x", "image_url": {"url": "data:,"}}], "has text"),
        ([{"type": "image_url", "image_url": {"url": "data:,", "detail": "best"}}], "detail"),
    ],
)
def test_what_is_no_picture_is_refused(client: Any, content: list[Any], said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        ask(
            client,
            user(*content, text("What?")) if content[0].get("type") != "text" else user(*content),
        )
    assert ask(client, user(text("?"))).choices[0].message.content is not None


def test_a_place_without_a_picture_is_refused(client: Any) -> None:
    """A text to continue is taken as it is, marks and all."""
    with pytest.raises(openai.BadRequestError, match="places for rows of pictures"):
        client.completions.create(model="it", prompt="a <IMG_CONTEXT>", max_tokens=2)
    assert client.completions.create(model="it", prompt="a", max_tokens=2).choices


def test_a_picture_is_a_user_s(client: Any, files: dict[str, Path]) -> None:
    shown = part(files["small"].read_bytes())
    with pytest.raises(openai.BadRequestError, match="send it as a user's"):
        ask(client, {"role": "system", "content": [shown]}, user(text("?")))


def test_pictures_have_limits(
    client: Any, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a request: pixels, pictures, bytes, and what fits the model."""
    large = part(files["large"].read_bytes())
    monkeypatch.setattr(pictures, "PIXELS", 2 * 24 * 24)
    assert ask(client, user(large, large, text("?")))
    with pytest.raises(openai.BadRequestError, match="pixels"):
        ask(client, user(large, large, large, text("?")))
    monkeypatch.undo()
    with pytest.raises(openai.BadRequestError, match="more than 64 pictures"):
        ask(client, user(*[large] * 65, text("?")))
    with pytest.raises(openai.BadRequestError, match="and 512 fit"):
        ask(client, user(*[large] * 30, text("?")))
    with pytest.raises(openai.APIStatusError) as found:
        ask(client, user(part(bytes(1 << 20)), text("?")))
    assert found.value.status_code == 413
