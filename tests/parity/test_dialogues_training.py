"""A small Groma learns from conversations about made scenes, on torch: what it computes is what its pipeline does, each
course moves what it is to move, and a run that was stopped goes on as if it had not been.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.data.regions.lessons import lesson
from edge.errors import EdgeError
from edge.pipelines.groma import Groma, words_of
from edge.run.model import Wish
from edge.train import reading
from edge.train.recipe import Rates, Shape
from edge.train.regions.detection import Detection, DetectionRecipe, Proposer, Scenes, Tower
from edge.train.regions.dialogues import Dialogue, DialoguesRecipe, Regions
from edge.train.regions.sources import NAMED
from edge.vision.boxes import in_pixels
from edge_runtimes.torch.regions.detector import DetectorRun
from edge_runtimes.torch.regions.dialogues import Batch, DialoguesRun
from edge_runtimes.torch.train import train

pytest.importorskip("PIL")
TOWER = Tower(width=48, layers=4, heads=4, ffn_width=96, side=64, patch=8)
PROPOSER = Proposer(width=32, heads=2, points=2, encoder=1, decoder=2, ffn_width=48, queries=12)
ALIGNMENT = Dialogue(name="alignment", seen=8, batch=4, asked=2, still=("vision/*", "proposer/*"))
INSTRUCTION = Dialogue(
    name="instruction", seen=8, batch=4, asked=2, rate=0.5, still=("proposer/*",)
)
RECIPE = DialoguesRecipe(
    seed=1,
    tower=TOWER,
    proposer=PROPOSER,
    regions=Regions(bins=3, inner=32, place=16, rounds=1, groups=8, most=12),
    shape=Shape(width=64, layers=2, heads=2, kv_heads=2, ffn_width=96, context=384),
    scenes=Scenes(most=3, marks=0, larger=1.5),
    rates=Rates(matrix=0.02, other=0.005, shrink=0.0, warmup=0.05, decay=0.5, optimizer="muon"),
    dialogues=(ALIGNMENT, INSTRUCTION),
    splits=2,
)


pytestmark = pytest.mark.usefixtures("one_thread")


def run(out: Path, recipe: DialoguesRecipe = RECIPE, **more: Any) -> DialoguesRun:
    return DialoguesRun(recipe, out, **more)


def table(recipe: DialoguesRecipe = RECIPE) -> dict[str, Any]:
    """As YAML has it."""
    whole = json.loads(json.dumps(asdict(recipe)))
    whole["dialogues"] = [{k: v for k, v in one.items() if v != []} for one in whole["dialogues"]]
    return whole


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The networks of which some weight is another."""
    return {n.partition("/")[0] for n, w in before.items() if not torch.equal(w, after[n].detach())}


def test_learns_to_answer_about_scenes_that_it_is_shown(tmp_path: Path) -> None:
    course = replace(ALIGNMENT, seen=240, asked=3)
    recipe = replace(RECIPE, dialogues=(course,), splits=1)
    trained = run(tmp_path / "run", recipe)
    batch = trained.batch(range(4), 3)
    trained.batch = lambda *_args, **_more: batch  # type: ignore[method-assign]
    trained.sample = lambda: None  # type: ignore[method-assign]
    with torch.no_grad():
        before = trained.score(batch)
    trained.go()
    with torch.no_grad():
        after = trained.score(batch)
    assert float(after.loss) < 0.2 * float(before.loss)
    assert after.right > 0.5 * after.answers
    assert after.answers == sum(3 for _ in range(4))


