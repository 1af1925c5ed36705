"""PyramidKV (arXiv 2406.02069): the first layers look far, the last at little, so that the first keep
more rows of the same sum. The numbers are those of kvpress.
"""

from itertools import pairwise

_STEEP = 20  # how many times fewer rows the last layer keeps than the mean


def pyramid(layers: int, mean: int, *, least: int, most: int) -> list[int]:
    """Rows of each layer, falling linearly from the first, their sum `layers * mean`.

    The last one has a 20th of the mean, or `least` if that is more, and the first so much above the
    mean as the last is below; where the first would have more than `most`, the slope is gentler.
    """
    if layers == 1:
        return [mean]
    low = max(mean // _STEEP, least)
    high = max(mean, min(2 * mean - low, most))
    steps, fall = layers - 1, 2 * (high - mean)
    ends = [_nearest(n * (2 * high * steps - fall * (n - 1)), 2 * steps) for n in range(layers + 1)]
    return [end - start for start, end in pairwise(ends)]


def _nearest(above: int, below: int) -> int:
    """The whole number nearest to a fraction; halves go up."""
    return (2 * above + below) // (2 * below)
