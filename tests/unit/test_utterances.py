"""Prepared speech: what was written is what is read, and what cannot be is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from utterances import prepared, whistled

from edge.data.utterances import HOP, Utterances, write
from edge.errors import Damaged, EdgeError


def test_reads_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    made = [whistled(rng, voice) for voice in ("ann", "bob", "cy")]
    write(tmp_path, made)
    read = Utterances(tmp_path)
    assert len(read) == 3
    assert read.voices == ["ann", "bob", "cy"]
    for i, want in enumerate(made):
        got = read[i]
        assert (got.text, got.voice, got.exact) == (want.text, want.voice, True)
        np.testing.assert_array_equal(got.symbols, want.symbols)
        np.testing.assert_array_equal(got.frames, want.frames)
        np.testing.assert_allclose(got.samples, want.samples, atol=0.51 / 32768)
        np.testing.assert_allclose(got.hertz, want.hertz, atol=0.051)
        assert read.lengths[i] == want.frames.sum() == len(got.hertz) == len(got.mel())
        assert got.samples.size == HOP * read.lengths[i]
        assert got.mel().shape == (read.lengths[i], 80)


def test_splits_are_apart(tmp_path: Path) -> None:
    prepared(tmp_path, each=3)
    assert len(Utterances(tmp_path)) == 6
    assert Utterances(tmp_path, "text").voices == ["ann", "bob"]
    with pytest.raises(EdgeError, match="no row of the split 'voice'"):
        Utterances(tmp_path, "voice")
    with pytest.raises(EdgeError, match="no split 'test'"):
        Utterances(tmp_path, "test")
    assert Utterances(tmp_path).digest == Utterances(tmp_path, "text").digest


def test_sound_beyond_full_scale_does_not_wrap(tmp_path: Path) -> None:
    loud = whistled(np.random.default_rng(0), "ann")
    loud.samples[:] = np.where(np.arange(loud.samples.size) % 2, 3.0, -3.0)
    write(tmp_path, [loud])
    samples = Utterances(tmp_path)[0].samples
    assert samples.min() == -1
    assert samples.max() == np.float32(32767 / 32768)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("text", None, "no text or no voice"),
        ("voice", 3, "no text or no voice"),
        ("split", "test", "its split is none"),
        ("exact", 1, "exact is neither"),
        ("symbols", [1, 2, True], "whole numbers"),
        ("symbols", [], "0 symbols have"),
        ("symbols", "abc", "whole numbers"),
        ("frames", [1], "durations"),
        ("frames", None, "whole numbers"),
        ("sound", [0, 402], "whole numbers"),
    ],
)
def test_refuses_a_row_that_cannot_be(tmp_path: Path, name: str, value: object, says: str) -> None:
    prepared(tmp_path, each=1)
    file = tmp_path / "data-00000.jsonl"
    first, *others = file.read_text().splitlines()
    row = json.loads(first)
    file.write_text("\n".join([json.dumps(row | {name: value}), *others]))
    with pytest.raises(Damaged, match=f"line 1: .*{says}"):
        Utterances(tmp_path)


@pytest.mark.parametrize("begin", [2**40, 1])
def test_refuses_sound_that_begins_nowhere(tmp_path: Path, begin: int) -> None:
    prepared(tmp_path, each=1)
    file = tmp_path / "data-00000.jsonl"
    row = json.loads(file.read_text().splitlines()[0])
    row["sound"][0] = begin
    file.write_text(json.dumps(row))
    with pytest.raises(Damaged, match="not there"):
        Utterances(tmp_path)


@pytest.mark.parametrize("symbol", [0, 96, 10**30])
def test_refuses_symbols_that_are_none(tmp_path: Path, symbol: int) -> None:
    prepared(tmp_path, each=1)
    file = tmp_path / "data-00000.jsonl"
    row = json.loads(file.read_text().splitlines()[0])
    row["symbols"][2] = symbol
    file.write_text(json.dumps(row))
    with pytest.raises(Damaged, match="unknown"):
        Utterances(tmp_path)


def test_refuses_durations_that_add_up_to_other_sound(tmp_path: Path) -> None:
    prepared(tmp_path, each=1)
    file = tmp_path / "data-00000.jsonl"
    row = json.loads(file.read_text().splitlines()[0])
    row["frames"][0] += 1
    file.write_text(json.dumps(row))
    with pytest.raises(Damaged, match="not as long as its symbols"):
        Utterances(tmp_path)
    row["frames"][0] = 10**30  # more than any number of numpy's
    file.write_text(json.dumps(row))
    with pytest.raises(Damaged, match="frames, not 1 to 4096"):
        Utterances(tmp_path)


def test_refuses_sound_that_is_cut_off_or_changed(tmp_path: Path) -> None:
    prepared(tmp_path, each=1)
    file = tmp_path / "data-00000.i16"
    content = bytearray(file.read_bytes())
    file.write_bytes(content[:-2])
    with pytest.raises(Damaged, match="not there"):
        Utterances(tmp_path, "text")
    content[11] ^= 1
    file.write_bytes(content)
    read = Utterances(tmp_path)
    with pytest.raises(Damaged, match="not what it was"):
        read[0]


def test_refuses_what_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="no folder"):
        Utterances(tmp_path / "none")
    with pytest.raises(EdgeError, match="holds no"):
        Utterances(tmp_path)
