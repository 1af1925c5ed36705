"""Speech on the page, in a real browser: an answer is played and kept, and a page that only speaks. `parrot` speaks."""

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, Page, needed
from parrot import Parrot, heard
from serving import serving, talking

pytest.importorskip("fastapi")

from edge.audio.sound import open_sound
from edge.run.model import load
from edge.serve.app import create
from edge.serve.recordings import Recordings
from edge.serve.texts import Texts
from edge.serve.voices import Voices

CHROMIUM = needed()

PLAY, KEEP = ".sound button", ".sound button + button"
IDLE = "document.querySelector('.sound button')?.dataset.does === 'play'"
PLAYING = "document.querySelector('.sound button')?.dataset.does === 'stop'"
ALERT = "document.querySelector('[role=alert] span')?.textContent"
TEXT = "Good morning to all of you."
# What is heard: each piece, and when it begins. A browser without a loudspeaker plays all the same.
WATCH = """
window.heard = []
const start = AudioBufferSourceNode.prototype.start
AudioBufferSourceNode.prototype.start = function (at) {
  const loud = this.buffer.getChannelData(0).reduce((a, b) => Math.max(a, b))
  window.heard.push({ at, length: this.buffer.length, loud })
  return start.call(this, at)
}
"""


def offered(speaker: Parrot, **voices: float) -> Voices:
    known = Recordings({"default": speaker.voice(), **voices})
    return Voices("parrot", speaker, known)


@pytest.fixture(scope="module")
def speaker() -> Parrot:
    return Parrot()


