"""Adam with the numbers and names that training on torch has: a run's state is the same file on both."""

import mlx.core as mx

from edge.train.course import is_matrix

BETAS = (0.9, 0.95)
EPS = 1e-8
Arrays = dict[str, mx.array]


class Adam:
    """State is a flat dict of arrays by name, so that it can be saved as they are."""

    def __init__(self, learned: Arrays) -> None:
        self.state = {
            f"{kind}/{name}": mx.zeros_like(values)
            for name, values in learned.items()
            for kind in ("mean", "square")
        }

    def step(
        self,
        learned: Arrays,
        gradients: Arrays,
        count: int,
        *,
        matrix: float,
        other: float,
        shrink: float,
    ) -> Arrays:
        """What is learned after one update; `count` starts at 1."""
        out = {}
        for name, values in learned.items():
            rate = other
            if is_matrix(name, values.ndim):
                rate = matrix
                values = values * (1 - matrix * shrink)
            out[name] = values - rate * self._moved(name, gradients[name], count)
        return out

    def _moved(self, name: str, gradient: mx.array, count: int) -> mx.array:
        means, squares = self.state[f"mean/{name}"], self.state[f"square/{name}"]
        mean = means + (gradient - means) * (1 - BETAS[0])
        square = squares + (mx.square(gradient) - squares) * (1 - BETAS[1])
        self.state |= {f"mean/{name}": mean, f"square/{name}": square}
        size = mx.sqrt(square / (1 - BETAS[1] ** count)) + EPS
        return mean / size / (1 - BETAS[0] ** count)
