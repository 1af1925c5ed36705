"""The chat page before a tiny Groma of random weights: what is marked is understood, what is answered is drawn."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gromas
import numpy as np
import pytest
from browser import Browser, Page, needed
from serving import serving

from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.pipelines.runners import open_pipeline

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("fastapi")
Image = pytest.importorskip("PIL.Image")

CHROMIUM = needed()
TOKENS = 24
IDLE = "document.querySelector('#send').dataset.does === 'send'"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from edge.serve.app import create
    from edge.serve.guard import Limits
    from edge.serve.pictures import BODY
    from edge.serve.texts import Texts

    folder = tmp_path_factory.mktemp("groma")
    gromas.write(folder / "mini")
    options = Options(target="onnx", quant="fp32")
    model = open_pipeline(convert_pipeline(folder / "mini", folder / "it", options).folder)
    limits = Limits(body=BODY, tokens=TOKENS)
    with serving(create(Texts(model.model), hosts=(), key=None, limits=limits)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page(url: str, tmp_path: Path) -> Iterator[Page]:
    browser = Browser(CHROMIUM, tmp_path / "profile")
    tab = Page(browser)
    tab.open(url + "/")
    tab.wait("!document.querySelector('#add').hidden")
    yield tab
    assert tab.events("Runtime.exceptionThrown") == []
    tab.close()
    browser.close()


def choose(page: Page, file: Path) -> None:
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])
    page.wait("document.querySelector('#shown .mark')")


def say(page: Page, text: str, done: str) -> None:
    page.value("document.querySelector('#box').focus()")
    page.type(text)
    page.press("Enter")
    page.wait(f"{IDLE} && {done}")


def answered(page: Page, url: str) -> Any:
    """The same request once more, whole."""
    sent = [e["request"] for e in page.events("Network.requestWillBeSent")]
    body = json.loads([one for one in sent if one["method"] == "POST"][-1]["postData"])
    content = json.dumps(body | {"stream": False}).encode()
    asked = urllib.request.Request(
        url + "/v1/chat/completions", content, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked) as answer:
        return body, json.load(answer)["choices"][0]["message"]


def test_what_is_marked_is_asked_about(page: Page, url: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    file = tmp_path / "it.png"
    Image.fromarray(pixels).save(file)
    choose(page, file)
    page.click("#shown .mark")
    page.wait("document.querySelector('#marking').open")
    page.click("#marking-add")
    page.press("Escape")
    page.wait("document.querySelector('#shown .region')")
    say(page, "What is <box>?", "document.querySelector('.assistant')")
    body, message = answered(page, url)
    assert body["messages"][0]["content"][0]["boxes"] == [[10, 6, 30, 18]]
    assert body["regions"] is True
    text = page.value("document.querySelector('.assistant p').textContent")
    assert text == message["content"]
    drawn = page.value("document.querySelectorAll('figure .region').length")
    assert drawn == sum(len(one["boxes"]) for one in message["regions"])
    assert drawn, "it names one, by chance"
    words = page.value("[...document.querySelectorAll('.phrase')].map(one => one.textContent)")
    assert words == [message["content"][one["start"] : one["end"]] for one in message["regions"]]
    # A conversation is about one picture, and says so.
    choose(page, file)
    say(page, "And this?", "document.querySelector('[role=alert]')")
    assert "picture" in page.value("document.querySelector('[role=alert] span').textContent")
