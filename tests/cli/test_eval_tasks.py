"""`edge eval --tasks`: what it prints, what it refuses before a model is opened, and that it asks no other machine."""

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import made_up
import pytest
from conftest import Edge
from support import converted

from edge.errors import Unsupported
from edge.files.hashing import sha256
from edge.measure.answering import Answering
from edge.system.alone import alone

pytest.importorskip("lm_eval")

from edge.measure import benchmarks


@pytest.fixture(scope="module")
def artifact(short_stories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("made") / "it", short_stories)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.everything(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(autouse=True)
def _no_wires(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A connection that is tried fails the test, whoever tries it."""
    tried: list[Any] = []

    def refuse(*given: Any, **_: Any) -> None:
        tried.append(given)
        raise AssertionError(f"it asks for {given}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    return tried


def test_everything_is_said(edge: Edge, artifact: Path, data: Path) -> None:
    asked = ("eval", artifact, "--tasks", "arc_easy, piqa,arc_easy", "--task-data", data)
    done = edge(*asked, "--limit", "4", "--fewshot", "1", "--json")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 1
    found = done.json
    assert list(found["tasks"]) == ["arc_easy", "piqa"]
    for row, of in zip(found["tasks"].values(), (6, 6), strict=True):
        assert {key: row[key] for key in ("version", "shots", "questions", "of")} == {
            "version": 1.0, "shots": 1, "questions": 4, "of": of,
        }  # fmt: skip
        assert set(row["metrics"]) == {"acc", "acc_se", "acc_norm", "acc_norm_se"}
        assert all(0 <= value <= 1 for value in row["metrics"].values())
    said = {
        key: found[key]
        for key in ("artifact", "target", "harness", "limit", "chat", "seed", "groups")
    }
    assert said == {
        "artifact": str(artifact), "target": "onnx", "harness": "lm_eval 0.4.13", "limit": 4,
        "chat": False, "seed": 1234, "groups": {},
    } or said["harness"].startswith("lm_eval 0.4.")  # fmt: skip
    assert found["files"] == {name: sha256(artifact / name) for name in found["files"]}
    assert "model.onnx" in found["files"]
    assert found["data"] == {name: sha256(data / name) for name in found["data"]}
    names = {f"{made_up.ARC}/{split}.jsonl" for split in ("train", "test")}
    names |= {f"{made_up.PIQA}/{split}.jsonl" for split in ("train", "validation")}
    assert set(found["data"]) == names
    assert found["counts"]["requests"] == 4 * 4 + 4 * 2
    assert found["counts"]["shared"] > 0
    again = edge(*asked, "--limit", "4", "--fewshot", "1", "--json").json
    assert again == found
    other = edge(*asked, "--limit", "4", "--fewshot", "1", "--seed", "7", "--json").json
    assert (other["seed"], other["counts"]["tokens"]) != (1234, found["counts"]["tokens"])


def test_a_table_without_json(
    edge: Edge, artifact: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lm-evaluation-harness#1485, #2581: standard errors fork whatever threads are there, and print."""
    monkeypatch.setattr("multiprocessing.Pool", None)
    tasks = "arc_easy,lambada_openai,gsm8k"
    done = edge("eval", artifact, "--tasks", tasks, "--task-data", data, "--limit", "2")
    assert done.code == 0, done.err
    head, *lines = done.out.splitlines()
    assert head.split() == ["TASK", "SHOTS", "QUESTIONS", "METRIC", "VALUE", "±"]
    assert [line.split()[:4] for line in lines] == [
        ["arc_easy", "0", "2", "acc"],
        ["arc_easy", "0", "2", "acc_norm"],
        ["lambada_openai", "0", "2", "perplexity"],
        ["lambada_openai", "0", "2", "acc"],
        ["gsm8k", "5", "2", "exact_match,strict-match"],
        ["gsm8k", "5", "2", "exact_match,flexible-extract"],
    ]


def test_a_group_has_a_figure_of_its_own(edge: Edge, artifact: Path, data: Path) -> None:
    for name, count in (("bio", 3), ("chem", 2), ("cyber", 1)):
        row = {"question": "Who has the kite?", "choices": list(made_up.NAMES), "answer": 1}
        made_up.write(data / f"cais/wmdp/wmdp-{name}/test.jsonl", [row] * count)
    found = edge("eval", artifact, "--tasks", "wmdp", "--task-data", data, "--json").json
    each = [found["tasks"][f"wmdp_{name}"]["metrics"]["acc"] for name in ("bio", "chem", "cyber")]
    group = found["groups"]["wmdp"]
    assert group["tasks"] == ["wmdp_bio", "wmdp_chem", "wmdp_cyber"]
    assert group["metrics"]["acc"] == pytest.approx((3 * each[0] + 2 * each[1] + each[2]) / 6)


def test_a_context_that_is_too_short_is_said(
    edge: Edge, short_stories: Path, data: Path, tmp_path: Path
) -> None:
    """lm-evaluation-harness warns of each request, in a log."""
    short = converted(tmp_path / "it", short_stories, context=40)
    done = edge(
        "eval", short, "--tasks", "arc_easy", "--task-data", data, "--fewshot", "4", "--json"
    )
    assert done.json["counts"]["cut"] == done.json["counts"]["requests"] == 24
    assert (
        "24 of 24 requests were longer than the context: their beginning was left out" in done.err
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Answering, "likelihoods", None
        )  # refused before the first answer to another task
        refused = edge("eval", short, "--tasks", "piqa,gsm8k", "--task-data", data, "--json")
    assert (refused.code, refused.out) == (2, "")
    assert "gsm8k: the model's context is 40 tokens, an answer here may take 256" in refused.err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("", "eval takes one of --text, --questions, --sheets, --where, --scenes, --tasks"),
        ("--tasks arc_easy", "--tasks are asked about --task-data"),
        ("--tasks arc_easy --text DATA --task-data DATA", "eval takes one of"),
        ("--tasks arc_easy, --task-data DATA", "has an empty name"),
        ("--tasks arc_easy --task-data DATA --window 9", "--window: not of --tasks"),
        ("--tasks arc_easy --task-data DATA --against x", "--against: not of --tasks"),
        ("--text x --task-data DATA --fewshot 0", "--task-data and --fewshot: not of --text"),
        ("--text x --chat --seed 0", "--seed and --chat: not of --text"),
        ("--questions 1 --limit 3 --window 3", "--window and --limit: not of --questions"),
        ("--sheets 1 --data x --kv int8 --adapter x", "--kv and --adapter: not of --sheets"),
        ("--sheets 1", "--sheets are drawn in the fonts of --data"),
        ("--scenes 1", "points at nothing"),
        ("--scenes 1 --data x", "--data: not of --scenes"),
        ("--tasks arc_easy --task-data DATA --kv int8 --exact", "only plain decoding is exact"),
        ("--tasks arc_easy --task-data DATA/none", "is no folder"),
        ("--tasks nothing_like_it --task-data DATA", "has no task 'nothing_like_it'"),
        ("--tasks hellaswag --task-data DATA", "there is no DATA/Rowan/hellaswag/validation.jsonl"),
        ("--tasks arc_challenge --task-data DATA", "DATA/allenai/ai2_arc/ARC-Challenge/test.jsonl"),
        ("--tasks sciq --task-data DATA --fewshot 1", "allenai/sciq/test.jsonl"),
        ("--tasks arithmetic_1dc --task-data DATA", "there is no DATA/EleutherAI/arithmetic/data/"),
        ("--tasks arc_easy --task-data DATA --fewshot 50", "as many examples as are asked for"),
        ("--tasks wmdp_bio --task-data DATA --fewshot 2", "wmdp_bio is a task without examples"),
        ("--tasks bleurt_like --task-data DATA", "has no task"),
    ],
)
def test_what_is_refused(words: str, problem: str, edge: Edge, artifact: Path, data: Path) -> None:
    words = words.replace("DATA", str(data))
    row = {"question": "Who?", "choices": list(made_up.NAMES), "answer": 1}
    made_up.write(data / "cais/wmdp/wmdp-bio/test.jsonl", [row])
    done = edge("eval", artifact, *words.split(), "--json")
    assert (done.code, done.out) == (2, ""), done.err
    assert problem.replace("DATA", str(data)) in done.err
    assert "fix: " in done.err


