"""What measures compacted caches measures the same as asking each way by itself, and keeps it whole."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock
from xml.etree import ElementTree

import numpy as np
import pytest
from support import tiny

from edge.decode.snapkv import CompactingDecoder, SnapKV
from edge.errors import Damaged, Unsupported
from edge.measure import picture, quality
from edge.measure.quality import Talk
from edge.measure.recall import ONE_FACT, case, needle, tokens
from edge.measure.record import WHOLE, Cell, Record, Way
from edge.measure.replay import Replay
from edge.quant import recipe as recipes
from edge.source.checkpoint import Checkpoint
from edge_runtimes.reference.decoder import ReferenceDecoder, oracle

IDS = [int(i) for i in np.random.default_rng(2).integers(0, 97, 44)]
HALF = Way("reuse", 2)
FAKE = MagicMock()  # an artifact, a tokenizer and a decoder that nobody looks into
FAKE.manifest.name = "fake"


@pytest.fixture
def decoder(tmp_path: Path) -> ReferenceDecoder:
    return oracle(Checkpoint.open(tiny(tmp_path / "s", "llama")), recipes.parse("fp32"))


@pytest.mark.parametrize("mode", quality.MODES)
def test_what_was_read_before_is_read_no_differently(decoder: ReferenceDecoder, mode: str) -> None:
    again = Replay(decoder)
    small = {"capacity": 12, "window": 4}
    for options in (SnapKV(**small), replace(quality.MODES[mode], **small, chunk=None)):
        fresh, kept = CompactingDecoder(decoder, options), CompactingDecoder(again, options)
        kept.rewind(0)
        got = [kept.prefill(IDS[:30]).copy(), kept.step(5).copy(), kept.score(IDS[30:34]).copy()]
        kept.rewind(31)
        got.append(kept.step(6).copy())
        assert kept.length == 32
        rows = kept.rows
        fresh.rewind(0)
        want = [fresh.prefill(IDS[:30]), fresh.step(5), fresh.score(IDS[30:34])]
        fresh.rewind(31)
        want.append(fresh.step(6))
        assert rows == fresh.rows
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        again = Replay(decoder)  # `fresh` has led its base elsewhere


def test_a_prompt_is_read_once_for_all_ways(
    decoder: ReferenceDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, run = list[int](), ReferenceDecoder._run
    monkeypatch.setattr(
        ReferenceDecoder, "_run", lambda *a, **how: (read.append(len(a[1])), run(*a, **how))[1]
    )
    again = Replay(decoder)
    for capacity in (8, 12, 20):
        source = CompactingDecoder(again, SnapKV(capacity=capacity, window=4))
        source.rewind(0)
        source.prefill(IDS[:30])
        source.step(3)
    assert read == [26, 4, 1, 1, 1]


def test_the_whole_cache_goes_back_to_where_an_answer_left(decoder: ReferenceDecoder) -> None:
    again = Replay(decoder)
    again.prefill(IDS[:20])
    for token in (3, 4, 5):
        again.step(token)
    again.rewind(21)
    got = again.prefill(IDS[20:25]).copy()
    decoder.rewind(0)
    want = decoder.prefill([*IDS[:20], 3, *IDS[20:25]])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_needle_lies_where_it_should_and_nothing_else_tells_it() -> None:
    for number, depth in enumerate((0.0, 0.3, 1.0)):
        found = needle(random.Random(number), number, depth=depth)
        (fact,) = found.question.about
        before, _, after = found.prompt.partition(fact)
        name = fact.split()[0] if number != 1 else fact.split()[-2]
        assert found.question.kind == ONE_FACT[number]
        assert name not in before
        assert found.prompt.endswith(found.question.text)
        assert abs(tokens(before) - depth * 1000) < 150
        assert found.distance == tokens(after.removesuffix(found.question.text))


def test_a_second_question_was_told_and_is_about_somebody_else() -> None:
    for number in range(12):
        found = case(random.Random(number), number, 1000)
        assert found.later is not None
        assert all(fact in found.prompt for fact in found.later.about)
        if found.question.kind not in ("two people", "who") and found.later.kind != "who":
            assert found.later.text != found.question.text
            assert found.later.about != found.question.about
    soon = [case(random.Random(n), n, 1).later for n in range(40)]
    assert None in soon, "what was not told is not asked"


def test_the_cost_is_of_the_same_cases() -> None:
    """Closed form: whole 1 1 0 1, half 1 0 0 1: below 0 1 0 0, mean 1/4, error sqrt(1/4) / 2."""
    record = Record()
    for number, (whole, half) in enumerate(((1, 1), (1, 0), (0, 0), (1, 1))):
        record.add(number, {Cell("question", WHOLE): whole, Cell("question", HALF): half})
    found = record.figure(Cell("question", HALF))
    assert (found.cases, found.mean, found.below) == (4, 0.5, 0.25)
    assert math.isclose(found.stderr, 0.25)
    record.add(9, {Cell("question", WHOLE): 1})
    assert record.figure(Cell("question", HALF)) == found, "the ninth was asked one way only"


def test_a_record_goes_on_where_it_stopped(tmp_path: Path) -> None:
    file, record = tmp_path / "q.json", Record({"model": "toy"})
    record.add(0, {Cell("question", WHOLE): 1.0, Cell("question", HALF): 0.0})
    record.add(2, {Cell("question", WHOLE): 1.0})
    record.save(file)
    back = Record.load(file)
    assert back == record
    assert list(back.missing(["question"], [WHOLE], 4)) == [1, 3]
    assert list(back.missing(["question"], [WHOLE, HALF], 4)) == [1, 2, 3]
    assert list(back.missing(["question", "needle"], [WHOLE], 2)) == [0, 1]
    assert json.loads(file.read_text())["cells"][0]["values"] == [1, None, 1]
    assert Record.load(tmp_path / "none") == Record()
    file.write_text('{"about": {}, "cells": [{}]}')
    with pytest.raises(Damaged, match="no such measurement"):
        Record.load(file)


def test_a_picture_shows_each_measurement_where_it_belongs() -> None:
    record = Record()
    for way in (WHOLE, Way("SnapKV", 2), Way("SnapKV", 16), Way("a <b>", 4)):
        record.add(0, {Cell("question", way): float(way == WHOLE)})
        record.add(1, {Cell("question", way): 1.0})
    tree = ElementTree.fromstring(picture.svg(record))
    lines = [line.get("points", "") for line in tree.findall(".//{*}polyline")]
    assert len(lines) == 4, "two modes, and two in the legend"
    points = [tuple(map(float, point.split(","))) for point in lines[0].split()]
    (left, top), (_, middle), (right, _) = points
    assert (top, middle) == (40, 150), "all right at the top, half right in the middle"
    assert right - left == 250 - 28, "from all to a sixteenth"
    words = ["".join(text.itertext()) for text in tree.findall(".//{*}text")]
    assert {"a <b>", "SnapKV", "1/16", "100", "question, 2 cases"} <= set(words)


def test_a_mode_that_a_runtime_refuses_is_noted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The others are asked, and it is not asked again."""
    asked: list[Way] = []

    def answered(_a: object, _t: object, _d: object, talk: Talk, way: Way) -> dict[str, bool]:
        asked.append(way)
        if way.mode == "pyramid":
            raise Unsupported("layers share one table of rows", fix="leave it out")
        return dict.fromkeys(talk.tasks, True)

    talk = Talk(tasks=("question", "needle"), ids=([1], [2]), answers=("x", "y"))
    monkeypatch.setattr(quality, "answered", answered)
    monkeypatch.setattr(quality, "talks", lambda *_: [talk])
    monkeypatch.setattr(quality, "opened", lambda *_: None)
    monkeypatch.setattr(quality, "Replay", lambda _: None)
    file, modes = tmp_path / "q.json", ("pyramid", "reuse")
    for _ in range(2):
        record = quality.measure(FAKE, FAKE, FAKE, file, cases=2, modes=modes)
    assert record.about["refused"] == {"pyramid": "layers share one table of rows"}
    assert {cell.way.mode for cell in record.values} == {"whole cache", "reuse"}
    assert [way.mode for way in asked].count("pyramid") == 4, "each share of the first case"
    assert len(asked) == 4 + 2 * len(quality.ways_of(["reuse"]))
