"""What pairs cost, and its gradients, as TRL's DPO has them (trl 1, arXiv 2305.18290)."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from finetuning import PARTS
from training import on_rows, pairs, talking

from edge.train.adapter import AdapterRecipe
from edge.train.costs import Preference
from edge.train.recipe import NONE, TrainingRecipe
from edge.train.rows import Pairs

torch = pytest.importorskip("torch")

from edge_runtimes.torch import export  # noqa: E402
from edge_runtimes.torch.batches import Compared, SkipsAndExits, batch_of  # noqa: E402
from edge_runtimes.torch.costs import cost_of  # noqa: E402
from edge_runtimes.torch.finetuned import Finetuned  # noqa: E402
from edge_runtimes.torch.run import Run  # noqa: E402

COUNT = 6
LOSSES = {"sigmoid": 0.5, "hinge": 0.5, "ipo": 0.05}


def recipe(folder: Path, loss: str, **changes: Any) -> TrainingRecipe:
    """One batch of all pairs."""
    start = talking(folder / "start")
    given: dict[str, Any] = {"loss": loss, "files": (pairs(folder / "p.jsonl", COUNT),)}
    rows = Pairs(length=60, batch=COUNT, beta=LOSSES[loss], **given)
    return on_rows(rows, start, skip=NONE, **changes)


def skipping(kept: torch.Tensor, exits: dict[int, float]) -> SkipsAndExits:
    return SkipsAndExits(kept=kept, exits=exits, seeds=torch.zeros(kept.shape[1], dtype=torch.long))


def moved(made: TrainingRecipe, out: Path) -> Run:
    """A run whose weights are no longer those that it started from."""
    run = Run(made, out, compiled=False)
    run.begin()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in run.weights.values():
            weight += 0.02 * torch.randn(weight.shape, generator=rng)
    return run


def stepped(run: Run) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a step, and the gradients of what learns."""
    found: dict[str, torch.Tensor] = {}
    losses: list[float] = []
    update = run.update

    def watched(loss: float, **more: Any) -> None:
        losses.append(loss)
        update(loss, **more)

    run.update = watched  # type: ignore[method-assign]
    run.optimizer.step = lambda *_, **__: found.update(  # type: ignore[method-assign]
        {name: weight.grad.clone() for name, weight in run.weights.items()}
    )
    run.step()
    return losses[0], found


def of_trl(folder: Path, start: Path, loss: str) -> tuple[float, dict[str, torch.Tensor]]:
    """By a trainer of TRL, which is given the checkpoints and the file of pairs; the first is an adapter of the
    second, perhaps.
    """
    trl, transformers = pytest.importorskip("trl"), pytest.importorskip("transformers")
    datasets, beside = pytest.importorskip("datasets"), (folder / "adapter_config.json").exists()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(start, pad_token="<unk>")
    model, reference = (
        transformers.LlamaForCausalLM.from_pretrained(each, dtype=torch.float32)
        for each in (start if beside else folder, start)
    )
    if beside:
        peft = pytest.importorskip("peft")
        model = peft.PeftModel.from_pretrained(model, folder, is_trainable=True)

    def said(value: Any, role: str) -> list[dict[str, str]]:
        return [{"role": role, "content": value}] if isinstance(value, str) else value

    lines = map(json.loads, (start.parent / "p.jsonl").read_text().splitlines())
    raw = [
        {
            "prompt": said(line["prompt"], "user"),
            "chosen": said(line["chosen"], "assistant"),
            "rejected": said(line["rejected"], "assistant"),
        }
        for line in lines
    ]
    settings = trl.DPOConfig(
        output_dir=str(folder / "trl"),
        loss_type=[loss],
        beta=LOSSES[loss],
        per_device_train_batch_size=COUNT,
        use_cpu=True,
        bf16=False,
        report_to=[],
        disable_tqdm=True,
        gradient_checkpointing=False,
    )
    trainer = trl.DPOTrainer(
        model=model,
        ref_model=reference,
        args=settings,
        train_dataset=datasets.Dataset.from_list(raw),
        processing_class=tokenizer,
    )
    (inputs,) = trainer.get_train_dataloader()
    value = trainer.compute_loss(trainer.model, inputs)
    value.backward()
    return float(value.detach()), {
        name: weight.grad for name, weight in trainer.model.named_parameters()
    }


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_gradients_are_trl_s(tmp_path: Path, loss: str) -> None:
    run = moved(recipe(tmp_path, loss), tmp_path / "run")
    folder = run.export()
    assert folder is not None
    wanted, gradients = of_trl(folder, tmp_path / "start", loss)
    got, found = stepped(run)
    ours = {name: export.tensor(place, found) for name, place in run.origin.tensors.items()}
    assert got == pytest.approx(wanted, rel=1e-5)
    assert ours.keys() <= gradients.keys()
    for name, gradient in ours.items():
        assert (gradient - gradients[name]).norm() / gradients[name].norm() < 1e-5, name


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_s_losses_and_gradients_are_trl_s(tmp_path: Path, dora: bool) -> None:
    """Beside weights that are the reference as they are."""
    adapter = AdapterRecipe(rank=4, alpha=8.0, dora=dora)
    run = moved(recipe(tmp_path, "sigmoid", adapter=adapter), tmp_path / "run")
    folder = run.export()
    assert folder == tmp_path / "run" / "adapter"
    wanted, gradients = of_trl(folder, tmp_path / "start", "sigmoid")
    got, ours = stepped(run)
    assert got == pytest.approx(wanted, rel=1e-5)
    assert got != pytest.approx(math.log(2), rel=1e-3)
    held = run.held
    assert isinstance(held, Finetuned)
    for module in held.modules:
        for part, name in PARTS.items():
            if part != "magnitude" or dora:
                gradient = ours[f"{module.key}.{part}"]
                theirs = gradients[f"base_model.model.{module.name}.{name}"]
                assert (gradient - theirs).norm() / theirs.norm() < 1e-5, name


