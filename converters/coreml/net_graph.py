"""A network that is no decoder as a program of one function, whose inputs and outputs are its ports."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge.net import Port, Size
from edge.quant.recipe import Recipe
from edge_converters.coreml.emitter import STAND_INS, Var
from edge_converters.coreml.graph import MAIN, TARGET, number_of
from edge_converters.coreml.net_ops import MilNetOps
from edge_converters.coreml.toolkit import ct, mb, mil, types
from edge_converters.coreml.weight_file import WeightFile


def net_program(
    define: Callable[..., Mapping[str, Var]],
    inputs: tuple[Port, ...],
    sizes: Mapping[str, int | Size],
    recipe: Recipe,
    weights: WeightFile,
) -> Any:
    """`define(ops, **inputs)` -> outputs by name. A size that ports name is a number, or each call's
    choice within bounds.
    """
    mb.name_count.clear()  # names are made of counters: the same network, the same names
    kinds = {"float": getattr(types, number_of(recipe)), "int": types.int32}
    symbols = {n: s if isinstance(s, int) else mil.get_new_symbol() for n, s in sizes.items()}
    held = {p.name: mb.placeholder(_shape(p, symbols), kinds[p.type]) for p in inputs}
    with mil.Function(held, opset_version=TARGET) as function:
        ops = MilNetOps(weights=weights, recipe=recipe, number=number_of(recipe))
        outputs = define(ops, **function.inputs)
        for name, var in outputs.items():
            var.name = name
        function.set_outputs(list(outputs.values()))
    ranges = {n: s if isinstance(s, int) else _range(s) for n, s in sizes.items()}
    numbers = {"float": STAND_INS[number_of(recipe)], "int": np.dtype(np.int32)}
    function.set_input_types(
        tuple(
            ct.TensorType(p.name, shape=_shape(p, ranges), dtype=numbers[p.type].type)
            for p in inputs
        )
    )
    made = mil.Program()
    made.add_function(MAIN, function)
    made.default_function_name = MAIN
    return made


def _shape(port: Port, sizes: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sizes[size] if isinstance(size, str) else size for size in port.shape)


def _range(size: Size) -> Any:
    return ct.RangeDim(lower_bound=size.least, upper_bound=size.most, default=size.least)
