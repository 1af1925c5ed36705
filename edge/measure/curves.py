"""What a run is measured to do, against its steps, as SVG: a panel for each number, drawn over all that it was."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from edge.measure.picture import line, style

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 250, 160, 62, 36, 56
_DOTS = 60  # at most: a longer run is drawn by every so many-th


def svg(lines: Sequence[Mapping[str, float]], names: Sequence[str], title: str) -> str:
    """Each line is what was measured at its `step`; a name that a line has not is not drawn there."""
    shown = [name for name in names if sum(name in one for one in lines) > 1]
    width, height = _LEFT + len(shown) * (_WIDTH + _GAP), _TOP + _HEIGHT + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f"<style>{''.join(style(len(shown)))}</style>",
    ]
    for at, name in enumerate(shown):
        parts += _panel(at, name, [(one["step"], one[name]) for one in lines if name in one])
    return "\n".join([*parts, "</svg>", ""])


def _panel(at: int, name: str, points: Sequence[tuple[float, float]]) -> Iterator[str]:
    left = _LEFT + at * (_WIDTH + _GAP)
    steps, values = ([point[i] for point in points] for i in range(2))
    low, high = min(0.0, *values), max(values)
    across, down = max(1.0, steps[-1] - steps[0]), (high - low) or 1.0
    yield f'<text x="{left + _WIDTH / 2}" y="{_TOP - 14}" text-anchor="middle">{escape(name)}</text>'
    for part in (0, 0.5, 1):
        y = _TOP + (1 - part) * _HEIGHT
        yield f'<path class="grid" d="M{left} {y}h{_WIDTH}"/>'
        yield f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{low + part * down:.3g}</text>'
    for step, anchor in ((steps[0], "start"), (steps[-1], "end")):
        x = left + (step - steps[0]) / across * _WIDTH
        yield f'<text x="{x:g}" y="{_TOP + _HEIGHT + 20}" text-anchor="{anchor}">{step:,.0f}</text>'
    every = -(-len(points) // _DOTS)
    places = [
        (left + (x - steps[0]) / across * _WIDTH, _TOP + (high - y) / down * _HEIGHT)
        for x, y in (*points[:-1:every], points[-1])
    ]
    yield line(at, [(round(x, 1), round(y, 1)) for x, y in places])
