"""The law of `tests/fuzz.py`, on a few inputs of every reader: a result or an EdgeError, nothing touched.

The inputs are always the same: the command is for finding new ones.
"""

import random
from pathlib import Path

import pytest
from fuzzing.guard import Guard
from fuzzing.mutate import mutate
from fuzzing.readers import READERS
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import EdgeError

SLOW = {
    "template",
    "grammar",
    "request",
    "speech request",
    "adapter config peft",
}  # a process each, or an answer of the model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def guard(folder: Path) -> Guard:
    return Guard(folder)


@pytest.mark.parametrize("name", READERS)
def test_any_input_is_read_or_refused(name: str, folder: Path, guard: Guard) -> None:
    reader, place = READERS[name], folder / name
    place.mkdir()
    seeds = reader.seeds()
    refused: list[str] = []

    def attempt(content: bytes) -> None:
        try:
            reader.read(place, content)
        except EdgeError as error:
            refused.append(str(error))

    for seed in seeds:
        attempt(seed)

    @settings(max_examples=8 if name in SLOW else 80, derandomize=True, database=None)
    @given(st.randoms(use_true_random=False))
    def law(rng: random.Random) -> None:
        content = mutate(rng, reader.kind, seeds, reader.words)
        assert guard.watch(lambda: attempt(content)) is None

    law()
    assert max(map(len, refused), default=0) < 2000
    assert refused or name.endswith("request"), (
        "not one of them was hostile"
    )  # a server answers 400


@pytest.mark.parametrize(
    ("touch", "words"),
    [
        (lambda place: Path(f"{place}-x").write_text("x"), "writes"),
        (lambda _: Path("/etc/passwd").read_text(), "reads"),
        (lambda place: Path(f"{place}-y").mkdir(), "os.mkdir"),
        (lambda _: __import__("subprocess").run(["true"], check=False), "subprocess"),
    ],
)
def test_the_guard_sees(guard: Guard, folder: Path, touch: object, words: str) -> None:
    found = guard.watch(lambda: touch(folder) and None)  # type: ignore[operator]
    assert found is not None
    assert words in found
