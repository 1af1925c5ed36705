"""Training recipes are YAML from strangers: no objects, no bombs, no values that fail hours later."""

from pathlib import Path

import pytest
from attack import refused

from edge.errors import EdgeError
from edge.train import fields, recipe

WHOLE = fields.EXAMPLE.read_text()
LAUGHS = "".join(
    f"a{i}: &a{i} [{', '.join(['lol' if i == 0 else f'*a{i - 1}'] * 9)}]\n" for i in range(30)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30)
)
BOMBS = {
    "laughs": LAUGHS + WHOLE,
    "merges": MERGES + WHOLE,
    "itself": "a: &a [*a]\n" + WHOLE,
    "deep": WHOLE + "x: " + "[" * 30_000 + "]" * 30_000,
    "deep objects": WHOLE + "x: " + "{a: " * 9000,
    "large": WHOLE + "#" * fields.LIMIT,
    "digits": WHOLE.replace("seed: 1", "seed: " + "9" * 50_000),
    "an object": WHOLE.replace("seed: 1", "seed: !!python/object/apply:os.system ['touch evil']"),
    "a name": WHOLE.replace("seed: 1", "seed: !!python/name:os.system"),
    "a new object": WHOLE + "x: !!python/object/new:os.system ['touch evil']",
    "an unknown tag": WHOLE + "x: !evil 1",
    "a date": WHOLE.replace("seed: 1", "seed: 2020-01-01"),
    "no date": WHOLE.replace("seed: 1", "seed: 2020-99-99"),
    "two documents": WHOLE + "---\n" + WHOLE,
    "a list": "[1, 2]",
    "a text": "hello",
    "nothing": "",
    "tabs": "\tseed: 1",
    "numbers for keys": WHOLE + "7: 8",
    "lists for keys": WHOLE + "? [a, b]\n: 8",
    "no stages": WHOLE.partition("stages:")[0],
    "stages of nothing": WHOLE.partition("stages:")[0] + "stages: []",
    "stages of numbers": WHOLE.partition("stages:")[0] + "stages: [7]",
    "a text for a number": WHOLE.replace("width: 192", "width: wide"),
    "a truth for a number": WHOLE.replace("width: 192", "width: yes"),
    "a float for a number": WHOLE.replace("width: 192", "width: 192.5"),
    "nothing for a number": WHOLE.replace("width: 192", "width: "),
    "zero": WHOLE.replace("heads: 6, kv", "heads: 0, kv"),
    "negative": WHOLE.replace("layers: 8", "layers: -8"),
    "layers without end": WHOLE.replace("layers: 8", "layers: 999_999_999_999"),
    "infinite": WHOLE.replace("decay: 0.3", "decay: .inf"),
    "not a number": WHOLE.replace("decay: 0.3", "decay: .nan"),
    "heads that do not divide": WHOLE.replace("heads: 6, kv", "heads: 7, kv"),
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_recipes_that_lie(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert text != WHOLE
    (tmp_path / "recipe.yaml").write_text(text)
    with refused(EdgeError, "recipe.yaml"):
        recipe.read(tmp_path / "recipe.yaml")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["recipe.yaml"]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\xb0" + WHOLE.encode())
    with refused(EdgeError, "recipe.yaml"):
        recipe.read(tmp_path / "recipe.yaml")
    with refused(EdgeError, "not a training recipe"):
        recipe.read(tmp_path)


def test_the_example_is_honest() -> None:
    assert recipe.read(fields.EXAMPLE).shape.width == 192
