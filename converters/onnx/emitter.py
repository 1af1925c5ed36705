"""What decoders and other networks both emit: products, norms, and the nodes of ONNX Runtime's kernels."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from onnx_ir.tape import Tape

from edge.spec import Norm
from edge_converters.onnx.store import Matrix
from edge_converters.onnx.weights import MS, Weights


@dataclass(slots=True, kw_only=True)
class Emitter:
    """Emits into `tape`, as do its `weights`."""

    tape: Tape
    weights: Weights

    def embed(self, name: str, tokens: ir.Value) -> ir.Value:
        return self.weights.looked_up(name, tokens)

    def add_norm(
        self, x: ir.Value, d: ir.Value | None, name: str, norm: Norm
    ) -> tuple[ir.Value, ir.Value]:
        kind, learned = self._norm_of(name, norm)
        if d is None:
            return x, self._normed(kind, x, learned, norm)
        normed, _, _, total = self.tape.op_multi_out(
            f"Skip{kind}",
            [x, d, *learned],
            {"epsilon": norm.eps},
            num_outputs=4,
            domain=MS,
        )
        return total, normed

    def add(self, x: ir.Value, d: ir.Value) -> ir.Value:
        return self._op("Add", [x, d])

    def linear(
        self, x: ir.Value, *names: str, biased: Collection[str] = ()
    ) -> tuple[ir.Value, ...]:
        alike = len({self.weights.recipe.scheme(name) for name in names}) == 1
        if len(names) > 1 and not (alike and self.weights.stacks(names[0])):
            return tuple(out for name in names for out in self.linear(x, name, biased=biased))
        out = self.weights.product(x, self._stack(names))
        if any(name in biased for name in names):
            out = self._op("Add", [out, self.weights.biases(names, biased)])
        if len(names) == 1:
            return (out,)
        return self._cut(out, tuple(self.weights.store.rows(name) for name in names))

    def _stack(self, names: tuple[str, ...]) -> Matrix:
        return self.weights.matrix(*names)

    def _cut(self, x: ir.Value, sizes: tuple[int, ...], axis: int = -1) -> tuple[ir.Value, ...]:
        """Of these sizes, along an axis."""
        given = self.weights.constant("split." + ".".join(map(str, sizes)), list(sizes))
        return tuple(
            self.tape.op_multi_out("Split", [x, given], {"axis": axis}, num_outputs=len(sizes))
        )

    def _norm_of(self, name: str, norm: Norm) -> tuple[str, list[ir.Value]]:
        """Its kernel, and what is learned."""
        if norm.kind == "rms":
            return "SimplifiedLayerNormalization", [self.weights.value(name)]
        return "LayerNormalization", [self.weights.value(n) for n in (name, f"{name}.bias")]

    def _normed(self, kind: str, x: ir.Value, learned: list[ir.Value], norm: Norm) -> ir.Value:
        attributes = {"axis": -1, "epsilon": norm.eps, "stash_type": 1}
        return self._op(kind, [x, *learned], attributes)

    def _op(
        self,
        kind: str,
        inputs: list[ir.Value],
        attributes: dict[str, Any] | None = None,
        domain: str = "",
    ) -> ir.Value:
        return self.tape.op(kind, inputs, attributes, domain=domain)
