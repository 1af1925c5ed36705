"""The browser's app in a real Chromium: a model added, asked, stopped, kept, deleted, and no request but its own."""

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, Page, needed
from support import ROOT, converted
from webapp import GOLDEN, built, offering, served

from edge.apps.folder import write_app
from edge.decode.snapkv import SnapKV
from edge.measure.recall import text
from edge.run.model import Wish, load
from edge.run.strategy import Strategy

CHROMIUM = needed()

READY = "document.querySelector('#status').textContent.includes('is ready')"
IDLE = "document.querySelector('#send').textContent === 'Send' && !document.querySelector('#send').disabled"
LAST = "[...document.querySelectorAll('.assistant')].at(-1).textContent"
STATUS = "document.querySelector('#status').textContent"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `edge app` writes of the packaged model, in float32."""
    place = tmp_path_factory.mktemp("model")
    write_app(
        converted(place / "it", ROOT / "edge/models/edge-stories"), place / "app", force=False
    )
    return place / "app"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("apps"))


@pytest.fixture(scope="module")
def url(dist: Path) -> Iterator[str]:
    with served(dist) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    process = Browser(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield process
    process.close()


def opened(browser: Browser, url: str, **how: Any) -> Page:
    page = Page(browser, **how)
    page.open(f"{url}/")
    page.wait("document.querySelector('#status').textContent")
    return page


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    tab = opened(browser, url)
    yield tab
    assert tab.events("Runtime.exceptionThrown") == []
    asked = {event["request"]["url"] for event in tab.events("Network.requestWillBeSent")}
    assert all(one.startswith((url, "blob:", "data:", "about:")) for one in asked), asked
    tab.close()


def choose(page: Page, folder: Path) -> None:
    """The folder, as a user picks it."""
    document = page.call("DOM.getDocument")["root"]["nodeId"]
    found = page.call("DOM.querySelector", nodeId=document, selector="#folder")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=found, files=[str(folder)])


def ready(page: Page, folder: Path) -> None:
    """A page whose model is open: kept from before, or added now."""
    if not page.value("document.querySelector('#models').value"):
        choose(page, folder)
    page.wait(READY)


def again(page: Page) -> None:
    """Load it anew, as after a restart."""
    page.value("window.before = true")
    page.call("Page.reload")
    page.wait("!window.before && document.querySelector('#status')?.textContent")


def ask(page: Page, text: str) -> None:
    page.wait(IDLE)
    page.value("document.querySelector('#prompt').focus()")
    page.type(text)
    page.press("Enter")


def test_it_says_what_edge_says(page: Page, folder: Path) -> None:
    ready(page, folder)
    (first, *_) = json.loads((GOLDEN / "answers.json").read_text("utf-8"))
    ask(page, first["prompt"])
    page.wait(f"{LAST}.length > 400 || ({IDLE})")
    assert page.value(LAST).startswith("".join(first["pieces"]))
    page.wait(IDLE)
    assert "tokens read, first word after" in page.value(
        "document.querySelector('#speed').textContent"
    )


def test_an_answer_is_stopped_and_what_was_said_stays(page: Page, folder: Path) -> None:
    ready(page, folder)
    ask(page, "Tell me a story.")
    page.wait(f"{LAST}.length > 10")
    page.press("Escape")
    page.wait(IDLE)
    assert page.value(STATUS) == "Stopped."
    said = page.value(LAST)
    ask(page, "Once upon a time")
    page.wait(f"document.querySelectorAll('.assistant').length === 2 && {IDLE}")
    assert page.value("document.querySelector('.assistant').textContent") == said


def test_a_long_prompt_is_answered_from_a_cut_cache(page: Page, folder: Path) -> None:
    """The toolkit's own answer to the same prompt, its cache cut as far."""
    ready(page, folder)
    page.click("#snapkv")
    page.wait(READY)
    story = " ".join(text(seed=1, count=16).split())
    model = load(folder.parent / "it", strategy=Strategy(snapkv=SnapKV()))
    said = "".join(model.generate(f"{story} Tell me a story.", wish=Wish(max_tokens=40)))
    assert model.cache_rows[0] < 1100 < model.decoder.length
    page.value(f"document.querySelector('#prompt').value = {json.dumps(story)}")
    ask(page, " Tell me a story.")
    page.wait(f"{LAST}.length > 20 && ({IDLE})")
    assert page.value(LAST).startswith(said)
    page.click("#snapkv")
    page.wait(READY)


