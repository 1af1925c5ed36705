"""A run of lessons goes on as if it had not been stopped, learns, and writes an InternVL that every target takes."""

import dataclasses
import random
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml
from drawing import fonts

from edge.errors import EdgeError
from edge.families.internvl import PIPELINE
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.text.chat import Message
from edge.text.conversations import FormTemplate, form_of
from edge.text.tokenizer import Tokenizer
from edge.train import fields, reading
from edge.train.lessons import Course, LessonsRecipe, Tower, read
from edge.train.recipe import Rates, Shape

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

from edge.data import lessons  # noqa: E402
from edge.data.lessons import NOTHING, UNSEEN, Setting  # noqa: E402
from edge.data.sheets import KINDS, Kind  # noqa: E402
from edge.data.writing import Language  # noqa: E402
from edge.pipelines.internvl import placed  # noqa: E402
from edge.vision.tiles import Grid  # noqa: E402
from edge_runtimes.torch.lessons import LessonsRun, _cells  # noqa: E402
from edge_runtimes.torch.train import train  # noqa: E402

SETTING = Setting(fonts=fonts(), sizes={"en": (16, 24), "zh": (20, 24)}, side=112, patch=14, most=4)
LETTERS = Course(
    name="pre-training",
    tiles=8,
    batch=4,
    letters=1.0,
    kinds={"page": 1},
    languages={"en": 1},
    grids={"1x1": 1},
    english=(16, 24),
    chinese=(20, 24),
)
ANSWERS = dataclasses.replace(
    LETTERS,
    name="fine-tuning",
    answers=1.0,
    kinds={"text": 1, "shapes": 1},
    languages={"en": 1, "zh": 1},
    grids={"1x1": 1, "2x1": 1},
    asked=2,
)
RECIPE = LessonsRecipe(
    seed=2,
    tower=Tower(width=32, layers=1, heads=2, ffn_width=64, side=56, patch=14, most=4),
    shape=Shape(width=32, layers=2, heads=2, kv_heads=1, ffn_width=32, context=256),
    rates=Rates(matrix=3e-3, other=3e-3, shrink=0.1, warmup=4, decay=0.3, optimizer="adam"),
    courses=(LETTERS, ANSWERS),
    precision="fp32",
)


def begin(out: Path, recipe: LessonsRecipe = RECIPE) -> LessonsRun:
    return LessonsRun(recipe, out, fonts=fonts(), compiled=False)


def test_a_run_killed_at_any_step_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    one = begin(tmp_path / "whole")
    steps = 0
    while one.at.tokens < RECIPE.tiles:
        one.step()
        steps += 1
    assert (steps, one.at.stage) == (4, 1)
    for killed in range(steps):
        first = begin(tmp_path / f"killed-{killed}")
        for _ in range(killed):
            first.step()
        first.save()
        first.step()
        second = begin(first.out)
        second.restore()
        while second.at.tokens < RECIPE.tiles:
            second.step()
        assert second.at == one.at
        for name, weight in one.weights.items():
            assert torch.equal(weight, second.weights[name]), name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"told": True, "letters": 0.0, "answers": 1.0, "kinds": {"shapes": 1}},
        {"rows": 1.0, "kinds": {"text": 1}},
        {"answers": 1.0, "kinds": {"text": 1}},
        {"frozen": True, "letters": 0.0, "rows": 1.0, "answers": 1.0, "kinds": {"text": 1}},
    ],
    ids=["letters", "told", "rows", "answers", "frozen"],
)
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_course_leaves_alone_what_it_does_not_teach(
    tmp_path: Path, changes: dict[str, Any], optimizer: Literal["adam", "muon"]
) -> None:
    """Neither a rate that shrinks, nor what is left of earlier gradients, may move it."""
    all_of_it = dataclasses.replace(ANSWERS, tiles=2, batch=2, rows=1.0, kinds={"text": 1})
    course = dataclasses.replace(LETTERS, tiles=2, batch=2, **changes)
    rates = dataclasses.replace(RECIPE.rates, optimizer=optimizer)
    told = dataclasses.replace(course, told=True, letters=0, rows=0, answers=1, kinds={"shapes": 1})
    courses = tuple(
        dataclasses.replace(one, name=str(i)) for i, one in enumerate((all_of_it, told, course))
    )
    run = begin(tmp_path, dataclasses.replace(RECIPE, courses=courses, rates=rates))
    run.step()
    run.step()  # each weight has had a gradient now
    before = {name: tensor.clone() for name, tensor in run._tensors().items()}
    run.at.stage = 2
    taught = set(run.part(0).gradients)
    run.step()
    moved = {
        name for name, tensor in run._tensors().items() if not torch.equal(tensor, before[name])
    }
    assert moved == {name for name in before if name.partition("/")[2] in taught}
    assert taught < set(run.weights)


