"""What each command does, as one function: the command line parses, calls one of these, and prints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edge import targets
from edge.artifact import integrity, network
from edge.artifact.manifest import Artifact, for_later, recipe_of
from edge.artifact.pipeline import PipelineArtifact, is_pipeline
from edge.convert.calibration import Calibration
from edge.convert.conversion import convert_all, open_subject, prepare
from edge.convert.options import Options, refuse_given, usual
from edge.convert.pipelines import convert_pipeline, is_of_several, parts_of
from edge.data.asking import is_address
from edge.data.making import Order, crew, make
from edge.errors import EdgeError, Unsupported
from edge.families import pipeline_of
from edge.files.hashing import sha256
from edge.files.texts import text_of
from edge.gguf.foreign import artifact_at, folder_only
from edge.measure import comparison, net_bench, net_plan, pipeline_bench, pipeline_plan
from edge.measure.answering import Answering
from edge.measure.asked import Asked
from edge.measure.bench import Text, Timing, bench
from edge.measure.evaluate import Evaluation, evaluate
from edge.measure.inspection import inspect
from edge.measure.net_bench import NetTiming
from edge.measure.net_plan import NetPlan
from edge.measure.pipeline_bench import TILES, PipelineTiming
from edge.measure.pipeline_plan import PipelinePlan
from edge.measure.plan import Plan, plan
from edge.names import decoder_of
from edge.net import NetSpec
from edge.pipelines.internvl import InternVL, load_internvl
from edge.prove import networks, pipelines
from edge.prove.verify import TOKENS, verify
from edge.quant.listing import list_recipes
from edge.quant.recipe import parse
from edge.run import opening
from edge.run.beside import ONE_DECODER, hashes, with_adapter
from edge.run.classifier import Classifier, load_classifier
from edge.run.first_use import artifact_of
from edge.run.model import Chat, Model, Wish, load, prompt_ids, vocabulary
from edge.run.strategy import PLAIN, Strategy
from edge.source import registry
from edge.source.checkpoint import Checkpoint
from edge.source.headers import Headers, config_of
from edge.source.listing import list_models
from edge.source.naming import Named, resolve
from edge.source.removal import remove
from edge.source.taken import taken_in
from edge.system.progress import Progress, silent
from edge.system.team import several
from edge.text.chat import ChatTemplate
from edge.text.tokenizer import Tokenizer
from edge.typing import U8
from edge.vision.pictures import Picture, open_picture

if TYPE_CHECKING:
    pass

Say = Callable[[str], None]
RECIPES = Path(__file__).parent / "train" / "recipes"

__all__ = [
    "PLAIN",
    "Chat",
    "Model",
    "Strategy",
    "Wish",
    "bench_artifact",
    "convert_model",
    "eval_tasks",
    "eval_text",
    "inspect_path",
    "list_models",
    "list_recipes",
]
__all__ += ["load", "open_model", "remove", "verify_artifact"]


def convert_model(
    model: str,
    to: str | None,
    out: Path | None,
    options: Options,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Sequence[Artifact | PipelineArtifact]:
    """Convert a registry id or a checkpoint folder to one target or several (`onnx,mlx`). Of a model
    that was trained with exits, those are kept if no others are asked for. One of several networks may have
    each for a target of its own (`vision=onnx:int8,text=gguf:q4_0`).
    """
    named = resolve(model)
    if is_of_several(named.checkpoint()):
        refuse_given(ONE_DECODER, {"--adapter": options.adapter})
        return _convert_several(named.checkpoint(), to, out, options, progress, say)
    source, options = _asked(options, named)
    return convert_all(source, _outs(source, to, out, options), options, progress, say)


def plan_conversion(
    model: str, to: str | None, out: Path | None, options: Options
) -> list[dict[str, Any]]:
    """What `convert_model` would write: nothing is."""
    named = resolve(model)
    source, options = _asked(options, named)
    subject = open_subject(source, options)
    with subject.checkpoint:
        _, tasks = prepare(subject, _outs(source, to, out, options), options)
        return [task.json() for task in tasks]


def _asked(options: Options, model: Named) -> tuple[Path, Options]:
    """The checkpoint of a model, and its options with what is usual of such a model."""
    source = model.checkpoint()
    return source, usual(_with_exits(options, model), config_of(source))


def _convert_several(
    source: Path,
    to: str | None,
    out: Path | None,
    options: Options,
    progress: Progress | None,
    say: Say,
) -> list[PipelineArtifact]:
    """One artifact for each target of all networks; or one whose networks are placed."""
    if several():
        raise Unsupported(
            "torchrun's processes share the text of one decoder, and this is a model of several networks",
            fix="leave torchrun out",
        )
    words = _names(to) if to is not None else [targets.best()]
    parts = parts_of(words)
    if parts is None:
        outs = _outs(source, to, out, options)
        return [
            convert_pipeline(source, outs[t], replace(options, target=t), None, progress, say)
            for t in words
        ]
    used = list(dict.fromkeys(target for target, _ in parts.values()))
    folder = out or Path("artifacts") / f"{source.name}-{'-'.join(used)}"
    options = replace(options, target=used[0])
    return [convert_pipeline(source, folder, options, parts, progress, say)]


def _with_exits(options: Options, model: Named) -> Options:
    """Those that it was trained with, if none are asked for."""
    return options if options.exits else replace(options, exits=model.exits)


def _outs(source: Path, to: str | None, out: Path | None, options: Options) -> dict[str, Path]:
    """Targets and the folders of their artifacts."""
    names = [targets.best()] if to is None else _names(to)
    if out is not None:
        return {name: out if len(names) == 1 else out / name for name in names}
    of = source.name if options.adapter is None else f"{source.name}-{options.adapter.name}"
    return {name: Path("artifacts") / f"{of}-{name}-{options.quant}" for name in names}


def _names(to: str) -> list[str]:
    """Targets, by commas."""
    names = [name.strip() for name in to.split(",")]
    if len(set(names)) < len(names):
        raise EdgeError(f"--to {to} names a target twice", fix="name each once")
    return names


def convert_via(
    via: str,
    model: str,
    to: str | None,
    out: Path | None,
    *,
    refused: Mapping[str, object],
    force: bool,
    say: Say,
) -> dict[str, Any]:
    """Export an architecture without a family here by others' software; `refused`: what was asked
    for that it cannot honour, empty where nothing was.
    """
    from edge.via import optimum

    optimum.check(via, to, [name for name, value in refused.items() if value])
    source = resolve(model).checkpoint()
    out = out or Path("artifacts") / f"{source.name}-onnx-{via}"
    optimum.convert(source, out, force=force, say=say)
    return {"path": str(out)} | inspect(out)


def open_model(
    model: str | None,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    unchecked: bool = False,
    strategy: Strategy = PLAIN,
    progress: Progress | None = None,
    turns: bool = True,
    adapter: Path | None = None,
) -> Model | InternVL:
    """A model ready to run: an artifact as it is; a checkpoint or an id is converted on first use."""
    if adapter is not None:
        _refuse_foreign(model, adapter)
    folder = ready(model, progress, runtime)
    how: Any = {"threads": threads, "unchecked": unchecked, "strategy": strategy}
    if is_pipeline(folder):
        refuse_given(ONE_DECODER, {"--adapter": adapter})
        return load_internvl(folder, **how)
    return load(folder, turns=turns, adapter=adapter, progress=progress, **how)


def _refuse_foreign(model: str | None, adapter: Path) -> None:
    """An adapter of another model, before a checkpoint is converted for it."""
    named = resolve(registry.DEFAULT if model is None else model)
    if named.kind in ("artifact", "file"):
        return
    source = named.checkpoint()
    if is_of_several(source):
        refuse_given(ONE_DECODER, {"--adapter": adapter})
    Checkpoint.open(source, adapter=adapter).close()


def ready(model: str | None, progress: Progress | None = None, runtime: str | None = None) -> Path:
    """The folder of an artifact, made now if need be; `runtime`: of this target."""
    named = resolve(registry.DEFAULT if model is None else model)
    return artifact_of(named, progress, runtime)


def fastest_strategy(
    folder: Path,
    prompt: str,
    *,
    system: str | None,
    raw: bool,
    threads: int | None,
    say: Callable[[str], None],
    adapter: Path | None = None,
) -> Strategy:
    """What this prompt is decoded by fastest here, with the same answer."""
    from edge.measure.tune import fastest

    folder_only(folder, "tuned")
    if is_pipeline(folder):
        raise EdgeError("--fast is not of a model that sees", fix="leave it out")
    artifact = Artifact.open(folder)
    decoder_of(artifact.manifest.spec, artifact.manifest.name)  # refuses what decodes no text
    integrity.check(artifact)
    artifact = with_adapter(artifact, adapter)
    tokenizer, template = Tokenizer.load(folder), ChatTemplate.load(folder)
    ids = prompt_ids(tokenizer, template, prompt, system=system, raw=raw)
    return fastest(artifact, ids, threads=threads, say=say)


class Verdict(Protocol):
    """What any verification says."""

    @property
    def passed(self) -> bool: ...

    def json(self) -> dict[str, object]: ...


_NO_REMAKE = "leave out --remake"


def verify_artifact(
    folder: Path,
    against: str | None,
    *,
    tokens: int | None,
    progress: Progress | None = None,
    say: Say = lambda _: None,
    remake: bool = False,
    calibrate: Path | None = None,
    adapter: Path | None = None,
) -> Verdict:
    """Verify, and keep the result in the artifact's manifest. `remake`: round again by the text that it was rounded
    by, which is edge's own if `calibrate` is left out. `adapter`: what was merged into its weights; or, where nothing
    was, one that is opened with it, whose logits are proved: of that nothing is kept.
    """
    folder_only(folder, "proved")
    if network.is_network(folder):
        refuse_given(ONE_DECODER, {"--adapter": adapter})
        return _verify_module(folder, against, tokens, say)
    artifact = PipelineArtifact.open(folder) if is_pipeline(folder) else Artifact.open(folder)
    source = _origin(folder, artifact.manifest.name, against)
    report: Verdict
    plain = isinstance(artifact, PipelineArtifact) or isinstance(artifact.manifest.spec, NetSpec)
    if plain:
        if remake:
            raise EdgeError(f"{folder} holds no decoder alone, that a text rounded", fix=_NO_REMAKE)
        refuse_given(ONE_DECODER, {"--adapter": adapter})
    if isinstance(artifact, PipelineArtifact):
        report = pipelines.verify(artifact, source, tokens=tokens, progress=progress or silent)
    elif isinstance(artifact.manifest.spec, NetSpec):
        _no_tokens(folder, tokens)
        report = networks.verify(artifact, source, progress=progress)
    else:
        merged = _merged(artifact, adapter)
        if merged is None:
            artifact = with_adapter(artifact, adapter, progress or silent)
        text = _text_again(artifact, calibrate) if remake else None
        count = tokens or TOKENS
        report = verify(
            artifact, source, tokens=count, progress=progress, text=text, adapter=merged
        )
        if artifact.branches is not None:
            return report
    with for_later(say):
        artifact.record(report.json())
    return report


def told_of(adapter: Path | None) -> dict[str, Any]:
    """What a result says of the adapter that it was made with: nothing of none."""
    if adapter is None:
        return {}
    return {"adapter": {"folder": str(adapter), "files": hashes(adapter)}}


def _text_again(artifact: Artifact, calibrate: Path | None) -> Calibration:
    told = artifact.manifest.calibration
    if told is None or not recipe_of(artifact.manifest).by_inputs:
        raise EdgeError(
            f"{artifact.folder} was not rounded by a text: its bytes are made again as it is",
            fix=_NO_REMAKE,
        )
    return Calibration.again(told, calibrate, artifact.folder)


def _merged(artifact: Artifact, adapter: Path | None) -> Path | None:
    """The adapter, if one was merged into an artifact's weights: it is proved with that, and not without."""
    known = artifact.manifest.adapter
    if adapter is None and known is not None:
        raise EdgeError(
            f"an adapter was merged into the weights of {artifact.folder}",
            fix=f"give --adapter its folder, with {' and '.join(known)}",
        )
    return None if known is None else adapter