def test_a_run_computes_what_its_pipeline_does(tmp_path: Path) -> None:
    """Rows of a picture and of regions, and every token of an answer: of the checkpoint that it writes, on torch."""
    trained = run(tmp_path / "run", replace(RECIPE, regions=replace(RECIPE.regions, score=0.001)))
    with torch.no_grad():
        for name, weight in trained.weights.items():  # no longer nothing where it begins so
            weight.add_(
                torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))) * 0.02
            )
            weight.copy_(weight.half().float())
    folder = trained.export()
    assert folder is not None
    artifact = convert_pipeline(folder, tmp_path / "torch", Options(target="torch", quant="fp32"))
    groma = Groma(artifact, exact=True)
    made = trained.source.scene(3, held=True)
    picture = made.picture()
    given = in_pixels(np.array([[0.4, 0.5, 0.3, 0.4]], np.float32), picture.width, picture.height)
    about = groma.look(picture, given)
    question = "[grounding] What is <box>?"
    talk = replace(
        made.talks[0], question="What is <box>?", grounded=True, referred=(0,), answer="No."
    )
    image = torch.from_numpy(trained.source.shown(made, NAMED)[0][None])
    with torch.no_grad():
        seen = trained._see("vision", image=image)
    one = lesson(
        [talk], len(about.rows), len(about.regions), about.selection.referred, trained._encode
    )
    boxes = torch.from_numpy(about.selection.boxes)
    batch = Batch(image, seen, (boxes,), (one,))
    with torch.no_grad():
        (rows,) = trained.rows(batch)
    want = np.concatenate(
        [about.rows, about.regions, about.regions[list(about.selection.referred)]]
    )
    np.testing.assert_allclose(rows.numpy(), want, atol=2e-4 * np.abs(want).max())
    answer = groma.generate(question, images=[about], wish=Wish(max_tokens=12))
    assert "".join(answer) is not None
    (said,) = trained.answer(batch, most=12)
    marked = words_of(answer).marked
    assert said.replace(" ", "") == marked.replace(" ", "")
    assert marked


def test_rows_of_regions_that_are_referred_to_come_last_in_their_order(tmp_path: Path) -> None:
    trained = run(tmp_path / "run", replace(RECIPE, scenes=replace(RECIPE.scenes, most=6)))
    made = next(one for one in map(trained.source.scene, range(50)) if len(one.things) > 2)
    asked = next(talk for talk in made.talks if talk.topic == "what")
    talks = [replace(asked, referred=(number,)) for number in (2, 0, 1)]
    batch = trained.about([made], [talks])
    (one,), (boxes,) = batch.lessons, batch.boxes
    assert len(set(one.referred)) == 3
    with torch.no_grad():
        (rows,) = trained.rows(batch)
    regions = rows[-3 - len(boxes) : -3]
    torch.testing.assert_close(rows[-3:], torch.stack([regions[n] for n in one.referred]))
    assert one.ids.count(trained._place) == len(rows)


def test_each_course_moves_what_it_is_to_move(tmp_path: Path) -> None:
    trained = run(tmp_path / "run")
    kept = {name: weight.detach().clone() for name, weight in trained.weights.items()}
    for _ in range(2):
        trained.step()
    assert trained.at.stage == 0
    assert moved(kept, trained.weights) == {"maps", "regions", "bridge", "text"}
    kept = {name: weight.detach().clone() for name, weight in trained.weights.items()}
    for _ in range(2):
        trained.step()
    assert trained.at.stage == 1
    assert moved(kept, trained.weights) == {"vision", "maps", "regions", "bridge", "text"}
    assert set(trained.at.right) == {0, 1}


def test_a_run_that_was_stopped_ends_the_same(tmp_path: Path) -> None:
    """In another course than the one that it was stopped in."""
    whole = run(tmp_path / "whole")
    for _ in range(4):
        whole.step()
    first = run(tmp_path / "parts")
    first.step()
    first.save()
    second = run(tmp_path / "parts")
    second.restore()
    for _ in range(3):
        second.step()
    for name, weight in whole.weights.items():
        torch.testing.assert_close(second.weights[name], weight, rtol=0, atol=0)


def test_only_answers_cost_anything(tmp_path: Path) -> None:
    trained = run(tmp_path / "run")
    batch = trained.batch(range(2), 2)
    with torch.no_grad():
        score = trained.score(batch)
        tokens = max(len(one.ids) for one in batch.lessons)
        ids = torch.zeros(2, tokens, dtype=torch.long)
        for row, one in enumerate(batch.lessons):
            ids[row, : len(one.ids)] = torch.tensor(one.ids)
        chances = trained.logits(batch, ids[:, :-1]).log_softmax(-1)
        want = sum(
            -float(chances[row, at - 1, one.ids[at]])
            for row, one in enumerate(batch.lessons)
            for at, told in enumerate(one.answers)
            if told
        )
    assert float(score.loss) == pytest.approx(want, rel=1e-5)
    assert score.tokens == sum(sum(one.answers) for one in batch.lessons)
    assert score.answers == 4


