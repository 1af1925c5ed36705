"""Artifacts beside each other: how large, how fast and how good they are, as rows, tables and a picture."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.measure import scatter
from edge.measure.bench import Timing
from edge.measure.evaluate import Evaluation
from edge.measure.scatter import Panel, Point

NAME = "comparison"
# What a table shows, its heading, and with how many digits after the point.
COLUMNS = {
    "artifact": ("artifact", 0),
    "target": ("target", 0),
    "recipe": ("recipe", 0),
    "megabytes": ("MB", 2),
    "prefill_tps": ("prompt tok/s", 1),
    "decode_tps": ("decode tok/s", 1),
    "nats_per_token": ("nats a token", 4),
    "nats_per_token_se": ("±", 4),
    "kl": ("KL to the full model", 5),
    "kl_se": ("± ", 5),
    "top1": ("same first choice", 4),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Of one artifact; `kl` and `top1` beside the full model alone."""

    artifact: str
    target: str
    recipe: str
    megabytes: float
    prefill_tps: float
    decode_tps: float
    decode_all: tuple[float, ...]
    nats_per_token: float
    nats_per_token_se: float
    perplexity: float
    tokens: int
    kl: float | None
    kl_se: float | None
    top1: float | None
    top1_se: float | None
    threads: int
    machine: str

    @classmethod
    def of(cls, name: str, target: str, recipe: str, timing: Timing, quality: Evaluation) -> "Row":
        return cls(
            artifact=name,
            target=target,
            recipe=recipe,
            megabytes=timing.artifact_mb,
            prefill_tps=timing.prefill_tps,
            decode_tps=timing.decode_tps,
            decode_all=timing.decode_all,
            threads=timing.threads,
            machine=timing.machine,
            nats_per_token=quality.nats_per_token,
            nats_per_token_se=quality.nats_per_token_se,
            perplexity=quality.perplexity,
            tokens=quality.tokens,
            kl=quality.kl,
            kl_se=quality.kl_se,
            top1=quality.top1,
            top1_se=quality.top1_se,
        )

    def json(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def names(folders: Sequence[Path]) -> list[str]:
    """The shortest endings of paths that tell them apart."""
    parts = [folder.parts for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        found = ["/".join(own[-count:]) for own in parts]
        if len(set(found)) == len(set(folders)):
            return found
    return list(map(str, folders))


def markdown(rows: Sequence[Row]) -> str:
    """A table, and on what it was measured."""
    shown = {name: words for name, words in COLUMNS.items() if name in rows[0].json()}
    lines = [
        f"| {' | '.join(heading.strip() for heading, _ in shown.values())} |",
        f"|{'---|' * len(shown)}",
    ]
    for row in rows:
        values = row.json()
        cells = [
            f"{values[name]:.{digits}f}" if digits else str(values[name]).replace("|", "\\|")
            for name, (_, digits) in shown.items()
        ]
        lines.append(f"| {' | '.join(cells)} |")
    first = rows[0]
    about = f"{first.tokens} tokens scored; speeds on {first.machine}, {first.threads} threads."
    return "\n".join([*lines, "", about, ""])


def table(rows: Sequence[Row]) -> str:
    """Every figure, with commas between."""
    out = io.StringIO()
    names = [name for name in rows[0].json() if name != "decode_all"]
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.json() for row in rows)
    return out.getvalue()


def panels(rows: Sequence[Row]) -> list[Panel]:
    """What is lost against size, and against speed."""
    beside = all(row.kl is not None for row in rows)
    what = "KL to the full model, nats" if beside else "nats a token"

    def points(of: str) -> list[Point]:
        return [
            Point(
                row.artifact,
                float(getattr(row, of)),
                float((row.kl if beside else row.nats_per_token) or 0.0),
                float((row.kl_se if beside else row.nats_per_token_se) or 0.0),
            )
            for row in rows
        ]

    return [
        Panel("MB on the disk", what, points("megabytes")),
        Panel("decoded tokens a second", what, points("decode_tps")),
    ]


def write(rows: Sequence[Row], folder: Path) -> list[Path]:
    """The tables and pictures -> their files; the picture as PNG where Pillow is there."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = panels(rows)
    texts = {
        "json": json.dumps([row.json() for row in rows], indent=1) + "\n",
        "csv": table(rows),
        "md": markdown(rows),
        "svg": scatter.svg(drawn),
    }
    out = []
    for ending, text in texts.items():
        out.append(folder / f"{NAME}.{ending}")
        out[-1].write_text(text, encoding="utf-8")
    png = scatter.png(drawn)
    if png is not None:
        out.append(folder / f"{NAME}.png")
        out[-1].write_bytes(png)
    return out