def _same_adapter(folder: Path, adapter: Path | None) -> None:
    """Refuse an adapter that an artifact was not made with, and the lack of the one that it was."""
    plain = network.is_network(folder) or is_pipeline(folder)
    merged = None if plain else _merged(Artifact.open(folder), adapter)
    if merged is None:
        refuse_given(f"{folder} was made without one", {"--adapter": adapter})


def verify_files(
    folder: Path,
    against: str | None,
    progress: Progress | None = None,
    adapter: Path | None = None,
) -> integrity.Files:
    """Compare only hashes: the artifact's files and, with `against`, the inputs it was made from."""
    folder_only(folder, "compared with hashes")
    if against is not None or adapter is not None:
        _same_adapter(folder, adapter)
    source = None if against is None else resolve(against).checkpoint()
    if is_pipeline(folder):
        stages = PipelineArtifact.open(folder).stages
        return integrity.together(
            {
                name: integrity.compare(stage.folder, stage.manifest, source, progress or silent)
                for name, stage in stages.items()
            }
        )
    manifest = (
        network.read(folder) if network.is_network(folder) else Artifact.open(folder).manifest
    )
    return integrity.compare(folder, manifest, source, progress or silent, adapter)


def serve_model(
    open_: Callable[[], Model | InternVL],
    *,
    host: str,
    port: int,
    key: str | None,
    names: tuple[str, ...],
) -> None:
    """Serve what is opened until interrupted; answers in progress are finished first."""
    try:
        from edge.serve.run import run
    except ModuleNotFoundError as error:
        raise _unserved(error) from None
    opened = open_()
    run(opened.model if isinstance(opened, InternVL) else opened, host, port, key=key, names=names)


