"""Weights that lie in shards train as whole ones: on CPUs, over gloo, started by torchrun."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import environment
from test_ranks import finished, written
from training import ADAM, CURRICULA, on_stories, on_text, speaking, texts

from edge.errors import EdgeError, Unsupported
from edge.source.checkpoint import Checkpoint
from edge.train.recipe import TrainingRecipe

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from edge.train.course import STATE  # noqa: E402
from edge_runtimes.torch import sharded, state  # noqa: E402
from edge_runtimes.torch.held import Whole, rows_of  # noqa: E402
from edge_runtimes.torch.initial import initial  # noqa: E402
from edge_runtimes.torch.optim import Optimizer  # noqa: E402
from edge_runtimes.torch.ranks import Ranks  # noqa: E402
from edge_runtimes.torch.run import Run  # noqa: E402

# A run as the command starts it, which saves at every step; a process may end at one, as if killed.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from edge_runtimes.torch import loop, run, train
from edge.command import trouble
loop.SAVE_EVERY = -1.0
_, recipe, out, resume, rank, step = sys.argv
plain = run.Run.step
def stepping(self):
    if os.environ["RANK"] == rank and self.at.step == int(step):
        os.kill(os.getpid(), signal.SIGKILL)
    plain(self)
run.Run.step = stepping
try:
    train.train(Path(recipe), Path(out), resume=bool(int(resume)))
except trouble.EdgeError as error:
    sys.exit(f"edge: {error}")
"""


def started(
    count: int, recipe: Path, out: Path, *, resume: bool = False, killed: tuple[int, int] = (-1, -1)
) -> subprocess.CompletedProcess[str]:
    """By so many processes; `killed`: the rank that ends, and at which step."""
    script = recipe.with_name("script.py")
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command += [str(script), str(recipe), str(out), str(int(resume)), *map(str, killed)]
    own = {"OMP_NUM_THREADS": "1", "EDGE_DEVICE": "cpu", "EDGE_COMPILE": "0"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=250, env=environment() | own, check=False
    )


def put_together(out: Path, count: int) -> dict[str, Any]:
    """The state of a run, by hand: shards end to end."""
    more = sorted(out.glob(f"run-*-of-{count}.safetensors"))
    assert len(more) == count - 1
    shards = [load_file(file) for file in (out / STATE, *more)]
    return {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}


def alike(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6)


def a_recipe(kind: str, folder: Path, **changes: Any) -> TrainingRecipe:
    if kind == "text":
        source = speaking(folder / "start", num_hidden_layers=3)
        return on_text(texts(folder), source, steps=5, splits=4, sharded=True, **changes)
    changes = {"skip": CURRICULA["all"], "splits": 4, "sharded": True, "rates": ADAM} | changes
    return on_stories(steps=5, precision="fp32", **changes)


@pytest.mark.parametrize(("kind", "count", "recompute"), [("text", 2, True), ("stories", 4, False)])
def test_shards_train_as_one_process(
    kind: str, count: int, recompute: bool, tmp_path: Path
) -> None:
    recipe = a_recipe(kind, tmp_path, recompute=recompute)
    done = started(count, written(recipe, tmp_path / "recipe.yaml"), tmp_path / "shards")
    assert done.returncode == 0, done.stderr
    one = Run(recipe, tmp_path / "one", compiled=False)
    assert isinstance(one.held, Whole)
    alike(put_together(tmp_path / "shards", count), finished(one))
    with Checkpoint.open(tmp_path / "shards" / "model") as made:
        for name, weight in one.weights.items():
            bf16 = (
                {"rtol": 1e-2, "atol": 1e-3} if kind == "stories" else {"rtol": 1e-4, "atol": 1e-6}
            )
            torch.testing.assert_close(torch.from_numpy(made[name]), weight.detach(), **bf16)
    again = Run(recipe, tmp_path / "shards", compiled=False)
    again.restore()
    assert again.at.step == one.at.step


def test_a_killed_process_is_said_once_and_others_go_on(tmp_path: Path) -> None:
    """Three of four remain: one error. Two go on with what four had saved, and end as one process does."""
    recipe = a_recipe("text", tmp_path)
    file, out = written(recipe, tmp_path / "recipe.yaml"), tmp_path / "run"
    broken = started(4, file, out, killed=(2, 3))
    assert broken.returncode != 0
    assert broken.stderr.count("edge: ") == 1, broken.stderr
    assert "another process of this run has ended" in broken.stderr
    assert "[rank" not in broken.stderr  # as torch marks what a process did not catch
    assert not (out / "model").exists()
    done = started(2, file, out, resume=True)
    assert done.returncode == 0, done.stderr
    alike(put_together(out, 2), finished(Run(recipe, tmp_path / "one", compiled=False)))


class Shard:
    """One of several shards in one process: `whole` is told what the others have."""

    through, side_by_side = None, False

    def __init__(self, weights: dict[str, Any], shard: int, shards: int) -> None:
        self.shapes = {name: weight.shape for name, weight in weights.items()}
        self.shard, self.shards = shard, shards
        self.own = {name: self.cut(weight).clone() for name, weight in weights.items()}
        self.weights, self.others = self.own, dict[str, Any]()

    def cut(self, whole: Any) -> Any:
        rows = rows_of(len(whole), self.shard, self.shards)
        return whole[rows.start : rows.stop]

    def whole(self, name: str, own: Any) -> Any:
        assert torch.equal(self.cut(self.others[name]), own)
        return self.others[name]


