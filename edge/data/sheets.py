"""Sheets of the reader: generated pictures, and questions about them with their answers.

Lines of text, receipts, bars of a chart, coloured shapes in places; in English and in Chinese.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edge.data.writing import Language, letters, line, price, thing
from edge.typing import U8
from edge.vision.drawing import Canvas, Glyph, Shape, line_height, width_of
from edge.vision.palette import Colour

Kind = Literal["page", "text", "receipt", "chart", "shapes"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SHAPES: tuple[Shape, ...] = get_args(Shape)
_FEWEST = 8  # pixels of a side that anything is drawn with


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """How a sheet is drawn. `fonts`: of each language; `height`, `width`: of the picture, in pixels; `size`: of
    letters, and `least` where much is to be told; a text is `lines` of at most so many letters (`longest`). `held`:
    whether its lines are those that training never sees; `blind`: nothing is painted, only told where it would be.
    """

    fonts: Mapping[Language, Sequence[Path]]
    width: int
    height: int
    size: int
    least: int
    lines: int = 2
    longest: int = 40
    held: bool = False
    blind: bool = False


Topic = Literal[
    "text", "total", "price", "shop", "tallest", "shortest", "value", "many", "where", "what"
]


@dataclass(frozen=True, slots=True)
class Asked:
    topic: Topic
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A picture, what was drawn where, and what can be asked."""

    rgb: U8
    glyphs: tuple[Glyph, ...]
    asked: tuple[Asked, ...]


Words = Mapping[Language, Mapping[str, str]]
COLOURS: Mapping[str, tuple[str, Colour]] = {
    "red": ("红色", (214, 40, 40)),
    "green": ("绿色", (34, 150, 60)),
    "blue": ("蓝色", (40, 80, 210)),
    "yellow": ("黄色", (245, 205, 40)),
    "purple": ("紫色", (135, 50, 160)),
    "black": ("黑色", (25, 25, 25)),
}
_SHAPES_ZH: Mapping[str, str] = {"circle": "圆形", "square": "方形", "triangle": "三角形"}
_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "middle", "right")
_ROWS_ZH, _COLUMNS_ZH = ("上", "中", "下"), ("左", "中", "右")

READ: Mapping[Language, Sequence[str]] = {
    "en": ("What does it say?", "Read the text.", "What is written here?"),
    "zh": ("写了什么？", "请读文字。", "上面写着什么？"),
}
TOTAL: Mapping[Language, Sequence[str]] = {
    "en": ("What is the total?", "What does the receipt total to?"),
    "zh": ("合计多少？", "总共多少钱？"),
}
PRICE: Mapping[Language, str] = {"en": "How much is {}?", "zh": "{}多少钱？"}
SHOP: Mapping[Language, str] = {"en": "What is the shop called?", "zh": "商店叫什么？"}
WHERE: Mapping[Language, str] = {"en": "Where is the {}?", "zh": "{}在哪里？"}
WHAT: Mapping[Language, str] = {"en": "What is at the {}?", "zh": "{}有什么？"}
MANY: Mapping[Language, str] = {"en": "How many shapes are there?", "zh": "有几个图形？"}
TALLEST: Mapping[Language, str] = {"en": "Which bar is the tallest?", "zh": "哪个最高？"}
SHORTEST: Mapping[Language, str] = {"en": "Which bar is the shortest?", "zh": "哪个最低？"}
VALUE: Mapping[Language, str] = {"en": "What is the value of {}?", "zh": "{}是多少？"}
_SUM: Mapping[Language, Sequence[str]] = {
    "en": ("Total", "TOTAL", "Sum"),
    "zh": ("合计", "总价"),
}


def spoken() -> str:
    """Every letter of a question or an answer, beside those of lines."""
    said = [*READ.values(), *TOTAL.values(), *_SUM.values()]
    plain = [PRICE, SHOP, WHERE, WHAT, MANY, TALLEST, SHORTEST, VALUE]
    texts = [text for some in said for text in some] + [
        text for one in plain for text in one.values()
    ]
    texts += [name for name, _ in COLOURS.values()]
    texts += [*_SHAPES_ZH.values(), *_ROWS_ZH, *_COLUMNS_ZH, "正"]
    return "".join(sorted(set("".join(texts)) - {" "}))


def sheet(rng: random.Random, kind: Kind, language: Language, page: Page) -> Sheet | None:
    """A sheet of a kind, and every question about it; None if what was drawn does not fit the page."""
    canvas = Canvas(page.width, page.height, _paper(rng), blind=page.blind)
    asked = _DRAWN[kind](rng, language, page, canvas)
    if asked is None:
        return None
    return Sheet(rgb=canvas.rgb(), glyphs=tuple(canvas.glyphs), asked=tuple(asked))


