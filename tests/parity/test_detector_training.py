"""A detector learns from made scenes and from a user's boxes, on torch: that it finds things that it has not seen, and
that a run that was stopped goes on as if it had not been.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.data.regions.scenes import Page, painted, scene
from edge.errors import EdgeError
from edge.measure.found import Found, found
from edge.run.opening import open_net_proof
from edge.train import reading
from edge.train.recipe import Rates
from edge.train.regions.detection import Costs, Detection, DetectionRecipe, Proposer, Scenes, Tower
from edge.train.regions.sources import NAMED, OUTLINED, Drawn, Given
from edge.vision.boxes import corners, in_parts
from edge.vision.marking import encoded
from edge.vision.pictures import open_picture
from edge_runtimes.torch.regions.detector import DetectorRun
from edge_runtimes.torch.regions.losses import PARTS
from edge_runtimes.torch.train import train

Image = pytest.importorskip("PIL.Image")
RECIPE = DetectionRecipe(
    seed=1,
    tower=Tower(width=48, layers=4, heads=4, ffn_width=96, side=56, patch=8),
    proposer=Proposer(width=32, heads=2, points=2, encoder=1, decoder=2, ffn_width=48, queries=12),
    detection=Detection(batch=4, seen=24, most=3, marks=1, larger=1.5),
    rates=Rates(matrix=0.002, other=0.002, shrink=0.0, warmup=0.05, decay=0.5, optimizer="adam"),
    splits=2,
)


pytestmark = pytest.mark.usefixtures("one_thread")


def run(out: Path, recipe: DetectionRecipe = RECIPE, **more: Any) -> DetectorRun:
    return DetectorRun(recipe, out, **more)


def table(recipe: DetectionRecipe = RECIPE) -> dict[str, Any]:
    """As YAML has it."""
    from dataclasses import asdict

    return json.loads(json.dumps({k: v for k, v in asdict(recipe).items() if v != ()}))


def boxes_of(folder: Path, count: int = 6) -> Path:
    """Made scenes as a user's files: COCO's JSON beside its pictures."""
    images, notes = [], []
    for number in range(count):
        made = scene(number, Page(width=80, height=64, most=3, marks=0))
        (folder / f"{number}.png").write_bytes(encoded(painted(made), "PNG"))
        images.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 64})
        for left, top, right, bottom in made.boxes:
            box = [left, top, right - left, bottom - top]
            notes.append({"image_id": number, "bbox": box, "category_id": 1})
    whole = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "boxes.json").write_text(json.dumps(whole))
    return folder / "boxes.json"


def test_learns_the_pictures_that_it_is_shown(tmp_path: Path) -> None:
    """A few, over and over: then it finds what is in them."""
    recipe = replace(
        RECIPE, detection=replace(RECIPE.detection, seen=800, batch=4), splits=1,
        rates=replace(RECIPE.rates, matrix=0.003, other=0.003),
    )  # fmt: skip
    trained = run(tmp_path / "run", recipe, data=[str(boxes_of(tmp_path, 3))])
    with torch.no_grad():
        before = float(trained.costs(trained.batch(range(3)), 1)["loss"])
    trained.go()
    with torch.no_grad():
        assert float(trained.costs(trained.batch(range(3)), 1)["loss"]) < 0.1 * before
    examples = trained.source.asked(3)
    pairs = zip(trained.found(examples), examples, strict=True)
    total = sum((found(boxes, corners(in_parts(e.boxes, 80, 64))) for boxes, e in pairs), Found())
    assert total.recall > 0.8, total


def test_a_run_that_was_stopped_ends_the_same(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    whole.go()
    first = run(tmp_path / "parts")
    for _ in range(3):
        first.step()
    first.save()
    second = run(tmp_path / "parts")
    second.restore()
    assert second.at.step == 3
    second.go()
    for name, weight in whole.weights.items():
        torch.testing.assert_close(second.weights[name], weight, rtol=0, atol=0)
    files = [
        folder / "model" / "model.safetensors"
        for folder in (tmp_path / "whole", tmp_path / "parts")
    ]
    assert [one.export() is not None for one in (whole, second)] == [True, True]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_every_picture_comes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, taken = run(tmp_path / "run"), list[int]()
    own = trained.batch
    monkeypatch.setattr(trained, "batch", lambda rows: taken.extend(rows) or own(rows))
    for _ in range(3):
        trained.step()
    assert taken == list(range(12))


def test_splits_are_the_same_step_as_one(tmp_path: Path) -> None:
    """Every thing counts the same, whichever split it is in."""
    steps = []
    for splits in (1, 2, 4):
        one = run(tmp_path / str(splits), replace(RECIPE, splits=splits))
        one.step()
        steps.append(one.weights)
    for other in steps[1:]:
        for name, weight in steps[0].items():
            torch.testing.assert_close(other[name], weight, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize(
    "name",
    ["queries", "decoder.0.mlp.up", "decoder.1.look.x.bias", "scores.1.0.bias", "steps.0.last"],
)
def test_gradients_are_those_of_small_steps(name: str, tmp_path: Path) -> None:
    """Of weights that come after where queries look, through which no gradient is to go."""
    trained = run(tmp_path / "run", replace(RECIPE, seed=3))
    for _ in range(2):
        trained.step()  # off the zeros that it begins with
    batch, weight = trained.batch(range(2)), trained.weights[f"proposer/{name}"]
    trained.costs(batch, 3.0)["loss"].backward()
    assert weight.grad is not None
    way, sides = torch.sign(weight.grad), []
    with torch.no_grad():
        for by in (1e-3, -1e-3):
            weight.add_(way, alpha=by)
            sides.append(float(trained.costs(batch, 3.0)["loss"]))
            weight.sub_(way, alpha=by)
    want = (sides[0] - sides[1]) / 2e-3
    assert float(weight.grad.abs().sum()) == pytest.approx(want, rel=0.1, abs=0.02)


def test_a_head_learns_from_pictures_of_its_own_kind(tmp_path: Path) -> None:
    trained = run(tmp_path / "run")
    for row, head in ((0, NAMED), (1, OUTLINED)):
        batch = trained.batch(range(row, row + 1))
        assert batch.heads == (head,)
        trained.costs(batch, 1)["loss"].backward()
        for other in (NAMED, OUTLINED):
            gradient = trained.weights[f"proposer/scores.1.{other}"].grad
            assert (gradient is not None and bool(gradient.any())) == (other == head)
            trained.weights[f"proposer/scores.1.{other}"].grad = None


def test_a_scene_teaches_things_with_a_name_or_all_that_has_an_outline() -> None:
    source = Drawn(56, replace(RECIPE.detection, marks=3), 1)
    seen = set()
    for number in range(20):
        made, head = source.example(number)
        picture, wanted = source.shown(made, head)
        assert picture.shape == (56, 56, 3)
        assert head == (OUTLINED if number % 2 else NAMED)
        assert len(wanted) == len(made.boxes if head == OUTLINED else made.things)
        seen.add((made.page.width, made.page.height))
        assert not made.held
    assert len(seen) > 5
    assert all(one.held for one in source.asked(4))


def test_a_box_lies_where_its_thing_is_in_what_the_tower_sees() -> None:
    """Stretched to a square, and nothing cut off."""
    source = Drawn(56, Scenes(most=1, marks=0, larger=2.0), 3)
    for number in range(12):
        made = source.scene(number)
        with_it, parts = source.shown(made, NAMED)
        bare = replace(made, things=())
        changed = np.abs(with_it - source.shown(bare, NAMED)[0]).max(2) > 0.5
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(corners(parts)[0] * 56, seen, atol=2.0)


def test_a_thing_too_small_to_be_seen_teaches_nothing(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((560, 560, 3), np.uint8)).save(tmp_path / "1.png")
    boxes = [[0, 0, 9.9, 100], [0, 0, 10.1, 100]]
    line = {"image": "1.png", "regions": [{"box": box, "caption": "a"} for box in boxes]}
    (tmp_path / "it.jsonl").write_text(json.dumps(line))
    source = Given(RECIPE, [str(tmp_path / "it.jsonl")])
    one, head = source.example(5)
    assert source.shown(one, head)[1].tolist() == pytest.approx(
        in_parts([(0, 0, 10.1, 100)], 560, 560)
    )


def test_a_tower_that_stays_as_it_is_stays(tmp_path: Path) -> None:
    model = run(tmp_path / "first")
    model.step()
    folder = model.export()
    assert folder is not None
    second = run(tmp_path / "second", replace(RECIPE, still=("vision/*",)), start=folder)
    for name, weight in model.weights.items():
        half = weight.detach().half().float()  # as the checkpoint has it
        torch.testing.assert_close(second.weights[name].detach(), half, rtol=0, atol=0)
    kept = {name: weight.clone() for name, weight in second.weights.items()}
    second.step()
    for name, weight in second.weights.items():
        same = torch.equal(weight.detach(), kept[name].detach())
        assert same == name.startswith("vision/") or weight.numel() < 64, name


def test_a_checkpoint_is_one_that_targets_take(tmp_path: Path) -> None:
    trained = run(tmp_path / "run")
    trained.go()
    folder = trained.export()
    assert folder is not None
    artifact = convert_pipeline(folder, tmp_path / "onnx", Options(target="onnx", quant="fp32"))
    example = trained.source.asked(1)[0]
    image = trained.source.shown(example, NAMED)[0][None]
    seen = open_net_proof(artifact.stages["vision"], exact=False)(image=image)
    got = open_net_proof(artifact.stages["proposer"], exact=False)(features=seen["mean"])
    with torch.no_grad():
        for name in trained.weights:
            trained.weights[name].copy_(trained.weights[name].half().float())
        _, layers = trained.said(torch.from_numpy(image))
    np.testing.assert_allclose(got["boxes"], layers[-1].boxes.numpy(), atol=1e-4)


@pytest.mark.parametrize("data", [False, True])
def test_train_writes_what_there_is_to_look_at(data: bool, tmp_path: Path) -> None:
    recipe = tmp_path / "it.yaml"
    recipe.write_text(yaml.safe_dump(table()))
    given = [str(boxes_of(tmp_path))] if data else []
    folder = train(recipe, tmp_path / "run", data=given)
    assert folder == tmp_path / "run" / "model"
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert set(lines[-1]["costs"]) == set(PARTS)
    assert lines[-1]["tokens"] == RECIPE.detection.seen
    counted = [
        json.loads(line) for line in (tmp_path / "run" / "found.jsonl").read_text().splitlines()
    ]
    assert all(0 <= one[name] <= 1 for one in counted for name in ("recall", "precision"))
    assert (tmp_path / "run" / "curves.svg").read_text().startswith("<svg")
    shown = sorted((tmp_path / "run" / "samples").iterdir())
    assert len(shown) == 6 * len(counted)
    assert open_picture(shown[0]).rgb.shape[2] == 3
    with pytest.raises(EdgeError, match="already holds a run"):
        train(recipe, tmp_path / "run", data=given)


@pytest.mark.parametrize("name", ["missing.json", "boxes.json"])
def test_bad_boxes_are_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    file = boxes_of(tmp_path)
    whole = json.loads(file.read_text())
    whole["annotations"][-1]["bbox"] = [70, 0, 40, 10]
    file.write_text(json.dumps(whole))
    recipe = tmp_path / "it.yaml"
    recipe.write_text(yaml.safe_dump(table()))
    with pytest.raises(EdgeError, match=r"there is no file|leaves its picture"):
        train(recipe, tmp_path / "run", data=[str(tmp_path / name)])
    assert not (tmp_path / "run").exists()


def test_more_boxes_than_queries_and_pictures_of_nothing_are_refused(tmp_path: Path) -> None:
    file = boxes_of(tmp_path, 2)
    whole = json.loads(file.read_text())
    note = whole["annotations"][0]
    file.write_text(json.dumps({**whole, "annotations": [note] * 13}))
    with pytest.raises(EdgeError, match="has 13 boxes, and the recipe 12 queries"):
        Given(RECIPE, [str(file)])
    file.write_text(json.dumps({**whole, "annotations": []}))
    with pytest.raises(EdgeError, match="mark nothing"):
        Given(RECIPE, [str(file)])


def test_pictures_of_one_kind_teach_both_heads_and_of_two_kinds_each_its_own(
    tmp_path: Path,
) -> None:
    """A head that nothing taught would hide what the other finds."""
    named = boxes_of(tmp_path, 3)
    whole = json.loads(named.read_text())
    del whole["categories"]
    (tmp_path / "outlines.json").write_text(json.dumps(whole))
    for files in ([named], [tmp_path / "outlines.json"]):
        source = Given(RECIPE, list(map(str, files)))
        heads: dict[str, set[int]] = {}
        for number in range(6):
            one, head = source.example(number)
            heads.setdefault(one.where, set()).add(head)
            assert len(source.shown(one, head)[1]) == len(one.boxes)
        assert list(heads.values()) == [{NAMED, OUTLINED}] * 3
    both = Given(RECIPE, [str(named), str(tmp_path / "outlines.json")])
    for number in range(12):
        one, head = both.example(number)
        assert head == (OUTLINED if "outlines.json" in one.where else NAMED)


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = boxes_of(tmp_path, 2)
    whole = json.loads(file.read_text())
    whole["annotations"].append({"image_id": 0, "bbox": [1, 1, 0, 4], "category_id": 1})
    file.write_text(json.dumps(whole))
    Given(RECIPE, [str(file)])
    assert "1 boxes are left out: of no area" in capsys.readouterr().err


def test_a_run_goes_on_with_its_own_pictures_alone(tmp_path: Path) -> None:
    first = run(tmp_path / "run", data=[str(boxes_of(tmp_path, 2))])
    first.step()
    first.save()
    (tmp_path / "more").mkdir()
    second = run(tmp_path / "run", data=[str(boxes_of(tmp_path / "more", 3))])
    with pytest.raises(EdgeError, match="on other texts"):
        second.restore()


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    trained = run(tmp_path / "run")
    with torch.no_grad():
        trained.weights["proposer/input.bias"].fill_(math.nan)
    with pytest.raises(EdgeError, match="training diverged"):
        trained.step()


def test_another_shape_is_refused(tmp_path: Path) -> None:
    folder = run(tmp_path / "first").export()
    other = replace(RECIPE, proposer=replace(RECIPE.proposer, ffn_width=64))
    with pytest.raises(EdgeError, match="not of the recipe's shape"):
        run(tmp_path / "second", other, start=folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tower": {**table()["tower"], "side": 60}}, "whole patches"),
        ({"tower": {**table()["tower"], "layers": 3}}, "4 layers at least"),
        ({"tower": {**table()["tower"], "side": 40}}, "a side of 56"),
        ({"proposer": {**table()["proposer"], "width": 30}}, "whole heads and fours"),
        ({"proposer": {**table()["proposer"], "queries": 50}}, "50 queries of a map of 49"),
        ({"proposer": {**table()["proposer"], "queries": 3}}, "more things in a scene"),
        ({"detection": {**table()["detection"], "batch": 3}}, "no 2 equal splits"),
        ({"detection": {**table()["detection"], "larger": 0.5}}, "1 to 8 times as large"),
        ({"detection": {**table()["detection"], "things": 1}}, "things"),
        ({"costs": {"alpha": 1.0}}, "alpha"),
        ({"costs": {"score": 0, "sides": 0, "overlap": 0}}, "costs"),
        ({"splits": "two"}, "splits"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "it.yaml"
    file.write_text(yaml.safe_dump({**table(), **change}))
    with pytest.raises(EdgeError, match=words):
        reading.read(file)


def test_the_recipe_in_the_package_is_one() -> None:
    made = reading.read(Path(reading.__file__).parent / "recipes" / "detection.yaml")
    assert isinstance(made, DetectionRecipe)
    assert made.costs == Costs()


def test_things_are_counted_once() -> None:
    there = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    boxes = np.array(
        [[0, 0, 10, 10], [1, 0, 10, 10], [21, 1, 31, 10], [50, 50, 60, 60]], np.float32
    )
    counted = found(boxes, there)
    assert counted == Found(hits=2, there=2, boxes=4)
    assert (counted.recall, counted.precision) == (1.0, 0.5)
    nothing = found(boxes[:0], there[:0])
    assert (nothing.recall, nothing.precision) == (1.0, 1.0)
    assert found(boxes[:0], there).recall == 0
    assert found(boxes, there[:0]).precision == 0
