"""Regions on the chat page, in a real browser: drawn beside an answer's words, and marked by mouse, finger and keys.

The server is told what to say: what counts here is what the page makes of it.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, Page, needed
from pointing import Pointer
from serving import serving

from edge.serve import page as served
from edge.vision.palette import colours, contrast, ink

pytest.importorskip("fastapi")
Image = pytest.importorskip("PIL.Image")

CHROMIUM = needed()

W, H = 300, 200
IDLE = "document.querySelector('#send').dataset.does === 'send'"
HELD = "document.querySelectorAll('#shown .held').length"
DOG = {"phrase": "A dog", "start": 0, "end": 5, "boxes": [[30, 20, 120, 180]], "scores": [0.9]}
CAT = {
    "phrase": "a cat",
    "start": 10,
    "end": 15,
    "boxes": [[150, 50, 210, 150], [240, 10, 290, 40]],
    "scores": [0.8, 0.7],
}


@pytest.fixture(scope="module")
def pointer() -> Pointer:
    return Pointer()


@pytest.fixture(scope="module")
def url(pointer: Pointer) -> Iterator[str]:
    from edge.serve.app import create

    with serving(create(pointer, hosts=(), key=None)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    process = Browser(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield process
    process.close()


def opened(browser: Browser, url: str, **size: Any) -> Page:
    tab = Page(browser, **size)
    tab.open(url + "/")
    tab.wait("document.querySelector('#model').textContent")
    return tab


@pytest.fixture
def page(browser: Browser, url: str, pointer: Pointer) -> Iterator[Page]:
    pointer.text, pointer.regions = "A dog and a cat.", [DOG, CAT]
    pointer.asked.clear()
    tab = opened(browser, url)
    yield tab
    assert tab.events("Runtime.exceptionThrown") == []
    wrong = [e["entry"] for e in tab.events("Log.entryAdded") if e["entry"]["level"] == "error"]
    assert wrong == [], "the page's own rules forbid something"
    tab.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(0).integers(60, 200, (H // 4, W // 4, 3), dtype=np.uint8)
    name = tmp_path_factory.mktemp("pictures") / "it.png"
    Image.fromarray(pixels).resize((W, H)).save(name)
    return name


def choose(page: Page, *files: Path) -> None:
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    before = page.value("document.querySelector('#shown').children.length")
    page.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])
    page.wait(f"document.querySelector('#shown').children.length === {before + len(files)}")


def say(page: Page, text: str) -> None:
    page.value("document.querySelector('#box').focus()")
    page.type(text)
    before = page.value("document.querySelectorAll('.assistant').length")
    page.press("Enter")
    page.wait(f"{IDLE} && document.querySelectorAll('.assistant').length > {before}")


def asked(page: Page, file: Path, text: str = "What is there?") -> None:
    choose(page, file)
    say(page, text)


def sides(page: Page, selector: str) -> list[list[float]]:
    """Boxes of elements, in pixels of the picture that they lie on."""
    script = f"""[...document.querySelectorAll({json.dumps(selector)})].map(one => {{
      const image = one.parentElement.querySelector('img').getBoundingClientRect()
      const {{ left, top, right, bottom }} = one.getBoundingClientRect()
      return [[left - image.left, image.width, {W}], [top - image.top, image.height, {H}],
              [right - image.left, image.width, {W}], [bottom - image.top, image.height, {H}]]
        .map(([at, shown, size]) => at * size / shown)
    }})"""
    found = page.value(script)
    assert isinstance(found, list)
    return found


def numbers(page: Page, selector: str) -> list[str]:
    script = f"[...document.querySelectorAll('{selector}')].map(one => one.dataset.number)"
    found = page.value(script)
    assert isinstance(found, list)
    return found


def middle(page: Page, selector: str, at: tuple[float, float] = (0.5, 0.5)) -> tuple[float, float]:
    """A place within an element, in parts of its sides."""
    x, y = page.value(
        f"(b => [b.x + b.width * {at[0]}, b.y + b.height * {at[1]}])"
        f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
    )
    return x, y


def mouse(page: Page, kind: str, place: tuple[float, float], button: str = "left") -> None:
    page.call(
        "Input.dispatchMouseEvent",
        type=kind, x=place[0], y=place[1], button=button, buttons=1 if kind != "mouseReleased" else 0, clickCount=1,
    )  # fmt: skip


def hover(page: Page, place: tuple[float, float]) -> None:
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])


def touch(page: Page, kind: str, *places: tuple[float, float]) -> None:
    points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
    page.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)


# The answer.


def test_words_have_their_boxes(page: Page, file: Path, pointer: Pointer) -> None:
    asked(page, file)
    assert pointer.asked[0]["regions"] is True
    assert page.value("document.querySelector('.assistant p').textContent") == pointer.text
    words = "[...document.querySelectorAll('.phrase')].map(one => one.textContent)"
    assert page.value(words) == ["A dog", "a cat"]
    found = dict(zip(numbers(page, "figure .region"), sides(page, "figure .region"), strict=False))
    assert len(found) == 2
    every = sorted(sides(page, "figure .region"))
    want = sorted([*DOG["boxes"], *CAT["boxes"]])
    np.testing.assert_allclose(every, want, atol=0.7)
    # Beside the words on a wide page.
    beside = page.value(
        "document.querySelector('figure').getBoundingClientRect().left >= "
        "document.querySelector('.assistant p').getBoundingClientRect().right"
    )
    assert beside


def test_the_mouse_over_a_phrase_marks_its_boxes(page: Page, file: Path) -> None:
    asked(page, file)
    assert numbers(page, ".picked") == []
    hover(page, middle(page, ".phrase[data-number='2']"))
    page.wait("document.querySelector('.region.picked')")
    assert set(numbers(page, ".picked")) == {"2"}
    assert len(numbers(page, ".region.picked")) == 2
    seen = "getComputedStyle(document.querySelector('.region:not(.picked)')).opacity"
    assert float(page.value(seen)) < 0.5
    hover(page, (5, 5))
    page.wait("!document.querySelector('.picked')")
    # And a box marks its phrase.
    hover(page, middle(page, "figure .region[data-number='1']", (0.5, 0.8)))
    page.wait("document.querySelector('.phrase.picked')")
    assert numbers(page, ".phrase.picked") == ["1"]


def test_keys_reach_phrases(page: Page, file: Path) -> None:
    asked(page, file)
    for number in ("2", "1"):  # from the field below, upwards
        back(page, f"document.activeElement.matches('.phrase[data-number=\"{number}\"]')")
        assert set(numbers(page, ".picked")) == {number}
    page.press("Enter")
    assert page.value("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.value("document.querySelector('#box').focus()")
    assert set(numbers(page, ".picked")) == {"1"}, "it stays"
    page.value("document.querySelector('.phrase').click()")
    assert numbers(page, ".picked") == []


def back(page: Page, condition: str) -> None:
    for _ in range(12):
        page.press("Tab", shift=True)
        if page.value(condition):
            return
    raise AssertionError(f"Tab never comes to {condition}")


def test_a_finger_picks_a_phrase_and_lets_it_go(
    browser: Browser, url: str, file: Path, pointer: Pointer
) -> None:
    pointer.text, pointer.regions = "A dog and a cat.", [DOG, CAT]
    tab = opened(browser, url, width=390, height=700)
    tab.call("Emulation.setTouchEmulationEnabled", enabled=True)
    asked(tab, file)
    for want in ({"1"}, set()):
        place = middle(tab, ".phrase[data-number='1']")
        touch(tab, "touchStart", place)
        touch(tab, "touchEnd")
        tab.wait(f"Boolean(document.querySelector('.picked')) === {json.dumps(bool(want))}")
        assert set(numbers(tab, ".picked")) == want
    assert tab.value("document.documentElement.scrollWidth <= innerWidth")
    below = tab.value(
        "document.querySelector('figure').getBoundingClientRect().top >= "
        "document.querySelector('.assistant p').getBoundingClientRect().bottom"
    )
    assert below
    assert tab.events("Runtime.exceptionThrown") == []
    tab.close()


def test_places_are_counted_as_a_server_counts(page: Page, file: Path, pointer: Pointer) -> None:
    """dataqa/jupyter-annotate#3: an emoji is one character there and two here."""
    pointer.text = "👍🏿 A dog, 𝒶 cat"
    pointer.regions = [
        {**DOG, "start": 3, "end": 8},
        {**CAT, "start": 10, "end": 15},
    ]
    assert [pointer.text[one["start"] : one["end"]] for one in pointer.regions] == [
        "A dog",
        "𝒶 cat",
    ]
    asked(page, file)
    words = "[...document.querySelectorAll('.phrase')].map(one => one.textContent)"
    assert page.value(words) == ["A dog", "𝒶 cat"]
    assert page.value("document.querySelector('.assistant p').textContent") == pointer.text


