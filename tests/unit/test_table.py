"""Text tables line up whatever they hold."""

from edge.table import table


def test_columns_line_up() -> None:
    rows = [{"a": "x", "n": 1.2345, "k": True}, {"a": "longer", "n": 12345.6, "k": None}]
    got = table(rows, {"a": "name", "n": "speed", "k": "kept"})
    assert got.splitlines() == [
        "name    speed  kept",
        "x        1.23  yes",
        "longer  12346  -",
    ]
