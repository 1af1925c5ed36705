"""Texts that say how to round; and of one an importance matrix: how much each input of a weight matters.

The mean square of every input of every matrix of the layers, over all positions: what llama.cpp's
imatrix tool collects. A quantizer rounds so that what matters is kept. It is computed from the
checkpoint itself, in float32, by numpy or by torch: exact, the same for every target, without a file of
another precision that would have to be written first. It costs what reading the text there
costs, so the tokens are bounded. K inputs.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge import targets
from edge.contracts import Calibrator
from edge.errors import EdgeError, Unsupported
from edge.files import texts
from edge.quant.recipe import Recipe
from edge.source.checkpoint import Checkpoint
from edge.system.progress import Progress, silent
from edge.system.team import Parts, Team, Threads
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
    """A text, how many of its tokens are read at most, and on which device (`edge.targets.CALIBRATE_ON`)."""

    file: Path
    content: str
    tokens: int
    on: str = "numpy"

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

    @property
    def by(self) -> Calibrator:
        """What reads it."""
        return targets.calibrator(self.on)

    def json(self, windows: Sequence[Sequence[int]]) -> dict[str, object]:
        """For a manifest: what it was computed from, and by what."""
        return {
            "text": self.file.name,
            "sha256": self.sha256,
            "tokens": sum(map(len, windows)),
            "window": max(map(len, windows)),
            "on": self.on,
            "by": self.by.told,
        }

    @classmethod
    def again(cls, told: Mapping[str, object], file: Path | None, folder: Path) -> "Calibration":
        """The text that an artifact in a folder, with its tokenizer, was rounded by, as its manifest told (`json`), to
        be read where it was; refuses another, and a device that is not here.
        """
        found = cls.packaged() if file is None else cls.of(file)
        if found.sha256 != told.get("sha256"):
            raise EdgeError(
                f"{found.file} is another text than {told.get('text')!r:.80}, by which this was rounded",
                fix="give that one to --calibrate",
            )
        count, window = int(str(told.get("tokens", 0))), int(str(told.get("window", 0)))
        leads = -(-count // max(1, window)) if Tokenizer.load(folder).bos_id is not None else 0
        again = replace(found, tokens=count - leads, on=str(told.get("on", "numpy")))
        _here(again)
        return again

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


def _here(text: Calibration) -> None:
    """Refuse a text that was read on a device that is not here."""
    try:
        _ = text.by
    except EdgeError as error:
        raise Unsupported(
            f"its text was read on {text.on!r:.40}, and cannot be again here: {error.problem}",
            fix="leave out --remake, or give it where that is",
        ) from None


def calibration_of(
    asked: Calibration | None, recipe: Recipe, on: str | None = None
) -> Calibration | None:
    """The text that a recipe's codes depend on: what was asked for, else the one that comes with edge where there
    must be one, less of it where a short name asked for no method; none where none would change anything. `on`: the
    device that was asked for.
    """
    found = asked if recipe.mixture is not None else None
    if recipe.by_inputs or recipe.balanced:
        found = asked or Calibration.packaged(FEW if recipe.chosen else TOKENS)
    return None if found is None else replace(found, on=targets.calibrates_on(on))


def measure(
    checkpoint: Checkpoint,
    windows: Sequence[Sequence[int]],
    progress: Progress = silent,
    team: Team | None = None,
    by: Calibrator | None = None,
) -> dict[str, F32]:
    """Mean squares of the inputs of each matrix of the layers, over all positions of all windows, by canonical name:
    [K].
    """
    by, team = by or targets.calibrator("numpy"), team or Threads()
    walk = by.walk(checkpoint, windows)
    layers, tokens = len(checkpoint.decoder.layers), sum(map(len, windows))
    sums: dict[str, AnyArray] = {}

    def one(window: int) -> Parts:
        squares: dict[str, AnyArray] = {}

        def hear(names: tuple[str, ...], x: F32) -> None:
            each = np.einsum("tk,tk->k", x, x, dtype=np.float64)
            squares.update(dict.fromkeys(names, each))

        return {_STREAM: walk.one(window, hear), **squares}

    with progress("calibrate", tokens * layers) as advance, by.steadily():
        while walk.layer < layers:
            streams = []
            for parts in team.each(len(windows), one):
                streams.append(parts[_STREAM])
                advance(len(streams[-1]))
                for name, squares in parts.items():
                    if name != _STREAM:
                        sums[name] = sums.get(name, 0) + squares
            walk.arrive(streams)
    return {name: (total / tokens).astype(np.float32) for name, total in sums.items()}
