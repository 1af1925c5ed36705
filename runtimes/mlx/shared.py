"""Operations on MLX that decoders and other networks share: `edge.ops.SharedOps`."""

from collections.abc import Collection
from dataclasses import dataclass

import mlx.core as mx

from edge.spec import Norm
from edge_runtimes.mlx.weights import Weights


@dataclass(slots=True)
class SharedMlxOps:
    """Builds a graph; nothing is computed before `mx.eval`."""

    weights: Weights

    def embed(self, name: str, tokens: mx.array) -> mx.array:
        return self.weights.table(name).rows(tokens, self.weights.dtype)

    def add_norm(
        self, x: mx.array, d: mx.array | None, name: str, norm: Norm
    ) -> tuple[mx.array, mx.array]:
        x = x if d is None else x + d
        return x, self.norm(x, name, norm)

    def norm(self, x: mx.array, name: str | None, norm: Norm) -> mx.array:
        weight = None if name is None else self.weights.value(name)
        if norm.kind == "rms":
            return mx.fast.rms_norm(x, weight, norm.eps)
        bias = None if name is None else self.weights.value(f"{name}.bias")
        return mx.fast.layer_norm(x, weight, bias, norm.eps)

    def add(self, x: mx.array, d: mx.array) -> mx.array:
        return x + d

    def linear(
        self, x: mx.array, *names: str, biased: Collection[str] = ()
    ) -> tuple[mx.array, ...]:
        stacks = self.weights.stacks(names, biased=biased)
        return tuple(part for stack in stacks for part in stack(x))
