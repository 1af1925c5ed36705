"""What each command does, as one function: the command line parses, calls one of these, and prints."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edge import targets
from edge.artifact import integrity, network
from edge.artifact.manifest import Artifact, for_later, is_artifact
from edge.convert.calibration import TOKENS as TOKENS_TO_READ
from edge.convert.calibration import Calibration
from edge.convert.conversion import convert, convert_all, prepare
from edge.convert.options import Options, with_exits
from edge.errors import EdgeError, Unsupported
from edge.files.texts import from_stdin, text_of
from edge.gguf.foreign import TARGET as FILES
from edge.gguf.foreign import artifact_at, folder_only
from edge.measure.bench import Text, Timing, bench
from edge.measure.evaluate import Evaluation, evaluate
from edge.measure.inspection import inspect
from edge.measure.plan import Plan, plan
from edge.prove.verify import TOKENS, verify
from edge.quant.recipe import parse
from edge.run.model import Chat, Model, Wish, load, prompt_ids, vocabulary
from edge.run.strategy import PLAIN, Strategy
from edge.source import registry
from edge.source.checkpoint import Checkpoint
from edge.source.headers import Headers
from edge.source.listing import list_models
from edge.system.home import artifacts, checkpoints, home
from edge.system.progress import Progress, silent
from edge.text.chat import ChatTemplate
from edge.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from edge.decode.grammar import Grammar

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
    "eval_text",
    "inspect_path",
    "list_models",
]
__all__ += ["load", "open_model", "split_prompt", "verify_artifact"]


def convert_model(
    model: str, to: str | None, out: Path | None, options: Options, progress: Progress | None = None
) -> list[Artifact]:
    """Convert a registry id or a checkpoint folder to one target or several (`onnx,mlx`). Of a model
    that was trained with exits, those are kept if no others are asked for.
    """
    source, options = _checkpoint(model), _with_exits(model, options)
    return convert_all(source, _outs(source, to, out, options), options, progress)


def plan_conversion(
    model: str, to: str | None, out: Path | None, options: Options
) -> list[dict[str, Any]]:
    """What `convert_model` would write: nothing is."""
    source, options = _checkpoint(model), _with_exits(model, options)
    with Checkpoint.open(source, context=options.context) as opened:
        checkpoint = with_exits(opened, options.exits, options.draft_vocab)
        tasks = prepare(checkpoint, _outs(source, to, out, options), options)
        return [task.json() for task in tasks]


def _with_exits(model: str, options: Options) -> Options:
    entry = registry.find(model)
    return options if options.exits or entry is None else replace(options, exits=entry.exits)


def _outs(source: Path, to: str | None, out: Path | None, options: Options) -> dict[str, Path]:
    """Targets and the folders of their artifacts."""
    names = [targets.best()] if to is None else [name.strip() for name in to.split(",")]
    if len(set(names)) < len(names):
        raise EdgeError(f"--to {to} names a target twice", fix="name each once")
    if out is not None:
        return {name: out if len(names) == 1 else out / name for name in names}
    return {name: Path("artifacts") / f"{source.name}-{name}-{options.quant}" for name in names}


def calibration(text: Path | None, tokens: int | None) -> Calibration | None:
    """A text for an importance matrix, from the options of a command."""
    if text is None:
        if tokens is not None:
            raise EdgeError("--calibrate-tokens are of a text", fix="give --calibrate a text file")
        return None
    return Calibration.of(text, tokens or TOKENS_TO_READ)


def pairs(given: Sequence[str], form: str) -> dict[str, str]:
    """`NAME=VALUE` arguments as a table."""
    out = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise EdgeError(f"{text!r} is not of the form {form}", fix=f"write it as {form}")
        out[name] = value
    return out


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
    source = _checkpoint(model)
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
) -> Model:
    """A model ready to run: an artifact as it is; a checkpoint or an id is converted on first use."""
    folder = ready(model, progress, runtime)
    return load(folder, threads=threads, unchecked=unchecked, strategy=strategy, turns=turns)


def ready(model: str | None, progress: Progress | None = None, runtime: str | None = None) -> Path:
    """The folder of an artifact, made now if need be; `runtime`: of this target."""
    model = registry.DEFAULT if model is None else model
    if Path(model).is_file():
        if runtime not in (None, FILES):
            raise EdgeError(
                f"{model} is a file, which {runtime} cannot run", fix=f"give --runtime {FILES}"
            )
        return Path(model)
    if is_artifact(Path(model)):
        made_for = Artifact.open(Path(model)).manifest.target
        if runtime not in (None, made_for):
            raise EdgeError(
                f"{model} is an artifact of {made_for}, {runtime} cannot run it",
                fix=f"leave out --runtime, or name the checkpoint with --runtime {runtime}",
            )
        return Path(model)
    source = _checkpoint(model)
    entry = registry.find(model)
    wished = (runtime, None if entry is None else entry.target)
    target = next((name for name in wished if name is not None), None) or targets.best()
    options = Options(target=target) if entry is None else Options(target=target, quant=entry.quant)
    options = _with_exits(model, options)
    folder = artifacts() / f"{source.name}-{_fingerprint(source)}-{options.target}-{options.quant}"
    if not is_artifact(folder):
        convert(source, folder, options, progress)
    return folder


def fastest_strategy(
    folder: Path,
    prompt: str,
    *,
    system: str | None,
    raw: bool,
    threads: int | None,
    say: Callable[[str], None],
) -> Strategy:
    """What this prompt is decoded by fastest here, with the same answer."""
    from edge.measure.tune import fastest

    folder_only(folder, "tuned")
    artifact = Artifact.open(folder)
    integrity.check(artifact)
    tokenizer, template = Tokenizer.load(folder), ChatTemplate.load(folder)
    ids = prompt_ids(tokenizer, template, prompt, system=system, raw=raw)
    return fastest(artifact, ids, threads=threads, say=say)


def answer_form(
    *, json_schema: Path | None, regex: str | None, lark: Path | None
) -> "Grammar | None":
    """The form that an answer must have; a bad one is found before any model is loaded."""
    given = [form for form in (json_schema, regex, lark) if form is not None]
    if not given:
        return None
    if len(given) > 1:
        raise EdgeError(
            "an answer has one form", fix="give one of --json-schema, --regex and --grammar"
        )
    from edge.decode.grammar import Grammar

    if regex is not None:
        return Grammar.of_regex(regex)
    if json_schema is not None:
        return Grammar.of_schema(text_of(json_schema))
    assert lark is not None
    return Grammar.of_lark(text_of(lark))


def split_prompt(first: str | None, second: str | None) -> tuple[str | None, str | None]:
    """The two positional arguments of `run` -> model and prompt, either of which may be missing."""
    if first is None or second is not None:
        return first, second
    if first == "-" or not _may_be_a_name(first):
        return None, first
    if registry.find(first) or Path(first).exists():
        return first, None
    if len(first.split()) > 1:
        return None, first
    nearest = registry.nearest(first)
    hint = "a prompt for the packaged model must hold a space"
    raise EdgeError(nearest.problem, fix=f"{nearest.fix}; {hint}")


def _may_be_a_name(text: str) -> bool:
    """Whether a file could have it as its path: an empty or a long text cannot be one."""
    whole = text.encode(errors="replace")
    return bool(text.strip()) and len(whole) < 4096 and max(map(len, whole.split(b"/"))) < 256


def read_prompt(prompt: str | None, *, raw: bool) -> str | None:
    """The text of a prompt, of which `-` means all of stdin; None: a chat."""
    text = from_stdin() if prompt == "-" else prompt
    if text is not None and not text.strip() and not raw:
        raise EdgeError("the prompt is empty", fix="write one, or leave it out for a chat")
    return text


class Verdict(Protocol):
    """What any verification says."""

    @property
    def passed(self) -> bool: ...

    def json(self) -> dict[str, object]: ...


def verify_artifact(
    folder: Path,
    against: str | None,
    *,
    tokens: int | None,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Verdict:
    """Verify, and keep the result in the artifact's manifest."""
    folder_only(folder, "proved")
    if network.is_network(folder):
        return _verify_module(folder, against, tokens, say)
    artifact = Artifact.open(folder)
    source = _origin(folder, artifact.manifest.name, against)
    report = verify(artifact, source, tokens=tokens or TOKENS, progress=progress)
    with for_later(say):
        artifact.record(report.json())
    return report


