"""A network in use that names what a picture shows. What `edge.load` gives of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.artifact import integrity
from edge.artifact.manifest import Artifact
from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.texts import text_of
from edge.protocols import Net
from edge.run.opening import open_net
from edge.typing import F32
from edge.vision.pictures import Picture, open_picture
from edge.vision.preparation import prepare
from edge.vision.settings import LABELS, Scores, VisionSettings

TOP = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """A label, and how sure the network is: among all labels, or of this one alone."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Classifier:
    """A loaded artifact whose rows have names."""

    artifact: Artifact
    net: Net
    vision: VisionSettings
    labels: Sequence[str]

    def classify(self, image: Path | str | bytes | Picture, *, top: int = TOP) -> list[Answer]:
        """The likeliest labels of a picture: a file, its bytes, or one that is open."""
        return self.classify_all([image], top=top)[0]

    def classify_all(
        self, images: Sequence[Path | str | bytes | Picture], *, top: int = TOP
    ) -> list[list[Answer]]:
        """The same of several, one after another."""
        if top < 1:
            raise EdgeError(f"the top {top} labels are none", fix="give 1 or more")
        return [self._best(self._logits(image), top) for image in images]

    def _logits(self, image: Path | str | bytes | Picture) -> F32:
        if isinstance(image, str):
            image = Path(image)
        picture = image if isinstance(image, Picture) else open_picture(image)
        (port,) = self.net.spec.config.inputs
        given = prepare(picture, self.vision.preparation)[None]
        return self.net(**{port.name: given})["logits"][0]

    def _best(self, logits: F32, top: int) -> list[Answer]:
        """By logits: scores of several may all be 1."""
        scores, best = (
            scored(logits, self.vision.scores),
            np.argsort(-logits, kind="stable")[:top],
        )
        return [Answer(self.labels[row], float(scores[row])) for row in best]


def scored(logits: F32, scores: Scores) -> F32:
    """What a head's numbers [V] mean: shares of one, or for each label whether it is there."""
    x = logits.astype(np.float64)
    if scores == "sigmoid":
        with np.errstate(over="ignore"):  # 1 / (1 + infinity) is 0, which is right
            out = 1 / (1 + np.exp(-x))
    else:
        shares = np.exp(x - x.max())
        out = shares / shares.sum()
    return out.astype(np.float32)


def load_classifier(
    artifact: Artifact,
    *,
    threads: int | None = None,
    exact: bool = False,
    unchecked: bool = False,
    reference: bool = False,
) -> Classifier:
    """Open an artifact of a network that has a head over pictures; refuse it if a file is not what its
    manifest says.
    """
    if not unchecked:
        integrity.check(artifact)
    spec, vision = artifact.manifest.network, artifact.manifest.vision
    outputs = {port.name: port.shape[-1] for port in spec.config.outputs}
    if vision is None or set(outputs) != {"logits"}:
        named = ", ".join(outputs)
        raise Unsupported(
            f"{artifact.manifest.name} names nothing in a picture: what it gives is {named}",
            fix="use its numbers: edge.run.opening.open_net; or name a classifier",
        )
    count = outputs["logits"]
    assert isinstance(count, int)
    labels = _labels(artifact.folder, count)
    net = open_net(artifact, threads=threads, exact=exact, reference=reference)
    return Classifier(artifact, net, vision, labels)


def _labels(folder: Path, count: int) -> list[str]:
    """A line a row; numbers where nobody said what rows mean."""
    file = folder / LABELS
    if not file.is_file():
        return [f"row {row}" for row in range(count)]
    labels = text_of(file).splitlines()
    if len(labels) != count:
        raise Damaged(
            f"{file} has {len(labels)} lines for a head of {count} rows", fix="convert again"
        )
    return labels
