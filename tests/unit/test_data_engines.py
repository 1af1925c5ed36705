"""Runs of an engine: the same bytes whoever computes them and however they are cut, counts that add up, and what is
refused before anything is written.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from engines import CHINESE, adds_up, content, lines, prose, rejected, rows, run, stopped
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.data import engines
from edge.data.frame import sink, sources, work
from edge.data.frame.crew import Alone, Processes
from edge.data.frame.places import Place, packed, unpacked
from edge.data.frame.settings import setting
from edge.data.frame.step import Drop, Each, Engine, Form, Keyed, Means, Row, phases, seed_of
from edge.data.making import Order, make
from edge.data.steps.duplicates import duplicates
from edge.errors import EdgeError

TEXTS = [prose(seed) for seed in range(30)]
MIXED = [
    *TEXTS[:10],
    b"{",
    TEXTS[3],
    "too short",
    b"",
    *TEXTS[10:],
    CHINESE,
    TEXTS[0] + " Also this.",
]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of so few bytes that there are several."""
    monkeypatch.setattr(sources, "PART", 4000)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(lines(MIXED))
    (folder / "b.txt").write_text(TEXTS[5])
    (folder / "c.txt").write_text(prose(77))
    return folder


def test_rows_come_out_in_order_without_copies(source: Path, tmp_path: Path) -> None:
    report = run([source], tmp_path / "out")
    assert [row["text"] for row in rows(tmp_path / "out")] == [*TEXTS, CHINESE, prose(77)]
    assert adds_up(report)
    assert report == json.loads((tmp_path / "out/report.json").read_text()) | {
        "path": str(tmp_path / "out"),
        "engine": "text",
    }
    found = rejected(tmp_path / "out")
    assert [(row["file"], row["line"], row["step"], row["reason"]) for row in found] == [
        ("a.jsonl", 11, "read", "not JSON"),
        ("a.jsonl", 13, "quality", "few words"),
        ("a.jsonl", 14, "read", "empty"),
        ("a.jsonl", 12, "duplicates", "same text"),
        ("a.jsonl", 36, "duplicates", "near copy"),
        ("b.txt", 1, "duplicates", "same text"),
    ]
    assert [row["detail"] for row in found[3:]] == ["a.jsonl:4", "a.jsonl:1", "a.jsonl:6"]


def test_the_manifest_says_what_it_was_made_of(source: Path, tmp_path: Path) -> None:
    run([source], tmp_path / "out", least_words="5", seed=4)
    said = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (said["engine"], said["version"], said["seed"]) == ("text", 1, 4)
    assert said["settings"]["least_words"] == 5
    assert sorted(said["sources"]) == ["a.jsonl", "b.txt", "c.txt"]
    files = content(tmp_path / "out")
    assert sorted(files) == sorted([*said["files"], "manifest.json", "report.json"])
    for name, told in said["files"].items():
        assert told["sha256"] == hashlib.sha256(files[name]).hexdigest()
        assert told["bytes"] == len(files[name])
    assert str(tmp_path) not in "".join(map(bytes.decode, files.values()))