def verify_files(
    folder: Path, against: str | None, progress: Progress | None = None
) -> integrity.Files:
    """Compare only hashes: the artifact's files and, with `against`, the inputs it was made from."""
    folder_only(folder, "compared with hashes")
    source = None if against is None else _checkpoint(against)
    manifest = (
        network.read(folder) if network.is_network(folder) else Artifact.open(folder).manifest
    )
    return integrity.compare(folder, manifest, source, progress or silent)


def serve_model(
    model: str | None,
    *,
    host: str,
    port: int,
    key: str | None,
    names: tuple[str, ...],
    threads: int | None = None,
    strategy: Strategy = PLAIN,
    progress: Progress | None = None,
) -> None:
    """Serve until interrupted; answers in progress are finished first."""
    try:
        from edge.serve.run import run
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"edge serve needs the package {error.name}, which is not installed",
            fix="pip install 'edge-toolkit[serve]'",
        ) from None
    opened = open_model(model, threads=threads, strategy=strategy, progress=progress)
    run(opened, host, port, key=key, names=names)


def plan_model(
    model: str, *, target: str, quant: str, context: int | None, threads: int | None
) -> Plan:
    """What converting and running a model will take, before any of it is done."""
    recipe = parse(quant, aliases=targets.converter(target).ALIASES)
    return plan(_headers(model), target, recipe, context=context, threads=threads)