@pytest.mark.parametrize(
    ("regions", "phrases", "boxes"),
    [
        ([], [], 0),
        # One phrase said twice at one place is one, and has all its boxes.
        ([DOG, {**DOG, "boxes": [[0, 0, 9, 9]]}], ["A dog"], 2),
        # Out of order, and one over another: no word is said twice.
        ([CAT, {**DOG, "start": 2, "end": 12}], ["dog and a ", ""], 3),
        ([{**DOG, "start": 16, "end": 16, "phrase": "asked"}], [""], 1),
        ([{**DOG, "start": -5, "end": 99}], ["A dog and a cat."], 1),
        ([{**DOG, "start": 9, "end": 2}], [""], 1),
        ([{**DOG, "start": "x", "end": None}], [""], 1),
        # Boxes that are none, and one that leaves the picture.
        ([{**DOG, "boxes": [[1, 2, 3], ["a", 1, 2, 3], [9, 9, 1, 1], None]}], [], 0),
        ([{**DOG, "boxes": [[-50, -50, 900, 900]]}], ["A dog"], 1),
        ([{**DOG, "boxes": "x"}, {"phrase": "it"}], [], 0),
        ([{**DOG, "picture": 7}], [], 0),
        ([{**DOG, "picture": 0}], ["A dog"], 1),
    ],
)
def test_whatever_a_server_says(
    page: Page, file: Path, pointer: Pointer, regions: Any, phrases: list[str], boxes: int
) -> None:
    pointer.regions = regions
    asked(page, file)
    words = "[...document.querySelectorAll('.phrase')].map(one => one.textContent)"
    assert page.value(words) == phrases
    assert page.value("document.querySelector('.assistant p').textContent") == pointer.text
    assert page.value("document.querySelectorAll('figure .region').length") == boxes
    for left, top, right, bottom in sides(page, "figure .region"):
        assert -1 <= left <= right <= W + 1
        assert -1 <= top <= bottom <= H + 1