def test_what_is_written_is_what_was_trained(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    while run.at.tokens < RECIPE.tiles:
        run.step()
    folder = run.export()
    assert folder is not None
    for stage in PIPELINE.stages:
        with Checkpoint.open(folder, stage=stage.name) as checkpoint:
            for name in checkpoint.places:
                trained = run.weights[f"{stage.name}/{name}"].detach().numpy()
                found = whole(checkpoint, name)
                assert found.shape == trained.shape
                np.testing.assert_allclose(found, trained, rtol=1e-3, atol=1e-4, err_msg=name)


def test_lessons_are_learned(tmp_path: Path) -> None:
    """One picture's letters and answers, again and again."""
    recipe = dataclasses.replace(RECIPE, courses=(dataclasses.replace(ANSWERS, tiles=600, rate=3),))
    run = begin(tmp_path / "run", recipe)
    batch = run.drawn(random.Random(1), ANSWERS, 2)
    first = float(run.loss(batch, ANSWERS, 1)[0].detach())
    for _ in range(60):
        loss, right, answers = run.loss(batch, ANSWERS, 1)
        found = torch.autograd.grad(
            loss, list(run.weights.values()), allow_unused=True, materialize_grads=True
        )
        for weight, gradient in zip(run.weights.values(), found, strict=True):
            weight.grad = gradient
        run.update(float(loss.detach()), times=3)
        run.at.tokens += 4
    assert float(loss.detach()) < first / 4
    assert right == answers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("grid", [Grid(1, 1), Grid(2, 1), Grid(1, 3)])
def test_each_patch_says_what_lies_in_it(kind: Kind, language: Language, grid: Grid) -> None:
    """By a slow way: each glyph is looked for in the patch of its middle."""
    from edge.data import sheets
    from edge.data.sheets import Page

    page = Page(fonts=fonts(), width=112 * grid.columns, height=112 * grid.rows, size=18, least=14)
    sheet = sheets.sheet(random.Random(5), kind, language, page)
    assert sheet is not None
    found = lessons.shown(sheet, grid, SETTING)
    assert found.shape == (grid.tiles, 64, lessons.SLOTS)
    tiles = found[: grid.columns * grid.rows]
    names = {i: what for what, i in lessons.ids().items()}
    seen = set[tuple[int, int, int]]()
    for glyph in sheet.glyphs:
        x, y = (glyph.box[0] + glyph.box[2]) / 2, (glyph.box[1] + glyph.box[3]) / 2
        if not (0 <= x < page.width and 0 <= y < page.height):
            continue
        tile = int(y // 112) * grid.columns + int(x // 112)
        patch = int(y % 112 // 14) * 8 + int(x % 112 // 14)
        slots = tiles[tile, patch]
        if UNSEEN in slots:
            continue
        assert glyph.what in [names.get(int(slot)) for slot in slots]
        seen |= {(tile, patch, i) for i, slot in enumerate(slots) if slot != NOTHING}
    told = {
        tuple(map(int, place))
        for place in np.argwhere(tiles > NOTHING)
        if UNSEEN not in tiles[place[0], place[1]]
    }
    assert seen == told


@pytest.mark.parametrize(
    ("box", "told"),
    [
        ((-2, 20, 18, 48), True),
        ((-4, 20, 16, 48), False),
        ((96, 20, 116, 48), False),
        ((20, -4, 40, 24), True),
        ((20, -6, 40, 22), False),
        ((20, 90, 40, 118), False),
    ],
)
def test_a_letter_that_is_cut_off_need_not_be_known(
    box: tuple[float, float, float, float], told: bool
) -> None:
    from edge.data.sheets import Sheet
    from edge.vision.drawing import Glyph

    sheet = Sheet(rgb=np.zeros((112, 112, 3), np.uint8), glyphs=(Glyph("a", box),), asked=())
    found = lessons.shown(sheet, Grid(1, 1), SETTING)
    assert (found == lessons.ids()["a"]).sum() == told
    assert (found == UNSEEN).any() != told


def test_a_run_goes_on_from_what_another_made(tmp_path: Path) -> None:
    """With its weights as they were written, and all else anew; another shape is refused."""
    run = begin(tmp_path / "run")
    run.at = run.start()
    for _ in range(3):
        run.step()
    folder = run.export()
    assert folder is not None
    other = LessonsRun(RECIPE, tmp_path / "other", fonts=fonts(), start=folder, compiled=False)
    for name, weight in run.weights.items():
        if name.partition("/")[0] in run.model.specs:
            assert torch.equal(other.weights[name], weight.half().float()), name
    wider = dataclasses.replace(RECIPE, tower=dataclasses.replace(RECIPE.tower, ffn_width=72))
    with pytest.raises(EdgeError, match="not of the recipe's shape"):
        LessonsRun(wider, tmp_path / "wider", fonts=fonts(), start=folder, compiled=False)
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text + " ")
    with pytest.raises(EdgeError, match="shape and alphabet"):
        LessonsRun(RECIPE, tmp_path / "else", fonts=fonts(), start=folder, compiled=False)


def test_lessons_are_said_as_they_are_when_a_model_runs(tmp_path: Path) -> None:
    """The ids of a conversation are those of the template that its artifact renders."""
    run = begin(tmp_path / "run")
    for name, content in run.model.texts.items():
        (tmp_path / name).write_bytes(content)
    tokenizer = Tokenizer.load(tmp_path)
    lesson = lessons.drawn(random.Random(3), "shapes", "en", Grid(1, 1), SETTING)
    ids, answers = lessons.conversation(
        lesson.asked, 4, lambda text: tokenizer.encode(text, special=False), placed
    )
    messages = []
    for i, one in enumerate(lesson.asked):
        messages += [
            Message("user", placed(one.question, [] if i else [4])),
            Message("assistant", one.answer),
        ]
    rendered = FormTemplate(form_of("phi3-chat"), None).render(messages, generate=False)
    assert ids == tokenizer.encode(rendered, special=False)
    said = tokenizer.decode([token for token, told in zip(ids, answers, strict=True) if told])
    assert said == " ".join(one.answer for one in lesson.asked)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"grids": {"2by1": 1.0}}, "is no grid such as 2x1"),
        ({"grids": {"5x1": 1.0}}, "a grid of 5 tiles, and a picture has 2"),
        ({"kinds": {"poem": 1.0}}, "'poem' is none of page, text"),
        ({"languages": {"fr": 1.0}}, "'fr' is none of en, zh"),
        ({"kinds": {"text": 0}}, "kinds is .* no table of shares"),
        ({"english": [20]}, "two numbers from 8, rising"),
        ({"english": "20"}, "no list of numbers"),
        ({"letters": 0.0, "answers": 0.0}, "neither letters nor answers count"),
        ({"frozen": True}, "a frozen tower learns no letters"),
        ({"batch": 3}, "a batch of 3 has no 4 equal splits"),
        ({"speed": 3}, "speed"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    file = fields.EXAMPLE.with_name("reads.yaml")
    table = yaml.safe_load(file.read_text())
    table["courses"][0] |= changes
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(table))
    with pytest.raises(EdgeError, match=problem):
        read(tmp_path / "recipe.yaml")


