"""What the weights that training starts from say of pairs: computed once, before anything is learned, and kept in the
folder of the run.
"""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from edge.errors import Damaged, EdgeError
from edge.files.safetensors import SafetensorsFile
from edge.train.sources.pairs import PairSource
from edge.train.sources.talks import Progress
from edge_runtimes.torch.batches import batch_of
from edge_runtimes.torch.passes import Passes
from edge_runtimes.torch.ranks import Ranks

REFERENCE = "reference.safetensors"


def begin(source: PairSource, out: Path, passes: Passes, ranks: Ranks) -> None:
    """Compute and keep it: in every process."""
    found, chunks = torch.zeros(source.reference.shape), source.by_length(source.each)
    progress = Progress(f"of {len(chunks)} splits measured by the start")
    for first in range(0, len(chunks), ranks.count):
        own = first + ranks.rank
        # Where weights lie in shards, all take part in every pass.
        chunk = chunks[min(own, len(chunks) - 1)]
        answers = passes.told(batch_of(source.batch(chunk))).cpu()
        if own < len(chunks):
            found[chunk] = answers
        if ranks.first:
            progress(first)
    ranks.add_up([whole := found.to(ranks.device)])
    source.reference = whole.cpu().numpy()
    if ranks.first:
        out.mkdir(parents=True, exist_ok=True)
        new = out / f"new-{REFERENCE}"
        save_file({"reference": whole.cpu()}, new, metadata={"texts": source.talks.digest})
        new.rename(out / REFERENCE)


def restore(source: PairSource, out: Path) -> None:
    """What `begin` kept."""
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
        if shapes != {"reference": source.reference.shape} or texts != source.talks.digest:
            raise Damaged(f"{file} is of other pairs", fix="begin again in another folder")
        source.reference = opened.get_tensor("reference").float().numpy()
