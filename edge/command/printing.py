"""What a command found, on stdout: one JSON object on one line, one line a field, or a table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

_LISTED = {
    "model": {
        "name": "MODEL",
        "also": "ALSO",
        "parameters": "PARAMETERS",
        "context": "CONTEXT",
        "exits": "EXITS",
        "licence": "LICENCE",
    },
    "checkpoint": {"name": "CHECKPOINT", "size": "SIZE", "revision": "REVISION"},
    "artifact": {"name": "ARTIFACT", "size": "SIZE", "recipe": "RECIPE", "target": "TARGET"},
}
VERIFIED = {
    "path": "artifact",
    "passed": "passed",
    "same_tokens": "tokens",
    "same_template": "template",
    "differing_bytes": "bytes differing",
    "logits_error": "logits error",
    "error": "outputs error",
    "fast_error": "fast error",
    "first_differing": "first diverging",
    "nbytes": "bytes",
    "decode_tps": "tok/s",
}
_DETAILS = ("matrices",)  # that fill a screen: --json has them
TIMED = {
    "path": "artifact",
    "tiles": "tiles",
    "tiles_per_second": "tiles/s",
    "regions": "regions",
    "seeing_seconds": "seeing s",
    "regions_seconds": "their rows s",
    "first_seconds": "first token s",
    "second_seconds": "second question s",
    "again_seconds": "new chat s",
    "prefill_tps": "prefill tok/s",
    "decode_tps": "decode tok/s",
    "seconds": "s a call",
    "rtf": "s a second",
    "first_sound_seconds": "first sound s",
    "short_seconds": "of few words s",
    "gflops": "GFLOP/s",
    "load_seconds": "load s",
    "artifact_mb": "artifact MB",
    "cache_mb": "cache MB",
    "read_gbs": "GB/s",
    "accepted": "accepted",
    "drafted": "drafted",
}


def listed(rows: list[dict[str, Any]]) -> str:
    """A table of each kind of row, what is on this machine last."""
    from edge.system.table import table
    from edge.system.units import count, size

    shown = []
    for row in rows:
        also, context = ", ".join(row.get("aliases", ())), row.get("context")
        more = {
            "name": Path(row["id"]).name,
            "also": also,
            "parameters": count(row["parameters"]) if row.get("parameters") else "",
            "context": f"{context // 1024}k" if context else "",
            "exits": ", ".join(map(str, row.get("exits", ()))),
            "licence": row.get("licence", "") + (", gated" if row.get("gated") else ""),
            "size": size(row.get("bytes", 0)),
            "revision": (row.get("revision") or "not complete: pull it again")[:40],
            "recipe": row.get("recipe", row.get("problem", "")),
        }
        shown.append({**row, **more})
    kinds = {kind: [row for row in shown if row["kind"] == kind] for kind in _LISTED}
    return "\n\n".join(table(kinds[kind], _LISTED[kind]) for kind in kinds if kinds[kind])


def recipe_table(rows: list[dict[str, Any]]) -> str:
    """A line for what each method makes."""
    from edge.system.table import table

    lists = ("bits", "groups", "zeros", "numbers", "names")
    shown = [{**row, **{key: ", ".join(map(str, row[key])) for key in lists}} for row in rows]
    columns = {"method": "METHOD", "recipe": "SUCH AS", **{key: key.upper() for key in lists}}
    return table(shown, columns)


def show(result: dict[str, Any], as_json: bool, text: str | None = None) -> None:
    """One JSON object on one line, or a list of its fields."""
    from edge.system.table import fields

    if as_json:
        typer.echo(json.dumps(result))
    elif text is not None:
        typer.echo(text)
    else:
        typer.echo(fields({key: result[key] for key in result if key not in _DETAILS}))


def show_each(results: list[dict[str, Any]], as_json: bool, lines: list[str]) -> None:
    """One result as it is; several under "artifacts"."""
    whole = results[0] if len(results) == 1 else {"artifacts": results}
    show(whole, as_json, "\n".join(lines))


def show_rows(
    paths: Sequence[Path], found: Sequence[dict[str, Any]], columns: dict[str, str], as_json: bool
) -> None:
    """One result as it is, several as a table."""
    from edge.system.table import table

    rows = [{"path": str(path), **row} for path, row in zip(paths, found, strict=True)]
    if len(rows) == 1:
        show(found[0], as_json)
    else:
        named = {key: name for key, name in columns.items() if any(key in row for row in rows)}
        show({"artifacts": rows}, as_json, table(rows, named))


def shares(rows: list[dict[str, Any]]) -> str:
    """Exact answers in %: a line for each task and mode, a column for each share of the rows."""
    from edge.system.table import table

    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        line = lines.setdefault(
            (row["task"], row["mode"]), {"task": row["task"], "mode": row["mode"]}
        )
        line[f"1/{row['share']}"] = f"{row['mean']:.0%}"
    shares = sorted({row["share"] for row in rows})
    columns = {f"1/{share}": "all" if share == 1 else f"1/{share}" for share in shares}
    return table(list(lines.values()), {"task": "TASK", "mode": "MODE", **columns})


def scores(found: dict[str, Any]) -> str:
    """A line for each metric of each task, and of each group of them."""
    from edge.system.table import table

    rows = [
        {"task": name, "shots": row.get("shots", ""), "questions": row.get("questions", "")}
        | {"metric": metric, "value": value, "error": row["metrics"].get(_error_of(metric))}
        for name, row in {**found["tasks"], **found["groups"]}.items()
        for metric, value in row["metrics"].items()
        if not metric.partition(",")[0].endswith("_se")
    ]
    return table(rows, {key: key.upper() for key in rows[0]} | {"error": "±"})


def _error_of(metric: str) -> str:
    name, comma, way = metric.partition(",")
    return f"{name}_se{comma}{way}"
