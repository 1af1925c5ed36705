"""Rows of pairs, each beside what the start says of its answers."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from edge.data.talks import Talks
from edge.errors import Damaged, EdgeError
from edge.files.safetensors import SafetensorsFile
from edge.spec import DecoderSpec
from edge.train.recipe import TrainingRecipe
from edge.train.rows import Pairs
from edge_runtimes.torch.costs import Compared, Preference
from edge_runtimes.torch.passes import Passes
from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.sources.talks import TalkSource

REFERENCE = "reference.safetensors"
SAY_EVERY = 20.0  # seconds


class PairSource(TalkSource):
    """`reference`: log-probabilities of both answers of every pair, [N, 2], by the weights that training starts from. A
    run computes them once, and keeps them in its folder.
    """

    def __init__(
        self, recipe: TrainingRecipe, rows: Pairs, spec: DecoderSpec, talks: Talks
    ) -> None:
        super().__init__(recipe, spec, talks)
        self.cost = Preference(rows.loss, rows.beta)
        self.reference = torch.zeros(len(talks.items), 2)

    def batch(self, numbers: Sequence[int]) -> Compared:
        """The rows of some pairs, as long as the longest of them: [B, 2, T + 1]."""
        rows = [row for number in numbers for row in self.talks.items[number]]
        tokens, parts = (made.view(len(numbers), 2, -1) for made in self.padded(rows))
        return Compared(tokens=tokens, parts=parts, reference=self.reference[list(numbers)])

    def begin(self, out: Path, passes: Passes, ranks: Ranks) -> None:
        found, said = torch.zeros_like(self.reference), time.monotonic()
        chunks = self.by_length(self.each)
        for first in range(0, len(chunks), ranks.count):
            own = first + ranks.rank
            chunk = chunks[
                min(own, len(chunks) - 1)
            ]  # where weights lie in shards, all take part in every pass
            answers = passes.told(self.batch(chunk)).cpu()
            if own < len(chunks):
                found[chunk] = answers
            if ranks.first and time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                print(f"reference {first} of {len(chunks)}", file=sys.stderr, flush=True)
        ranks.add_up([whole := found.to(ranks.device)])
        self.reference = whole.cpu()
        if ranks.first:
            out.mkdir(parents=True, exist_ok=True)
            new = out / f"new-{REFERENCE}"
            save_file({"reference": self.reference}, new, metadata={"texts": self.talks.digest})
            new.rename(out / REFERENCE)

    def restore(self, out: Path) -> None:
        file = out / REFERENCE
        if not file.is_file():
            raise EdgeError(
                f"{file} is missing: what the start says of the answers",
                fix="begin again in another folder",
            )
        with SafetensorsFile(file) as checked:
            shapes = {name: entry.shape for name, entry in checked.entries.items()}
        with safe_open(file, "pt") as opened:
            texts = (opened.metadata() or {}).get("texts")
            if shapes != {"reference": tuple(self.reference.shape)} or texts != self.talks.digest:
                raise Damaged(f"{file} is of other pairs", fix="begin again in another folder")
            self.reference = opened.get_tensor("reference").float()
