"""Texts that say how to round; and of one an importance matrix: how much each input of a weight matters.

The mean square of every input of every matrix of the layers, over all positions: what llama.cpp's
imatrix tool collects. A quantizer rounds so that what matters is kept. It is computed from the
checkpoint itself, in float32, by the oracle: exact, the same for every target, without a file of
another precision that would have to be written first. It costs what reading the text on plain numpy
costs, so the tokens are bounded. C chunks, K inputs.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge import targets
from edge.errors import EdgeError
from edge.files import texts
from edge.quant.recipe import Recipe
from edge.source.checkpoint import Checkpoint
from edge.system.progress import Progress, silent
from edge.system.team import Parts, Team, Threads, one_thread_each
from edge.text.tokenizer import Tokenizer
from edge.typing import F32, AnyArray

TOKENS = 16_384
FEW = 4_096  # where nobody asked for a method: four times as fast, and nearly as good
WINDOW = 512  # tokens that are read together, as llama.cpp's tool does
PACKAGED = Path(__file__).with_name("calibration.txt")
_STREAM = "stream"  # what comes out of a layer, beside squares by names
_LEAST = 16  # of the last window: a shorter one is left out


@dataclass(frozen=True, slots=True)
class Calibration:
    """A text, and how many of its tokens are read at most."""

    file: Path
    content: str
    tokens: int

    @classmethod
    def of(cls, file: Path, tokens: int = TOKENS) -> "Calibration":
        """Read the text."""
        return cls(file, texts.text_of(file), tokens)

    @classmethod
    def packaged(cls, tokens: int = TOKENS) -> "Calibration":
        """The text that comes with edge."""
        return cls.of(PACKAGED, tokens)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()

    def json(self, windows: Sequence[Sequence[int]]) -> dict[str, object]:
        """For a manifest: what it was computed from."""
        return {
            "text": self.file.name,
            "sha256": self.sha256,
            "tokens": sum(map(len, windows)),
            "window": max(map(len, windows)),
        }

    @classmethod
    def again(cls, told: Mapping[str, object], file: Path | None, folder: Path) -> "Calibration":
        """The text that an artifact in a folder, with its tokenizer, was rounded by, as its manifest told (`json`);
        refuses another.
        """
        found = cls.packaged() if file is None else cls.of(file)
        if found.sha256 != told.get("sha256"):
            raise EdgeError(
                f"{found.file} is another text than {told.get('text')!r:.80}, by which this was rounded",
                fix="give that one to --calibrate",
            )
        count, window = int(str(told.get("tokens", 0))), int(str(told.get("window", 0)))
        leads = -(-count // max(1, window)) if Tokenizer.load(folder).bos_id is not None else 0
        return replace(found, tokens=count - leads)

    def windows(self, folder: Path, context: int) -> list[list[int]]:
        """The text's tokens in pieces, each led by BOS if the model has one."""
        tokenizer = Tokenizer.load(folder)
        lead = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        size = min(WINDOW, context) - len(lead)
        # A token is a letter or more, so later letters are not needed.
        ids = tokenizer.encode(self.content[: 16 * self.tokens], special=False)[: self.tokens]
        cuts = [ids[at : at + size] for at in range(0, len(ids), max(size, 1))]
        kept = [[*lead, *cut] for cut in cuts if len(cut) >= min(_LEAST, size)]
        if not kept:
            raise EdgeError(
                f"{self.file} is of {len(ids)} tokens", fix=f"give a text of {_LEAST} or more"
            )
        return kept


def calibration_of(asked: Calibration | None, recipe: Recipe) -> Calibration | None:
    """The text that a recipe's codes depend on: what was asked for, else the one that comes with edge where there
    must be one, less of it where a short name asked for no method; none where none would change anything.
    """
    if recipe.by_inputs or recipe.balanced:
        return asked or Calibration.packaged(FEW if recipe.chosen else TOKENS)
    return asked if recipe.mixture is not None else None


def measure(
    checkpoint: Checkpoint,
    windows: Sequence[Sequence[int]],
    progress: Progress = silent,
    team: Team | None = None,
) -> dict[str, F32]:
    """Mean squares of the inputs of each matrix of the layers, over all positions of all windows, by canonical name:
    [K].
    """
    walk, by = targets.oracle().walk(checkpoint, windows), team or Threads()
    layers, tokens = len(checkpoint.decoder.layers), sum(map(len, windows))
    sums: dict[str, AnyArray] = {}

    def one(window: int) -> Parts:
        squares: dict[str, AnyArray] = {}

        def hear(names: tuple[str, ...], x: F32) -> None:
            each = np.einsum("tk,tk->k", x, x, dtype=np.float64)
            squares.update(dict.fromkeys(names, each))

        return {_STREAM: walk.one(window, hear), **squares}

    with progress("calibrate", tokens * layers) as advance, one_thread_each():
        while walk.layer < layers:
            streams = []
            for parts in by.each(len(windows), one):
                streams.append(parts[_STREAM])
                advance(len(streams[-1]))
                for name, squares in parts.items():
                    if name != _STREAM:
                        sums[name] = sums.get(name, 0) + squares
            walk.arrive(streams)
    return {name: (total / tokens).astype(np.float32) for name, total in sums.items()}