def _text(rng: random.Random, language: Language, page: Page, canvas: Canvas) -> list[Asked] | None:
    font = rng.choice(page.fonts[language])
    high, size = line_height(font, page.size), page.size
    room = max(1, page.height // high)
    lines, top = [], 0.0
    for _ in range(rng.randint(1, min(page.lines, room))):
        text = _fitting(rng, language, page, font, size)
        if text:
            lines.append(text)
    spare = page.height - high * len(lines)
    top = rng.uniform(0, max(0, spare))
    ink, gap = _ink(rng), rng.uniform(0, max(0, (spare - top) / max(1, len(lines))) / 2)
    left = rng.random()
    for text in lines:
        room_beside = max(0.0, page.width - width_of(text, font, size))
        canvas.text((left * room_beside, top), text, font, size, ink)
        top += high + gap
    return [Asked("text", rng.choice(READ[language]), "\n".join(lines))] if lines else None


def _page(rng: random.Random, language: Language, page: Page, canvas: Canvas) -> list[Asked]:
    """Lines from top to bottom, to learn letters from."""
    top = -rng.uniform(0, page.size)
    while top < page.height:
        tongue: Language = language if rng.random() < 0.9 else "en"
        font, size = rng.choice(page.fonts[tongue]), round(page.size * rng.uniform(0.9, 1.1))
        said = ""
        while len(said) < 40 and width_of(said, font, size) < page.width * 0.8:
            said = f"{said} {line(rng, tongue, 10, held=page.held)}".strip()
        canvas.text((rng.uniform(-4, page.width * 0.2), top), said, font, size, _ink(rng))
        top += line_height(font, size) * rng.uniform(0.85, 1.1)
    return []


def _fitting(rng: random.Random, language: Language, page: Page, font: Path, size: int) -> str:
    """A line that the page is wide enough for; none if it cannot be found."""
    fit = int(page.width / (size * (0.5 if language == "en" else 1)))
    longest = max(1, min(page.longest, fit))
    for _ in range(8):
        text = line(rng, language, longest, held=page.held)
        if width_of(text, font, size) <= page.width:
            return text
        longest = max(1, longest - 1)
    return ""


def _receipt(
    rng: random.Random, language: Language, page: Page, canvas: Canvas
) -> list[Asked] | None:
    font = rng.choice(page.fonts[language])
    size = rng.randint(page.least, page.size)
    most = max(1, page.height // line_height(font, page.least) - 2)
    shop, rows = thing(rng, language), dict[str, str]()
    for _ in range(min(most, rng.randint(2, 6))):
        name, cost = thing(rng, language), price(rng)
        if width_of(f"{name}  {cost}", font, page.least) < page.width * 0.94:
            rows[name] = cost
    # Letters become smaller until all of it fits.
    longest = max(
        (width_of(f"{name}  {cost}", font, size) for name, cost in rows.items()), default=0
    )
    size = min(size, int(size * page.width * 0.94 / max(1, longest)))
    while size > page.least and line_height(font, size) * (len(rows) + 2) > page.height:
        size -= 1
    size, ink, count = max(size, page.least), _dark(rng), len(rows)
    if not rows:
        return None
    high = line_height(font, size)
    total = f"{sum(map(float, rows.values())):.2f}"
    edge = page.width * 0.03
    gap = max(0.0, (page.height - high * (count + 2)) / (count + 2)) * rng.random()
    top = rng.uniform(0, max(0.0, page.height - (high + gap) * (count + 2)))
    canvas.text(((page.width - width_of(shop, font, size)) / 2, top), shop, font, size, ink)
    sign = rng.choice(("", "", "$")) if language == "en" else rng.choice(("", "￥"))
    for name, cost in [*rows.items(), (rng.choice(_SUM[language]), sign + total)]:
        top += high + gap
        canvas.text((edge, top), name, font, size, ink)
        right = page.width - edge - width_of(cost, font, size)
        canvas.text((right, top), cost, font, size, ink)
    some = rng.sample(list(rows.items()), min(2, count))
    return [
        Asked("total", rng.choice(TOTAL[language]), total),
        *(Asked("price", PRICE[language].format(name), cost) for name, cost in some),
        Asked("shop", SHOP[language], shop),
    ]


def _chart(rng: random.Random, language: Language, page: Page, canvas: Canvas) -> list[Asked]:
    font = rng.choice(page.fonts["en"])
    size = min(page.size, page.height // 5)  # a line below the bars, one above the tallest
    high = line_height(font, size)
    count = rng.randint(2, min(4, max(2, page.width // (2 * size))))
    # Far enough apart that a bar is the tallest to anyone who looks.
    values = rng.sample(range(12, 100, 8), count)
    values = [value + rng.randint(0, 5) for value in values]
    colours = rng.sample(list(COLOURS), count)
    names = rng.sample("ABCDEFGH", count)
    wide, base = page.width / count, page.height - high
    for i, (value, colour, name) in enumerate(zip(values, colours, names, strict=True)):
        left = i * wide
        tall = (base - high) * value / 105
        box = (left + wide * 0.2, base - tall, left + wide * 0.8, base)
        canvas.box(box, _shade(rng, COLOURS[colour][1]), colour)
        ink = _dark(rng)
        middle = left + wide / 2
        canvas.text((middle - width_of(name, font, size) / 2, base), name, font, size, ink)
        text = str(value)
        at = middle - width_of(text, font, size) / 2, base - tall - high
        canvas.text(at, text, font, size, ink)
    told = [_colour(language, colour) for colour in colours]
    which = rng.randrange(count)
    return [
        Asked("tallest", TALLEST[language], told[values.index(max(values))]),
        Asked("shortest", SHORTEST[language], told[values.index(min(values))]),
        Asked("value", VALUE[language].format(names[which]), str(values[which])),
    ]


def _shapes(rng: random.Random, language: Language, page: Page, canvas: Canvas) -> list[Asked]:
    cells = [(row, column) for row in range(3) for column in range(3)]
    every = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    count = rng.randint(1, 5)
    wide, high = page.width / 3, page.height / 3
    found = list(zip(rng.sample(cells, count), rng.sample(every, count), strict=True))
    for (row, column), (colour, shape) in found:
        side = max(_FEWEST, min(wide, high) * rng.uniform(0.5, 0.9))
        left = column * wide + rng.uniform(0, max(0.0, wide - side))
        top = row * high + rng.uniform(0, max(0.0, high - side))
        box = (left, top, left + side, top + side)
        canvas.shape(shape, box, _shade(rng, COLOURS[colour][1]), f"{colour} {shape}")
    asked = [Asked("many", MANY[language], str(count))]
    for cell, drawn in rng.sample(found, min(2, count)):
        where = WHERE[language].format(_thing(language, *drawn))
        asked.append(Asked("where", where, _place(language, *cell)))
    cell, drawn = rng.choice(found)
    what = WHAT[language].format(_place(language, *cell))
    asked.append(Asked("what", what, _thing(language, *drawn)))
    return asked


_Draw = Callable[[random.Random, Language, Page, Canvas], list[Asked] | None]
_DRAWN: Mapping[Kind, _Draw] = {
    "page": _page,
    "text": _text,
    "receipt": _receipt,
    "chart": _chart,
    "shapes": _shapes,
}


def names() -> tuple[str, ...]:
    """What is drawn and is no letter."""
    return (*COLOURS, *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES))


def alphabet() -> tuple[str, ...]:
    """Every letter that is written, asked or answered."""
    return tuple(sorted({*letters("en"), *letters("zh"), *spoken()}))


def _colour(language: Language, colour: str) -> str:
    return colour if language == "en" else COLOURS[colour][0]


def _thing(language: Language, colour: str, shape: str) -> str:
    return f"{colour} {shape}" if language == "en" else COLOURS[colour][0] + _SHAPES_ZH[shape]


def _place(language: Language, row: int, column: int) -> str:
    if language == "en":
        return "middle" if (row, column) == (1, 1) else f"{_ROWS[row]} {_COLUMNS[column]}"
    return "正中" if (row, column) == (1, 1) else _COLUMNS_ZH[column] + _ROWS_ZH[row]


def _paper(rng: random.Random) -> Colour:
    if rng.random() < 0.5:
        return 255, 255, 255
    low = rng.randint(215, 250)
    return rng.randint(low, 255), rng.randint(low, 255), rng.randint(low, 255)


def _ink(rng: random.Random) -> Colour:
    return (
        _dark(rng) if rng.random() < 0.6 else _shade(rng, rng.choice(list(COLOURS.values())[:3])[1])
    )


def _dark(rng: random.Random) -> Colour:
    high = rng.randint(0, 90)
    return rng.randint(0, high), rng.randint(0, high), rng.randint(0, high)


def _shade(rng: random.Random, colour: Colour) -> Colour:
    red, green, blue = (max(0, min(255, part + rng.randint(-20, 20))) for part in colour)
    return red, green, blue
