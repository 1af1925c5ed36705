"""Proof that an artifact is its source: files, stored weights, tokens, logits, greedy choices.

Teacher-forced: one pass of the oracle over the prompt and the artifact's own tokens. A low-bit
artifact is compared with the same codes dequantized in numpy, and what its files mean with the source's
own floats. Its exact twin, over the same weights, carries the tight bound; kernels that round what goes
into a product, to int8 or to a short float, are compared with an oracle that rounds alike
(`edge.prove.logits`). V vocabulary, T positions.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from edge import targets
from edge.artifact.manifest import Artifact, recipe_of
from edge.contracts import PLAIN, Numerics
from edge.convert.calibration import Calibration
from edge.errors import EdgeError
from edge.protocols import Decoder
from edge.prove import texts
from edge.prove.distance import Distance, farthest
from edge.prove.logits import Forced, Proof
from edge.prove.texts import Judgement
from edge.prove.weights import as_balanced, compared
from edge.quant.recipe import Recipe
from edge.run import opening
from edge.source.checkpoint import Checkpoint
from edge.spec import longest, parts
from edge.system.progress import Progress, silent
from edge.text.tokenizer import Tokenizer
from edge.typing import F32

PROMPT = "Once upon a time, there was a little girl named Lily. She loved to play outside."
TOKENS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Every figure of a verification. Errors of logits are max |difference| / max |logit|, or what sets
    logits apart if that is less, over positions.
    """

    passed: bool
    changed_files: tuple[str, ...]
    differing_bytes: int  # of stored weights
    farthest_matrix: Distance  # from the source's floats, by its bound
    same_tokens: bool
    same_template: bool
    judged: tuple[Judgement, ...]  # who compared texts, and how many
    conversations: int
    logits_error: float  # of the exact twin, its worst position
    logits_tolerance: float
    fast_error: float  # of the fast kernels, the median position
    fast_tolerance: float  # what rounding activations does to the oracle, the median position
    greedy_tokens: int
    greedy_differing: int  # the oracle would have chosen otherwise, by more than the bound explains
    greedy_near_ties: int  # the oracle would have chosen otherwise, by less
    first_differing: int | None
    nbytes: int  # of the artifact
    decode_tps: float  # of the fast kernels, as far as a short text tells
    matrices: tuple[Distance, ...]

    def json(self) -> dict[str, object]:
        return asdict(self)


def verify(
    artifact: Artifact,
    source: Path,
    *,
    tokens: int = TOKENS,
    progress: Progress | None = None,
    text: Calibration | None = None,
    adapter: Path | None = None,
) -> Report:
    """Compare an artifact with the checkpoint that it was made from, and the `adapter` that was merged into it;
    `text`: and with what it makes of it. An adapter that the artifact is opened with is beside both.
    """
    manifest, asked = artifact.manifest, artifact.manifest.decoder
    recipe = recipe_of(manifest)
    if tokens >= asked.context:
        raise EdgeError(
            f"{tokens} tokens and a prompt do not fit the context of {asked.context}",
            fix="give smaller --tokens",
        )
    with Checkpoint.open(source, stage=manifest.stage, adapter=adapter) as checkpoint:
        context = min(longest(checkpoint.decoder), asked.context)
        spec = replace(
            replace(checkpoint.decoder, context=context),
            exits=asked.exits,  # what a user may have asked of the conversion
            draft_vocab=asked.draft_vocab,
            snapkv_rows=asked.snapkv_rows,
            spliced=asked.spliced,
        )
        checkpoint = as_balanced(artifact, replace(checkpoint, spec=spec), recipe)
        if checkpoint.spec != manifest.spec:
            raise EdgeError(
                f"{source} is another model than {artifact.folder}: their numbers differ",
                fix="give --against the checkpoint that the artifact was made from",
            )
        told = texts.prove(artifact, source)
        differing, matrices = compared(artifact, checkpoint, recipe, progress or silent, text)
        numbers = [_numbers(artifact, checkpoint, recipe, label, tokens) for label in parts(asked)]
    changed = artifact.check_hashes()
    exact, fast = ([part[i] for part in numbers] for i in (0, 1))
    worst, slow = (
        max(proofs, key=lambda proof: proof.error / proof.bound) for proofs in (exact, fast)
    )
    good = (
        not changed
        and differing == 0
        and all(matrix.near for matrix in matrices)
        and told.same_tokens
        and told.same_template
        and all(proof.near for proof in (*exact, *fast))
        and not any(proof.differing for proof in exact)
    )
    return Report(
        passed=good,
        changed_files=changed,
        differing_bytes=differing,
        farthest_matrix=farthest(matrices),
        same_tokens=told.same_tokens,
        same_template=told.same_template,
        judged=told.judged,
        conversations=told.conversations,
        logits_error=worst.error,
        logits_tolerance=worst.bound,
        fast_error=slow.error,
        fast_tolerance=slow.bound,
        greedy_tokens=tokens * len(numbers),
        greedy_differing=sum(proof.differing for proof in exact),
        greedy_near_ties=sum(proof.ties for proof in exact),
        first_differing=next((proof.first for proof in exact if proof.first is not None), None),
        nbytes=artifact.nbytes,
        decode_tps=min(proof.decode_tps for proof in fast),
        matrices=matrices,
    )