def test_data_of_other_columns(edge: Edge, artifact: Path, tmp_path: Path) -> None:
    made_up.write(tmp_path / made_up.PIQA / "validation.jsonl", [{"goal": "Find it.", "label": 1}])
    done = edge("eval", artifact, "--tasks", "piqa", "--task-data", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "piqa cannot be asked: " in done.err
    assert "give the data the columns of the data set whose name they have" in done.err


def test_examples_are_of_their_own_split(
    edge: Edge, artifact: Path, data: Path, tmp_path: Path
) -> None:
    """None is made of the questions where the file of examples is not there."""
    rows = (data / made_up.PIQA / "validation.jsonl").read_text()
    (tmp_path / made_up.PIQA).mkdir(parents=True)
    (tmp_path / made_up.PIQA / "validation.jsonl").write_text(rows)
    asked = ("eval", artifact, "--tasks", "piqa", "--task-data", tmp_path, "--limit", "1")
    assert edge(*asked).code == edge(*asked, "--fewshot", "0").code == 0
    done = edge(*asked, "--fewshot", "1")
    assert (done.code, done.out) == (2, "")
    assert (
        f"the task piqa needs the split train of baber/piqa, and there is no {tmp_path}" in done.err
    )


def test_a_task_of_the_folder_is_none(
    edge: Edge, artifact: Path, data: Path, tmp_path: Path
) -> None:
    """A YAML file can name code that runs (`!function`): tasks are those of the package alone."""
    code = f"def run(doc):\n    open({str(tmp_path / 'ran')!r}, 'w')\n    return 'x'\n"
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + code)
    (tmp_path / "mine.yaml").write_text(
        "task: mine\ndataset_path: baber/piqa\ntest_split: validation\ndoc_to_text: !function mine.run\n"
    )
    made_up.everything(tmp_path)
    for name in ("mine", tmp_path / "mine.yaml"):
        done = edge("eval", artifact, "--tasks", name, "--task-data", tmp_path)
        assert (done.code, done.out) == (2, "")
        assert "has no task" in done.err
    assert not (tmp_path / "ran").exists()


