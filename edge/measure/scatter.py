"""Points in panels, as SVG and as PNG: drawn once as strokes and words, which either writes."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 380, 260  # of a panel, in pixels
_LEFT, _TOP, _GAP, _BELOW = 74, 24, 90, 56
_TICKS = 5
_SIZE = 13
_INK, _GRID = "#222222", "#cccccc"
_DOTS = ("#0072b2", "#b35900", "#009e73", "#b0487f", "#6a51a3", "#857500", "#d03b00", "#5a5a5a")


@dataclass(frozen=True, slots=True)
class Point:
    """`error`: how far up and down a stroke goes."""

    name: str
    x: float
    y: float
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class Panel:
    across: str
    up: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class _Line:
    ends: tuple[float, float, float, float]
    colour: str
    width: float = 1


@dataclass(frozen=True, slots=True)
class _Dot:
    x: float
    y: float
    colour: str


@dataclass(frozen=True, slots=True)
class _Words:
    """`anchor`: which part of the words is at x; `turned`: from below upwards."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    turned: bool = False


_Part = _Line | _Dot | _Words


def ticks(low: float, high: float) -> list[float]:
    """Round numbers of which the first is at or below `low`, and the last at or above `high`."""
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / _TICKS
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * by for by in (1, 2, 5, 10) if unit * by >= rough * 0.999)
    first = math.floor(low / step + 1e-6)
    last = math.ceil(high / step - 1e-6)
    return [round(step * i, 12) for i in range(first, last + 1)]


def svg(panels: Sequence[Panel]) -> str:
    width, height = _size(panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="sans-serif" font-size="{_SIZE}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for part in _parts(panels):
        if isinstance(part, _Line):
            x1, y1, x2, y2 = (f"{end:g}" for end in part.ends)
            stroke = f'stroke="{part.colour}" stroke-width="{part.width:g}"'
            lines.append(f'<path d="M{x1} {y1}L{x2} {y2}" {stroke}/>')
        elif isinstance(part, _Dot):
            lines.append(f'<circle cx="{part.x:g}" cy="{part.y:g}" r="4" fill="{part.colour}"/>')
        else:
            at = f'x="{part.x:g}" y="{part.y:g}"'
            if part.turned:
                at = f'transform="translate({part.x:g} {part.y:g}) rotate(-90)"'
            text = escape(part.text)
            lines.append(f'<text {at} text-anchor="{part.anchor}" fill="{_INK}">{text}</text>')
    return "\n".join([*lines, "</svg>", ""])


def png(panels: Sequence[Panel]) -> bytes | None:
    """None without Pillow. Twice as large, for screens that show it so."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ModuleNotFoundError:
        return None
    by = 2
    width, height = _size(panels)
    image = Image.new("RGB", (by * width, by * height), "#ffffff")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(by * _SIZE)
    for part in _parts(panels):
        if isinstance(part, _Line):
            draw.line([by * end for end in part.ends], part.colour, round(by * part.width))
        elif isinstance(part, _Dot):
            x, y = by * part.x, by * part.y
            draw.ellipse((x - 4 * by, y - 4 * by, x + 4 * by, y + 4 * by), part.colour)
        elif part.turned:
            _turned(image, part, font, by)
        else:
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[part.anchor]
            draw.text((by * part.x, by * part.y), part.text, _INK, font=font, anchor=anchor)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _turned(image: Any, part: _Words, font: Any, by: int) -> None:
    from PIL import Image, ImageDraw

    length = round(ImageDraw.Draw(Image.new("L", (1, 1))).textlength(part.text, font=font))
    high = 2 * by * _SIZE
    flat = Image.new("RGB", (length + 2, high), "#ffffff")
    ImageDraw.Draw(flat).text((1, high - 6 * by), part.text, _INK, font=font, anchor="ls")
    standing = flat.rotate(90, expand=True)
    corner = round(by * part.x) - high + 6 * by, round(by * part.y) - standing.height // 2
    image.paste(standing, corner)


def _size(panels: Sequence[Panel]) -> tuple[int, int]:
    return _LEFT + len(panels) * (_WIDTH + _GAP), _TOP + _HEIGHT + _BELOW


def _parts(panels: Sequence[Panel]) -> Iterator[_Part]:
    for i, panel in enumerate(panels):
        yield from _panel(panel, _LEFT + i * (_WIDTH + _GAP))


def _panel(panel: Panel, left: float) -> Iterator[_Part]:
    across = ticks(min(0.0, *(p.x for p in panel.points)), max(p.x for p in panel.points))
    up = ticks(min(p.y - p.error for p in panel.points), max(p.y + p.error for p in panel.points))
    bottom = _TOP + _HEIGHT

    def right(x: float) -> float:
        return left + (x - across[0]) / (across[-1] - across[0]) * _WIDTH

    def down(y: float) -> float:
        return bottom - (y - up[0]) / (up[-1] - up[0]) * _HEIGHT

    for x in across:
        yield _Line((right(x), _TOP, right(x), bottom), _GRID)
        yield _Words(right(x), bottom + 18, f"{x:g}", "middle")
    for y in up:
        yield _Line((left, down(y), left + _WIDTH, down(y)), _GRID)
        yield _Words(left - 8, down(y) + 4, f"{y:g}", "end")
    yield _Words(left + _WIDTH / 2, bottom + 40, panel.across, "middle")
    yield _Words(left - 52, _TOP + _HEIGHT / 2, panel.up, "middle", turned=True)
    for i, point in enumerate(panel.points):
        colour, x, y = _DOTS[i % len(_DOTS)], right(point.x), down(point.y)
        if point.error:
            ends = down(point.y + point.error), down(point.y - point.error)
            yield _Line((x, ends[0], x, ends[1]), colour, 2)
        yield _Dot(x, y, colour)
        late = x > left + _WIDTH * 0.6  # words that would leave the panel go to the other side
        yield _Words(x - 8 if late else x + 8, y - 6, point.name, "end" if late else "start")