def serve_app(model: str | None, *, host: str, port: int, page: Path | None) -> None:
    """Serve the browser's app with a model until interrupted: an artifact's folder, or the one of `edge app`."""
    try:
        from edge.serve.apps import run
    except ModuleNotFoundError as error:
        raise _unserved(error) from None
    if model is None:
        raise EdgeError("--app serves a folder", fix="name an artifact, or what `edge app` wrote")
    run(Path(model), host, port, page=page)


def _unserved(error: ModuleNotFoundError) -> Unsupported:
    return Unsupported(
        f"edge serve needs the package {error.name}, which is not installed",
        fix="pip install 'edge-toolkit[serve]'",
    )


def plan_model(
    model: str, to: str, options: Options, *, threads: int | None, strategy: Strategy = PLAIN
) -> list[Plan] | list[NetPlan] | list[PipelinePlan]:
    """What converting and running a model will take, before any of it is done: for each target."""
    named = resolve(model)
    options, headers = _with_exits(options, named), _headers(named)
    if pipeline_of(headers.config) is not None:
        return pipeline_plan.plans(headers, _names(to), options, threads=threads, strategy=strategy)
    if headers.family.network is not None:
        if strategy != PLAIN:
            raise EdgeError(
                "a network that is no decoder has no cache", fix="leave out its options"
            )
        return [net_plan.plan(headers, target, options) for target in _names(to)]
    return [
        plan(headers, target, options, threads=threads, strategy=strategy) for target in _names(to)
    ]