@pytest.mark.parametrize("options", [{}, {"shuffle": "yes"}, {"shard": "2000"}], ids=str)
def test_bytes_do_not_depend_on_who_computes_nor_on_how_it_is_cut(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    run([source], tmp_path / "one", **options)
    monkeypatch.setattr(sources, "PART", 700)
    run([source], tmp_path / "cut", **options)
    assert content(tmp_path / "cut") == content(tmp_path / "one")
    if not options:
        run([source], tmp_path / "two", crew=Processes(2))
        assert content(tmp_path / "two") == content(tmp_path / "one")


def test_files_have_a_bound(source: Path, tmp_path: Path) -> None:
    run([source], tmp_path / "whole")
    run([source], tmp_path / "out", shard="2000")
    files = sorted((tmp_path / "out").glob("data-*.jsonl"))
    assert len(files) > 5
    assert all(0 < file.stat().st_size <= 2000 for file in files)
    assert (
        b"".join(file.read_bytes() for file in files)
        == (tmp_path / "whole/data-00000.jsonl").read_bytes()
    )
    run([source], tmp_path / "each", shard="1")  # a row that is longer has a file of its own
    assert len(list((tmp_path / "each").glob("data-*.jsonl"))) == 32


def test_a_seed_shuffles(source: Path, tmp_path: Path) -> None:
    run([source], tmp_path / "plain")
    for seed in (1, 2):
        run([source], tmp_path / str(seed), shuffle="yes", seed=seed)
    plain, one, two = (rows(tmp_path / name) for name in ("plain", "1", "2"))
    assert plain != one != two
    assert sorted(row["text"] for row in one) == sorted(row["text"] for row in plain)
    seed = seed_of(1, "shuffle")
    names = [f"a.jsonl:{i + 1}" for i, text in enumerate(MIXED) if text == TEXTS[7]]
    assert one.index({"text": TEXTS[7]}) == sorted(  # an oracle: names by their numbers
        (seed_of(seed, name), name) for name in _names(plain)
    ).index((seed_of(seed, names[0]), names[0]))


def _names(kept: Sequence[Any]) -> list[str]:
    known = {text: f"a.jsonl:{i + 1}" for i, text in reversed(list(enumerate(MIXED)))}
    return [known.get(row["text"], "c.txt:1") for row in kept]


def test_other_fields_of_a_record_stay(tmp_path: Path) -> None:
    record = {"id": 9, "text": TEXTS[0], "more": {"a": [1, 2.5, None, "é"]}}
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    run([tmp_path / "a.jsonl"], tmp_path / "out")
    assert rows(tmp_path / "out") == [record]


def test_nothing_left_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{\n")
    (tmp_path / "b.jsonl").write_bytes(b"")
    report = run([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "out", shuffle="yes")
    assert (report["read"], report["rows"], report["files"]) == (1, 0, 0)
    assert adds_up(report)


def test_fewer_rows_than_processes(tmp_path: Path) -> None:
    """data-juicer#531."""
    (tmp_path / "a.jsonl").write_bytes(lines(TEXTS[:1]))
    assert run([tmp_path / "a.jsonl"], tmp_path / "out", crew=Processes(3))["rows"] == 1


TEXT = st.sampled_from([*TEXTS[:4], "short", CHINESE, "", b"{", b"\xff", TEXTS[0] + " more"])


@settings(max_examples=25)
@given(
    st.lists(st.lists(TEXT, max_size=8), min_size=1, max_size=4),
    st.sampled_from(["near", "exact", "none"]),
)
def test_counts_add_up_whatever_comes(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[Any]], kind: str
) -> None:
    folder = tmp_path_factory.mktemp("law")
    (folder / "src").mkdir()
    for i, texts in enumerate(files):
        (folder / "src" / f"{i}.jsonl").write_bytes(lines(texts))
    report = run([folder / "src"], folder / "out", duplicates=kind)
    assert adds_up(report)
    assert report["read"] == sum(map(len, files))
    assert len(rows(folder / "out")) == report["rows"] == report["kept"]
    assert len(rejected(folder / "out")) == report["rejected"]
    texts = [row["text"] for row in rows(folder / "out")]
    assert kind == "none" or len(set(texts)) == len(texts)


# An engine of no use, that does all that steps may do.


@dataclass(frozen=True, kw_only=True, slots=True)
class ToySettings:
    least: int = setting(2, "letters")


def _split(row: Row, _seed: int) -> Row | list[Row]:
    words = row.data["text"].split()
    return [Row(row.file, row.line, {"text": word}) for word in words]


def _drawn(row: Row, seed: int) -> Row | Drop:
    return (
        Drop("drawn")
        if seed % 5 == 0
        else Row(row.file, row.line, {**row.data, "seed": seed}, row.child)
    )


def _steps(chosen: Any, _means: Means) -> tuple[Each | Keyed, ...]:
    least = chosen.least
    return (
        Each(name="split", do=_split),
        duplicates(None),
        Each(
            name="long", do=lambda row, _: row if len(row.data["text"]) >= least else Drop("short")
        ),
        Each(name="chance", do=_drawn),
        duplicates(None),
    )


TOY = Engine(
    name="text",
    version=1,
    what="",
    settings=ToySettings,
    steps=_steps,
    form=lambda _settings, _means: Form(shard=1 << 20),
    check=lambda *_: None,
)


def test_steps_may_make_rows_and_draw_from_their_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find", lambda _: TOY)
    work._phases.cache_clear()
    words = [f"w{i % 90} {i} x" for i in range(200)]
    (tmp_path / "a.jsonl").write_bytes(lines(words))
    outs = []
    for size in (1 << 20, 100):
        monkeypatch.setattr(sources, "PART", size)
        report = run([tmp_path / "a.jsonl"], tmp_path / f"out{size}", seed=3)
        outs.append(content(tmp_path / f"out{size}"))
        assert adds_up(report)
        assert report["made"] == 400
    assert outs[0] == outs[1]
    work._phases.cache_clear()
    want = []  # slowly, without any frame
    seen: set[str] = set()
    for number, text in enumerate(words, start=1):
        for i, word in enumerate(text.split()):
            seed = seed_of(3, "chance", f"a.jsonl:{number}/{i}")
            if word not in seen and len(word) >= 2 and seed % 5:
                want.append({"text": word, "seed": seed})
            seen.add(word)
    assert rows(tmp_path / "out100") == want
    assert len(phases(_steps(ToySettings(), Means()))) == 3


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"least_word": "3"}, "has no setting 'least_word'"),
        ({"least_words": "many"}, "least_words=many is not a whole number from 0"),
        ({"least_words": "2.5"}, "is not a whole number"),
        ({"most_symbols": "nan"}, "most_symbols=nan is not a number"),
        ({"c4": "maybe"}, "c4=maybe is not yes or no"),
        ({"duplicates": "some"}, "is not one of near, exact, none"),
        ({"top_grams": "0.1,0.2"}, "is not 3 numbers"),
        ({"bands": "0"}, "bands=0 is not a whole number from 1"),
        ({"bands": "999", "band_rows": "999"}, "at most 16384"),
        ({"shard": "big"}, "shard=big is not a size"),
        ({"line_words": "3"}, "line_words says nothing without c4=yes"),
        ({"gram": "3", "duplicates": "exact"}, "gram says nothing without duplicates=near"),
        ({"least_words": "3", "quality": "no"}, "without quality=yes"),
        ({"grams": "1,1,1,1,1,1", "repetition": "no"}, "without repetition=yes"),
        ({"length": "64"}, "length says nothing without --tokenizer"),
        ({"least_rating": "4"}, "least_rating says nothing without --model"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_before_anything(
    source: Path, tmp_path: Path, options: dict[str, str], why: str
) -> None:
    with pytest.raises(EdgeError, match=why):
        run([source], tmp_path / "out", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_an_engine_that_there_is_not() -> None:
    with pytest.raises(
        EdgeError, match=r"there is no engine 'in3'\s+fix: use one of: speech, text"
    ):
        engines.find("in3")


def test_an_engine_is_one_file(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "loud.py").write_text(LOUD)
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(tmp_path / "more")])
    assert "loud" in engines.names()
    order = Order(engine="loud", sources=(str(source / "b.txt"),), options={"mark": "?"})
    assert make(order, tmp_path / "out", Alone, resume=False)["rows"] == 1
    assert rows(tmp_path / "out") == [{"text": TEXTS[5].upper() + "?"}]