@pytest.fixture(scope="module")
def url(speaker: Parrot) -> Iterator[str]:
    with serving(create(offered(speaker, anna=500.0), hosts=(), key=None)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def both(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    texts = Texts(load(talking(assets, tmp_path_factory.mktemp("page")), threads=1))
    with serving(create(texts, offered(Parrot()), hosts=(), key=None)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    process = Browser(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield process
    process.close()


def opened(browser: Browser, url: str, **size: Any) -> Page:
    tab = Page(browser, **size)
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
    tab.open(url + "/")
    tab.wait("document.querySelector('#model').textContent")
    return tab


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    tab = opened(browser, url)
    yield tab
    assert tab.events("Runtime.exceptionThrown") == []
    told = [event["entry"] for event in tab.events("Log.entryAdded")]
    wrong = [entry["text"] for entry in told if entry["level"] == "error"]
    assert [text for text in wrong if "status of" not in text] == []
    tab.close()


def speak(page: Page, text: str) -> None:
    page.value("document.querySelector('#box').focus()")
    page.type(text)
    page.press("Enter")


def asked(page: Page) -> list[dict[str, Any]]:
    return [
        json.loads(event["request"]["postData"])
        for event in page.events("Network.requestWillBeSent")
        if event["request"]["method"] == "POST"
    ]


def test_a_page_that_only_speaks(page: Page) -> None:
    page.wait("document.querySelector('#question').textContent === 'What shall I say?'")
    assert page.value("document.title") == "parrot · edge"
    assert page.value("document.querySelector('#box').placeholder") == "Text to speak"
    assert page.value("document.querySelector('#send').getAttribute('aria-label')") == "Speak"
    assert page.value("document.querySelector('#add').hidden")
    assert page.value("document.activeElement.id") == "box", "one may type at once"
    names = page.value("[...document.querySelectorAll('#voice option')].map(o => o.value)")
    assert names == ["default", "anna"]


def test_what_is_sent_is_heard_without_gaps(page: Page, speaker: Parrot) -> None:
    speaker.slow = 0.05
    speak(page, TEXT)
    page.wait(PLAYING)
    assert page.value("document.querySelector('#send').getAttribute('aria-label')") == "Stop"
    page.wait(IDLE)
    speaker.slow = 0.0
    (ask,) = asked(page)
    assert ask == {"model": "edge", "input": TEXT, "voice": "default", "response_format": "pcm"}
    pieces = page.value("window.heard")
    assert sum(piece["length"] for piece in pieces) == heard(TEXT).size * 3 // 2
    assert len(pieces) > 1
    assert all(0.4 < piece["loud"] < 0.6 for piece in pieces if piece["length"] > 500)
    for one, other in pairwise(pieces):
        assert other["at"] >= one["at"] + one["length"] / 24000 - 1e-6, "nothing overlaps"
    assert page.value("document.querySelector('.user p').textContent") == TEXT
    assert page.value("document.querySelector('#send').getAttribute('aria-label')") == "Speak"


def test_another_voice_and_again(page: Page) -> None:
    page.wait("!document.querySelector('#voice').hidden")
    page.value("document.querySelector('#voice').value = 'anna'")
    speak(page, "One.")
    page.wait(IDLE)
    page.click(PLAY)
    page.wait("window.heard.length > 1")
    page.wait(IDLE)
    assert [ask["voice"] for ask in asked(page)] == ["anna", "anna"]


def test_stop_and_escape(page: Page, speaker: Parrot) -> None:
    """At once, and the server makes no more of it."""
    speaker.slow, made = 0.02, speaker.made
    for way in (
        lambda: page.press("Escape"),
        lambda: page.click(PLAY),
        lambda: page.click("#send"),
    ):
        page.value("window.heard = []")
        speak(page, "word " * 200)
        page.wait("window.heard.length")
        before = time.monotonic()
        way()
        page.wait(IDLE)
        assert time.monotonic() - before < 2, "ten seconds would be to hear"
        page.wait("document.querySelector('#send').dataset.does === 'send'")
        page.click("#anew")
        assert not page.value("document.querySelectorAll('.turn').length")
    speaker.slow = 0.0
    assert speaker.made - made < 400
    assert not page.value(ALERT), "to stop is no error"


def test_a_second_text_ends_the_first(page: Page) -> None:
    speak(page, "word " * 100)
    page.wait(PLAYING)
    page.press("Escape")
    page.wait(IDLE)
    page.click(PLAY)
    page.wait(PLAYING)
    page.press("Escape")
    page.wait("document.querySelector('#send').dataset.does === 'send'")


def test_it_is_kept_as_a_file(page: Page, tmp_path: Path) -> None:
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    speak(page, TEXT)
    page.wait(IDLE)
    page.click(KEEP)
    end = time.monotonic() + 20
    while not (tmp_path / "speech.wav").is_file():
        assert time.monotonic() < end, list(tmp_path.iterdir())
        time.sleep(0.02)
    page.wait("!document.querySelector('.sound button + button').disabled")
    time.sleep(0.1)
    sound = open_sound(tmp_path / "speech.wav")
    assert sound.notes == (), "its length is that in its head"
    np.testing.assert_allclose(sound.samples, heard(TEXT), atol=2**-15)


def test_what_cannot_be_said_is_an_alert(page: Page) -> None:
    speak(page, "\u65e5\u672c")
    page.wait(f"{ALERT}?.includes('nothing to say')")
    page.wait("document.querySelector('#send').dataset.does === 'send'")
    speak(page, "broken")
    page.wait("document.querySelectorAll('[role=alert]').length === 2")


def test_long_texts_are_said_in_parts(page: Page) -> None:
    """Of at most what the server takes; cut after a sentence, or else between words."""
    cut = page.value("parts('Many words are here. '.repeat(500)).map(part => part.length)")
    assert max(cut) <= 4096
    assert sum(cut) == len("Many words are here. ") * 500
    assert page.value("parts('Many words are here. '.repeat(500))[1].startsWith('Many')")
    assert page.value("parts('x'.repeat(9000)).length") == 3
    assert page.value("parts('one two').join('|')") == "one two"


def test_everything_that_speaks_has_a_name(page: Page) -> None:
    speak(page, "One.")
    page.wait(IDLE)
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "log", "combobox"}
    named = {
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if node.get("role", {}).get("value") in roles and not node.get("ignored")
    }
    assert {
        ("button", "Play"), ("button", "Download"), ("button", "Speak"), ("button", "Clear"),
        ("textbox", "Text to speak"), ("combobox", "Voice"), ("log", "What was said"),
    } <= named  # fmt: skip
    assert all(name for _, name in named)


def test_by_keyboard_alone(page: Page) -> None:
    speak(page, "One.")
    page.wait(IDLE)
    page.value("document.querySelector('#anew').focus()")
    page.press("Tab")
    assert page.value("document.activeElement.getAttribute('aria-label')") == "Play"
    page.press("Enter")
    page.wait("window.heard.length > 1")
    page.wait(IDLE)


def test_an_answer_of_a_chat_is_played(browser: Browser, both: str) -> None:
    tab = opened(browser, both)
    tab.wait("document.querySelector('#model').textContent === 'talking'")
    assert tab.value("document.querySelector('#voice').hidden"), "there is one voice alone"
    speak(tab, "Lily found a ball.")
    tab.wait("document.querySelector('.assistant .sound')")
    assert not tab.value("document.querySelector('.user .sound')")
    assert tab.value("window.heard.length") == 0, "nothing is said unasked"
    tab.click(PLAY)
    tab.wait("window.heard.length")
    said = tab.value("document.querySelector('.assistant p').textContent")
    spoken = asked(tab)[-1]
    assert spoken["input"] == said[:4096]
    tab.press("Escape")
    tab.wait(IDLE)
    assert tab.events("Runtime.exceptionThrown") == []
    tab.close()


def test_nothing_more_is_allowed_than_before(page: Page, url: str) -> None:
    policy = page.value("fetch('/').then(found => found.headers.get('content-security-policy'))")
    assert "media-src" not in policy
    assert "blob:" not in policy
    asked_of = {event["request"]["url"] for event in page.events("Network.requestWillBeSent")}
    assert all(address.startswith((url, "data:", "blob:" + url)) for address in asked_of), asked_of


@pytest.mark.parametrize(("name", "width", "height"), [("desktop", 1000, 640), ("phone", 390, 700)])
def test_it_looks_as_it_should(
    browser: Browser, url: str, pytestconfig: pytest.Config, name: str, width: int, height: int
) -> None:
    tab = opened(browser, url, width=width, height=height, dark=name == "phone")
    tab.wait("document.querySelector('#question').textContent === 'What shall I say?'")
    speak(tab, TEXT)
    tab.wait(IDLE)
    speak(tab, "She sells sea shells by the sea shore. " * 5)
    tab.wait("document.querySelectorAll('.sound').length === 2")
    tab.type("It is half past seven.")
    assert tab.value("document.documentElement.scrollWidth <= innerWidth")
    assert tab.value("document.querySelector('#say').getBoundingClientRect().bottom < innerHeight")
    folder: Path | None = pytestconfig.getoption("--pictures")
    if folder is not None:
        tab.picture(folder / f"page-speaks-{name}.png")
    tab.close()
