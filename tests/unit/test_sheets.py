"""What a generated sheet says of itself is what was drawn; no lesson has a line that is held out."""

import random
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from drawing import fonts

from edge.data import alphabet, sheets, vocabulary
from edge.data import fonts as listed
from edge.data.sheets import COLOURS, KINDS, SHAPES, Kind, Page, Sheet
from edge.data.writing import SHARE, Language, held_out, letters, line
from edge.errors import EdgeError
from edge.text.tokenizer import Tokenizer

pytest.importorskip("PIL")
EVERY = list(product(KINDS, ("en", "zh")))


def drawn(kind: Kind, language: Language, seed: int, *, held: bool = False) -> Sheet:
    page = Page(fonts=fonts(), width=336, height=224, size=24, least=14, held=held)
    found = sheets.sheet(random.Random(f"{kind}{language}{seed}"), kind, language, page)
    assert found is not None
    return found


def answers(sheet: Sheet) -> dict[str, list[tuple[str, str]]]:
    out: dict[str, list[tuple[str, str]]] = {}
    for one in sheet.asked:
        out.setdefault(one.topic, []).append((one.question, one.answer))
    return out


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_line_is_held_out_or_never_seen_elsewhere(language: Language, held: bool) -> None:
    rng = random.Random(1)
    lines = [line(rng, language, 12, held=held) for _ in range(300)]
    assert all(held_out(one) == held and 0 < len(one) <= 12 for one in lines)
    assert set("".join(lines)) - {" "} <= set(letters(language))


def test_a_tenth_of_all_lines_is_held_out() -> None:
    share = sum(held_out(f"line {i}") for i in range(5000)) / 5000
    assert abs(share - SHARE / 256) < 0.02


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_a_sheet_is_drawn_from_its_seed_alone(kind: Kind, language: Language) -> None:
    first, second = drawn(kind, language, 3), drawn(kind, language, 3)
    assert (first.rgb == second.rgb).all()
    assert (first.glyphs, first.asked) == (second.glyphs, second.asked)
    assert (first.rgb != drawn(kind, language, 4).rgb).any()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_text_is_told_line_by_line_as_it_was_drawn(language: Language) -> None:
    for seed in range(20):
        sheet = drawn("text", language, seed, held=True)
        ((_, told),) = answers(sheet)["text"]
        assert all(held_out(one) for one in told.split("\n"))
        assert "".join(glyph.what for glyph in sheet.glyphs) == told.replace("\n", "")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_receipt_adds_up(language: Language) -> None:
    """Its prices are read from what was drawn, a row at a time."""
    for seed in range(20):
        sheet = drawn("receipt", language, seed)
        rows: dict[float, str] = {}
        for glyph in sheet.glyphs:
            rows[glyph.box[1]] = rows.get(glyph.box[1], "") + glyph.what
        *prices, total = (re.findall(r"\d+\.\d\d$", row)[0] for row in list(rows.values())[1:])
        ((_, told),) = answers(sheet)["total"]
        assert told == total == f"{sum(map(float, prices)):.2f}"
        assert all(cost in prices for _, cost in answers(sheet)["price"])


def test_shapes_are_where_they_are_said_to_be() -> None:
    names = {f"{c} {s}": (c, s) for c, s in product(COLOURS, SHAPES)}
    for seed in range(30):
        sheet = drawn("shapes", "en", seed)
        height, width = sheet.rgb.shape[:2]
        places = {}
        for glyph in sheet.glyphs:
            left, top, right, bottom = glyph.box
            x, y = int(3 * (left + right) / 2 / width), int(3 * (top + bottom) / 2 / height)
            words = ("top", "middle", "bottom")[y], ("left", "middle", "right")[x]
            places[glyph.what] = "middle" if words == ("middle", "middle") else " ".join(words)
            colour = COLOURS[names[glyph.what][0]][1]
            seen = sheet.rgb[int((top + 2 * bottom) / 3), int((left + right) / 2)]
            assert max(abs(int(a) - b) for a, b in zip(seen, colour, strict=True)) <= 20
        said = answers(sheet)
        for question, place in said["where"]:
            assert places[question.removeprefix("Where is the ").rstrip("?")] == place
        for question, what in said["what"]:
            assert places[what] == question.removeprefix("What is at the ").rstrip("?")
        assert said["many"] == [("How many shapes are there?", str(len(places)))]


def test_bars_are_as_tall_as_they_are_said_to_be() -> None:
    for seed in range(30):
        sheet = drawn("chart", "en", seed)
        tall = {g.what: g.box[3] - g.box[1] for g in sheet.glyphs if g.what in COLOURS}
        said = answers(sheet)
        assert said["tallest"][0][1] == max(tall, key=lambda name: tall[name])
        assert said["shortest"][0][1] == min(tall, key=lambda name: tall[name])


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_every_letter_is_a_token(
    kind: Kind, language: Language, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("reader")
    for name, content in alphabet.files().items():
        (folder / name).write_bytes(content)
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.vocab_size <= vocabulary.rows(alphabet.tokenizer())
    for seed in range(5):
        for one in drawn(kind, language, seed).asked:
            for text in (one.question, one.answer):
                ids = tokenizer.encode(text, special=False)
                assert tokenizer.decode(ids) == text
                assert len(ids) == len(text) + 1, "a blank in front, and a token a letter"


def test_every_font_is_open() -> None:
    """What lessons are drawn in goes into a model that ships: fonts under OFL alone."""
    assert {font.licence for font in listed.listed()} == {"OFL-1.1"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", font.sha256) for font in listed.listed())
    assert all(font.source and "@" in font.package for font in listed.listed())
    assert {font.language for font in listed.listed() if font.use == "lessons"} == {"en", "zh"}


def test_another_font_of_the_same_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"lacks the font Inter_400Regular\.ttf"):
        listed.found(tmp_path)
    for font in listed.listed():
        (tmp_path / font.file).write_bytes(fonts()["en"][0].read_bytes())
    with pytest.raises(EdgeError, match="is not the font"):
        listed.found(tmp_path)


def test_without_pillow_other_recipes_are_read_and_pictures_refused() -> None:
    """It comes with an extra, which who trains on texts need not have."""
    code = """
import sys
sys.modules["PIL"] = None
from edge.errors import Unsupported
from edge.train import fields, reading
for file in fields.EXAMPLE.parent.glob("*.yaml"):
    reading.read(file)
from edge.vision.drawing import Canvas
try:
    Canvas(9, 9, (0, 0, 0))
except Unsupported as error:
    print(error.fix)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "pip install '.[vision]'\n"
