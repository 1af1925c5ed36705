"""Where the data of benchmarks may lie, and what is said where they do not."""

import hashlib
from pathlib import Path
from typing import Any

import made_up
import pytest

from edge.errors import Damaged, EdgeError, Unsupported

datasets = pytest.importorskip("lm_eval") and pytest.importorskip("datasets")

from edge.measure.task_data import TaskData, Wanted  # noqa: E402

ROWS = [{"question": "Who?", "label": 1}, {"question": "Où ?", "label": 0}]
TEST = Wanted(all=("test", "train"), must=("test",))


def splits(folder: Path, path: str = "a/set", name: str | None = None, **given: Any) -> Any:
    return TaskData(folder).splits("task", path, name, given, TEST)


def rows(found: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in found]


def plain(folder: Path) -> Path:
    return made_up.write(folder / "a/set/test.jsonl", ROWS).parent


def parquet(folder: Path) -> Path:
    (folder / "a/set").mkdir(parents=True)
    datasets.Dataset.from_list(ROWS).to_parquet(str(folder / "a/set/test.parquet"))
    return folder / "a/set"


def published(folder: Path) -> Path:
    """As a repository of the hub has it, in files whose names say the split."""
    (folder / "a/set/data").mkdir(parents=True)
    datasets.Dataset.from_list(ROWS).to_parquet(
        str(folder / "a/set/data/test-00000-of-00001.parquet")
    )
    return folder / "a/set"


def saved(folder: Path) -> Path:
    """lm-evaluation-harness#2394."""
    datasets.DatasetDict(test=datasets.Dataset.from_list(ROWS)).save_to_disk(str(folder / "a/set"))
    return folder / "a/set"


@pytest.mark.parametrize("write", [plain, parquet, published, saved])
def test_every_place_that_a_data_set_may_have(write: Any, tmp_path: Path) -> None:
    write(tmp_path)
    data = TaskData(tmp_path)
    found = data.splits("task", "a/set", None, {"trust_remote_code": True}, TEST)
    assert rows(found["test"]) == ROWS
    assert (len(found["train"]), list(found["train"].features)) == (0, ["question", "label"])
    for name, digest in data.used.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    assert data.used
    assert rows(data.load("a/set", split="test")) == ROWS
    if write is not plain and write is not parquet:
        assert rows(data.load("a/set")["test"]) == ROWS


def test_a_configuration_has_a_folder_of_its_own(tmp_path: Path) -> None:
    made_up.write(tmp_path / "a/set/easy/test.jsonl", ROWS)
    made_up.write(tmp_path / "a/set/hard/test.jsonl", ROWS[:1])
    assert rows(splits(tmp_path, name="hard")["test"]) == ROWS[:1]
    assert rows(splits(tmp_path, name="easy")["test"]) == ROWS


def test_the_default_one_needs_none(tmp_path: Path) -> None:
    plain(tmp_path)
    assert rows(splits(tmp_path, name="default")["test"]) == ROWS


def test_a_repository_s_own_card_says_which_files_are_of_a_configuration(tmp_path: Path) -> None:
    folder = published(tmp_path)
    made_up.write(folder / "hard.jsonl", ROWS[:1])
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: hard\n  data_files:\n  - split: test\n    path: hard.jsonl\n---\n"
    )
    assert rows(splits(tmp_path, name="hard")["test"]) == ROWS[:1]


def test_files_that_a_task_names_are_those_of_the_repository(tmp_path: Path) -> None:
    made_up.write(tmp_path / "a/set/x/some.jsonl", ROWS)
    assert rows(splits(tmp_path, data_files={"test": "x/some.jsonl"})["test"]) == ROWS


def test_files_of_the_hub_have_their_place_in_the_folder(tmp_path: Path) -> None:
    """As lm-evaluation-harness's tasks of arithmetic name theirs."""
    files = {"test": "hf://datasets/a/set/data/some.jsonl"}
    with pytest.raises(
        EdgeError, match=f"needs hf://.* and there is no {tmp_path}/a/set/data/some.jsonl"
    ) as error:
        splits(tmp_path, "json", data_files=files)
    assert error.value.fix == f"hf download a/set --repo-type dataset --local-dir {tmp_path}/a/set"
    made_up.write(tmp_path / "a/set/data/some.jsonl", ROWS)
    data = TaskData(tmp_path)
    found = data.splits("task", "json", None, {"data_files": files}, TEST)
    assert rows(found["test"]) == ROWS
    assert list(data.used) == ["a/set/data/some.jsonl"]
    with pytest.raises(EdgeError, match=r"there is no .*/gone\.csv"):
        splits(tmp_path, "csv", data_files={"test": "gone.csv"})


