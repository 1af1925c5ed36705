"""A config may lie: every access checks type and range, and the error names the field."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.config import LIMIT, Config, read_json


def config(value: Any) -> Config:
    return Config({"field": value}, "config.json")


@pytest.mark.parametrize("value", [0, -1, 1 << 40, 1.0, "7", True, [7], {}, float("nan")])
def test_integers(value: Any) -> None:
    with pytest.raises(Damaged, match=r"config\.json: field"):
        config(value).integer("field")


@pytest.mark.parametrize("value", [0, -1.5, float("nan"), float("inf"), 1e300, "1", True, [1.0]])
def test_numbers(value: Any) -> None:
    with pytest.raises(Damaged, match=r"config\.json: field"):
        config(value).number("field")


@pytest.mark.parametrize("value", [[], [1, True], [1, "2"], [1, -2], 5, [[1]], [1 << 40]])
@pytest.mark.parametrize("method", ["integers", "numbers"])
def test_lists(value: Any, method: str) -> None:
    with pytest.raises(Damaged, match=r"config\.json: field"):
        getattr(config(value), method)("field")


@pytest.mark.parametrize(("method", "value"), [("text", 5), ("flag", 1), ("flag", "true")])
def test_texts_and_flags(method: str, value: Any) -> None:
    with pytest.raises(Damaged, match=r"config\.json: field"):
        getattr(config(value), method)("field")


@pytest.mark.parametrize("method", ["integer", "number", "text", "flag", "integers", "numbers"])
@pytest.mark.parametrize("data", [{}, {"field": None}])
def test_a_missing_field_is_named(method: str, data: dict[str, Any]) -> None:
    with pytest.raises(Damaged, match="'field' is missing"):
        getattr(Config(data, "config.json"), method)("field")


def test_values_and_defaults() -> None:
    assert config(7).integer("field") == 7
    assert config(7).number("field") == 7.0
    assert config(None).integer("field", 3) == 3
    assert config([1, 2]).integers("field") == (1, 2)
    assert config({"a": 1}).table("field") == Config({"a": 1}, "config.json: field")
    assert config(None).table("field") is None


def test_a_table_must_be_one() -> None:
    with pytest.raises(Damaged, match="an object"):
        config([1]).table("field")


def test_a_setting_that_would_be_ignored_is_refused() -> None:
    config("silu").only("field", "silu")
    config(None).only("field", "silu")
    with pytest.raises(Unsupported, match="field is 'gelu'"):
        config("gelu").only("field", "silu")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"null", b"\xff\xfe{}", b"[" * 100_000, b'{"a": ' * 5000, b'{"a":1}x'],
)
def test_a_file_that_is_no_json_object(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it.json").write_bytes(content)
    with pytest.raises(Damaged, match=r"it\.json"):
        read_json(tmp_path / "it.json")


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "it.json").open("wb") as file:
        file.truncate(LIMIT + 1)
    with pytest.raises(Damaged, match="larger than 16 MiB"):
        read_json(tmp_path / "it.json")


def test_a_number_of_too_many_digits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text('{"a": ' + "9" * 5000 + "}")
    with pytest.raises(EdgeError):
        read_json(tmp_path / "it.json")


def test_errors_quote_little_of_a_long_value() -> None:
    with pytest.raises(Damaged) as caught:
        config("x" * 10_000).integer("field")
    assert len(str(caught.value)) < 300
    assert json.dumps(caught.value.problem)
