"""One pass for several writers, and a journal of what each has: nothing is read for no one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from support import tiny

import edge.convert.one_pass
from edge.convert.one_pass import JOURNAL, Job, Journal, one_pass
from edge.source.checkpoint import Checkpoint


@dataclass
class Kept:
    """A writer that keeps what it was given, and may stop a conversion at a weight."""

    stop_at: str = ""
    rows: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    finished: int = 0
    differing: int = 0

    def put(self, name: str, row: int, block: np.ndarray) -> int:
        if name == self.stop_at:
            raise InterruptedError
        assert row not in self.rows.setdefault(name, {}), "a block came twice"
        self.rows[name][row] = block
        return block.nbytes

    def sync(self) -> None: ...

    def close(self) -> None: ...

    def finish(self) -> None:
        self.finished += 1

    def weight(self, name: str) -> np.ndarray:
        return np.concatenate([block for _, block in sorted(self.rows[name].items())])


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checkpoint]:
    monkeypatch.setattr("edge.source.checkpoint.BLOCK", 700)  # several blocks a weight
    monkeypatch.setattr(edge.convert.one_pass, "_MARK", 1)
    with Checkpoint.open(tiny(tmp_path / "source")) as found:
        yield found


def test_every_weight_reaches_every_writer(checkpoint: Checkpoint) -> None:
    first, second, heard = Kept(), Kept(), []
    one_pass(checkpoint, [Job(first), Job(second)], heard.append)
    assert sum(heard) == 2 * sum(checkpoint[name].nbytes for name in checkpoint.places)
    for writer in (first, second):
        assert writer.finished == 1
        for name in checkpoint.places:
            np.testing.assert_array_equal(writer.weight(name), checkpoint[name])


def test_what_was_stopped_goes_on(checkpoint: Checkpoint, tmp_path: Path) -> None:
    stopped = Kept(stop_at="layers.1.attn.q")
    with pytest.raises(InterruptedError):
        one_pass(checkpoint, [Job(stopped, Journal.open(tmp_path, "it"))], lambda _: None)
    journal = Journal.open(tmp_path, "it")
    assert "embed" in journal.done
    assert "layers.1.attn.q" not in journal.done
    before = set(journal.done)
    rest, whole = Kept(), Kept()
    one_pass(checkpoint, [Job(rest, journal), Job(whole)], lambda _: None)
    assert set(rest.rows) == set(checkpoint.places) - before
    assert set(whole.rows) == set(checkpoint.places)
    for name in checkpoint.places:
        source = stopped if name in before else rest
        np.testing.assert_array_equal(source.weight(name), checkpoint[name])


def test_a_journal_of_something_else_is_none(tmp_path: Path) -> None:
    Journal.open(tmp_path, "it").mark(["embed"])
    assert Journal.open(tmp_path, "it").done == {"embed"}
    assert Journal.open(tmp_path, "other").done == set()


@pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({"key": "it", "done": 3}), "\xff"])
def test_a_broken_journal_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / JOURNAL).write_bytes(text.encode("latin-1"))
    assert Journal.open(tmp_path, "it").done == set()