def test_it_is_seen_well(
    browser: Browser, url: str, file: Path, pointer: Pointer, pytestconfig: pytest.Config
) -> None:
    """Numbers are legible in both schemes, and what is to be touched is large enough (WCAG 2.2, 2.5.8 and 1.4.3)."""
    folder: Path | None = pytestconfig.getoption("--pictures")
    pointer.text, pointer.regions = "A dog and a cat.", [DOG, CAT]
    for dark, width in ((False, 1100), (True, 390)):
        tab = opened(browser, url, width=width, height=760, dark=dark)
        marking(tab, file)
        draw(tab, (0.1, 0.2), (0.5, 0.8))
        if folder is not None:
            tab.picture(folder / f"marking-{width}.png")
        tab.press("Escape")
        tab.wait("!document.querySelector('#marking').open")
        low = tab.value(
            "Math.min(...[...document.querySelectorAll('#shown button')].flatMap(one => "
            "[one.getBoundingClientRect().width, one.getBoundingClientRect().height]))"
        )
        assert low >= 24
        say(tab, "What is there?")
        tab.value("document.querySelectorAll('.phrase')[1].click()")
        assert tab.value("document.documentElement.scrollWidth <= innerWidth")
        if folder is not None:
            tab.picture(folder / f"regions-{width}.png")
        tab.close()