def test_after_the_first_visit_it_works_offline(browser: Browser, url: str, folder: Path) -> None:
    page = opened(browser, url)
    ready(page, folder)
    page.value("navigator.serviceWorker.ready.then(() => true)")
    page.wait("navigator.serviceWorker.controller")
    page.call(
        "Network.emulateNetworkConditions",
        offline=True,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )
    again(page)
    page.wait(READY)
    ask(page, "Tell me a story about Marla.")
    page.wait(f"{LAST}.length > 20")
    page.press("Escape")
    page.wait(IDLE)
    page.close()


def test_a_damaged_model_is_refused_and_nothing_of_it_stays(
    page: Page, folder: Path, tmp_path: Path
) -> None:
    ready(page, folder)
    bad = Path(shutil.copytree(folder, tmp_path / "bad"))
    data = bytearray((bad / "text/model.onnx.data").read_bytes())
    data[5] ^= 1
    (bad / "text/model.onnx.data").write_bytes(data)
    said = json.loads((bad / "app.json").read_text())
    (bad / "app.json").write_text(json.dumps({**said, "name": "damaged"}))
    choose(page, bad)
    page.wait(f"{STATUS}.includes('model.onnx.data is damaged')")
    (bad / "app.json").write_text(json.dumps(said))  # the very name of the one that is there
    choose(page, bad)
    page.wait(f"{STATUS}.startsWith('Checking')")
    page.wait(f"{STATUS}.includes('model.onnx.data is damaged')")
    (tmp_path / "none").mkdir()
    (tmp_path / "none/x.txt").write_text("x")
    choose(page, tmp_path / "none")
    page.wait(f"{STATUS}.includes('there is no app.json')")
    again(page)
    page.wait(READY)  # the one that was there before
    names = page.value("[...document.querySelector('#models').options].map(o => o.value)")
    assert len(names) == 1
    assert "damaged" not in names[0]


def test_a_model_that_is_added_again_replaces_itself(page: Page, folder: Path) -> None:
    ready(page, folder)
    for _ in range(2):
        before = page.value("document.querySelector('#models').value")
        choose(page, folder)
        page.wait(f"document.querySelector('#models').value !== {json.dumps(before)} && {READY}")
        assert page.value("document.querySelector('#models').options.length") == 1


def test_enter_ends_a_composition_and_sends_nothing(page: Page, folder: Path) -> None:
    """Also where a browser has ended it before it tells of the key: Safari."""
    ready(page, folder)
    page.value("document.querySelector('#prompt').value = 'n'")
    for told in ("isComposing: true", "keyCode: 229"):
        page.value(
            "document.querySelector('#prompt').dispatchEvent(new KeyboardEvent('keydown',"
            f"{{key: 'Enter', bubbles: true, {told}}}))"
        )
    assert page.value("document.querySelectorAll('#log p').length") == 0
    assert page.value("document.querySelector('#prompt').value") == "n"


def test_a_model_that_no_page_can_hold_is_told_before_it_is_opened(
    page: Page, folder: Path, tmp_path: Path
) -> None:
    ready(page, folder)
    large = Path(shutil.copytree(folder, tmp_path / "large"))
    said = json.loads((large / "app.json").read_text())
    memory = [{**one, "bytes": one["bytes"] + 5_000_000_000} for one in said["memory"]]
    (large / "app.json").write_text(json.dumps({**said, "name": "large", "memory": memory}))
    choose(page, large)
    page.wait(f"{STATUS}.includes('of memory, and a page on this device has at most')")
    page.value("window.confirm = () => true")
    page.click("#delete")
    page.wait(READY)


