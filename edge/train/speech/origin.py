"""Where a run of FlashSpeech starts: prepared speech, the networks that it makes, and those that it builds upon. All of
it is read and checked before anything is written.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.audio.wav import WavWriter
from edge.data.utterances import FRAMING, TEXT, VOICE, Utterances
from edge.errors import EdgeError
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.source.headers import config_of
from edge.train.speech.batches import Example, Examples, cut, usable
from edge.train.speech.model import (
    LEARNED,
    Joined,
    SpeechModel,
    joined_network,
    speech_model,
    statistics,
)
from edge.train.speech.recipe import SpeechRecipe
from edge.typing import F32

MEASURED = 256  # utterances by which latents are scaled
VOICE_FRAMES = 240  # of the prompt in a checkpoint: three seconds
_JOINED = ("vocoder", "recognizer")
_HEARD = "a recording of what the model was trained on"


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechOrigin:
    """`heard`: the frozen network that a discriminator looks through; `begun`: the checkpoint to go on from; `held`:
    whole sentences that nothing is learned from, if there are any; `voice`: a WAV.
    """

    rows: Utterances
    held: Examples | None
    model: SpeechModel
    heard: Joined | None
    begun: Path | None
    voice: bytes

    def sentences(self, count: int) -> list[Example]:
        """So many that are held out, each whole and with a prompt."""
        if self.held is None:
            return []
        some = enumerate(self.held.usable[:count])
        return [self.held.example(row, self.held.rng(0, number)) for number, row in some]

    def weights(self) -> Iterator[tuple[str, F32]]:
        """NETWORK/WEIGHT of the checkpoint to go on from, as far as it has such networks."""
        if self.begun is None:
            return
        for name in _given(self.begun, self.model):
            with Checkpoint.open(self.begun, stage=name) as checkpoint:
                for own in checkpoint.places:
                    yield f"{name}/{own}", whole(checkpoint, own)


def speech_origin(
    recipe: SpeechRecipe, data: Sequence[str], find: Callable[[str], Path], start: str | None
) -> SpeechOrigin:
    folder = _folder(data)
    rows, start = Utterances(folder), start or recipe.start
    begun = None if start is None else find(start)
    model = _model(recipe, rows, find, begun)
    if begun is not None:
        _check(begun, model)
    through = recipe.features or recipe.recognizer
    heard = None
    if recipe.adversarial is not None:
        assert through is not None, "a recipe says through which network it is judged"
        heard = joined_network(find(through))
    return SpeechOrigin(
        rows=rows,
        model=model,
        heard=heard,
        begun=begun,
        held=_held(folder, recipe, model),
        voice=_voice(recipe, rows),
    )


def _folder(data: Sequence[str]) -> Path:
    if len(data) != 1:
        raise EdgeError(
            f"this recipe learns from one folder of prepared speech, and was given {len(data)}",
            fix="give --data FOLDER with what edge data speech made",
        )
    return Path(data[0])


def _model(
    recipe: SpeechRecipe, rows: Utterances, find: Callable[[str], Path], begun: Path | None
) -> SpeechModel:
    named = {name: getattr(recipe, name) for name in _JOINED}
    joined = {name: find(folder) for name, folder in named.items() if folder is not None}
    table: dict[str, Any] = dict(recipe.model)
    if begun is not None:
        latent = config_of(begun).table("latent")
        table |= {} if latent is None else {"latent": dict(latent.data)}
    measured = (0.0, 1.0)
    if "latent" not in table:
        some = usable(rows)
        chosen = some[:: max(1, len(some) // MEASURED)][:MEASURED]
        measured = statistics(rows[row].mel() for row in chosen)
    return speech_model(table, joined, measured)


def _check(begun: Path, model: SpeechModel) -> None:
    """Refuse a checkpoint of other networks."""
    for name in _given(begun, model):
        with Checkpoint.open(begun, stage=name) as checkpoint:
            if checkpoint.spec != model.specs[name]:
                raise EdgeError(
                    f"{begun} has another {name} network than the recipe's model",
                    fix="leave out --start, or name a checkpoint that this recipe made",
                )


def _given(begun: Path, model: SpeechModel) -> list[str]:
    """Of the networks that are learned, those that a checkpoint has: refiners may be missing."""
    there = model.kind(config_of(begun))
    missing = [name for name in LEARNED if name not in there]
    if missing:
        raise EdgeError(
            f"{begun} has no {missing[0]} network", fix="name a checkpoint that this recipe made"
        )
    return [name for name in model.learned() if name in there]


def _held(folder: Path, recipe: SpeechRecipe, model: SpeechModel) -> Examples | None:
    """Sentences that are held out; of voices that are, where no text is."""
    for split in (TEXT, VOICE):
        try:
            rows = Utterances(folder, split)
        except EdgeError:
            continue
        return Examples(rows, recipe.utterances.longest(), recipe.seed, model.latent)
    return None


def _voice(recipe: SpeechRecipe, rows: Utterances) -> bytes:
    """A prompt that a checkpoint speaks by where nobody names another."""
    wanted = recipe.voice
    found = [row for row in usable(rows) if wanted in (None, rows.voices[row])]
    if not found:
        known = ", ".join(sorted(set(rows.voices))[:5])
        raise EdgeError(
            f"nobody is called {wanted!r:.40} in the prepared speech",
            fix=f"name another voice in the recipe, such as {known}",
        )
    one = rows[max(found[:1000], key=lambda row: min(VOICE_FRAMES, int(rows.lengths[row])))]
    samples = cut(one.samples, VOICE_FRAMES * FRAMING.hop, np.random.default_rng(recipe.seed))
    made = io.BytesIO()
    writer = WavWriter(made, FRAMING.rate, comment=_HEARD)
    writer.write(samples)
    writer.close()
    return made.getvalue()