def test_words_are_only_ever_text(page: Page, file: Path, pointer: Pointer) -> None:
    pointer.text = "<img src=x onerror=alert(1)> dog"
    pointer.regions = [
        {**DOG, "start": 0, "end": 28, "phrase": "<b>"},
        {**CAT, "start": 30, "end": 30},
    ]
    asked(page, file)
    assert page.value("document.querySelector('.assistant p').textContent") == pointer.text
    assert page.value("document.querySelectorAll('.assistant p img').length") == 0


def test_a_second_question_is_about_the_same_picture(
    page: Page, file: Path, pointer: Pointer
) -> None:
    asked(page, file)
    pointer.text, pointer.regions = "Two of them.", [{**CAT, "start": 0, "end": 3}]
    say(page, "And how many?")
    assert [message["role"] for message in pointer.asked[-1]["messages"]] == [
        "user",
        "assistant",
        "user",
    ]
    assert pointer.asked[-1]["messages"][1] == {"role": "assistant", "content": "A dog and a cat."}
    assert page.value("document.querySelectorAll('figure').length") == 2


def test_of_several_pictures_the_one_that_is_named(
    page: Page, file: Path, pointer: Pointer
) -> None:
    pointer.regions = [{**DOG, "picture": 0}, {**CAT, "picture": 1}]
    choose(page, file)
    asked(page, file)
    shown = "[...document.querySelectorAll('figure')].map(one => one.querySelectorAll('.region').length)"
    assert page.value(shown) == [1, 2]


def test_colours_are_those_of_pictures_that_are_drawn() -> None:
    """And legible, in both schemes: numbers stand on them in the ink that palette.py chooses."""
    text = served.html()
    for colour in colours(12):
        row = f'["{hexed(colour)}", "{hexed(ink(colour))}"]'
        assert row in text
        assert contrast(colour, ink(colour)) >= 4.5


def hexed(colour: tuple[int, int, int]) -> str:
    return "#" + bytes(colour).hex()


# Marking.


def marking(page: Page, file: Path) -> None:
    choose(page, file)
    page.click("#shown .mark")
    page.wait("document.querySelector('#marking').open")
    page.wait("document.querySelector('#stage img').complete")