def _headers(model: Named) -> Headers:
    """Of a checkpoint on this machine, or else of what lies on the hub."""
    if model.here or model.source is None:
        return Headers.of(model.checkpoint())
    from edge.source.pull import headers_of

    return headers_of(model.kept, model.source)


def pull_model(model: str, *, say: Say, file: Path | None = None) -> dict[str, Any]:
    """Fetch a model of the registry, or any owner/name of the hub; `file`: weights that the user has, of a
    model that is published as a file alone.
    """
    from edge.source.pull import pull, read_pins

    named = resolve(model)
    if file is not None or (named.entry is not None and named.entry.url is not None):
        return taken_in(named.entry, file)
    if named.entry is not None and named.entry.package is not None:
        raise EdgeError(f"{model} ships with edge: there is nothing to fetch", fix="edge run it")
    if named.source is None:
        raise registry.nearest(model)
    folder = pull(named.kept, named.source, say=say)
    pin = read_pins()[named.kept]
    found = {"source": named.source, "revision": pin.revision, "files": pin.files}
    return {"path": str(folder), **found}


def open_seeing(
    model: str,
    options: Options,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    unchecked: bool = False,
    strategy: Strategy = PLAIN,
    progress: Progress | None = None,
) -> Classifier | InternVL:
    """A network whose rows have names, or several that answer about pictures; `options`: of the conversion
    that a checkpoint is run by.
    """
    folder = artifact_of(resolve(model), progress, runtime, options)
    how: Any = {"threads": threads, "unchecked": unchecked}
    if is_pipeline(folder):
        return load_internvl(folder, strategy=strategy, **how)
    if replace(strategy, reference=False) != PLAIN:
        raise EdgeError("a classifier decodes no tokens", fix="leave out the options of decoding")
    return load_classifier(artifact_at(folder), reference=strategy.reference, **how)