def _headers(model: str) -> Headers:
    """Of a folder, of a checkpoint that was pulled, or else of what lies on the hub."""
    entry = registry.find(model)
    if entry is None:
        here = Path(model).exists() or (checkpoints() / _kept(model) / "config.json").is_file()
    else:
        here = entry.here()
    source = None if here else _source(model)
    if source is None:
        return Headers.of(_checkpoint(model))
    from edge.source.pull import headers_of

    return headers_of(_kept(model), source)


def pull_model(model: str, *, say: Say) -> dict[str, Any]:
    """Fetch a model of the registry, or any owner/name of the hub."""
    from edge.source.pull import pull, read_pins

    source = _source(model)
    if source is None:
        raise EdgeError(f"{model} ships with edge: there is nothing to fetch", fix="edge run it")
    folder = pull(_kept(model), source, say=say)
    pin = read_pins()[_kept(model)]
    return {"path": str(folder), "source": source, "revision": pin.revision, "files": pin.files}


def _source(model: str) -> str | None:
    """The repository of an id, or of any owner/name of the hub; None for what ships with edge."""
    from edge.source.pull import is_source

    entry = registry.find(model)
    if entry is None and not is_source(model):
        raise registry.nearest(model)
    return model if entry is None else entry.source


def _kept(model: str) -> str:
    """The name under which edge keeps a checkpoint that it fetched."""
    entry = registry.find(model)
    return model.replace("/", "--") if entry is None else entry.id


def remove(model: str) -> dict[str, Any]:
    """Remove what edge keeps of a model: its checkpoint, its pin, and artifacts made from it."""
    from edge.source.pull import forget, is_source

    if not (is_source(model) or is_source(f"any/{model}")):  # as a path it may be everything
        raise registry.nearest(model)
    name = _kept(model)
    folders = [checkpoints() / name, *artifacts().glob(f"{name}-*")]
    found = [folder for folder in folders if folder.is_dir() and contains(folder)]
    freed = sum(file.lstat().st_size for folder in found for file in folder.rglob("*"))
    for folder in found:
        shutil.rmtree(folder)
    if not forget(name) and not found:
        raise EdgeError(f"nothing is kept of {model!r}", fix="`edge list` shows what there is")
    return {"removed": [str(folder) for folder in found], "bytes": freed}


