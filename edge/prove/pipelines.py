"""Proof that an artifact of several networks is its source: each network by itself, and all of them together.

All together are asked about a picture of one tile and about one of several, and compared with their oracles: the
tower's and the projector's see the same tiles, the decoder's reads their rows and the artifact's own tokens, in one
pass. These are exact twins; fast kernels are for the proof of each network. The bound is the sum of the tolerances
of all networks, for what one is off by goes through the next: it supposes that none makes a relative error larger,
and what was measured, 1e-6 in fp32, is far below. Where a twin rounds, the bound is what that moves the oracle, as in
`edge.prove.logits`. Both sides cut pictures and place rows by the same code, which tests hold to others'. What
manifests say of tiles, colours and conversations is compared with the source. V vocabulary, T positions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from edge import targets
from edge.artifact.manifest import recipe_of
from edge.artifact.pipeline import PipelineArtifact
from edge.convert.networks import NetSubject, as_made
from edge.convert.options import Options
from edge.convert.pipelines import files_of, settings_of
from edge.errors import EdgeError
from edge.families import pipeline_named
from edge.files.hashing import sha256
from edge.net import NetSpec
from edge.pipelines.groma import FAMILY as GROMA
from edge.pipelines.internvl import FAMILY, InternVL
from edge.pipelines.speech import FAMILY as SPEECH
from edge.protocols import Net
from edge.prove import networks, pointing, voices
from edge.prove import verify as decoders
from edge.prove.feeding import Feeding
from edge.prove.logits import Forced
from edge.prove.oracles import Oracles, oracles, ways_of
from edge.prove.pointing import Pointed
from edge.prove.voices import Spoken
from edge.run.strategy import Strategy
from edge.system.progress import Advance, Progress, silent
from edge.text.chat import Message
from edge.typing import F32
from edge.vision.pictures import Picture
from edge.vision.tiles import Grid, grid_with, noise

QUESTION = "What is it?"
TOKENS = 8
GRIDS = (grid_with(1), grid_with(3))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A picture and the ids of a question about it."""

    picture: Picture
    grid: Grid
    ids: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """Of all networks together; errors are those of `edge.prove.verify.Report`."""

    passed: bool
    same_settings: bool
    tiles: tuple[int, ...]  # of the pictures that were asked about: those that fit the context
    logits_error: float  # of the exact twins
    logits_tolerance: float
    greedy_tokens: int
    greedy_differing: int
    greedy_near_ties: int
    first_differing: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SeveralReport:
    """A verification of all networks together, if any of them answers, and of each."""

    passed: bool
    whole: Whole | Pointed | Spoken | None
    networks: Mapping[str, Mapping[str, object]]

    def json(self) -> dict[str, object]:
        return asdict(self)


def verify(
    artifact: PipelineArtifact,
    source: Path,
    *,
    tokens: int | None = None,
    progress: Progress = silent,
) -> SeveralReport:
    """Compare an artifact with the checkpoint that it was made from; `tokens`: that are decoded after a prompt,
    of the decoder and of all together. EdgeError if there are to be tokens, and there is no decoder.
    """
    nets = all(isinstance(stage.manifest.spec, NetSpec) for stage in artifact.stages.values())
    if nets and tokens is not None:
        raise EdgeError(
            f"{artifact.folder} has no decoder: it has no greedy tokens", fix="leave out --tokens"
        )
    found: dict[str, decoders.Report | networks.NetReport] = {}
    with _feeding(artifact, source) as feeding:
        for name, stage in artifact.stages.items():
            if isinstance(stage.manifest.spec, NetSpec):
                feed = partial(feeding.inputs, name)
                found[name] = networks.verify(stage, source, feed=feed, progress=progress)
            else:
                count = tokens or decoders.TOKENS
                found[name] = decoders.verify(stage, source, tokens=count, progress=progress)
    whole = _whole(artifact, source, tokens or TOKENS, progress)
    good = _same_manifest(artifact, source) if whole is None else whole.passed
    return SeveralReport(
        passed=good and all(one.passed for one in found.values()),
        whole=whole,
        networks={name: one.json() for name, one in found.items()},
    )


@contextmanager
def _feeding(artifact: PipelineArtifact, source: Path) -> Iterator[Feeding]:
    """Of its networks that are no decoders, in the order of its kind."""
    pipeline = pipeline_named(artifact.manifest.family, str(artifact.folder))
    parts = {s.name: artifact.stages[s.name] for s in pipeline.stages if s.name in artifact.stages}
    specs = {
        n: p.manifest.network for n, p in parts.items() if isinstance(p.manifest.spec, NetSpec)
    }
    with ExitStack() as stack:

        def oracle(name: str) -> Net:
            checkpoint = stack.enter_context(as_made(source, parts[name].manifest))
            return targets.oracle().net_oracle(checkpoint, recipe_of(parts[name].manifest))

        yield Feeding(pipeline, specs, oracle)


