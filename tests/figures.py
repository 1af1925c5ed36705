"""The picture of speed beside peers, from docs/speed-*.json: medians, and a line from the least to the
most of the rounds.
"""

import json
import statistics
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from tables import TITLES

DOCS = Path(__file__).resolve().parent.parent / "docs"
_PANELS = {"prefill_tps": "reading a prompt, tokens/s", "decode_tps": "answering, tokens/s"}
_LEFT, _WIDTH, _GAP, _ROW = 96, 235, 110, 19  # pixels
_STYLE = (
    "text{fill:#222}.small{font-size:11px;fill:#555}.edge{fill:#0072b2}.peer{fill:#9aa5b1}"
    ".spread{stroke:#222;stroke-width:1.2}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.small{fill:#aaa}.edge{fill:#56b4e9}"
    ".peer{fill:#6b7683}.spread{stroke:#eee}}"
)


def speed() -> str:
    """A group for each benchmark, a bar for each engine; in a group and a panel, the longest is the
    fastest.
    """
    width = _LEFT + len(_PANELS) * (_WIDTH + _GAP)
    parts: list[str] = []
    y = 40
    for file in sorted(DOCS.glob("speed-*.json")):
        record = json.loads(file.read_text())
        y += 14
        parts.append(
            f'<text x="8" y="{y}" font-weight="bold">{escape(_title(file, record))}</text>'
        )
        y += 15
        parts.append(f'<text class="small" x="8" y="{y}">{escape(_about(record))}</text>')
        y += 8
        for engine in record["rounds"]:
            parts += _bars(record, engine, y)
            y += _ROW
        y += 12
    heads = [
        f'<text x="{_panel(at)}" y="22" font-weight="bold">{escape(title)}</text>'
        for at, title in enumerate(_PANELS.values())
    ]
    frame = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" '
        f'height="{y}" role="img" font-family="sans-serif" font-size="13">'
    )
    title = "<title>Tokens a second of edge and of its peers</title>"
    return "\n".join([frame, title, f"<style>{_STYLE}</style>", *heads, *parts, "</svg>", ""])


def _bars(record: dict[str, Any], engine: str, y: int) -> Iterator[str]:
    name = escape(TITLES.get(engine, engine))
    kind = "edge" if engine.startswith("edge") else "peer"
    yield f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{name}</text>'
    for at, key in enumerate(_PANELS):
        longest = max(row[key] for rounds in record["rounds"].values() for row in rounds)
        found = [row[key] for row in record["rounds"][engine]]
        middle = statistics.median(found)
        left, scale = _panel(at), _WIDTH / longest
        yield (
            f'<rect class="{kind}" x="{left}" y="{y + 2}" width="{middle * scale:.1f}" height="13"/>'
        )
        start, end = (left + value * scale for value in (min(found), max(found)))
        yield f'<path class="spread" d="M{start:.1f} {y + 8.5}H{end:.1f}"/>'
        digits = 1 if middle < 100 else 0
        yield f'<text x="{end + 6:.1f}" y="{y + 13}">{middle:.{digits}f}</text>'


def _panel(at: int) -> int:
    return _LEFT + at * (_WIDTH + _GAP)


def _title(file: Path, record: dict[str, Any]) -> str:
    prompt = next(iter(record["settings"].values()))["prompt"]
    return f"{file.stem.removeprefix('speed-')}, {prompt} prompt tokens"


def _about(record: dict[str, Any]) -> str:
    rounds = len(next(iter(record["rounds"].values())))
    return f"{record['machine']}; median of {rounds} rounds in turn, line: least to most"
