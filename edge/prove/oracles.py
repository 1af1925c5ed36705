"""Every network of an artifact that answers about pictures, in numpy."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from edge import targets
from edge.artifact.manifest import Artifact, recipe_of
from edge.contracts import PLAIN, Numerics
from edge.convert.networks import as_made
from edge.net import NetSpec
from edge.pipelines.splicing import SplicingDecoder
from edge.protocols import Net, Spliced
from edge.prove.weights import as_balanced
from edge.run import opening
from edge.typing import F32

Ways = Sequence[Mapping[str, Numerics]]  # each says how every network computes


@dataclass(frozen=True, slots=True)
class Oracles:
    """`nets`: those that are no decoders, by name."""

    nets: Mapping[str, Net]
    decoder: SplicingDecoder

    def logits(self, ids: list[int], rows: F32, chosen: list[int]) -> F32:
        """Of the positions that these tokens were chosen at, after a prompt in whose places rows stand: [T, V]."""
        self.decoder.rewind(0)
        self.decoder.show(rows)
        found = [self.decoder.prefill(ids)[None]]
        found += [self.decoder.score(chosen[:-1])] if len(chosen) > 1 else []
        return np.concatenate(found)


def ways_of(parts: Mapping[str, Artifact]) -> Ways:
    """As the exact twin of each network computes; and as those would that round nothing, if any does."""
    alike = {
        name: targets.runtime(part.manifest.target).numerics(recipe_of(part.manifest), exact=True)
        for name, part in parts.items()
    }
    plain = {name: replace(one, inputs=PLAIN.inputs) for name, one in alike.items()}
    return [alike] if alike == plain else [alike, plain]


@contextmanager
def oracles(
    parts: Mapping[str, Artifact], source: Path, ways: Ways, place: int
) -> Iterator[list[Oracles]]:
    """For each way of computing. `place`: the id that stands for rows in a prompt."""
    numpy, recipes = targets.oracle(), {n: recipe_of(part.manifest) for n, part in parts.items()}
    (text,) = (n for n, part in parts.items() if not isinstance(part.manifest.spec, NetSpec))
    spec = parts[text].manifest.decoder
    with ExitStack() as stack:
        made = {
            name: as_balanced(
                part, stack.enter_context(as_made(source, part.manifest)), recipes[name]
            )
            for name, part in parts.items()
        }
        stored, meant = stack.enter_context(opening.as_they_lie(parts[text], recipes[text], spec))

        def oracle(way: Mapping[str, Numerics]) -> Oracles:
            nets = {
                name: numpy.net_oracle(made[name], recipes[name], numerics=way[name])
                for name in parts
                if name != text
            }
            decoder = numpy.oracle(
                made[text],
                recipes[text],
                numerics=way[text],
                spec=spec,
                stored=stored,
                meant=meant,
            )
            return Oracles(nets, SplicingDecoder(cast(Spliced, decoder), place))

        yield [oracle(way) for way in ways]
