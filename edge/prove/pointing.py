"""Proof that networks which point at regions together are their source: asked to describe a picture, and about two
boxes of another.

Proposals are compared row by row, scores and boxes as parts of the picture. Regions are chosen from them by one code on
both sides, which tests hold to others'; where proposals agree and other regions are chosen, a score or an overlap lay
so near to its limit that what proposals are off by decides, and that is counted. From there on the oracles read the
artifact's regions, as they read its tokens: rows of both, and logits, as in `edge.prove.pipelines`, of whose bounds
these are. V vocabulary, T positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from edge import targets
from edge.artifact.pipeline import PipelineArtifact
from edge.errors import EdgeError
from edge.pipelines.groma import Groma, Seen, Shown
from edge.prove import verify as decoders
from edge.prove.logits import Forced
from edge.prove.oracles import Oracles, oracles, ways_of
from edge.run.strategy import Strategy
from edge.system.progress import Progress, silent
from edge.typing import F32
from edge.vision.boxes import Box
from edge.vision.pictures import Picture
from edge.vision.selection import rows_of
from edge.vision.tiles import Grid, noise

DESCRIBE, ABOUT = "[grounding] Describe the picture.", "Is <box> on <box>?"
_BOXES = ((0.1, 0.2, 0.5, 0.7), (0.4, 0.1, 0.9, 0.4))  # parts of a side


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointed:
    """Of all networks together; errors of logits are those of `edge.prove.verify.Report`."""

    passed: bool
    same_settings: bool
    proposals_error: float  # the farthest score or side
    proposals_tolerance: float
    regions: tuple[int, ...]  # that were shown of each picture
    regions_differing: (
        int  # which the oracle would have chosen otherwise: near ties, where proposals agree
    )
    logits_error: float  # of the exact twins
    logits_tolerance: float
    greedy_tokens: int
    greedy_differing: int
    greedy_near_ties: int
    first_differing: int | None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A picture, a user's boxes, and what the artifact made of both: the ids of a question about it."""

    picture: Picture
    boxes: tuple[Box, ...]
    seen: Seen
    about: Shown
    referred: list[int]
    ids: list[int]


@dataclass(frozen=True, slots=True)
class _Answered:
    """Tokens, the logits that each was chosen from [T, V], and those of each oracle; how far proposals are apart, and
    what explains of that; regions that the oracle would have chosen otherwise.
    """

    tokens: list[int]
    got: F32
    wants: list[F32]
    apart: float
    explained: float
    differing: int


def together(
    artifact: PipelineArtifact,
    source: Path,
    tokens: int,
    *,
    same: bool,
    progress: Progress = silent,
) -> Pointed:
    """Ask all networks about pictures, and their oracles; `same`: whether settings are the source's."""
    parts = artifact.stages
    away = any(targets.refusal(part.manifest.target) is not None for part in parts.values())
    model = Groma(artifact, exact=True, strategy=Strategy(reference=away))
    asked, ways = _questions(model, tokens), ways_of(parts)
    with (
        oracles(parts, source, ways, model.place) as every,
        progress("all networks together", len(asked)) as advance,
    ):
        answers = list[_Answered]()
        for one in asked:
            answers.append(_answered(model, every, one, tokens))
            advance(1)
    alike = ways[0]
    forced = Forced(
        np.concatenate([one.wants[0] for one in answers]),
        np.concatenate([one.wants[-1] for one in answers]),
        sum(way.tolerance for way in alike.values()),
        model.decoder.spec.forbidden,
    )
    chosen = list(chain(*(one.tokens for one in answers)))
    proof = forced.proof(np.concatenate([one.got for one in answers]), chosen, 0.0)
    tolerance = sum(alike[name].tolerance for name in ("vision", "proposer"))
    bound = max(tolerance, *(one.explained for one in answers))
    apart = max(one.apart for one in answers)
    return Pointed(
        passed=same and apart <= bound and proof.near and not proof.differing,
        same_settings=same,
        proposals_error=apart,
        proposals_tolerance=bound,
        regions=tuple(len(one.about.regions) for one in asked),
        regions_differing=sum(one.differing for one in answers),
        logits_error=proof.error,
        logits_tolerance=proof.bound,
        greedy_tokens=tokens * len(asked),
        greedy_differing=proof.differing,
        greedy_near_ties=proof.ties,
        first_differing=proof.first,
    )


def _questions(model: Groma, tokens: int) -> list[_Asked]:
    """Those that fit the context with an answer of so many tokens."""
    found, room = [], model.decoder.spec.context - tokens
    for seed, (question, parts) in enumerate(((DESCRIBE, ()), (ABOUT, _BOXES))):
        picture = noise(Grid(1, 1), side=model.side, seed=seed)
        sides = np.array(parts).reshape(-1, 4) * model.side
        boxes: list[Box] = [(a, b, c, d) for a, b, c, d in sides.tolist()]
        about = model.look(picture, boxes)
        _, referred, ids = model.chat([about]).prompt(question)
        asked = _Asked(picture, tuple(boxes), model.seen(picture), about, referred, ids)
        found += [asked] if len(ids) <= room else []
    if not found:
        raise EdgeError(
            f"{tokens} tokens and a picture do not fit the context of {model.decoder.spec.context}",
            fix="give smaller --tokens, or convert with a longer --context",
        )
    return found


def _answered(model: Groma, every: Sequence[Oracles], asked: _Asked, tokens: int) -> _Answered:
    model.model.forget()
    model.show(asked.about, asked.referred)
    chosen, got, _ = decoders.greedy(model.decoder, asked.ids, tokens)
    eyes = [replace(model.eyes, nets=oracle.nets) for oracle in every]
    seen = [own.look(asked.picture) for own in eyes]
    wants = []
    for oracle, own, found in zip(every, eyes, seen, strict=True):
        regions = own.regions(found, asked.about.selection.boxes, lambda _: None)
        rows = rows_of(found.rows, regions, asked.referred)
        wants.append(oracle.logits(asked.ids, rows, chosen))
    apart, explained = _apart(asked.seen, seen[0]), 2 * _apart(seen[0], seen[-1])
    theirs = model.chosen(seen[0], asked.boxes, asked.picture).boxes
    return _Answered(chosen, got, wants, apart, explained, _differing(asked, theirs))


def _apart(one: Seen, other: Seen) -> float:
    """Proposals of two, row by row: the farthest score or side; one that is no number is far from all."""
    pairs = ((one.boxes, other.boxes), (one.scores, other.scores))
    found = max(float(np.abs(a - b).max()) for a, b in pairs)
    return found if np.isfinite(found) else 1.0


def _differing(asked: _Asked, theirs: F32) -> int:
    """Regions that are not where the other side has them."""
    mine = asked.about.selection.boxes
    count = min(len(mine), len(theirs))
    other = np.abs(mine[:count] - theirs[:count]).max(axis=1) > 1e-2
    return int(other.sum()) + abs(len(mine) - len(theirs))