def look_at(
    model: InternVL, images: Sequence[Path], most: int | None, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Each picture as the model gets it, and what is said of it; progress is by tiles."""
    found = []
    for image in images:
        picture = open_picture(image)
        with progress(image.name, model.grid(picture, most).tiles) as advance:
            shown = model.look(picture, most=most, progress=advance)
        said = {
            "file": str(image),
            "width": shown.width,
            "height": shown.height,
            "grid": [shown.grid.columns, shown.grid.rows],
            "tiles": shown.grid.tiles,
            "tokens": len(shown.rows),
        }
        found.append({"shown": shown, "said": said, "notes": list(picture.notes)})
    return found


def classify(classifier: Classifier, images: Sequence[Path], top: int) -> list[dict[str, Any]]:
    """What each picture shows: its labels with their scores, likeliest first."""
    found = []
    for image in images:
        picture = open_picture(image)
        answers = classifier.classify(picture, top=top)
        shown = {"file": str(image), "width": picture.width, "height": picture.height}
        labels = [asdict(answer) for answer in answers]
        found.append({"labels": labels, "images": [shown], "notes": list(picture.notes)})
    return found


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
) -> Sequence[Timing | NetTiming | PipelineTiming]:
    """How fast an artifact is here, by what it is."""
    given = {"--prompt": load.prompt, "--text": load.text}
    how: Any = {"threads": threads, "rounds": rounds}
    new_tokens = 128 if load.new is None else load.new
    if is_pipeline(folder):
        refuse_given("questions about pictures are edge's own", given)
        refuse_given(ONE_DECODER, {"--adapter": adapter})
        whole = PipelineArtifact.open(folder)
        counts = TILES if load.tiles is None else load.tiles
        return pipeline_bench.bench(whole, tiles=counts, new=new_tokens, strategy=strategy, **how)
    refuse_given("only a model that answers about pictures has tiles", {"--tiles": load.tiles})
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


def train_recipe(
    recipe: str,
    out: Path,
    *,
    start: str | None,
    data: Sequence[str],
    resume: bool,
    on: str = targets.TRAINER,
) -> Path | None:
    """Train by a recipe: a name of `edge/train/recipes`, or a YAML file. Of several processes only the
    first has a result. `on`: a runtime that trains.
    """
    named = RECIPES / f"{recipe}.yaml"
    file = named if named.is_file() else Path(recipe)
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
        raise EdgeError(
            f"there is no recipe {recipe!r}", fix=f"use one of: {known}; or a YAML file"
        )
    return targets.trainer(on).train(
        file,
        out,
        find=lambda name: resolve(name).checkpoint(),
        start=start,
        data=data,
        resume=resume,
    )


def make_data(
    order: Order,
    out: Path,
    *,
    processes: int | None = None,
    ray: str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make training data by an engine -> what became of the rows. `ray`: a cluster that does the work."""
    means = order.means
    if means.model is not None and not is_address(means.model):
        means = replace(means, model=str(ready(means.model, progress).absolute()))
    if means.tokenizer is not None:
        here = Path(means.tokenizer)
        found = here if here.is_dir() else resolve(means.tokenizer).checkpoint()
        means = replace(means, tokenizer=str(found.absolute()))
    return make(
        replace(order, means=means),
        out,
        lambda: crew(processes, ray, means),
        resume=resume,
        progress=progress or silent,
    )


def app_of(folder: Path, out: Path, *, force: bool, test: bool = True) -> dict[str, Any]:
    """The folder of an app, from an artifact's: what `app.json` holds. `test`: with what a device must compute."""
    from edge.apps.folder import write_app

    return write_app(folder, out, force=force, test=test)


def inspect_path(path: Path) -> dict[str, Any]:
    return inspect(path)


def _verify_module(folder: Path, against: str | None, tokens: int | None, say: Say) -> Verdict:
    from edge.via import optimum

    _no_tokens(folder, tokens)
    source = _origin(folder, network.read(folder).name, against)
    return optimum.verify(folder, source, say=say)


def _no_tokens(folder: Path, tokens: int | None) -> None:
    if tokens is not None:
        raise EdgeError(
            f"{folder} is no decoder: it has no greedy tokens", fix="leave out --tokens"
        )


def _origin(folder: Path, name: str, against: str | None) -> Path:
    """The checkpoint that an artifact was made from."""
    if against is None and registry.find(name) is None:
        raise EdgeError(
            f"{folder} was made from {name!r}, which is not in the registry",
            fix="give --against the checkpoint's folder",
        )
    return resolve(against or name).checkpoint()
