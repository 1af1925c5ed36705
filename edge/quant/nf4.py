"""NormalFloat of 4 bits: levels that equally many values of a normal distribution are near to, of which
one is zero and the outer ones are at the group's largest magnitude (QLoRA, arXiv 2305.14314, appendix E).

Here scales have the type that the recipe names; training alone rounds them once more, to 8 bits
(`edge.quant.doubled`).
"""

from functools import partial

from edge.quant.bounds import by_levels
from edge.quant.levels import quantize
from edge.quant.methods import Method, grid

LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip
METHOD = Method(
    name="nf4",
    schemes=grid("nf4", bits=(4,), zeros=("levels",)),
    quantize=partial(quantize, levels=LEVELS),
    bound=by_levels,
    group=64,  # the paper's
    levels=LEVELS,
)
