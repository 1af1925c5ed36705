"""The curve of right answers against rows kept, as SVG: a panel for each task, a line for each mode."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from edge.measure.quality import SHARES, TASKS
from edge.measure.record import WHOLE, Cell, Record, Way

_WIDTH, _HEIGHT = 250, 220  # of a panel, in pixels
_LEFT, _TOP, _GAP, _ROW = 58, 40, 44, 22
_PLACES = (1, *SHARES)
# Okabe and Ito's colours, which colour-blind readers tell apart: on light, and on dark.
_COLOURS = (
    ("#0072b2", "#56b4e9"),
    ("#b35900", "#e69f00"),
    ("#857500", "#f0e442"),
    ("#b0487f", "#e79ac2"),
    ("#6a51a3", "#b4a2e0"),
    ("#009e73", "#3fd0a4"),
    ("#d03b00", "#ff7a45"),
    ("#5a5a5a", "#b5b5b5"),
)
_DASHES = ("", "6 3", "2 3", "9 3 2 3")


def draw(record: Record, file: Path) -> None:
    file.write_text(svg(record))


def svg(record: Record) -> str:
    """Readable on light and on dark, whatever the page takes. Where ways were asked different cases, each
    is drawn as far below the whole cache as it was in its own, within the frame.
    """
    tasks = [task for task in TASKS if Cell(task, WHOLE) in record.values]
    shown = (cell for cell in record.values if cell.task in tasks and cell.way != WHOLE)
    modes = list(dict.fromkeys(cell.way.mode for cell in shown))
    width = _LEFT + len(tasks) * (_WIDTH + _GAP)
    below = _TOP + _HEIGHT + 58
    height = below + -(-len(modes) // 3) * _ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="sans-serif" font-size="13">',
        "<title>Exact answers against rows kept of the prompt's cache</title>",
        f"<style>{''.join(style(len(modes)))}</style>",
        f'<text transform="translate(16 {_TOP + _HEIGHT / 2}) rotate(-90)" text-anchor="middle">exact '
        "answers, %</text>",
    ]
    for at, task in enumerate(tasks):
        parts += _panel(record, task, modes, _LEFT + at * (_WIDTH + _GAP))
    for at, mode in enumerate(modes):
        x, y = _LEFT + at % 3 * (width - _LEFT) // 3, below + at // 3 * _ROW
        parts.append(line(at, [(x, y), (x + 15, y), (x + 30, y)]))
        parts.append(f'<text x="{x + 38}" y="{y + 4}">{escape(mode)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(record: Record, task: str, modes: Sequence[str], left: float) -> Iterator[str]:
    best = record.figure(Cell(task, WHOLE)).mean
    counts = sorted({len(found) for cell, found in record.values.items() if cell.task == task})
    cases = " to ".join(map(str, [*counts[:1], *counts[1:][-1:]]))
    middle = left + _WIDTH / 2
    yield f'<text x="{middle}" y="{_TOP - 16}" text-anchor="middle">{task}, {cases} cases</text>'
    for percent in range(0, 101, 25):
        y = _down(percent / 100)
        yield f'<path class="grid" d="M{left} {y}h{_WIDTH}"/>'
        yield f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{percent}</text>'
    for share in _PLACES:
        name = "all" if share == 1 else f"1/{share}"
        y = _TOP + _HEIGHT + 18
        yield f'<text x="{_right(left, share)}" y="{y}" text-anchor="middle">{name}</text>'
    y = _TOP + _HEIGHT + 36
    yield f'<text x="{middle}" y="{y}" text-anchor="middle">rows kept of the prompt\'s</text>'
    for at, mode in enumerate(modes):
        ways = [WHOLE, *(Way(mode, share) for share in SHARES)]
        cells = [Cell(task, way) for way in ways if Cell(task, way) in record.values]
        points = [
            (_right(left, cell.way.share), _down(best - record.figure(cell).below))
            for cell in cells
        ]
        yield line(at, points)


def line(at: int, points: Sequence[tuple[float, float]]) -> str:
    """With a dot at each measurement."""
    way = " ".join(f"{x:g},{y:g}" for x, y in points)
    dots = "".join(f'<circle cx="{x:g}" cy="{y:g}" r="3"/>' for x, y in points)
    dash = _DASHES[at % len(_DASHES)]
    return f'<g class="m{at}"><polyline points="{way}" stroke-dasharray="{dash}"/>{dots}</g>'


def _right(left: float, share: int) -> float:
    """Half as many rows are a step to the right."""
    return left + 14 + _PLACES.index(share) * (_WIDTH - 28) / (len(_PLACES) - 1)


def _down(mean: float) -> float:
    return _TOP + (1 - min(max(mean, 0), 1)) * _HEIGHT


def style(modes: int) -> Iterator[str]:
    yield "text{fill:#222}.grid{stroke:#8884;fill:none}polyline{fill:none;stroke-width:2}"
    for theme, (before, after) in enumerate(
        (("", ""), ("@media(prefers-color-scheme:dark){", "}"))
    ):
        yield before
        if theme:
            yield "text{fill:#ddd}"
        for at in range(modes):
            colour = _COLOURS[at % len(_COLOURS)][theme]
            yield f".m{at} polyline{{stroke:{colour}}}.m{at} circle{{fill:{colour}}}"
        yield after
