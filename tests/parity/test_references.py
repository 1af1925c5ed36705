"""Every family has an independent model of random weights, norms, biases and scales, which ours equals;
and ours with any term left out does not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CASES
from mutants import Mutant, mutants
from support import VOCAB, checkpoint, config_of, weights_of

import edge.nn.decoder
import edge.nn.rope
import edge.nn.sparse
import edge_runtimes.reference.ops
from edge.families import decoders
from edge.nn.decoder import embed, segment
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec
from edge_runtimes.reference.decoder import ReferenceDecoder
from edge_runtimes.reference.ops import Cache, NumpyOps

IDS = [int(i) for i in np.random.default_rng(7).integers(0, VOCAB, 40)]
CHUNKS = (27, 9, 1, 1, 1, 1)
TOLERANCE = 1e-4  # of the largest logit
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    name: (family, changes)
    for family, case in CASES.items()
    for name, changes in case.variants.items()
}


@dataclass(frozen=True, eq=False)
class Case:
    """A model of ours, and the logits of its reference [T, V]."""

    spec: DecoderSpec
    weights: Mapping[str, np.ndarray]
    want: np.ndarray

    def agrees(self) -> bool:
        return self._in_turn() and self._cut()

    def _in_turn(self) -> bool:
        """As a prompt, a chunk and single tokens: every position that gives logits."""
        ours = ReferenceDecoder(self.spec, lambda name, rows: _rows(self.weights[name], rows))
        got = [*ours.score(IDS[: CHUNKS[0]])]
        want = [*self.want[: CHUNKS[0]]]
        for size in CHUNKS[1:]:
            got.append(ours.prefill(IDS[ours.length : ours.length + size]).copy())
            want.append(self.want[ours.length - 1])
        return near(np.stack(got), np.stack(want))

    def _cut(self) -> bool:
        """As graphs of one layer after the embedding, of none, and of the others with the head."""
        ops = NumpyOps(lambda name, rows: _rows(self.weights[name], rows), Cache(), 0, False)
        x = embed(ops, self.spec, np.array(IDS))
        x = segment(ops, self.spec, x, start=0, stop=1, ends=False, embedded=True)
        x = segment(ops, self.spec, x, start=1, stop=1, ends=False)
        count = len(self.spec.layers)
        return near(segment(ops, self.spec, x, start=1, stop=count, ends=True), self.want)


def _rows(weight: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return weight if rows is None else weight[rows]


def near(got: np.ndarray, want: np.ndarray) -> bool:
    """Relative to the largest; what is forbidden must be so in both."""
    finite = np.isfinite(want)
    if got.shape != want.shape or not np.array_equal(finite, np.isfinite(got)):
        return False
    if not np.array_equal(got[~finite], want[~finite]):
        return False
    largest = np.abs(want[finite]).max()
    return bool(np.abs(got[finite] - want[finite]).max() <= TOLERANCE * largest)


def made(folder: Path, family: str, changes: Mapping[str, Any]) -> Case:
    config = config_of(family, **changes)
    weights = weights_of(config)
    for name, weight in weights.items():
        assert weight.std() > 0.05, f"{name} is a constant"
    want = CASES[family].reference(config, weights, IDS)
    with Checkpoint.open(checkpoint(folder, config, weights)) as found:
        context = max(len(IDS), found.spec.context)
    with Checkpoint.open(folder, context=context) as found:
        return Case(found.spec, {name: found[name] for name in found.places}, want)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Case]:
    folder = tmp_path_factory.mktemp("references")
    return {name: made(folder / name, *case) for name, case in VARIANTS.items()}


def test_every_family_has_a_reference_and_a_case() -> None:
    names = {family.name for family in decoders()}
    assert set(CASES) == names
    assert {family for family, _ in VARIANTS.values()} == names
    assert len(VARIANTS) == sum(len(case.variants) for case in CASES.values())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_family_is_its_reference(cases: Mapping[str, Case], name: str) -> None:
    assert cases[name].agrees()


# What is left out here changes no logit: `EQUAL` computes the same, `OTHERS` is for more than logits.
EQUAL = {
    "a scale of one, no ids, no limit, no layers": """
        decoder.segment: if start < stop: rope = ops.rope(sp… -> if True: rope = ops.rope(spec.rope,…
        decoder.embed: x if spec.embed_scale == 1 else ops… -> ops.scale(x, spec.embed_scale)
        decoder.head: if spec.logit_scale != 1: logits = … -> if True: logits = ops.scale(logits,…
        decoder.head: ops.forbid(logits, spec.forbidden) … -> ops.forbid(logits, spec.forbidden)
        rope.tables: if by == 1: return (np.cos(angles),… -> if False: return (np.cos(angles), n…
        ops.gegelu: if limit is not None: g, u = (np.mi… -> if True: g, u = (np.minimum(g, np.f…
    """,
    "rows before the last, which nobody asked for": """
        decoder.block: if index == len(spec.layers) - 1: x… -> if False: x, h = (ops.wanted(x), op…
        decoder.block: len(spec.layers) - 1 -> len(spec.layers)
        decoder.block: ops.wanted(x) -> x
        decoder.block: ops.wanted(h) -> h
        ops.NumpyOps.wanted: x[-1:] if self.last_only else x -> x
    """,
    "a guard against overflow, and the last of two axes": """
        ops.attention_weights: scores - scores.max(axis=-1, keepdi… -> scores
        ops.layer_norm: -1 -> 1
    """,
}
OTHERS = (
    "Cache.copy",
    "Cache.rewind",
    "Cache.keep",
    "votes",
    "self._product",
    "tables: range(context)",
)

MODULES = (edge.nn.decoder, edge.nn.rope, edge.nn.sparse, edge_runtimes.reference.ops)


def all_mutants() -> Iterator[Mutant]:
    for module in MODULES:
        yield from mutants(module)


def test_a_mutant_is_what_every_importer_runs() -> None:
    """And the code is whole again afterwards."""
    x = np.array([[1, 2, 3, 4]], np.float32)
    mutant = next(m for m in all_mutants() if str(m).startswith("ops.rms_norm"))
    before = edge_runtimes.reference.ops.rms_norm(x, 2 * x, 1.0)
    with mutant.alive():
        assert not np.array_equal(edge_runtimes.reference.ops.rms_norm(x, 2 * x, 1.0), before)
    assert np.array_equal(edge_runtimes.reference.ops.rms_norm(x, 2 * x, 1.0), before)


def survives(mutant: Mutant, cases: list[Case]) -> bool:
    """Whether no case sees it. The one that does comes first for the next mutant, a near one."""
    with mutant.alive(), np.errstate(all="ignore"):
        seen = next((case for case in cases if not holds(case)), None)
    if seen is not None:
        cases.remove(seen)
        cases.insert(0, seen)
    return seen is None


def holds(case: Case) -> bool:
    """What no longer runs is seen, too."""
    try:
        return case.agrees()
    except Exception:
        return False


def test_each_term_that_is_left_out_is_seen(cases: Mapping[str, Case]) -> None:
    found = list(all_mutants())
    queue = list(cases.values())
    lost = {str(mutant) for mutant in found if survives(mutant, queue)}
    equal = {line.strip() for lines in EQUAL.values() for line in lines.strip().splitlines()}
    assert len(found) > 250
    assert {name for name in lost if not any(other in name for other in OTHERS)} == equal
