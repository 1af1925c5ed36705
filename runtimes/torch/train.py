"""Training on torch: a recipe of any kind, in a run's folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.data import fonts
from edge.errors import EdgeError
from edge.train import reading
from edge.train.course import STATE
from edge.train.lessons import LessonsRecipe
from edge.train.network import NetworkRecipe
from edge.train.recipe import TrainingRecipe, changed
from edge.train.regions.detection import DetectionRecipe
from edge.train.regions.dialogues import DialoguesRecipe
from edge.train.speech.prepared import Prepared
from edge.train.speech.recipe import SpeechRecipe
from edge.train.speech.recognizer import RecognizerRecipe
from edge.train.speech.vocoder import VocoderRecipe
from edge_runtimes.torch.lessons import LessonsRun
from edge_runtimes.torch.loop import Loop, begun
from edge_runtimes.torch.network_run import NetworkRun
from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.regions.detector import DetectorRun
from edge_runtimes.torch.regions.dialogues import DialoguesRun
from edge_runtimes.torch.run import Run
from edge_runtimes.torch.speech.recognizer import RecognizerRun
from edge_runtimes.torch.speech.run import SpeechRun
from edge_runtimes.torch.speech.vocoder import VocoderRun


def train(
    recipe: Path,
    out: Path,
    *,
    find: Callable[[str], Path] = Path,
    start: str | None = None,
    data: Sequence[str] = (),
    resume: bool = False,
) -> Path | None:
    """Train, or go on training, in `out`; returns the checkpoint folder that was written there, by the
    first process alone. `find` knows the folders of checkpoints; `start` and `data` are instead of
    the recipe's; of lessons, `data` is a folder of fonts.
    """
    made = reading.read(recipe)
    if (out / STATE).exists() and not resume:
        raise EdgeError(f"{out} already holds a run", fix="resume it, or name another folder")
    with Ranks() as ranks, ranks.together():
        written = _run(made, out, Given(ranks=ranks, find=find, start=start, data=data))
        ranks.leave()
        return written


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What a run is given beside its recipe."""

    ranks: Ranks
    find: Callable[[str], Path]
    start: str | None
    data: Sequence[str]


def _decoder(made: TrainingRecipe, out: Path, given: Given) -> Loop:
    recipe = changed(made, start=given.start, data=given.data)
    return Run(recipe, out, ranks=given.ranks, find=given.find)


def _lessons(made: LessonsRecipe, out: Path, given: Given) -> Loop:
    drawn = fonts.found(reading.fonts_of(given.data))
    start = None if given.start is None else given.find(given.start)
    return LessonsRun(made, out, fonts=drawn, ranks=given.ranks, start=start)


def _network(made: NetworkRecipe, out: Path, given: Given) -> Loop:
    how: Any = {"find": given.find, "start": given.start, "data": given.data}
    return NetworkRun(made, out, ranks=given.ranks, **how)


def _vocoder(made: VocoderRecipe, out: Path, given: Given) -> Loop:
    start = None if given.start is None else given.find(given.start)
    return VocoderRun(made, out, speech=Prepared(given.data), ranks=given.ranks, start=start)


def _speech(made: SpeechRecipe, out: Path, given: Given) -> Loop:
    how: Any = {"find": given.find, "start": given.start, "data": given.data}
    return SpeechRun(made, out, ranks=given.ranks, **how)


def _recognizer(made: RecognizerRecipe, out: Path, given: Given) -> Loop:
    start = None if given.start is None else given.find(given.start)
    return RecognizerRun(made, out, speech=Prepared(given.data), ranks=given.ranks, start=start)


def _detector(made: DetectionRecipe, out: Path, given: Given) -> Loop:
    start = None if given.start is None else given.find(given.start)
    return DetectorRun(made, out, data=given.data, ranks=given.ranks, start=start)


def _dialogues(made: DialoguesRecipe, out: Path, given: Given) -> Loop:
    if given.data:
        raise EdgeError(
            "this recipe learns from made scenes alone, and was given other data",
            fix="leave out --data; a detector learns from boxes of your own: edge train detection",
        )
    start = None if given.start is None else given.find(given.start)
    return DialoguesRun(made, out, ranks=given.ranks, start=start)


RUNS: Mapping[type, Callable[[Any, Path, Given], Loop]] = {
    TrainingRecipe: _decoder,
    LessonsRecipe: _lessons,
    NetworkRecipe: _network,
    VocoderRecipe: _vocoder,
    SpeechRecipe: _speech,
    RecognizerRecipe: _recognizer,
    DetectionRecipe: _detector,
    DialoguesRecipe: _dialogues,
}


def _run(made: reading.Recipe, out: Path, given: Given) -> Path | None:
    run = RUNS[type(made)](made, out, given)
    if begun(out, given.ranks):
        run.restore()
    else:
        run.begin()
    run.go()
    return run.export()
