"""How good an artifact is: on texts, in tasks, on questions of ours."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge import targets
from edge.artifact.manifest import recipe_of
from edge.artifact.pipeline import is_pipeline
from edge.errors import EdgeError, Unsupported
from edge.files.hashing import sha256
from edge.files.texts import text_of
from edge.gguf.foreign import artifact_at
from edge.measure import comparison
from edge.measure.answering import Answering
from edge.measure.asked import Asked
from edge.measure.bench import bench
from edge.measure.evaluate import Evaluation, evaluate
from edge.names import decoder_of
from edge.pipelines.groma import Groma, words_of
from edge.pipelines.internvl import load_internvl
from edge.pipelines.runners import open_pipeline
from edge.quant.recipe import parse
from edge.run.model import Wish, load
from edge.run.strategy import PLAIN, Strategy
from edge.source.checkpoint import Checkpoint
from edge.source.naming import resolve
from edge.system.progress import Progress, silent
from edge.text.pointing import MOST
from edge.typing import U8, Say
from edge.vision.boxes import Box
from edge.vision.pictures import Picture


def eval_text(
    folder: Path,
    text: Path,
    *,
    window: int | None,
    threads: int | None,
    strategy: Strategy = PLAIN,
    against: str | None = None,
    progress: Progress | None = None,
    adapter: Path | None = None,
) -> Evaluation:
    """Loss of an artifact on a text file. `against`: the full model, which is computed in numpy beside it."""
    content = text_of(text)
    how: Any = {"threads": threads, "strategy": strategy, "progress": progress}
    model = load(folder, turns=False, adapter=adapter, **how)
    ids, bos = model.tokenizer.encode(content, special=False), model.tokenizer.bos_id
    how = {"bos": bos, "window": window, "progress": progress}
    if against is None:
        return evaluate(model.decoder, ids, **how)
    with Checkpoint.open(resolve(against).checkpoint()) as checkpoint:
        vocab = model.artifact.manifest.decoder.vocab
        if checkpoint.decoder.vocab != vocab:
            raise EdgeError(
                f"{against} has {checkpoint.decoder.vocab} tokens, {folder} has {vocab}",
                fix="give --against the checkpoint that the artifact was made from",
            )
        full = targets.oracle().oracle(checkpoint, parse("fp32"))
        return evaluate(model.decoder, ids, against=full, **how)


def eval_tasks(
    folder: Path,
    asked: Asked,
    *,
    threads: int | None = None,
    strategy: Strategy = PLAIN,
    progress: Progress = silent,
    adapter: Path | None = None,
) -> dict[str, Any]:
    """An artifact's figures in benchmarks of lm-evaluation-harness, whose data lie in a folder of the user's: see
    `edge.measure.benchmarks`, and `edge.measure.task_data` for where in it.
    """
    try:
        from edge.measure import benchmarks
        from edge.measure.harness_model import HarnessModel
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"edge eval --tasks needs the package {error.name}, which is not installed",
            fix="pip install 'edge-toolkit[eval]'",
        ) from None
    artifact = artifact_at(folder)
    decoder_of(artifact.manifest.spec, str(folder))

    def opened() -> HarnessModel:
        given: Any = {"threads": threads, "strategy": strategy, "progress": progress}
        model = load(folder, turns=False, adapter=adapter, **given)
        answering = Answering(model.tokenizer, model.decoder)
        how: Any = {"seed": asked.seed, "progress": progress}
        return HarnessModel(answering, model.template, **how)

    found = benchmarks.measure(asked, opened)
    files = {name: digest or sha256(folder) for name, digest in artifact.files.items()}
    said = {"name": artifact.manifest.name, "target": artifact.manifest.target}
    return {"artifact": str(folder), **said, **found, "files": files}


def compare_artifacts(
    folders: Sequence[Path],
    text: Path,
    out: Path,
    *,
    against: str | None,
    window: int | None,
    threads: int | None,
    say: Say,
    progress: Progress | None = None,
) -> tuple[list[comparison.Row], list[Path]]:
    """Size, speed and loss of artifacts, and the files that show them. Speeds are those of a prompt of 128 tokens
    and 64 more, or of what a context holds.
    """
    if out.exists() and not out.is_dir():
        raise EdgeError(f"{out} is no folder", fix="give -o the name of a folder")
    rows = []
    for folder, name in zip(folders, comparison.names(folders), strict=True):
        artifact = artifact_at(folder)
        decoder_of(artifact.manifest.spec, str(folder))
        say(f"{folder}: speed")
        prompt = min(128, max(1, artifact.manifest.decoder.context // 2))
        new = min(64, max(1, artifact.manifest.decoder.context // 4))
        timing = bench(artifact, prompt=prompt, new=new, threads=threads)
        say(f"{folder}: loss")
        quality = eval_text(
            folder, text, window=window, threads=threads, against=against, progress=progress
        )
        manifest = artifact.manifest
        said = str(recipe_of(manifest))
        rows.append(comparison.Row.of(name, manifest.target, said, timing, quality))
    return rows, comparison.write(rows, out)


def ask_questions(
    folder: Path,
    *,
    per_distance: int,
    seed: int,
    threads: int | None,
    strategy: Strategy = PLAIN,
    adapter: Path | None = None,
) -> dict[str, Any]:
    """Exact answers about held-out people of the small world, by how far back the fact lies."""
    from edge.measure.recall import by_distance

    model = load(folder, threads=threads, strategy=strategy, adapter=adapter)
    wish = Wish(max_tokens=64)

    def answer(prompt: str) -> str:
        return "".join(model.generate(prompt, wish=wish))

    scores = by_distance(answer, seed=seed, per_distance=per_distance)
    return {
        "per_distance": per_distance,
        "seed": seed,
        "exact_match": {str(score.distance): score.share for score in scores},
        "kinds": {str(score.distance): score.kinds for score in scores},
    }


def ask_where(
    folder: Path,
    file: Path,
    pictures: Path,
    *,
    limit: int | None,
    threads: int | None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """How well a model that points finds what a file asks of pictures below a folder: the first `limit` questions.

    Greedy, and with room for a name of every region; a region that is named twice is one.
    """
    from edge.measure.pictured import Question, questions
    from edge.measure.pointing import judged, worded

    asked = questions(file, pictures)[:limit]
    model = _pointing(folder, threads, "--where and --pictures")
    wish = Wish(max_tokens=MOST + 8)

    def answer(question: Question) -> list[Box]:
        said = model.generate(worded(question), images=[question.picture], wish=wish)
        for _ in said:  # it is made while it is read
            pass
        return list(dict.fromkeys(tuple(one["box"]) for one in words_of(said).regions))

    with (progress or silent)("questions", len(asked)) as advance:
        return {"file": str(file), **judged(asked, answer, advance)}


def ask_about_sheets(
    folder: Path, *, sheets: int, fonts: Path, seed: int, threads: int | None
) -> dict[str, Any]:
    """Exact answers about generated pictures, by what is asked: of lines that no lesson of `edge-reads` had."""
    from edge.data.fonts import found
    from edge.measure.reading import cases, scores

    if not is_pipeline(folder):
        raise EdgeError(f"{folder} answers about no pictures", fix="leave out --sheets and --data")
    model = load_internvl(folder, threads=threads)
    drawn = cases(found(fonts), side=model.side, most=model.most, seed=seed, sheets=sheets)
    wish = Wish(max_tokens=96)

    def answer(rgb: U8, question: str) -> str:
        return "".join(model.generate(question, images=[Picture(rgb=rgb)], wish=wish))

    return {
        "sheets": sheets,
        "seed": seed,
        "exact_match": [asdict(score) for score in scores(answer, drawn)],
    }


def ask_about_scenes(
    folder: Path, *, scenes: int, seed: int, threads: int | None
) -> dict[str, Any]:
    """Answers about made scenes of which no lesson had a thing, by what is asked: their words, and their regions."""
    from edge.measure.scenes import Said, cases, scores

    model = _pointing(folder, threads, "--scenes")
    wish = Wish(max_tokens=160)

    def answer(picture: Picture, question: str, boxes: Sequence[Box]) -> Said:
        said = model.generate(question, images=[picture], boxes=boxes, wish=wish)
        words = "".join(said)
        named = dict.fromkeys(tuple(one["box"]) for one in words_of(said).regions)
        return Said(words, tuple(named))

    found = scores(answer, cases(model.side, scenes=scenes, seed=seed))
    return {"scenes": scenes, "seed": seed, "pointing": [asdict(score) for score in found]}


def _pointing(folder: Path, threads: int | None, asked: str) -> Groma:
    """A model that names regions; another is refused with what was asked of it."""
    model = open_pipeline(folder, threads=threads) if is_pipeline(folder) else None
    if not isinstance(model, Groma):
        raise EdgeError(f"{folder} points at nothing", fix=f"leave out {asked}")
    return model
