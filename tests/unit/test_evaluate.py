"""Loss, divergence and agreement on a text, beside plain loops."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from edge.errors import EdgeError
from edge.measure import evaluate as measured
from edge.measure.evaluate import evaluate

VOCAB = 11


class Fixed:
    """Says what a table has for the token before, and for how many came."""

    def __init__(self, seed: int, capacity: int = 64) -> None:
        self.table = np.random.default_rng(seed).normal(size=(VOCAB, VOCAB)).astype(np.float32) * 3
        self.capacity = capacity
        self.length = 0

    def rewind(self, length: int) -> None:
        self.length = length

    def score(self, tokens: Sequence[int]) -> np.ndarray:
        assert self.length + len(tokens) <= self.capacity
        at = np.arange(self.length, self.length + len(tokens))[:, None]
        self.length += len(tokens)
        return (self.table[list(tokens)] + np.sin(at * np.arange(VOCAB))).astype(np.float32)


def rows(model: Fixed, part: Sequence[int]) -> list[list[float]]:
    """What a model says after each token, as probabilities, one by one."""
    out = []
    for at, token in enumerate(part):
        logits = [float(model.table[token, v]) + math.sin(at * v) for v in range(VOCAB)]
        total = sum(math.exp(x) for x in logits)
        out.append([math.exp(x) / total for x in logits])
    return out


@pytest.mark.parametrize("bos", [None, 0])
@pytest.mark.parametrize("window", [None, 7, 64])
def test_every_figure_is_that_of_plain_loops(
    bos: int | None, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "_ROWS", 5)
    ids = [int(x) for x in np.random.default_rng(3).integers(0, VOCAB, 90)]
    small, full = Fixed(1), Fixed(2)
    found = evaluate(small, ids, bos=bos, window=window, against=full)  # type: ignore[arg-type]
    size, lead = window or 64, [] if bos is None else [bos]
    losses, apart, same = [], [], []
    for start in range(0, len(ids), size - len(lead)):
        part = [*lead, *ids[start : start + size - len(lead)]]
        for at, (p, q) in enumerate(
            zip(rows(full, part[:-1]), rows(small, part[:-1]), strict=True)
        ):
            losses.append(-math.log(q[part[at + 1]]))
            apart.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
            same.append(float(p.index(max(p)) == q.index(max(q))))
    for name, each in (("nats_per_token", losses), ("kl", apart), ("top1", same)):
        mean = sum(each) / len(each)
        error = math.sqrt(sum((x - mean) ** 2 for x in each) / len(each)) / math.sqrt(len(each))
        assert getattr(found, name) == pytest.approx(mean, rel=1e-4)
        assert getattr(found, f"{name}_se") == pytest.approx(error, rel=1e-4)
    assert found.tokens == len(losses)
    assert found.perplexity == pytest.approx(math.exp(found.nats_per_token))


def test_a_model_is_no_way_from_itself() -> None:
    found = evaluate(Fixed(1), [1, 2, 3, 4], bos=None, against=Fixed(1))  # type: ignore[arg-type]
    assert found.kl == pytest.approx(0, abs=1e-6)
    assert found.top1 == 1


def test_what_was_not_asked_is_not_said() -> None:
    found = evaluate(Fixed(1), [1, 2, 3], bos=0).json()  # type: ignore[arg-type]
    assert set(found) == {"nats_per_token", "nats_per_token_se", "perplexity", "tokens", "window"}


def test_ids_that_one_of_them_never_says() -> None:
    """A forbidden token is infinitely unlikely for both."""
    one, other = Fixed(1), Fixed(2)
    for model in (one, other):
        model.table[:, 5] = -np.inf
    found = evaluate(one, [1, 2, 3, 4], bos=None, against=other)  # type: ignore[arg-type]
    assert found.kl is not None
    assert 0 < found.kl < 100


def test_the_smaller_context_holds() -> None:
    found = evaluate(Fixed(1), [1] * 30, bos=None, against=Fixed(2, capacity=9))  # type: ignore[arg-type]
    assert found.window == 9
    with pytest.raises(EdgeError, match="nothing to score"):
        evaluate(Fixed(1), [1] * 30, bos=None, against=Fixed(2, capacity=1))  # type: ignore[arg-type]
