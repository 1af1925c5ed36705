"""How fast an artifact is here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.artifact import integrity
from edge.artifact.manifest import Artifact
from edge.artifact.pipeline import PipelineArtifact, is_pipeline
from edge.convert.options import refuse_given
from edge.errors import EdgeError
from edge.files.texts import text_of
from edge.gguf.foreign import artifact_at
from edge.measure import net_bench, pipeline_bench, pointing_bench, speech_bench
from edge.measure.bench import Text, Timing, bench
from edge.measure.net_bench import NetTiming
from edge.measure.pipeline_bench import TILES, PipelineTiming
from edge.measure.pointing_bench import PointingTiming
from edge.measure.speech_bench import SpeechTiming
from edge.net import NetSpec
from edge.pipelines.options.pointing import PointingOptions
from edge.pipelines.options.speech import SpeechOptions
from edge.run import opening
from edge.run.beside import ONE_DECODER, with_adapter
from edge.run.model import vocabulary
from edge.run.strategy import PLAIN, Strategy
from edge.system.progress import Progress, silent
from edge.text.tokenizer import Tokenizer
from edge.typing import Say


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What a benchmark asks. `text`: a file that the prompts are pieces of; `tiles`: of the pictures that several
    networks are asked about, a result for each number. A network that is no decoder has none of them.
    """

    prompt: int | None = None
    new: int | None = None
    text: Path | None = None
    tiles: Sequence[int] | None = None


def bench_artifact(
    folder: Path,
    load: Load,
    *,
    threads: int | None,
    rounds: int,
    strategy: Strategy = PLAIN,
    adapter: Path | None = None,
    progress: Progress | None = None,
) -> Sequence[Timing | NetTiming | PipelineTiming | PointingTiming | SpeechTiming]:
    """How fast an artifact is here, by what it is."""
    given = {"--prompt": load.prompt, "--text": load.text}
    how: Any = {"threads": threads, "rounds": rounds}
    if is_pipeline(folder):
        refuse_given(ONE_DECODER, {"--adapter": adapter})
        return _several(PipelineArtifact.open(folder), load, strategy, how)
    refuse_given("only a model that answers about pictures has tiles", {"--tiles": load.tiles})
    new_tokens = 128 if load.new is None else load.new
    artifact = artifact_at(folder)
    if isinstance(artifact.manifest.spec, NetSpec):
        refuse_given(
            "a network that is no decoder reads and writes no tokens", given | {"--new": load.new}
        )
        refuse_given(ONE_DECODER, {"--adapter": adapter})
        if replace(strategy, reference=False) != PLAIN:
            raise EdgeError(
                "a network that is no decoder has no cache", fix="leave out its options"
            )
        return [net_bench.bench(artifact, reference=strategy.reference, **how)]
    artifact = with_adapter(artifact, adapter, progress or silent)
    said = None
    if load.text is not None:
        tokenizer, _ = vocabulary(artifact)
        said = Text(tokenizer.encode(text_of(load.text), special=False), tokenizer.bos_id)
    tokens = 512 if load.prompt is None else load.prompt
    return [bench(artifact, prompt=tokens, new=new_tokens, strategy=strategy, text=said, **how)]


def _several(
    whole: PipelineArtifact, load: Load, strategy: Strategy, how: Mapping[str, Any]
) -> Sequence[PipelineTiming | PointingTiming | SpeechTiming]:
    """Of all networks of an artifact together, by what they do."""
    given: dict[str, object] = {"--prompt": load.prompt, "--text": load.text}
    if whole.manifest.family == SpeechOptions.PIPELINE:
        given |= {"--new": load.new, "--tiles": load.tiles}
        refuse_given("what a voice says is edge's own", given)
        return speech_bench.bench(whole, strategy=strategy, **how)
    refuse_given("questions about pictures are edge's own", given)
    counts, new = load.tiles or TILES, load.new or 128
    if whole.manifest.family == PointingOptions.PIPELINE:
        refuse_given("a picture with regions is not cut", {"--tiles": load.tiles})
        return pointing_bench.bench(whole, new=new, strategy=strategy, **how)
    return pipeline_bench.bench(whole, tiles=counts, new=new, strategy=strategy, **how)


def bench_quality(
    folder: Path,
    file: Path,
    *,
    cases: int,
    threads: int | None,
    say: Say,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Right answers of an artifact by way of compacting its cache: into a file, and a picture beside it."""
    from edge.measure import picture, quality

    if file.suffix == ".svg":
        raise EdgeError(f"{file} will be the picture's name", fix="name a .json file")
    artifact = Artifact.open(folder)
    integrity.check(artifact)
    tokenizer = Tokenizer.load(folder)
    decoder = opening.open_evictable(artifact, threads=threads)
    record = quality.measure(
        artifact,
        tokenizer,
        decoder,
        file,
        cases=cases,
        modes=quality.MODES,
        progress=progress or silent,
    )
    for mode, problem in record.about["refused"].items():
        say(f"{mode}: {problem}")
    picture.draw(record, file.with_suffix(".svg"))
    return record.rows()
