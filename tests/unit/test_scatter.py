"""Points in panels: axes that hold them, words that are seen, and files that others read."""

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.measure import scatter
from edge.measure.comparison import names
from edge.measure.scatter import Panel, Point, ticks

SIZES = st.floats(-1e9, 1e9, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-6)
PANELS = [
    Panel("MB", "KL <nats>", [Point("a & b", 1.5, 0.02, 0.01), Point("other", 4, 0.5)]),
    Panel("tok/s", "KL", [Point("only", 3, 0)]),
]


@given(SIZES, SIZES)
def test_ticks_hold_what_is_between_them_and_are_round(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    # Numbers between them must be told apart by what is left of a float's digits.
    assume(low == high or high - low > 1e-9 * max(-low, high))
    found = ticks(low, high)
    assert 2 <= len(found) <= 9
    step = found[1] - found[0]
    slack = 1e-5 * step
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    digits = f"{step:.3e}"
    assert digits[0] in "125"
    assert digits[2:5] == "000"


def test_a_picture_is_one_that_a_browser_reads() -> None:
    root = ET.fromstring(scatter.svg(PANELS))
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for text in ("a & b", "other", "only", "MB", "tok/s", "KL <nats>"):
        assert text in words
    dots = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(dots) == 3
    width, height = (float(root.attrib[side]) for side in ("width", "height"))
    for element in root.iter():
        for name, most in (("cx", width), ("cy", height), ("x", width), ("y", height)):
            if name in element.attrib:
                assert 0 <= float(element.attrib[name]) <= most


def test_larger_is_farther_right_and_higher() -> None:
    root = ET.fromstring(scatter.svg(PANELS[:1]))
    first, second = root.iter("{http://www.w3.org/2000/svg}circle")
    assert float(first.attrib["cx"]) < float(second.attrib["cx"])
    assert float(first.attrib["cy"]) > float(second.attrib["cy"])


def test_the_same_as_png() -> None:
    image = pytest.importorskip("PIL.Image")
    content = scatter.png(PANELS)
    assert content is not None
    with image.open(io.BytesIO(content)) as found:
        root = ET.fromstring(scatter.svg(PANELS))
        assert found.size == tuple(2 * int(root.attrib[side]) for side in ("width", "height"))
        rgb = found.convert("RGB")
        for dot in root.iter("{http://www.w3.org/2000/svg}circle"):
            at = tuple(round(2 * float(dot.attrib[name])) for name in ("cx", "cy"))
            assert "#{:02x}{:02x}{:02x}".format(*rgb.getpixel(at)) == dot.attrib["fill"]


def test_names_tell_artifacts_apart() -> None:
    """Two folders of one name, as `--to onnx,mlx` makes for each model."""
    assert names([Path("a/onnx"), Path("b/onnx")]) == ["a/onnx", "b/onnx"]
    assert names([Path("a/onnx"), Path("a/mlx")]) == ["onnx", "mlx"]
    assert names([Path("onnx")]) == ["onnx"]
    assert names([Path("x/a/onnx"), Path("y/a/onnx"), Path("mlx")]) == [
        "x/a/onnx",
        "y/a/onnx",
        "mlx",
    ]
    assert names([Path("a"), Path("a")]) == ["a", "a"]