def test_a_failure_of_the_model_is_no_task_s(
    edge: Edge, artifact: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("a mistake of edge's own")

    monkeypatch.setattr(Answering, "likelihoods", fails)
    done = edge("eval", artifact, "--tasks", "piqa", "--task-data", data)
    assert done.code == 70
    assert "cannot be asked" not in done.err


def test_who_lacks_the_package_is_told_the_extra(
    edge: Edge, artifact: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == "lm_eval" or name == "edge.measure.benchmarks":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("edge.measure.benchmarks")
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    done = edge("eval", artifact, "--tasks", "piqa", "--task-data", data)
    assert (done.code, done.out) == (3, "")
    assert "edge eval --tasks needs the package lm_eval" in done.err
    assert "pip install 'edge-toolkit[eval]'" in done.err


WAYS: dict[str, Callable[[], object]] = {
    "connect": lambda: socket.socket().connect(("192.0.2.1", 80)),
    "connect_ex": lambda: socket.socket().connect_ex(("192.0.2.1", 80)),
    "sendto": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 80)),
    "look-up": lambda: socket.getaddrinfo("example.invalid", 80),
    "by name": lambda: socket.gethostbyname("example.invalid"),
}


def suppressed(call: Callable[[], object]) -> None:
    with suppress(Unsupported):
        call()


@pytest.mark.parametrize("way", WAYS)
def test_code_of_a_task_asks_no_other_machine(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # Python's own sockets
    with alone("a task") as asked:
        with pytest.raises(Unsupported, match=r"a task asks for (192\.0\.2\.1|example\.invalid)"):
            WAYS[way]()
        with socket.socket(socket.AF_UNIX) as here, pytest.raises(OSError, match="No such file"):
            here.connect("/nowhere/at/all")  # a socket in the file system is of this machine
        assert len(asked) == 1
        new = threading.Thread(target=suppressed, args=(WAYS[way],))
        new.start()
        new.join()
        assert len(asked) == 2, "nor does a thread that it starts"
    with pytest.raises(OSError, match=r"\[Errno|refused|unreachable"):
        socket.create_connection(("127.0.0.1", 1))


@pytest.mark.parametrize(("name", "refused"), [("a server of the user's", 0), ("fsspecIO", 1)])
def test_threads_of_others_go_on(name: str, refused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    begun, failed = threading.Event(), list[BaseException]()

    def ask() -> None:
        begun.wait(9)
        try:
            socket.getaddrinfo("127.0.0.1", 1)
        except Unsupported as error:
            failed.append(error)

    other = threading.Thread(target=ask, name=name)
    other.start()
    with alone("a task") as asked:
        begun.set()
        other.join()
    assert (len(failed), len(asked)) == (refused, refused)


def test_all_of_it_is_as_it_was(artifact: Path, data: Path, edge: Edge) -> None:
    import datasets
    import evaluate
    from lm_eval.api.task import ConfigurableTask

    before = (datasets.load_dataset, evaluate.load, ConfigurableTask.download)
    edge("eval", artifact, "--tasks", "piqa", "--task-data", data, "--limit", "1")
    edge("eval", artifact, "--tasks", "hellaswag", "--task-data", data)
    assert before == (datasets.load_dataset, evaluate.load, ConfigurableTask.download)
    assert benchmarks.known() is not None