def test_each_token_of_an_answer_counts_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever split it is in: a step's gradient is that of their mean."""
    trained, losses = run(tmp_path / "run"), list[float]()
    monkeypatch.setattr(trained, "update", lambda loss, **_: losses.append(loss))
    trained.step()
    got = {name: w.grad.clone() for name, w in trained.weights.items() if w.grad is not None}
    trained.at.tokens = 0
    for weight in trained.weights.values():
        weight.grad = None
    scores = [trained.score(trained.batch(rows, 2)) for rows in (range(2), range(2, 4))]
    mean = sum(one.loss for one in scores) / sum(one.tokens for one in scores)
    mean.backward()
    assert losses == [pytest.approx(float(mean.detach()), rel=1e-5)]
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, trained.weights[name].grad, rtol=1e-3, atol=1e-6)


def test_a_detector_is_a_start_and_so_is_a_whole(tmp_path: Path) -> None:
    detection = DetectionRecipe(
        seed=5, tower=TOWER, proposer=PROPOSER, rates=RECIPE.rates,
        detection=Detection(batch=2, seen=4, most=3, marks=1),
    )  # fmt: skip
    detector = DetectorRun(detection, tmp_path / "detector")
    folder = detector.export()
    trained = run(tmp_path / "run", start=folder)
    for name, weight in detector.weights.items():
        assert torch.equal(trained.weights[name].detach(), weight.detach().half().float())
    whole = trained.export()
    again = run(tmp_path / "again", start=whole)
    for name, weight in trained.weights.items():
        assert torch.equal(again.weights[name].detach(), weight.detach().half().float()), name
    with pytest.raises(EdgeError, match="not of the recipe's shape"):
        run(
            tmp_path / "other",
            replace(RECIPE, proposer=replace(PROPOSER, ffn_width=64)),
            start=folder,
        )
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(EdgeError, match="no Groma"):
        run(tmp_path / "other", start=tmp_path / "llama")


def test_train_writes_a_model_and_what_it_says(tmp_path: Path) -> None:
    recipe = tmp_path / "it.yaml"
    recipe.write_text(
        yaml.safe_dump(table(replace(RECIPE, dialogues=(replace(ALIGNMENT, seen=8),))))
    )
    folder = train(recipe, tmp_path / "run")
    assert folder is not None
    assert {file.name for file in folder.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    samples = sorted((tmp_path / "run" / "samples").iterdir())
    lines = [json.loads(line) for line in samples[-1].read_text().splitlines()]
    assert all(set(line) == {"topic", "asked", "wanted", "said"} for line in lines)
    with pytest.raises(EdgeError, match="made scenes alone"):
        train(recipe, tmp_path / "other", data=["boxes.json"])
    assert not (tmp_path / "other").exists()


def test_a_conversation_that_is_too_long_is_refused(tmp_path: Path) -> None:
    short = replace(RECIPE, shape=replace(RECIPE.shape, context=64))
    with pytest.raises(EdgeError, match="the decoder has a context of 64"):
        run(tmp_path / "run", short).step()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dialogues": []}, "dialogues is no list"),
        ({"dialogues": [{**table()["dialogues"][0], "batch": 3}]}, "no 2 equal splits"),
        ({"dialogues": [{**table()["dialogues"][0], "topic": "all"}]}, "topic"),
        ({"tower": {**table()["tower"], "side": 72}}, "an even number of patches"),
        ({"regions": {**table()["regions"], "groups": 7}}, "groups"),
        ({"regions": {**table()["regions"], "score": 1.5}}, "between 0 and 1"),
        ({"regions": {**table()["regions"], "most": 2}}, "3 things in a scene, and 2 regions"),
        ({"proposer": {**table()["proposer"], "queries": 65}}, "65 queries of 64 pixels"),
        ({"scenes": {"larger": 9.0}}, "1 to 8 times as large"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "it.yaml"
    file.write_text(yaml.safe_dump({**table(), **change}))
    with pytest.raises(EdgeError, match=words):
        reading.read(file)


def test_the_recipe_in_the_package_goes_on_from_the_detector_s() -> None:
    folder = Path(reading.__file__).parent / "recipes"
    made, before = (reading.read(folder / f"{name}.yaml") for name in ("dialogues", "detection"))
    assert isinstance(made, DialoguesRecipe)
    assert isinstance(before, DetectionRecipe)
    assert (made.tower, made.proposer) == (before.tower, before.proposer)
    assert [one.name for one in made.dialogues] == ["alignment", "instruction"]
