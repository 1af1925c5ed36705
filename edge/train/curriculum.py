"""What a step of training skips and where it exits, in numbers (LayerSkip, arXiv 2404.16710).

Of `count` layers, numbered from 0; `progress` is the share of all tokens that came before this step.
"""

import math

from edge.train.recipe import Skip


def dropout(skip: Skip, layer: int, count: int, progress: float) -> float:
    """p of one layer, S(t) D(l) p_max: 0 at the first layer, p_max at the last, and at the end if it
    grows.
    """
    depth = math.exp(layer * math.log(2) / max(1, count - 1)) - 1
    time = 1.0
    if skip.dropout_growth == "exponential":
        time = math.exp(progress * math.log(2)) - 1
    return time * depth * skip.dropout


def exit_weights(skip: Skip, count: int, *, step: int, progress: float) -> dict[int, float]:
    """Loss weights of the exits that this step trains, of which the last layer is always one: C(t, l)
    e(l) over their sum, where e grows with the square of the layer.
    """
    last = count - 1
    if last == 0:
        return {0: 1.0}
    scale = skip.exit_scale * (progress if skip.exit_growth == "linear" else 1.0)
    raw = {
        layer: scale * layer * (layer + 1) / 2
        for layer in range(last)
        if _open(skip, layer, count, step=step, progress=progress)
    }
    raw[last] = last + scale * last * (last - 1) / 2
    total = sum(raw.values())
    return {layer: weight / total for layer, weight in raw.items() if weight}


def _open(skip: Skip, layer: int, count: int, *, step: int, progress: float) -> bool:
    """C(t, l): every R-th layer, one further each step; or from the last down, one for each 1 / (2 L)
    of the training, so that all are open in its second half.
    """
    if skip.curriculum == "rotational":
        assert skip.exit_every is not None
        return (layer + step) % skip.exit_every == 0
    return skip.curriculum == "all" or progress * 2 * count >= count - 1 - layer