def _numbers(
    artifact: Artifact, checkpoint: Checkpoint, recipe: Recipe, label: str, tokens: int
) -> tuple[Proof, Proof]:
    """The proofs of one part (`edge.spec.parts`), each with its own rotary tables: exact and fast."""
    spec = parts(artifact.manifest.decoder)[label]
    prompt = _prompt(artifact.folder, spec.vocab, spec.context - tokens)
    runtime, oracle = targets.runtime(artifact.manifest.target), targets.oracle()
    known: dict[Numerics, F32] = {}
    with opening.as_they_lie(artifact, recipe, spec) as (stored, meant):

        def opened(*, exact: bool) -> Decoder:
            return opening.open_proof(artifact, label, exact=exact)

        def scored(numerics: Numerics) -> F32:
            """One pass of the oracle over the prompt and the artifact's own tokens: [T, V]."""
            if numerics not in known:
                pure = oracle.oracle(
                    checkpoint,
                    recipe,
                    numerics=numerics,
                    spec=spec,
                    stored=stored,
                    meant=meant,
                    branches=artifact.branches,
                )
                known[numerics] = pure.score([*prompt, *chosen[:-1]])[len(prompt) - 1 :]
            return known[numerics]

        def proof(got: F32, tps: float, *, exact: bool) -> Proof:
            numerics = runtime.numerics(recipe, exact=exact)
            pure = scored(replace(numerics, inputs=PLAIN.inputs))
            forced = Forced(scored(numerics), pure, numerics.tolerance, spec.forbidden)
            return forced.proof(got, chosen, tps)

        chosen, got, tps = greedy(opened(exact=True), prompt, tokens)
        exact = proof(got, tps, exact=True)
        fast = proof(*_follow(opened(exact=False), prompt, chosen), exact=False)
    return exact, fast


def greedy(decoder: Decoder, prompt: list[int], tokens: int) -> tuple[list[int], F32, float]:
    """The artifact's own tokens, the logits that each was chosen from [T, V], and tokens a second."""
    chosen, rows = [], [decoder.prefill(prompt).copy()]
    start = perf_counter()
    for _ in range(tokens):
        chosen.append(int(rows[-1].argmax()))
        if len(chosen) < tokens:
            rows.append(decoder.step(chosen[-1]).copy())
    return chosen, np.stack(rows), tokens / (perf_counter() - start)


def _follow(decoder: Decoder, prompt: list[int], chosen: list[int]) -> tuple[F32, float]:
    """Logits at the same positions for given tokens [T, V], and tokens a second."""
    rows = [decoder.prefill(prompt).copy()]
    start = perf_counter()
    rows += [decoder.step(token).copy() for token in chosen[:-1]]
    return np.stack(rows), len(chosen) / (perf_counter() - start)


def _prompt(folder: Path, vocab: int, room: int) -> list[int]:
    """Ids of a text; of any kind where there is no tokenizer."""
    if (folder / "tokenizer.json").is_file():
        ids = Tokenizer.load(folder).encode(PROMPT, special=True)
    else:
        ids = [(1 + 7919 * i) % vocab for i in range(24)]
    return ids[: max(1, room)]
