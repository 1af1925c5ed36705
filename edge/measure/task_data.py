"""The data of benchmarks, from a folder of the user's alone: nothing is fetched.

`FOLDER/OWNER/NAME` stands for the data set of that name on the Hugging Face hub. It holds what the repository there
does, or what `save_to_disk` wrote; or, split by split, `SPLIT.jsonl` or `SPLIT.parquet`, in a folder of the
configuration's name where a task asks for one: `FOLDER/allenai/ai2_arc/ARC-Easy/test.jsonl`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import datasets

from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.config import parse_json
from edge.files.hashing import sha256
from edge.files.texts import text_of
from edge.system.home import home

_PASSED = ("data_files", "column_names", "header")  # what a task may say of how files are read
_IDLE = (
    "trust_remote_code",
    "revision",
    "verification_mode",
)  # of a download, or of code that none runs
_FORMS = ("jsonl", "parquet")
_FORMATS = ("json", "csv", "parquet", "text")  # in whose names tasks name single files of the hub
_HUB = "hf://datasets/"
_SAVED = "dataset_dict.json"  # what `save_to_disk` leaves


@dataclass(frozen=True, slots=True)
class TaskData:
    """A folder of data sets. `used`: hashes of the files that were read, by their names below it."""

    folder: Path
    used: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise EdgeError(
                f"{self.folder} is no folder", fix="give --task-data the folder of the data sets"
            )

    def splits(
        self, task: str, path: str, name: str | None, given: Mapping[str, Any], wanted: "Wanted"
    ) -> Any:
        """A task's data set: what it must have, and what it names besides, which is empty where it is not there."""
        need = Need(who=f"the task {task}", path=path, name=name, splits=wanted.all)
        found = self._read(need, given)
        for split in wanted.must:
            if split not in found:
                raise self._missing(need, split)
        first = next(iter(found.values()))
        empty = {split: first.select([]) for split in wanted.all if split not in found}
        return datasets.DatasetDict({**found, **empty})

    def load(self, path: str, name: str | None = None, **given: Any) -> Any:
        """What code of a task asks `datasets.load_dataset` for."""
        split = given.pop("split", None)
        splits = () if split is None else (str(split),)
        need = Need(who="a task", path=path, name=name, splits=splits)
        found = self._read(need, given)
        if split is None:
            return datasets.DatasetDict(found)
        if str(split) not in found:
            raise self._missing(need, str(split))
        return found[str(split)]

    def _read(self, need: "Need", given: Mapping[str, Any]) -> dict[str, Any]:
        """Every split that is there, of which there is one at least."""
        place = self._place(need.path)
        options = _options(need.path, given)
        files = options.get("data_files")
        if files is not None:
            options["data_files"] = self._local(need, files)
        found = {} if files is not None else dict(self._plain(place, need))
        if not found and (place.is_dir() or need.path in _FORMATS):
            try:
                found = dict(self._published(place, need, options))
            except EdgeError:
                raise
            except Exception as error:  # of a library that has its own for every format
                raise Damaged(
                    f"{place} does not read as the data set {need.path}{need.of}: {_said(error)}",
                    fix=f"get it whole: {_download(need.path, place)}",
                ) from error
        if not found:
            raise self._missing(need, next(iter(need.splits), "test"))
        return found

    def _plain(self, place: Path, need: "Need") -> Iterator[tuple[str, Any]]:
        """Splits that are a file each."""
        folders = (place / (need.name or ""), place if need.name == "default" else None)
        for split in need.splits:
            files = [folder / f"{split}.{form}" for folder in folders if folder for form in _FORMS]
            if file := next((file for file in files if file.is_file()), None):
                self._use(file, place)
                yield split, _rows(file)

    def _published(self, place: Path, need: "Need", options: dict[str, Any]) -> Mapping[str, Any]:
        """Splits of a repository as the hub has it, or of what `save_to_disk` wrote; none if the configuration is not
        there.
        """
        if (saved := place / (need.name or "") / _SAVED).is_file():
            for file in sorted(saved.parent.rglob("*.arrow")):
                self._use(file, place)
            return dict(datasets.load_from_disk(str(saved.parent)))
        if place.is_dir() and need.name not in (
            None,
            *datasets.get_dataset_config_names(str(place)),
        ):
            return {}
        caches = str(home() / "caches" / "huggingface" / "datasets")
        source = need.path if need.path in _FORMATS else str(place)
        builder = datasets.load_dataset_builder(source, need.name, cache_dir=caches, **options)
        for files in (builder.config.data_files or {}).values():
            for file in files:
                self._use(Path(file), place if place.is_dir() else self.folder)
        builder.download_and_prepare()
        return dict(builder.as_dataset())

    def _local(self, need: "Need", files: Any) -> Any:
        """Files that a task names: of the hub, which have their place in the folder, or else of the data set itself."""
        if isinstance(files, Mapping):
            return {split: self._local(need, each) for split, each in files.items()}
        if isinstance(files, list | tuple):
            return [self._local(need, each) for each in files]
        name = str(files)
        place = self._place(name.removeprefix(_HUB))
        if not name.startswith(_HUB) and need.path not in _FORMATS:
            return name
        if not place.is_file():
            path = "/".join(PurePosixPath(name.removeprefix(_HUB)).parts[:2])
            raise EdgeError(
                f"{need.who} needs {name}, and there is no {place}",
                fix=_download(path, self.folder / path),
            )
        return str(place)

    def _place(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        if not parts or "://" in path or path.startswith("/") or ".." in parts:
            raise Unsupported(
                f"a task reads {path!r}, which is no data set's name", fix="leave it out"
            )
        return self.folder.joinpath(*parts)

    def _use(self, file: Path, place: Path) -> None:
        """Remember a file, which must be one of its data set: a card can name any, and a link leads anywhere."""
        whole, root = file.resolve(), place.resolve()
        if not whole.is_relative_to(root):
            raise Damaged(f"{file} is outside of {place}", fix="do not trust the data set")
        name = place.relative_to(self.folder) / whole.relative_to(root)
        self.used[name.as_posix()] = sha256(whole)

    def _missing(self, need: "Need", split: str) -> EdgeError:
        place = self._place(need.path)
        file = place / (need.name or "") / f"{split}.jsonl"
        return EdgeError(
            f"{need.who} needs the split {split} of {need.path}{need.of}, and there is no {file}",
            fix=f"{_download(need.path, place)}; or write that file, a JSON object a line",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Splits that a task names, and those of them that it cannot do without."""

    all: tuple[str, ...]
    must: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """Who asks for which splits of a data set, and of which of its configurations."""

    who: str
    path: str
    name: str | None
    splits: tuple[str, ...]

    @property
    def of(self) -> str:
        return f" ({self.name})" if self.name else ""


def _options(path: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What may be said of how files are read."""
    kept = {key: value for key, value in given.items() if value is not None and key not in _IDLE}
    if strange := sorted(set(kept) - set(_PASSED)):
        raise Unsupported(
            f"a task reads {path} with {', '.join(strange)}, which edge does not",
            fix="leave it out",
        )
    return kept


def _rows(file: Path) -> Any:
    """A file's rows as a data set that is held in memory."""
    try:
        if file.suffix == ".parquet":
            return datasets.Dataset.from_parquet(str(file), keep_in_memory=True)
        rows = [
            parse_json(line.encode(), f"{file}, line {number}", fix="correct it")
            for number, line in enumerate(text_of(file).split("\n"), 1)
            if line.strip()
        ]
        keys = dict.fromkeys(key for row in rows for key in row)
        found = datasets.Dataset.from_dict({key: [row.get(key) for row in rows] for key in keys})
    except EdgeError:
        raise
    except Exception as error:  # as above
        raise Damaged(
            f"{file} does not read as a data set: {_said(error)}", fix="correct it"
        ) from error
    if not len(found):
        raise Damaged(f"{file} holds no row", fix="write a JSON object a line")
    return found


def _download(path: str, place: Path) -> str:
    return f"hf download {path} --repo-type dataset --local-dir {place}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
