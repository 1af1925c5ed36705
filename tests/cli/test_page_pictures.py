"""Pictures on the chat page, in a real browser: chosen, pasted, dropped, taken away again, refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import internvls
import numpy as np
import pytest
from browser import Browser, Page, needed
from serving import serving

from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.pipelines.internvl import InternVL, load_internvl
from edge.run.model import Wish

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("fastapi")
Image = pytest.importorskip("PIL.Image")

CHROMIUM = needed()

IDLE = "document.querySelector('#send').dataset.does === 'send'"
WAITING = "document.querySelectorAll('#shown img').length"
ALERT = "document.querySelector('[role=alert] span').textContent"
TOKENS = 6


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
def url(artifact: Path) -> Iterator[str]:
    from edge.serve.app import create
    from edge.serve.guard import Limits
    from edge.serve.pictures import BODY
    from edge.serve.texts import Texts

    limits = Limits(body=BODY, tokens=TOKENS)
    with serving(
        create(Texts(load_internvl(artifact).model), hosts=(), key=None, limits=limits)
    ) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    process = Browser(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield process
    process.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    tab = Page(browser)
    tab.open(url + "/")
    tab.wait("document.querySelector('#model').textContent")
    tab.wait("!document.querySelector('#add').hidden")
    yield tab
    assert tab.events("Runtime.exceptionThrown") == []
    tab.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    name = tmp_path_factory.mktemp("pictures") / "it.png"
    Image.fromarray(pixels).save(name)
    return name


def choose(page: Page, *files: Path) -> None:
    """As the dialog of a browser would."""
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])


def say(page: Page, text: str) -> str:
    page.value("document.querySelector('#box').focus()")
    page.type(text)
    page.press("Enter")
    page.wait(f"{IDLE} && document.querySelector('.assistant, [role=alert]')")
    last = "[...document.querySelectorAll('.assistant p')].at(-1)?.textContent"
    return str(page.value(last))


def sent(page: Page) -> list[Any]:
    """The messages of the last request."""
    posts = [
        event["request"]
        for event in page.events("Network.requestWillBeSent")
        if event["request"]["method"] == "POST"
    ]
    found = json.loads(posts[-1]["postData"])["messages"]
    assert isinstance(found, list)
    return found


def test_a_chosen_picture_is_answered_as_without_a_server(
    page: Page, alone: InternVL, file: Path
) -> None:
    choose(page, file)
    page.wait(f"{WAITING} === 1")
    want = "".join(alone.generate("What is it?", images=[file], wish=Wish(max_tokens=TOKENS)))
    assert say(page, "What is it?") == want
    (message,) = sent(page)
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    assert page.value(WAITING) == 0
    assert page.value("document.querySelectorAll('.user img').length") == 1
    assert page.value("document.querySelector('.user img').naturalWidth") == 24


MADE = """(async () => {
  const canvas = document.createElement('canvas')
  canvas.width = canvas.height = 24
  canvas.getContext('2d').fillRect(0, 0, 12, 24)
  const blob = await new Promise(done => canvas.toBlob(done))
  const files = new DataTransfer()
  files.items.add(new File([blob], 'a.png', { type: 'image/png' }))
  files.items.add(new File(['x'], 'a.txt', { type: 'text/plain' }))
  return SENT
})()"""
WAY = "{ %s: files, bubbles: true, cancelable: true }"
PASTED = f"document.querySelector('#box').dispatchEvent(new ClipboardEvent('paste', {WAY % 'clipboardData'}))"
DROPPED = f"document.dispatchEvent(new DragEvent('drop', {WAY % 'dataTransfer'}))"


def test_pictures_are_pasted_and_dropped(page: Page) -> None:
    for event in (PASTED, DROPPED):
        assert page.value(MADE.replace("SENT", event)) is False, "the browser does nothing else"
    page.wait(f"{WAITING} === 2")
    say(page, "What are these?")
    assert [part["type"] for part in sent(page)[0]["content"]] == ["image_url", "image_url", "text"]


def test_one_is_taken_away_again(page: Page, file: Path) -> None:
    choose(page, file, file)
    page.wait(f"{WAITING} === 2")
    page.click("#shown button")
    page.wait(f"{WAITING} === 1")
    say(page, "What is it?")
    assert len(sent(page)[0]["content"]) == 2
    page.click("#anew")
    say(page, "And now?")
    assert sent(page) == [{"role": "user", "content": "And now?"}]


def test_a_second_question_keeps_the_picture(page: Page, file: Path) -> None:
    choose(page, file)
    page.wait(f"{WAITING} === 1")
    assert say(page, "What is it?"), "an empty answer is no turn"
    say(page, "And why?")
    assert [message["role"] for message in sent(page)] == ["user", "assistant", "user"]
    assert sent(page)[0]["content"][0]["type"] == "image_url"


def test_a_broken_picture_is_said_and_forgotten(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n no more")
    choose(page, broken)
    page.wait(f"{WAITING} === 1")
    page.value("document.querySelector('#box').focus()")
    page.type("What is it?")
    page.press("Enter")
    page.wait("document.querySelector('[role=alert]')")
    page.wait(IDLE)
    assert "picture" in page.value(ALERT)
    say(page, "And without?")
    assert sent(page) == [{"role": "user", "content": "And without?"}]


def test_nothing_overflows(
    browser: Browser, url: str, file: Path, pytestconfig: pytest.Config
) -> None:
    tab = Page(browser, width=390, height=700)
    tab.open(url + "/")
    tab.wait("!document.querySelector('#add').hidden")
    choose(tab, file)
    tab.wait(f"{WAITING} === 1")
    say(tab, "What is it?")
    choose(tab, *[file] * 12)
    tab.wait(f"{WAITING} === 12")
    assert tab.value("document.documentElement.scrollWidth <= innerWidth")
    assert tab.value("document.querySelector('#say').getBoundingClientRect().bottom < innerHeight")
    folder: Path | None = pytestconfig.getoption("--pictures")
    if folder is not None:
        tab.picture(folder / "page-sees.png")
    tab.close()