FORMS = {
    "sigmoid": lambda far, beta: math.log1p(math.exp(-beta * far)),
    "hinge": lambda far, beta: max(0.0, 1 - beta * far),
    "ipo": lambda far, beta: (far - 1 / (2 * beta)) ** 2,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_forms_of_the_papers_one_token_after_another(loss: str) -> None:
    """In plain Python, of pairs whose answers are of several lengths."""
    rng = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 5, 7, generator=rng)
    tokens = torch.randint(7, (3, 2, 6), generator=rng)
    parts = torch.zeros(3, 2, 6, dtype=torch.long)
    for row, (start, stop) in enumerate([(1, 6), (2, 3), (3, 6), (4, 5), (5, 6), (2, 6)]):
        parts.view(6, 6)[row, start:stop] = 1
    reference = -torch.rand(3, 2, generator=rng) * 9
    batch = Compared(tokens=tokens, parts=parts, reference=reference)
    beta, cost = 0.3, cost_of(Preference(loss, 0.3))  # type: ignore[arg-type]
    wanted, right = 0.0, 0
    for pair in range(3):
        gained = []
        for side in range(2):
            total, counted = 0.0, 0
            for place in range(1, 6):
                if parts[pair, side, place]:
                    scores = logits[2 * pair + side, place - 1].tolist()
                    picked = scores[int(tokens[pair, side, place])]
                    total += picked - math.log(sum(math.exp(score) for score in scores))
                    counted += 1
            gain = total - float(reference[pair, side])
            gained.append((gain / counted if loss == "ipo" else gain, gain))
        wanted += FORMS[loss](gained[0][0] - gained[1][0], beta)
        right += gained[0][1] > gained[1][1]
    assert cost.count(batch) == 3
    assert float(cost.of(logits, batch, 3)) == pytest.approx(wanted / 3, rel=1e-5)
    assert cost.judge(logits, batch) == (right, 3)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_start_likes_neither_answer_better_than_itself(tmp_path: Path, loss: str) -> None:
    """What was computed before the first step is what the first step computes (trl#2423)."""
    run = Run(recipe(tmp_path, loss), tmp_path / "run", compiled=False)
    run.begin()
    first, _ = stepped(run)
    assert first == pytest.approx(FORMS[loss](0.0, LOSSES[loss]), rel=1e-5)


def test_exits_learn_from_pairs_against_the_same_start(tmp_path: Path) -> None:
    """The loss of all exits is the sum of theirs, each by its weight."""
    run = moved(recipe(tmp_path, "sigmoid"), tmp_path / "run")
    alone = []
    for exits in ({0: 1.0}, {1: 1.0}, {0: 0.25, 1: 0.75}):
        batch = batch_of(run.source.draw(run.at, run.mine).batches[0])
        kept = torch.ones(2, COUNT, dtype=torch.bool)
        score = run.passes.add(batch, skipping(kept, exits), COUNT)
        alone.append(float(score.loss))
    assert alone[0] != alone[1]
    assert alone[2] == pytest.approx(0.25 * alone[0] + 0.75 * alone[1], rel=1e-6)


def test_both_answers_of_a_pair_skip_the_same_layers(tmp_path: Path) -> None:
    """Where every layer is skipped, both answers are said by the head alone, and the loss is the same for all."""
    run = moved(recipe(tmp_path, "sigmoid"), tmp_path / "run")
    batch = batch_of(run.source.draw(run.at, run.mine).batches[0])
    kept = torch.ones(2, COUNT, dtype=torch.bool)
    kept[:, 0] = False
    last = {1: 1.0}
    some = run.passes.add(batch, skipping(kept, last), 1)
    first, rest = batch.split(COUNT)[0], batch.split(COUNT)[1:]
    none = torch.zeros(2, 1, dtype=torch.bool)
    parts = [run.passes.add(first, skipping(none, last), 1)]
    parts += [run.passes.add(one, skipping(~none, last), 1) for one in rest]
    assert float(some.loss) == pytest.approx(sum(float(part.loss) for part in parts), rel=1e-5)


def test_the_share_of_right_answers_is_told_from_the_first_step_on(tmp_path: Path) -> None:
    """A running mean that begins at zero would be said to be near it for a hundred steps."""
    run = moved(recipe(tmp_path, "sigmoid"), tmp_path / "run")
    batch = run.source.draw(run.at, run.mine).batches[0]
    gained = run.passes.told(batch_of(batch)).numpy() - batch.reference  # type: ignore[attr-defined]
    share = float((gained[:, 0] > gained[:, 1]).mean())
    assert 0 < share < 1
    run.step()
    run.log()
    (line,) = (run.out / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["right"] == {"0": pytest.approx(share, abs=1e-3)}
