"""Proof that an artifact of a network that is no decoder is its source: files, stored weights, labels, and
outputs on seeded inputs at the least, a middle and the largest size of a call.

As for decoders: the exact twin carries the tight bound, kernels that round what goes into a product are
compared with an oracle that rounds alike (`edge.prove.logits`). Where nothing says how fast kernels round, as in
half precision, one row of a hundred may be farther off: among thousands, some always lie where little is much.
R rows of an output, D numbers in each.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from edge import targets
from edge.artifact.manifest import Artifact, recipe_of
from edge.contracts import PLAIN
from edge.convert.networks import as_made
from edge.errors import EdgeError
from edge.net import NetSpec, Port
from edge.nn.tracing import traced
from edge.prove.distance import Distance, farthest
from edge.prove.logits import outputs_error
from edge.prove.weights import compared
from edge.run import opening
from edge.system.progress import Progress, silent
from edge.typing import F32, AnyArray

# Products of one call of the oracle, which numpy takes about a minute for on two cores: a call of the largest
# size is cut to what that allows, and the report says which sizes were run.
WORK = 1 << 41
LARGEST = 1 << 28  # numbers in the arrays of one operation of it: a gigabyte
MOST_ROWS = 0.99  # of those that fast kernels make, within the bound

Inputs = Mapping[str, AnyArray]
Feed = Callable[[Mapping[str, int], int], Inputs]  # of sizes and a seed


@dataclass(frozen=True, kw_only=True, slots=True)
class NetReport:
    """Every figure of a verification. Errors of outputs are max |difference| / max |output| of a row, or
    what sets its numbers apart if that is less.
    """

    passed: bool
    changed_files: tuple[str, ...]
    differing_bytes: int  # of stored weights
    farthest_matrix: Distance  # from the source's floats, by its bound
    sizes: tuple[Mapping[str, int], ...]  # of the calls that were compared
    error: float  # of the exact twin, its worst row
    tolerance: float
    fast_error: float  # of the fast kernels, the median row, or of a hundred the worst but one
    fast_tolerance: float
    nbytes: int  # of the artifact
    matrices: tuple[Distance, ...]

    def json(self) -> dict[str, object]:
        return asdict(self)


def verify(
    artifact: Artifact,
    source: Path,
    *,
    feed: Feed | None = None,
    progress: Progress | None = None,
) -> NetReport:
    """Compare an artifact with the checkpoint that it was made from. `feed`: what it is asked about, if that is not
    `seeded`.
    """
    manifest, spec = artifact.manifest, artifact.manifest.network
    recipe = recipe_of(manifest)
    with as_made(source, manifest) as checkpoint:
        if checkpoint.spec != spec:
            raise EdgeError(
                f"{source} is another model than {artifact.folder}: their numbers differ",
                fix="give --against the checkpoint that the artifact was made from",
            )
        differing, matrices = compared(artifact, checkpoint, recipe, progress or silent)
        runtime, oracle = targets.runtime(manifest.target), targets.oracle()
        sizes, proofs = tuple(calls(spec)), list[tuple[tuple[float, float], tuple[float, float]]]()
        ways = [runtime.numerics(recipe, exact=exact) for exact in (True, False)]
        pure = oracle.net_oracle(checkpoint, recipe, numerics=replace(ways[0], inputs=PLAIN.inputs))
        alike = oracle.net_oracle(checkpoint, recipe, numerics=ways[1])
        nets = [opening.open_net_proof(artifact, exact=exact) for exact in (True, False)]
        for number, size in enumerate(sizes):
            inputs = seeded(spec, size, number) if feed is None else feed(size, number)
            plain = _rows(spec, pure(**inputs))
            rounds = ways[1] != replace(ways[0], tolerance=ways[1].tolerance)
            wants = plain, _rows(spec, alike(**inputs)) if rounds else plain
            exact, fast = (
                _error(_rows(spec, net(**inputs)), want, plain, way.tolerance, share)
                for net, want, way, share in zip(nets, wants, ways, (1.0, MOST_ROWS), strict=True)
            )
            proofs.append((exact, fast))
    changed = artifact.check_hashes()
    worst, slow = (max((pair[i] for pair in proofs), key=lambda p: p[0] / p[1]) for i in (0, 1))
    good = (
        not changed
        and differing == 0
        and all(matrix.near for matrix in matrices)
        and all(error <= bound for pair in proofs for error, bound in pair)
    )
    return NetReport(
        passed=good,
        changed_files=changed,
        differing_bytes=differing,
        farthest_matrix=farthest(matrices),
        sizes=sizes,
        error=worst[0],
        tolerance=worst[1],
        fast_error=slow[0],
        fast_tolerance=slow[1],
        nbytes=artifact.nbytes,
        matrices=matrices,
    )


def calls(spec: NetSpec) -> Iterator[dict[str, int]]:
    """Sizes of the calls to compare: every size at its least, in a middle, and at its most; as large as
    the work of the oracle allows.
    """
    seen: list[dict[str, int]] = []
    for share in (0.0, 0.5, 1.0):
        found = _within(spec, share)
        if found not in seen:
            seen.append(found)
            yield found


def _within(spec: NetSpec, share: float) -> dict[str, int]:
    """So far from the least to the most of each size; halved until it is not too much work."""
    while True:
        sizes = {
            size.name: size.least + round(share * (size.most - size.least))
            for size in spec.config.sizes
        }
        found = traced(spec, **sizes)[0]
        if share < 1e-3 or (found.work <= WORK and found.largest <= LARGEST):
            return sizes
        share /= 2


def seeded(spec: NetSpec, sizes: Mapping[str, int], seed: int) -> dict[str, AnyArray]:
    """Inputs of these sizes: normal numbers or what else its ports take, or numbers of rows."""
    rng = np.random.default_rng(seed)

    def made(port: Port) -> AnyArray:
        shape = [n if isinstance(n, int) else sizes[n] for n in port.shape]
        if port.type == "int":
            assert port.below is not None, "integers are numbers of something"
            most = port.below if isinstance(port.below, int) else sizes[port.below]
            return rng.integers(0, most, shape)
        return SEEDED[port.values](rng, shape).astype(np.float32)

    return {port.name: made(port) for port in spec.config.inputs}


def _mask(rng: np.random.Generator, shape: list[int]) -> AnyArray:
    lengths = rng.integers(1, shape[-1] + 1, (*shape[:-1], 1))
    return np.arange(shape[-1]) < lengths


SEEDED: Mapping[str, Callable[[np.random.Generator, list[int]], AnyArray]] = {
    "any": lambda rng, shape: rng.standard_normal(shape),
    "signal": lambda rng, shape: rng.standard_normal(shape),
    "mask": _mask,
    "positive": lambda rng, shape: np.exp(rng.standard_normal(shape)),
}


def _rows(spec: NetSpec, outputs: Mapping[str, F32]) -> list[F32]:
    """Each output as rows: [R, D]. A signal is one row of each of the batch; what is a number alone is compared
    with zero beside it.
    """
    out = []
    for port in sorted(spec.config.outputs, key=lambda port: port.name):
        x = outputs[port.name]
        rows = x.reshape(len(x), -1) if port.values == "signal" else x.reshape(-1, x.shape[-1])
        out.append(np.pad(rows, [(0, 0), (0, 1)]) if rows.shape[1] == 1 else rows)
    return out


def _error(
    got: list[F32], want: list[F32], pure: list[F32], tolerance: float, share: float
) -> tuple[float, float]:
    """Of all outputs the worst, and its bound, for such a share of their rows. Rows that a mask leaves out are zero
    on both sides.
    """
    kept = []
    for every in zip(got, want, pure, strict=True):
        rows = np.any([x.any(axis=1) for x in every], axis=0)
        if rows.any():
            kept.append([x[rows] for x in every])
    if not kept:
        return 0.0, tolerance
    mine, theirs, plain = ([part[i] for part in kept] for i in range(3))
    return outputs_error(mine, theirs, plain, tolerance, share)