def test_what_is_used_has_a_name_and_is_reached_by_keys(page: Page, folder: Path) -> None:
    ready(page, folder)
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    seen = {
        (node["role"]["value"], node["name"]["value"].strip())
        for node in tree
        if not node["ignored"] and node.get("role") and node.get("name")
    }
    for role, name in (
        ("combobox", "Model"), ("button", "Send"), ("button", "Delete"), ("button", "New chat"),
        ("textbox", "Message"), ("spinbutton", "Temperature"), ("log", "Conversation"),
    ):  # fmt: skip
        assert (role, name) in seen, (role, name)
    page.value("document.querySelector('#models').focus()")
    reached = set()
    for _ in range(10):
        page.press("Tab")
        reached.add(page.value("document.activeElement.id"))
    assert {"delete", "clear", "prompt", "temperature"} <= reached


@pytest.mark.parametrize(("name", "width", "height"), [("wide", 900, 600), ("phone", 360, 640)])
def test_it_fits_wide_and_narrow_pages(
    browser: Browser,
    url: str,
    folder: Path,
    pytestconfig: pytest.Config,
    name: str,
    width: int,
    height: int,
) -> None:
    """And is dark where the user wants it so; --pictures keeps what it looks like."""
    dark = name == "phone"
    page = opened(browser, url, width=width, height=height, dark=dark)
    ready(page, folder)
    ask(page, "Tell me a story about Marla.")
    page.wait(f"{LAST}.length > 20 && {IDLE}")
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    assert page.value(
        "document.querySelector('#send').getBoundingClientRect().bottom <= innerHeight"
    )
    colour = page.value("getComputedStyle(document.body).backgroundColor")
    assert colour == ("rgb(22, 22, 22)" if dark else "rgb(255, 255, 255)")
    kept: Path | None = pytestconfig.getoption("--pictures")
    if kept is not None:
        page.picture(kept / f"app-{name}.png")
    page.close()


def test_a_model_is_deleted_when_the_user_says_so(browser: Browser, url: str, folder: Path) -> None:
    page = opened(browser, url)
    ready(page, folder)
    page.value("window.confirm = () => true")
    page.click("#delete")
    page.wait(f"{STATUS}.startsWith('Add the folder')")
    assert page.value("document.querySelector('#models').options.length") == 0
    assert page.value("document.querySelector('#prompt').disabled")
    page.close()


def test_the_apps_own_code_is_small(dist: Path) -> None:
    own = [file for file in dist.rglob("*") if file.is_file() and "vendor" not in file.parts]
    assert sum(file.stat().st_size for file in own) < 60_000
    assert (dist / "sw.js").stat().st_size > 500


def test_without_a_gpu_the_processor_answers_and_the_page_says_why(
    page: Page, folder: Path
) -> None:
    ready(page, folder)
    page.value("document.querySelector('#gpu').click()")
    page.wait(f"{STATUS}.includes('On the processor: this browser lets a page use no GPU')")
    (first, *_) = json.loads((GOLDEN / "answers.json").read_text("utf-8"))
    ask(page, first["prompt"])
    page.wait(f"{LAST}.length > 200")
    page.wait(IDLE)
    assert page.value(LAST).startswith("".join(first["pieces"]))


@pytest.fixture(scope="module")
def offer(dist: Path, folder: Path) -> Iterator[str]:
    with offering(folder, dist) as address:
        yield address


def test_a_server_that_offers_a_model_gives_it_to_an_isolated_page(
    browser: Browser, offer: str
) -> None:
    page = opened(browser, offer)
    page.wait(READY)
    assert page.value("crossOriginIsolated") is True
    (first, *_) = json.loads((GOLDEN / "answers.json").read_text("utf-8"))
    ask(page, first["prompt"])
    page.wait(f"{LAST}.length > 200")
    page.wait(IDLE)
    assert page.value(LAST).startswith("".join(first["pieces"]))
    assert page.value("document.querySelectorAll('#models option').length") == 1
    again(page)
    page.wait(READY)  # kept, and not taken twice
    assert page.value("document.querySelectorAll('#models option').length") == 1
    asked = {event["request"]["url"] for event in page.events("Network.requestWillBeSent")}
    assert all(one.startswith((offer, "blob:", "data:", "about:")) for one in asked), asked
    page.close()


def test_it_hands_out_files_of_the_page_and_the_model_alone(offer: str) -> None:
    for path in (
        "/model/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/model/%2fetc%2fpasswd",
        "/v1/models",
    ):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(offer + path)
    elsewhere = urllib.request.Request(offer, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(elsewhere)