def contains(folder: Path) -> bool:
    """Whether a folder lies where edge keeps things: nothing else is ever removed."""
    return folder.resolve().is_relative_to(home().resolve())


def bench_artifact(
    folder: Path,
    *,
    prompt: int,
    new: int,
    threads: int | None,
    rounds: int,
    strategy: Strategy = PLAIN,
    text: Path | None = None,
) -> Timing:
    """`text`: a file that the prompts are pieces of."""
    artifact = artifact_at(folder)
    said = None
    if text is not None:
        tokenizer, _ = vocabulary(artifact)
        said = Text(tokenizer.encode(text_of(text), special=False), tokenizer.bos_id)
    return bench(
        artifact,
        prompt=prompt,
        new=new,
        threads=threads,
        rounds=rounds,
        strategy=strategy,
        text=said,
    )


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
    decoder = targets.open_evictable(artifact, threads=threads)
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
    progress: Progress | None = None,
) -> Evaluation:
    """Loss of an artifact on a text file."""
    content = text_of(text)
    model = load(folder, threads=threads, strategy=strategy, turns=False)
    ids = model.tokenizer.encode(content, special=False)
    return evaluate(
        model.decoder, ids, bos=model.tokenizer.bos_id, window=window, progress=progress
    )


def ask_questions(
    folder: Path, *, per_distance: int, seed: int, threads: int | None, strategy: Strategy = PLAIN
) -> dict[str, Any]:
    """Exact answers about held-out people of the small world, by how far back the fact lies."""
    from edge.measure.recall import by_distance

    model = load(folder, threads=threads, strategy=strategy)
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


def train_recipe(
    recipe: str, out: Path, *, start: str | None, texts: Sequence[str], resume: bool
) -> Path | None:
    """Train by a recipe: a name of `edge/train/recipes`, or a YAML file. Of several processes only the
    first has a result.
    """
    named = RECIPES / f"{recipe}.yaml"
    file = named if named.is_file() else Path(recipe)
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
        raise EdgeError(
            f"there is no recipe {recipe!r}", fix=f"use one of: {known}; or a YAML file"
        )
    return targets.trainer().train(
        file, out, find=_checkpoint, start=start, texts=texts, resume=resume
    )


def inspect_path(path: Path) -> dict[str, Any]:
    return inspect(path)


def _verify_module(folder: Path, against: str | None, tokens: int | None, say: Say) -> Verdict:
    from edge.via import optimum

    if tokens is not None:
        raise EdgeError(
            f"{folder} is no decoder: it has no greedy tokens", fix="leave out --tokens"
        )
    source = _origin(folder, network.read(folder).name, against)
    return optimum.verify(folder, source, say=say)


def _origin(folder: Path, name: str, against: str | None) -> Path:
    """The checkpoint that an artifact was made from."""
    if against is None and registry.find(name) is None:
        raise EdgeError(
            f"{folder} was made from {name!r}, which is not in the registry",
            fix="give --against the checkpoint's folder",
        )
    return _checkpoint(against or name)


def _checkpoint(model: str) -> Path:
    if not model:  # as a path it would be the current folder
        raise EdgeError("the model's name is empty", fix="name one: `edge list` shows them")
    entry = registry.find(model)
    if entry is not None:
        return entry.checkpoint()
    path = Path(model)
    if path.is_dir():
        return path
    if path.exists():
        raise EdgeError(f"{model} is a file", fix="name the checkpoint's folder")
    pulled = checkpoints() / _kept(model)
    if (pulled / "config.json").is_file():
        return pulled
    raise registry.nearest(model)


def _fingerprint(source: Path) -> str:
    """Changes when a file of the checkpoint does; reads no weights."""
    digest = hashlib.sha256(str(source.resolve()).encode())
    for file in sorted(source.iterdir()):
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:8]
