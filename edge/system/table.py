"""Results as aligned text, for a terminal: rows as a table, fields as a list."""

from collections.abc import Mapping, Sequence

from edge.errors import steady


def table(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]) -> str:
    """One line a row under a line of titles; `columns`: key of a row -> title. Numbers stand right."""
    lines = [list(columns.values())]
    lines += [[cell(row.get(key)) for key in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    right = [all(_number(row.get(key)) for row in rows) for key in columns]
    return "\n".join(
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def fields(found: Mapping[str, object]) -> str:
    """One line a field; a field of fields is a list of its own below its name, several such are a table
    there. Values that are all numbers stand right, and a text of several lines stays in its column.
    """
    width = max(map(len, found), default=0)
    numbers = all(map(_number, found.values()))
    flush = max((len(_plain(value)) for value in found.values()), default=0) if numbers else 0
    lines = []
    for key, value in found.items():
        if below := _below(value):
            lines += [steady(key), *(f"  {line}" for line in below.splitlines())]
            continue
        heads = [steady(key), *[""] * _plain(value).count("\n")]
        parts = zip(heads, _plain(value).split("\n"), strict=True)
        lines += [f"{head:{width}}  {part.strip():>{flush}}".rstrip() for head, part in parts]
    return "\n".join(lines)


def _below(value: object) -> str:
    """What stands below a field's name; nothing where it stands beside it."""
    if isinstance(value, Mapping):
        return fields(value)
    if isinstance(value, list | tuple) and value and all(isinstance(v, Mapping) for v in value):
        return table(value, {key: key for key in value[0]})
    return ""


def cell(value: object) -> str:
    """A value on one line."""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value) if _number(value) else " ".join(_plain(value).split("\n"))


def _plain(value: object) -> str:
    """A value of a field: six digits, thousands apart. What files say of themselves steers nothing."""
    if value is None or value in ((), [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if _number(value):
        return f"{value:.6g}" if isinstance(value, float) else f"{value:,}"
    return steady(str(value))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