@pytest.mark.parametrize("shards", [2, 3, 5])
def test_muon_of_shards_is_muon_of_the_whole(shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, given the same gradients; of 7 rows and 5 shards one has none."""
    rng = torch.Generator().manual_seed(shards)
    names = {"layers.0.mlp.up": (7, 4), "layers.1.mlp.up": (7, 4), "embed": (9, 3), "norm": (3,)}
    weights = {name: torch.randn(shape, generator=rng) for name, shape in names.items()}
    ranks = Ranks()
    whole = Whole(((name, weight.clone()) for name, weight in weights.items()), ranks)
    joint = Optimizer(whole, "muon")
    each = [Shard(weights, shard, shards) for shard in range(shards)]
    apart = [Optimizer(shard, "muon") for shard in each]
    ahead: dict[str, Any] = {}
    plain = Whole.whole
    monkeypatch.setattr(
        Whole, "whole", lambda self, name, own: ahead.update({name: own}) or plain(self, name, own)
    )
    for count in (1, 2, 3):
        gradients = {name: torch.randn(shape, generator=rng) for name, shape in names.items()}
        for held in (whole, *each):
            for name, own in held.own.items():
                own.grad = held.cut(gradients[name]).clone()
        steps = {"matrix": 0.02, "other": 0.01, "shrink": 0.1}
        joint.step(count, **steps)
        for held, optimizer in zip(each, apart, strict=True):
            held.others = ahead
            optimizer.step(count, **steps)
        for name, weight in whole.own.items():
            assert torch.equal(torch.cat([held.own[name] for held in each]), weight), name


@settings(max_examples=60)
@given(st.integers(1, 200), st.integers(1, 17))
def test_shards_have_every_row_once(count: int, shards: int) -> None:
    """And are torch's own: `chunk` says how many rows."""
    rows = [rows_of(count, shard, shards) for shard in range(shards)]
    assert [row for some in rows for row in some] == list(range(count))
    sizes = [len(part) for part in torch.arange(count).chunk(shards)]
    assert [len(some) for some in rows] == sizes + [0] * (shards - len(sizes))


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 5), (4, 2)])
def test_a_state_is_read_in_any_number_of_shards(before: int, after: int, tmp_path: Path) -> None:
    weights = {"embed": torch.randn(7, 3), "norm": torch.randn(4)}
    file, at = tmp_path / STATE, state.Position(step=9, tokens=100)
    (tmp_path / "run-3-2-of-9.safetensors").write_bytes(b"of a save before")
    for shard in reversed(range(before)):  # the first one comes last
        alone = Ranks()
        alone.rank = shard
        held = Shard(weights, shard, before)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ranks, "total", lambda *_: [before])
            state.write(file, at, {f"weight/{n}": w for n, w in held.own.items()}, held, alone)
    assert len(list(tmp_path.iterdir())) == before
    for shard in range(after):
        held = Shard({name: torch.zeros_like(w) for name, w in weights.items()}, shard, after)
        found = state.read(file, {f"weight/{n}": w for n, w in held.own.items()}, held)
        assert found == at
        for name, weight in weights.items():
            assert torch.equal(held.own[name], held.cut(weight)), name


def test_a_state_that_lacks_a_shard_is_refused(tmp_path: Path) -> None:
    file = tmp_path / STATE
    told = {"position": '{"right": {}, "step": 4}', "shards": "2"}
    save_file({"weight/norm": torch.ones(2)}, file, metadata=told)
    held = Shard({"norm": torch.ones(3)}, 0, 1)
    with pytest.raises(EdgeError, match=r"run-4-2-of-2\.safetensors is missing"):
        state.read(file, {"weight/norm": held.own["norm"]}, held)
    for count in ("0", "two", "9" * 30, "-1"):
        save_file({"weight/norm": torch.ones(2)}, file, metadata=told | {"shards": count})
        with pytest.raises(EdgeError, match="shards"):
            state.read(file, {"weight/norm": held.own["norm"]}, held)


def test_what_does_not_fit_one_device_is_sharded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen bytes a weight; what all together do not hold is refused with how many would."""
    spec, ranks = on_stories().shape.spec(1000), Ranks()
    size = 16 * sum(weight.numel() for weight in initial(spec, 0).values())
    for room, count, wanted in ((size, 1, False), (size - 1, 2, True), (size // 2 + 1, 2, True)):
        monkeypatch.setattr(sharded, "machine_memory", lambda room=room: room)
        ranks.count = count
        assert sharded.needed(spec, ranks) == wanted
    monkeypatch.setattr(sharded, "machine_memory", lambda: size // 3)
    with pytest.raises(Unsupported, match="each of 2 processes") as refused:
        sharded.needed(spec, ranks)
    assert "--nproc-per-node 4 or more" in refused.value.fix