def draw(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From here to there, in parts of the picture's sides; they may lie beyond it."""
    mouse(page, "mousePressed", middle(page, "#stage img", start))
    mouse(page, "mouseMoved", middle(page, "#stage img", end))
    mouse(page, "mouseReleased", middle(page, "#stage img", end))


def finish(page: Page, text: str = "What is this?") -> list[list[float]]:
    """The boxes that are sent."""
    page.click("#marking .row button:last-child")
    page.wait("!document.querySelector('#marking').open")
    page.wait("document.activeElement.id === 'box'")  # one may type at once
    return ask_about(page, text)


def ask_about(page: Page, text: str = "What is this?") -> list[list[float]]:
    say(page, text)
    last = page.events("Network.requestWillBeSent")
    posts = [e["request"] for e in last if e["request"]["method"] == "POST"]
    part = json.loads(posts[-1]["postData"])["messages"][-1]["content"][0]
    assert part["type"] == "image_url"
    found = part.get("boxes", [])
    assert isinstance(found, list)
    return found


def test_marked_with_the_mouse(page: Page, file: Path) -> None:
    """djaodjin-annotate#30: in pixels of the picture, however large it is shown; mirador#983: within it."""
    marking(page, file)
    draw(page, (0.1, 0.2), (0.5, 0.8))
    draw(page, (0.9, 0.9), (0.6, 0.5))  # from the other corner
    draw(page, (0.5, 0.5), (1.5, 1.5))
    boxes = finish(page)
    np.testing.assert_allclose(
        boxes, [[30, 40, 150, 160], [180, 100, 270, 180], [150, 100, 300, 200]], atol=1
    )
    assert all(isinstance(side, int) for box in boxes for side in box)
    shown = sides(page, ".user .region")
    np.testing.assert_allclose(sorted(shown), sorted(boxes), atol=1.5)


def test_a_click_chooses_and_marks_nothing(page: Page, file: Path) -> None:
    marking(page, file)
    draw(page, (0.1, 0.1), (0.9, 0.9))
    draw(page, (0.3, 0.3), (0.5, 0.5))
    draw(page, (0.8, 0.8), (0.8, 0.8))
    assert numbers(page, "#stage button:focus") == ["1"]
    draw(page, (0.4, 0.4), (0.4, 0.4))
    assert numbers(page, "#stage button:focus") == ["2"], "the small one"
    page.click("#marking-remove")
    assert len(finish(page)) == 1


def test_marked_with_a_finger(browser: Browser, url: str, file: Path, pointer: Pointer) -> None:
    tab = opened(browser, url, width=390, height=700)
    tab.call("Emulation.setTouchEmulationEnabled", enabled=True)
    marking(tab, file)
    start, end = ((0.1, 0.2), (0.5, 0.8))
    touch(tab, "touchStart", middle(tab, "#stage img", start))
    touch(tab, "touchMove", middle(tab, "#stage img", (0.3, 0.4)))
    # A second finger does not begin another.
    second = middle(tab, "#stage img", (0.9, 0.9))
    touch(tab, "touchStart", middle(tab, "#stage img", (0.3, 0.4)), second)
    touch(tab, "touchMove", middle(tab, "#stage img", end), second)
    touch(tab, "touchEnd")
    tab.wait("document.querySelectorAll('#stage button').length")
    assert tab.value("document.documentElement.scrollWidth <= innerWidth")
    assert tab.value(
        "document.querySelector('#marking').getBoundingClientRect().right <= innerWidth"
    )
    np.testing.assert_allclose(finish(tab), [[30, 40, 150, 160]], atol=1.5)
    assert tab.events("Runtime.exceptionThrown") == []
    tab.close()


def test_marked_with_keys_alone(page: Page, file: Path) -> None:
    choose(page, file)
    back(page, "document.activeElement.matches('.mark')")
    page.press("Enter")
    page.wait("document.querySelector('#marking').open")
    page.wait("document.querySelector('#stage img').complete")
    while page.value("document.activeElement.id") != "marking-add":
        page.press("Tab")
    page.press("Enter")
    label = "document.activeElement.getAttribute('aria-label')"
    assert page.value(label) == "Region 1, from 75, 50 to 225, 150"
    for key, shift, want in [
        ("ArrowLeft", False, "69, 50 to 219, 150"),
        ("ArrowDown", False, "69, 54 to 219, 154"),
        ("ArrowRight", True, "69, 54 to 225, 154"),
        ("ArrowUp", True, "69, 54 to 225, 150"),
    ]:
        page.press(key, shift=shift)
        assert page.value(label) == f"Region 1, from {want}"
    for _ in range(60):
        page.press("ArrowLeft", shift=True)
    assert page.value(label) == "Region 1, from 69, 54 to 71, 150", "some of it stays"
    for _ in range(20):
        page.press("ArrowUp")
        page.press("ArrowLeft")
    assert page.value(label) == "Region 1, from 0, 0 to 2, 96", "it does not leave"
    for _ in range(60):
        page.press("ArrowRight")
    assert page.value(label) == "Region 1, from 298, 0 to 300, 96", "it does not leave"
    page.press("Escape")
    page.wait("!document.querySelector('#marking').open")
    assert ask_about(page) == [[298, 0, 300, 96]]


def test_keys_remove(page: Page, file: Path) -> None:
    marking(page, file)
    for _ in range(2):
        page.click("#marking-add")
    page.press("Delete")
    said = "document.querySelector('#marking-said').textContent"
    assert page.value(said) == "Region 2 is removed."
    assert numbers(page, "#stage button:focus") == ["1"]
    page.press("Delete")
    assert page.value("document.activeElement.id") == "marking-add"
    assert finish(page) == []


def test_no_more_than_the_model_takes(page: Page, file: Path) -> None:
    """In all pictures together."""
    marking(page, file)
    for _ in range(3):
        page.click("#marking-add")
    assert page.value("document.querySelector('#marking-add').disabled")
    draw(page, (0.6, 0.6), (0.95, 0.95))
    said = "document.querySelector('#marking-said').textContent"
    assert "No more than 3" in page.value(said)
    page.press("Escape")
    marking_more(page, file)
    assert page.value("document.querySelector('#marking-add').disabled")


def marking_more(page: Page, file: Path) -> None:
    choose(page, file)
    page.value("[...document.querySelectorAll('.mark')].at(-1).click()")
    page.wait("document.querySelector('#marking').open")


def test_a_picture_with_regions_is_taken_away(page: Page, file: Path) -> None:
    marking(page, file)
    page.click("#marking-add")
    page.press("Escape")
    page.wait("document.querySelectorAll('#shown .region').length === 1")
    page.click("#shown .remove")
    assert page.value(HELD) == 0


def test_escape_closes_the_dialog_and_stops_no_answer(page: Page, file: Path) -> None:
    marking(page, file)
    page.value("stop = new AbortController()")
    page.press("Escape")
    page.wait("!document.querySelector('#marking').open")
    assert page.value("stop.signal.aborted") is False
    page.value("stop = null")


def test_pixels_are_those_of_the_upright_picture(page: Page, tmp_path: Path) -> None:
    """coralnet#658: EXIF says which side is up, and of another density; browsers heed both, the server the first."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x011A] = exif[0x011B] = 144.0
    exif[0x0128] = 2
    inner = exif.get_ifd(0x8769)
    inner[0xA002], inner[0xA003] = H // 2, W // 2
    stored = io.BytesIO()
    Image.new("RGB", (H, W), "gray").save(stored, "JPEG", exif=exif)  # upright: W x H
    turned = tmp_path / "turned.jpg"
    turned.write_bytes(stored.getvalue())
    marking(page, turned)
    halved = "document.querySelector('#stage img').naturalWidth"
    assert page.value(halved) == W // 2, "the browser heeds it"
    draw(page, (0.1, 0.2), (0.5, 0.8))
    np.testing.assert_allclose(finish(page), [[30, 40, 150, 160]], atol=2)


@pytest.mark.parametrize("size", [(12, 8), (9, 60), (4000, 60), (1, 40)])
def test_pictures_of_any_size(page: Page, tmp_path: Path, size: tuple[int, int]) -> None:
    """A small one is enlarged, so that a finger finds its parts; one of a pixel's width has no regions."""
    name = tmp_path / "small.png"
    Image.new("RGB", size, "gray").save(name)
    marking(page, name)
    wide, high = page.value(
        "(b => [b.width, b.height])(document.querySelector('#stage img').getBoundingClientRect())"
    )
    assert wide / high == pytest.approx(size[0] / size[1], rel=0.05)
    assert max(wide, high) > 300
    assert page.value("document.querySelector('#marking').scrollWidth <= innerWidth")
    draw(page, (0, 0.25), (1, 0.75))
    want = [] if size[0] < 2 else [[0, size[1] * 0.25, size[0], size[1] * 0.75]]
    np.testing.assert_allclose(np.reshape(finish(page), (-1, 4)), np.reshape(want, (-1, 4)), atol=1)


def test_what_is_no_picture_is_not_marked(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n no more")
    choose(page, broken)
    assert page.value("document.querySelectorAll('#shown .mark').length") == 0
    page.click("#shown button")
    assert page.value("document.querySelectorAll('#shown button').length") == 0


@pytest.mark.parametrize("boxes", [None, 0])
def test_a_model_that_takes_no_boxes(browser: Browser, file: Path, boxes: int | None) -> None:
    from edge.serve.app import create

    other = Pointer(regions=[DOG], boxes=boxes)
    with serving(create(other, hosts=(), key=None)) as port:
        tab = opened(browser, f"http://127.0.0.1:{port}")
        choose(tab, file)
        assert tab.value("document.querySelectorAll('#shown .mark').length") == 0
        say(tab, "What is it?")
        assert ("regions" in other.asked[0]) == (boxes is not None)
        assert tab.value("document.querySelectorAll('figure').length") == (boxes is not None)
        assert tab.events("Runtime.exceptionThrown") == []
        tab.close()