LOUD = """
from dataclasses import dataclass
from typing import Literal

from edge.data.frame.settings import setting
from edge.data.frame.step import Each, Engine, Form, Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    mark: Literal["!", "?"] = setting("!", "what ends a text")


def steps(settings, means):
    def do(row, seed):
        return Row(row.file, row.line, {"text": row.data["text"].upper() + settings.mark})

    return (Each(name="loud", do=do),)


ENGINE = Engine(
    name="loud",
    version=1,
    what="loud texts",
    settings=Settings,
    steps=steps,
    form=lambda settings, means: Form(shard=1 << 20),
    check=lambda given, settings, means: None,
)
"""


def test_what_lies_there_is_not_replaced(source: Path, tmp_path: Path) -> None:
    run([source], tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(EdgeError, match="exists already"):
        run([source], tmp_path / "out")
    (tmp_path / "other").mkdir()
    for resume in (False, True):
        with pytest.raises(EdgeError, match="exists already"):
            run([source], tmp_path / "other", resume=resume)
    assert run([source], tmp_path / "out", resume=True)["rows"] == 32  # it was finished
    assert content(tmp_path / "out") == before


def test_a_stopped_run_is_neither_lost_nor_begun_anew_by_mistake(
    source: Path, tmp_path: Path
) -> None:
    run([source], tmp_path / "whole")
    stopped(source, tmp_path / "out", 3)
    with pytest.raises(EdgeError, match="was stopped before its end") as refused:
        run([source], tmp_path / "out")
    assert "give --resume" in refused.value.fix
    run([source], tmp_path / "out", resume=True)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert (
        run([source], tmp_path / "new", resume=True)["rows"] == 32
    )  # nothing was begun: all of it


def test_what_is_finished_is_not_computed_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(source, tmp_path / "out", 2)
    monkeypatch.setattr(
        sources, "PART", 100
    )  # the cut of the run that was begun holds (data-juicer#1036)
    done = [Place(tmp_path / ".out.partial/work", 0, part) for part in (0, 1)]
    names = {unpacked(line).name for place in done for line in place.file("rows").open("rb")}
    seen: Counter[str] = Counter()
    through = work.through

    def watched(steps: Any, row: Row, seed: int) -> Any:
        seen[row.name] += 1
        return through(steps, row, seed)

    monkeypatch.setattr(work, "through", watched)
    run([source], tmp_path / "out", resume=True)
    assert len(names) > 8
    assert max(seen[name] for name in names) == 1  # once all rows are known
    assert max(seen.values()) == 2
    assert seen["c.txt:1"] == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seed": 1}, "other seed: 0, now 1"),
        ({"least_words": "3"}, "other settings: least_words: 50, now 3"),
        ({"source": "a"}, "other sources: c.txt"),
        ({"source": "new"}, "other sources: z.txt: None"),
    ],
    ids=str,
)
def test_a_run_goes_on_only_as_it_was_begun(
    source: Path, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    stopped(source, tmp_path / "out", 3)
    run([source], tmp_path / "done")
    kind = change.pop("source", None)
    if kind:
        (source / ("c.txt" if kind == "a" else "z.txt")).write_text(prose(5))
    for name in ("out", "done"):
        with pytest.raises(EdgeError, match=why):
            run([source], tmp_path / name, resume=True, **change)
    assert (tmp_path / ".out.partial" / "work" / "job.json").exists()


def test_another_version_of_an_engine_does_not_go_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(source, tmp_path / "out", 3)
    newer = replace(engines.find("text"), version=2)
    monkeypatch.setattr(engines, "find", lambda _: newer)
    with pytest.raises(EdgeError, match="other version: 1, now 2"):
        run([source], tmp_path / "out", resume=True)


def test_a_part_that_was_lost_is_computed_again(source: Path, tmp_path: Path) -> None:
    """As when the machine stops: names are there, and not all that they name."""
    run([source], tmp_path / "whole")
    stopped(source, tmp_path / "out", 3)
    work_folder = tmp_path / ".out.partial/work"
    (work_folder / "0-000000.rows").write_bytes(b"")
    (work_folder / "0-000001.counts").write_bytes(b"\0\0")
    run([source], tmp_path / "out", resume=True)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_damaged_run_is_said(source: Path, tmp_path: Path) -> None:
    stopped(source, tmp_path / "out", 3)
    for said, why in (
        ("{", "is not JSON"),
        ("[]", "does not hold a JSON object"),
        ('{"part": "9"}', "names no part"),
    ):
        (tmp_path / ".out.partial/work/job.json").write_text(said)
        with pytest.raises(EdgeError, match=why):
            run([source], tmp_path / "out", resume=True)


def test_a_process_that_dies_is_one_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = Processes(2)

    monkeypatch.setattr(crew, "_more", lambda more=crew._more: _dead(more()))
    with pytest.raises(EdgeError, match="ended by itself"):
        run([source], tmp_path / "out", crew=crew)
    run([source], tmp_path / "out", resume=True)
    assert len(rows(tmp_path / "out")) == 32


def _dead(process: Any) -> Any:
    process.kill()
    process.wait()
    return process


def test_workers_refuse_as_this_process_does(source: Path, tmp_path: Path) -> None:
    """A refusal comes through the pipe as it is."""
    (source / "a.jsonl").unlink()
    (source / "d.txt").write_text(prose(8))
    crew = Processes(2)
    request = work.surveying([sources.Source("x", tmp_path / "nothing.jsonl")], 10, [])
    try:
        answers = [
            work.opened(one)
            for one in crew.each(
                [work.surveying([s], 9, [".jsonl"]) for s in sources.find([str(source)])]
            )
        ]
        assert len(answers) == 3
        with pytest.raises(EdgeError, match=r"nothing\.jsonl cannot be read"):
            [work.opened(one) for one in crew.each([request, request])]
    finally:
        crew.close()


def test_a_folder_that_others_do_not_see_is_said(source: Path, tmp_path: Path) -> None:
    class Elsewhere(Alone):
        def each(self, requests: Sequence[str]) -> Any:
            for request in requests:
                asked = json.loads(request)
                if "job" in asked:
                    asked["folder"] = str(tmp_path / "src")
                yield work.answer(json.dumps(asked))

    with pytest.raises(EdgeError, match="what other machines made is not in"):
        run([source], tmp_path / "out", crew=Elsewhere())


@settings(max_examples=20)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), max_size=12),
    st.integers(1, 7),
    st.data(),
)
def test_rows_of_tokens_go_on_in_the_middle_of_a_document(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[int]],
    length: int,
    data: st.DataObject,
) -> None:
    """Wherever a file of them ends, the next one begins with the next token; what is left is counted."""
    folder = tmp_path_factory.mktemp("sink")
    cut = data.draw(st.integers(0, len(documents)))
    places = [Place(folder, 0, i) for i in range(2)]
    for place, some in zip(places, (documents[:cut], documents[cut:]), strict=True):
        with place.file("rows").open("wb") as file, place.file("keys").open("wb") as keys:
            for i, tokens in enumerate(some):
                keys.write(file.tell().to_bytes(8, "little"))
                file.write(packed(Row("a", i + 1, {"tokens": tokens})))
    ordered = sink.Ordered(tuple(places), (cut, len(documents) - cut), None)
    form = Form(shard=data.draw(st.integers(20, 200)), length=length)
    made = sink.write(ordered, form, folder, folder)
    ids = [one for tokens in documents for one in tokens]
    found = [row["tokens"] for row in rows(folder)]
    assert found == [ids[at : at + length] for at in range(0, len(ids) - length + 1, length)]
    assert made.left == len(ids) % length
    before = content(folder)
    kept = data.draw(st.integers(0, len(made.shards)))
    for number, shard in list(enumerate(made.shards))[kept:]:  # killed after so many files
        (folder / shard.name).unlink()
        (folder / f"shard-{number:05}.json").unlink()
    assert sink.write(ordered, form, folder, folder) == made
    assert content(folder) == before
