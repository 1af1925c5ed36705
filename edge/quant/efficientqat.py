"""EfficientQAT (arXiv 2407.11062): codes begin as those of `edge.quant.gptq`, and are then trained with the text: of
each layer weights, steps and zeros together, so that it gives what it gives in floats; then the scales of all layers,
codes as they are, so that the model chooses as it does in floats.

The paper trains 4,096 windows of 2,048 tokens on a GPU; here it is some passes over what a processor reads in minutes,
so rates are in units of a group's step: by the same share of it, whatever a layer's weights are.
"""

from functools import partial

from edge.quant import gptq
from edge.quant.bounds import by_more_steps
from edge.quant.methods import Method, Training, grid
from edge.quant.search import searched

METHOD = Method(
    name="efficientqat",
    schemes=grid("efficientqat", bits=(2, 3, 4, 5, 6, 8)),
    quantize=partial(searched, counts=None),
    calibrated=gptq.calibrated,
    bound=by_more_steps,
    ends="int8-g32",
    training=Training(passes=4, weights=0.01, steps=0.001, zeros=0.002, rounds=2, scales=3e-3),
)