def test_what_a_run_cannot_use_is_refused(tmp_path: Path) -> None:
    reads, stories = (fields.EXAMPLE.with_name(name) for name in ("reads.yaml", "stories.yaml"))
    with pytest.raises(EdgeError, match="fonts that edge does not bring"):
        train(reads, tmp_path / "run")
    with pytest.raises(EdgeError, match="was given 2 folders of them"):
        train(reads, tmp_path / "run", data=[str(tmp_path), "x"])
    with pytest.raises(EdgeError, match="on no data"):
        train(stories, tmp_path / "run", data=[str(tmp_path)])
    assert isinstance(reading.read(reads), LessonsRecipe)
    assert not list(tmp_path.iterdir()), "nothing was begun"


def test_a_row_is_told_the_four_patches_that_the_projector_joins() -> None:
    """By its place: rows of pairs of rows, columns of pairs of columns, each patch after the one on its left."""
    shown = torch.arange(8 * 8 * 2).view(1, 64, 2)
    found = _cells(shown)
    assert found.shape == (1, 16, 8)
    for i in range(4):
        for j in range(4):
            places = [
                (2 * i, 2 * j),
                (2 * i, 2 * j + 1),
                (2 * i + 1, 2 * j),
                (2 * i + 1, 2 * j + 1),
            ]
            want = [shown[0, row * 8 + column, slot] for row, column in places for slot in (0, 1)]
            assert found[0, 4 * i + j].tolist() == want


def test_a_row_made_of_letters_says_its_letters_and_where_in_the_tile_it_lies(
    tmp_path: Path,
) -> None:
    """By a slow obvious sum; an empty row says its line and column alone."""
    run = begin(tmp_path / "run")
    side = 4  # patches of a tile of 56 pixels: two lines of two rows
    shown = torch.full((1, side * side, lessons.SLOTS), NOTHING)
    shown[0, 3 * side + 1, 1] = lessons.ids()[
        "a"
    ]  # the second line's first row, its patch to the lower right
    with torch.no_grad():
        (rows,) = run._told(shown)
        token = run._tokens[lessons.ids()["a"] - 1]
        letter = run.weights["text/embed"][token] * run.weights["places"][3 * lessons.SLOTS + 1]
        down, across = run.weights["cells"][:2], run.weights["cells"][2:]
        for line in range(2):
            for column in range(2):
                expected = down[line] + across[column] + (letter if (line, column) == (1, 0) else 0)
                torch.testing.assert_close(rows[2 * line + column], expected)