def test_what_is_not_there_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    """lm-evaluation-harness#1666, #1877: a ConnectionError there, or a wrong path without a word."""
    with pytest.raises(EdgeError) as error:
        splits(tmp_path, "allenai/ai2_arc", "ARC-Easy")
    place = tmp_path / "allenai/ai2_arc"
    assert f"there is no {place}/ARC-Easy/test.jsonl" in error.value.problem
    wanted = f"hf download allenai/ai2_arc --repo-type dataset --local-dir {place}"
    assert wanted in error.value.fix


def test_a_split_that_is_needed_is_not_made_of_another(tmp_path: Path) -> None:
    made_up.write(tmp_path / "a/set/train.jsonl", ROWS)
    with pytest.raises(
        EdgeError, match=r"the task task needs the split test of a/set, .*test\.jsonl"
    ):
        splits(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"a": 1}\n{"a": 2', "line 2 is not JSON"),
        ("[1]\n", "line 1 does not hold a JSON object"),
        ("", "holds no row"),
        ('{"a": 1}\n{"a": "b"}\n', "does not read as a data set"),
        ("\udcff", "cannot be read as UTF-8"),
        ("[" * 100_000, "line 1 is not JSON"),
    ],
)
def test_a_broken_file_is_named(content: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "a/set/test.jsonl"
    file.parent.mkdir(parents=True)
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(EdgeError) as error:
        splits(tmp_path)
    assert problem in error.value.problem
    assert str(file) in error.value.problem


def test_a_broken_repository_is_named(tmp_path: Path) -> None:
    (tmp_path / "a/set").mkdir(parents=True)
    (tmp_path / "a/set/test.parquet").write_bytes(b"PAR1 no more")
    (tmp_path / "b/set/data").mkdir(parents=True)
    (tmp_path / "b/set/data/test-0.parquet").write_bytes(b"PAR1 no more")
    for path in ("a/set", "b/set"):
        with pytest.raises(Damaged, match=f"{path}.* does not read as"):
            splits(tmp_path, path)


def test_rows_of_other_keys_have_nothing_there(tmp_path: Path) -> None:
    made_up.write(tmp_path / "a/set/test.jsonl", [{"a": 1}, {"a": 2, "b": "\u2028"}])
    assert rows(splits(tmp_path)["test"]) == [{"a": 1, "b": None}, {"a": 2, "b": "\u2028"}]


@pytest.mark.parametrize("path", ["../set", "/etc", "https://example.org/x", ""])
def test_no_name_leads_out_of_the_folder(path: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="is no data set's name"):
        splits(tmp_path, path)


@pytest.mark.parametrize("file", ["../x.json", "/etc/passwd", "https://example.org/x.json"])
def test_no_file_of_elsewhere_is_read(file: str, tmp_path: Path) -> None:
    plain(tmp_path)
    with pytest.raises(Unsupported, match="which is no data set's name"):
        splits(tmp_path, data_files={"test": [file]})
    with pytest.raises(Unsupported, match="reads a/set with streaming"):
        splits(tmp_path, streaming=True)


@pytest.mark.parametrize(
    "path", ["../../../secret.jsonl", "../other/test.jsonl", "link.jsonl", "WHOLE"]
)
def test_a_card_that_names_files_of_elsewhere_is_refused(path: str, tmp_path: Path) -> None:
    secret = made_up.write(tmp_path / "secret.jsonl", ROWS)
    made_up.write(tmp_path / "data/a/other/test.jsonl", ROWS)
    folder = tmp_path / "data/a/set"
    folder.mkdir(parents=True)
    (folder / "link.jsonl").symlink_to(secret)
    named = path.replace("WHOLE", str(secret))
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: {named}\n---\n"
    )
    with pytest.raises(Damaged, match=r"is outside of .*/data/a/set"):
        splits(tmp_path / "data")


def test_a_split_that_is_a_link_to_elsewhere_is_refused(tmp_path: Path) -> None:
    secret = made_up.write(tmp_path / "secret.jsonl", ROWS)
    (tmp_path / "data/a/set").mkdir(parents=True)
    (tmp_path / "data/a/set/test.jsonl").symlink_to(secret)
    with pytest.raises(Damaged, match=r"test\.jsonl is outside of"):
        splits(tmp_path / "data")


def test_a_data_set_may_lie_elsewhere_itself(tmp_path: Path) -> None:
    """A link of the user's own."""
    made_up.write(tmp_path / "disk/test.jsonl", ROWS)
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/a/set").symlink_to(tmp_path / "disk")
    data = TaskData(tmp_path / "data")
    assert rows(data.splits("task", "a/set", None, {}, TEST)["test"]) == ROWS
    assert list(data.used) == ["a/set/test.jsonl"]


def test_a_script_beside_the_data_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "a/set"
    folder.mkdir(parents=True)
    (folder / "set.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(EdgeError):
        splits(tmp_path, trust_remote_code=True)
    assert not (tmp_path / "ran").exists()


def test_the_folder_itself_may_not_be_there(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="is no folder"):
        TaskData(tmp_path / "nowhere")
