"""Text tables line up whatever they hold."""

from edge.system.table import fields, table


def test_columns_line_up() -> None:
    rows = [{"a": "x", "n": 1.2345, "k": True}, {"a": "longer", "n": 12345.6, "k": None}]
    got = table(rows, {"a": "name", "n": "speed", "k": "kept"})
    assert got.splitlines() == [
        "name    speed  kept",
        "x        1.23  yes",
        "longer  12346  -",
    ]


def test_a_row_stays_on_its_line() -> None:
    """An error has its fix on a second line, and a file may have any name."""
    got = table(
        [{"a": "wrong\n  fix: it", "n": 1}, {"a": "\x1b[2Jx", "n": 22}], {"a": "A", "n": "N"}
    )
    assert got.splitlines() == [
        "A                 N",
        "wrong   fix: it   1",
        "\\x1b[2Jx         22",
    ]


def test_fields_line_up_whatever_they_hold() -> None:
    found = {
        "kind": "artifact",
        "context": 131072,
        "error": 1.23456789e-7,
        "tied": True,
        "verified": None,
        "window": (),
        "heads": [4, 8],
        "files": {"model.onnx.data": 2797568, "edge.json": 12},
        "run": {"onnx": "ok", "coreml": "not here\n  fix: go there"},
        "name": "\x1b]0;title\x07",
    }
    assert fields(found).splitlines() == [
        "kind      artifact",
        "context   131,072",
        "error     1.23457e-07",
        "tied      yes",
        "verified  -",
        "window    -",
        "heads     4, 8",
        "files",
        "  model.onnx.data  2,797,568",
        "  edge.json               12",
        "run",
        "  onnx    ok",
        "  coreml  not here",
        "          fix: go there",
        "name      \\x1b]0;title\\x07",
    ]
    assert fields({}) == ""


def test_several_fields_of_fields_are_a_table() -> None:
    found = {"passed": True, "judged": ({"library": "tokenizers", "texts": 135, "note": None},)}
    assert fields(found).splitlines() == [
        "passed  yes",
        "judged",
        "  library     texts  note",
        "  tokenizers    135  -",
    ]