def _whole(
    artifact: PipelineArtifact, source: Path, tokens: int, progress: Progress
) -> Whole | Pointed | Spoken | None:
    """Of all networks together, by what they do together, if anything."""
    ways: Mapping[str, Callable[[], Whole | Pointed | Spoken]] = {
        FAMILY: lambda: together(artifact, source, tokens, progress),
        GROMA: lambda: pointing.together(
            artifact, source, tokens, same=_same_settings(artifact, source), progress=progress
        ),
        SPEECH: lambda: voices.together(
            artifact, source, same=_same_manifest(artifact, source), progress=progress
        ),
    }
    way = ways.get(artifact.manifest.family)
    return None if way is None else way()


def together(
    artifact: PipelineArtifact, source: Path, tokens: int, progress: Progress = silent
) -> Whole:
    """Ask all networks about pictures, and their oracles."""
    parts = artifact.stages
    away = any(targets.refusal(part.manifest.target) is not None for part in parts.values())
    model = InternVL(artifact, exact=True, strategy=Strategy(reference=away))
    asked = _questions(model, tokens)
    ways = ways_of(parts)
    with (
        oracles(parts, source, ways, model.place) as every,
        progress("all networks together", len(asked)) as advance,
    ):
        chosen, got, *wants = zip(
            *(_answered(model, every, one, tokens, advance) for one in asked), strict=True
        )
    forced = Forced(
        np.concatenate(wants[0]),
        np.concatenate(wants[-1]),
        sum(one.tolerance for one in ways[0].values()),
        model.decoder.spec.forbidden,
    )
    proof = forced.proof(np.concatenate(got), list(chain(*chosen)), 0.0)
    same = _same_settings(artifact, source)
    return Whole(
        passed=same and proof.near and not proof.differing,
        same_settings=same,
        tiles=tuple(one.grid.tiles for one in asked),
        logits_error=proof.error,
        logits_tolerance=proof.bound,
        greedy_tokens=tokens * len(asked),
        greedy_differing=proof.differing,
        greedy_near_ties=proof.ties,
        first_differing=proof.first,
    )


def _same_settings(artifact: PipelineArtifact, source: Path) -> bool:
    """Whether tiles are cut and made numbers of, and conversations begun, as the source says."""
    seen = NetSubject.open(source, Options(stage="vision"))
    seen.checkpoint.close()
    shown = artifact.stages["vision"].manifest.vision
    return shown == seen.vision and _same_manifest(artifact, source)


def _same_manifest(artifact: PipelineArtifact, source: Path) -> bool:
    """Whether networks work together as the source says, with its files."""
    manifest = artifact.manifest
    pipeline = pipeline_named(manifest.family, str(artifact.folder))
    same = all(sha256(artifact.folder / name) == digest for name, digest in manifest.files.items())
    files, settings = files_of(pipeline, source), settings_of(pipeline, source)
    return same and (manifest.files, manifest.settings) == (files, settings)


def _questions(model: InternVL, tokens: int) -> list[_Asked]:
    """Those that fit the context with an answer of so many tokens."""
    found, room = [], model.decoder.spec.context - tokens
    for seed, grid in enumerate(GRIDS):
        picture = noise(grid, side=model.side, seed=seed)
        text = model.placed(QUESTION, [model.count(picture, grid.cells)])
        asked = _Asked(picture, grid, model.model.encode([Message("user", text)]))
        found += [asked] if len(asked.ids) <= room else []
    if not found:
        raise EdgeError(
            f"{tokens} tokens and a picture do not fit the context of {model.decoder.spec.context}",
            fix="give smaller --tokens, or convert with a longer --context",
        )
    return found


def _answered(
    model: InternVL,
    every: Sequence[Oracles],
    asked: _Asked,
    tokens: int,
    advance: Advance,
) -> tuple[Any, ...]:
    """The artifact's own tokens, the logits that each was chosen from [T, V], and those of each oracle."""
    model.model.forget()
    model.show([(asked.picture, asked.grid.cells)])
    chosen, got, _ = decoders.greedy(model.decoder, asked.ids, tokens)
    wants = [oracle.logits(asked.ids, _rows(model, oracle, asked), chosen) for oracle in every]
    advance(1)
    return chosen, got, *wants


def _rows(model: InternVL, oracle: Oracles, asked: _Asked) -> F32:
    """Of the picture, by an oracle's networks."""
    eyes = replace(model.eyes, tower=oracle.nets["vision"], projector=oracle.nets["projector"])
    return eyes.rows(asked.picture, asked.grid, lambda _: None)
