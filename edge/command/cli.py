"""The command line: a command parses, calls one function of `edge.api`, prints one result.

Results go to stdout, talk and progress to stderr. Imports wait inside the commands, so that help is
instant.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.command.options import (
    CacheType,
    CompactingOptions,
    DecodingOptions,
    Json,
    Reference,
    Threads,
    spread,
)
from edge.command.printing import TIMED, VERIFIED, listed, shares, show, show_each, show_rows
from edge.command.trouble import guarded
from edge.command.usage import UsageError, explained
from edge.errors import EdgeError, steady
from edge.system import processors
from edge.system.switches import keep_at_home

if TYPE_CHECKING:
    from edge.run.model import Model, Wish

app = typer.Typer(
    name="edge",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done; 1 a verification failed; 2 a wrong request; 3 not supported here; "
    "4 a damaged file; 70 a mistake of edge's own; 130 interrupted; 141 nobody read its output.",
)


@app.command()
def convert(
    model: Annotated[str, typer.Argument(help="An id of the registry, or a checkpoint folder.")],
    to: Annotated[
        str | None,
        typer.Option(
            help="Targets, by commas: onnx, mlx, gguf, coreml, torch. This machine's best if left out."
        ),
    ] = None,
    quant: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16, bf16, int8, int4, q4_0, q4_k_m, … or [method-]intB[-gG][-asym|-min]; int4."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The artifact's folder; of several targets, theirs."),
    ] = None,
    embed: Annotated[
        str | None, typer.Option(help="Precision of the embedding, if another.")
    ] = None,
    head: Annotated[str | None, typer.Option(help="Precision of the head, if another.")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=SCHEME",
            help="Precision of weights whose names fit, as 'layers.*.mlp.down=int8'; may be repeated.",
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="A UTF-8 text that the model reads to find which inputs matter: for gguf's mixtures."
        ),
    ] = None,
    calibrate_tokens: Annotated[
        int | None, typer.Option(min=32, help="Tokens of it to read at most; 16384 if left out.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=1, help="A shorter context, in tokens.")
    ] = None,
    layerskip: Annotated[
        list[int] | None,
        typer.Option(
            help="Keep an exit after this layer, for drafts; may be repeated. Left out: the exits that "
            "the model was trained with, if the registry knows any."
        ),
    ] = None,
    draft_vocab: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Draft there among so many first ids; 0: all. 32768 of a vocabulary of 65536.",
        ),
    ] = None,
    snapkv_rows: Annotated[
        list[int] | None,
        typer.Option(
            min=2,
            help="Core ML: a cache of so many rows, for what --snapkv keeps and an answer; may be repeated.",
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of the tokenizer, if the model has none.")
    ] = None,
    via: Annotated[
        str | None,
        typer.Option(help="Of an architecture that edge lacks: optimum exports, edge proves."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an artifact that exists.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert MODEL into artifacts that targets run, in one pass over its weights. A conversion that
    was killed goes on where it stopped.

    \b
    Example: edge convert ./phi-3-mini-4k --to onnx --quant int4 -o artifacts/phi-3
    Example: edge convert ./phi-3-mini-4k --quant int4 --override 'layers.*.mlp.down=int8'
    Example: edge convert ./llama-3.2-1b --to gguf --quant iq3_xs --calibrate wiki.train.raw
    Example: edge convert ./bert-base --to onnx --via optimum -o artifacts/bert
    """
    from edge import api
    from edge.command.bars import bar
    from edge.convert.options import Options

    if via is not None:
        asked: dict[str, object] = {"--quant": quant, "--embed": embed, "--head": head}
        asked |= {"--override": override, "--context": context, "--tokenizer": tokenizer}
        asked |= {"--layerskip": layerskip, "--draft-vocab": draft_vocab is not None}
        asked |= {"--dry-run": dry_run, "--snapkv-rows": snapkv_rows, "--calibrate": calibrate}
        made = api.convert_via(via, model, to, out, refused=asked, force=force, say=_say)
        show({key: made[key] for key in ("path", "bytes", "files")}, as_json, made["path"])
        return
    options = Options(
        quant="int4" if quant is None else quant,
        embed=embed,
        head=head,
        overrides=api.pairs(override or [], "PATTERN=SCHEME"),
        calibrate=api.calibration(calibrate, calibrate_tokens),
        context=context,
        exits=tuple(layerskip or ()),
        draft_vocab=draft_vocab,
        snapkv_rows=tuple(snapkv_rows or ()),
        tokenizer=tokenizer,
        force=force,
    )
    if dry_run:
        tasks = api.plan_conversion(model, to, out, options)
        show_each(tasks, as_json, [f"{task['path']} {task['bytes']} bytes" for task in tasks])
        return
    artifacts = api.convert_model(model, to, out, options, bar)
    results = [
        {
            "path": str(artifact.folder),
            "bytes": artifact.nbytes,
            "files": dict(artifact.manifest.files),
        }
        for artifact in artifacts
    ]
    show_each(results, as_json, [str(artifact.folder) for artifact in artifacts])


@app.command()
def verify(
    artifacts: Annotated[list[Path], typer.Argument(metavar="ARTIFACT...", help="Their folders.")],
    against: Annotated[
        str | None, typer.Option(help="The checkpoint that it was made from.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Greedy tokens to compare; 64 if left out.")
    ] = None,
    files: Annotated[
        bool,
        typer.Option("--files", help="Compare only hashes of files; the inputs' with --against."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Prove an artifact equal to its source: files, weights, tokens, logits, greedy choices. Exit
    code 0 or 1. Several artifacts of one model are compared in a table.

    \b
    Example: edge verify artifacts/phi-3 --against ./phi-3-mini-4k
    Example: edge verify artifacts/phi-3 --files
    Example: edge verify artifacts/phi-3-onnx artifacts/phi-3-gguf --against ./phi-3-mini-4k
    """
    from edge import api
    from edge.command.bars import bar

    if files and tokens is not None:
        raise EdgeError("--files compares no tokens", fix="leave out --files or --tokens")
    reports: list[api.Verdict] = [
        api.verify_files(artifact, against, bar)
        if files
        else api.verify_artifact(artifact, against, tokens=tokens, progress=bar, say=_say)
        for artifact in artifacts
    ]
    show_rows(artifacts, [report.json() for report in reports], VERIFIED, as_json)
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


@app.command()
def inspect(
    path: Annotated[
        Path, typer.Argument(help="A checkpoint's or an artifact's folder, or a GGUF file.")
    ],
    as_json: Json = False,
) -> None:
    """Show what a checkpoint or an artifact holds, from its headers.

    \b
    Example: edge inspect artifacts/phi-3
    """
    from edge import api

    show(api.inspect_path(path), as_json)


@app.command()
@spread
def run(
    first: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="An id, a folder, a GGUF file, or a prompt."),
    ] = None,
    second: Annotated[
        str | None,
        typer.Argument(metavar="PROMPT", help="`-` reads it from stdin; none: a chat."),
    ] = None,
    *,
    raw: Annotated[bool, typer.Option("--raw", help="The prompt as it is: no template.")] = False,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.0,
    top_k: Annotated[int | None, typer.Option(help="Sample among the k likeliest.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample among the likeliest that reach this share.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Drop tokens less likely than this share of the best.")
    ] = None,
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1 makes repeated tokens rarer.")
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text; may be repeated.")
    ] = None,
    json_schema: Annotated[
        Path | None, typer.Option(help="A file: the answer is JSON of this schema.")
    ] = None,
    regex: Annotated[
        str | None, typer.Option(help="The answer matches this regular expression.")
    ] = None,
    grammar: Annotated[
        Path | None, typer.Option(help="A file: the answer follows this Lark grammar.")
    ] = None,
    decoding: DecodingOptions,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Decode by what measurably pays here; answers stay the same."),
    ] = False,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="What runs a checkpoint: onnx, mlx, gguf, torch; an artifact has its own."
        ),
    ] = None,
    threads: Threads = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Trust files whose hashes differ from edge.json.")
    ] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print speeds on stderr.")] = False,
    as_json: Json = False,
) -> None:
    """Answer a prompt, or chat. Without MODEL, the small model that ships with edge; a checkpoint
    is converted first.

    \b
    Example: edge run "Once upon a time"
    Example: edge run artifacts/phi-3 "Why is the sky blue?" --max-tokens 100
    Example: edge run artifacts/phi-3 "A cat, as JSON." --json-schema cat.schema.json
    Example: edge run artifacts/phi-3 "Why is the sky blue?" --fast
    Example: edge run Llama-3.2-1B-Instruct-Q4_K_M.gguf "Why is the sky blue?"
    Example: cat book.txt question.txt | edge run artifacts/phi-3 - --snapkv 1024
    Example: edge run artifacts/phi-3 --snapkv 1024 --snapkv-for reuse --snapkv-prefill 512
    """
    from edge.text.rendering import get_ready

    if not raw:
        get_ready()  # for what is imported and read here takes as long
    from edge.text.rendering import get_ready

    if not raw:
        get_ready()  # beside all that is imported and read for the model
    from edge import api
    from edge.command.bars import bar
    from edge.decode.sampling import Sampling

    model_name, prompt = api.split_prompt(first, second)
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    form = api.answer_form(json_schema=json_schema, regex=regex, lark=grammar)
    wish = api.Wish(max_tokens=max_tokens, sampling=sampling, stops=tuple(stop or ()), grammar=form)
    if prompt is None and (raw or as_json):
        raise EdgeError(
            "a chat has no --raw and no --json", fix="give a prompt, or `-` to read one from stdin"
        )
    text = api.read_prompt(prompt, raw=raw)
    strategy = decoding.strategy()
    if fast:
        if strategy != api.PLAIN or text is None:
            raise EdgeError("--fast chooses by itself, for a prompt", fix="leave out the others")
        model_name, runtime = str(api.ready(model_name, bar, runtime)), None
        strategy = api.fastest_strategy(
            Path(model_name),
            text,
            system=system,
            raw=raw,
            threads=threads,
            say=lambda line: typer.echo(line, err=True),
        )
    model = api.open_model(
        model_name,
        runtime=runtime,
        threads=threads,
        unchecked=unchecked,
        strategy=strategy,
        progress=bar,
        turns=not raw,
    )
    if text is None:
        if strategy.snapkv is not None and strategy.drafting != "snapkv":
            _say(strategy.snapkv.note)
        _chat(model, system, wish)
    else:
        _answer(model, text, wish, system=system, raw=raw, as_json=as_json, stats=stats)


@app.command()
@spread
def bench(
    artifacts: Annotated[
        list[Path], typer.Argument(metavar="ARTIFACT...", help="Their folders, or GGUF files.")
    ],
    *,
    prompt: Annotated[
        int, typer.Option("--prompt", "-p", min=1, help="Tokens of the prompt.")
    ] = 512,
    new: Annotated[
        int, typer.Option("--new", "-n", min=1, help="Tokens to decode after it.")
    ] = 128,
    decoding: DecodingOptions,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median is reported.")] = 3,
    text: Annotated[
        Path | None,
        typer.Option(
            help="A UTF-8 text whose pieces are the prompts, where it matters what drafts are worth."
        ),
    ] = None,
    quality: Annotated[
        Path | None,
        typer.Option(
            help="Instead, right answers about the small world by way of compacting: this JSON, and an SVG."
        ),
    ] = None,
    cases: Annotated[
        int, typer.Option(min=1, help="Of --quality: what the file lacks is asked.")
    ] = 60,
    as_json: Json = False,
) -> None:
    """Measure an artifact here: prompt and decoding apart, with spread, memory and bandwidth. Several
    are measured one after another and compared in a table.

    \b
    Example: edge bench artifacts/phi-3 -p 512 -n 64 --threads 2
    Example: edge bench artifacts/phi-3 -p 8192 --snapkv 1024
    Example: edge bench artifacts/edge-stories -p 300 --layerskip 2 --text stories.txt
    Example: edge bench artifacts/edge-stories --quality quality.json
    """
    from edge import api
    from edge.command.bars import bar

    strategy = decoding.strategy()
    if quality is not None:
        if strategy != api.PLAIN or len(artifacts) > 1 or text is not None:
            raise EdgeError("--quality tries every way of one artifact", fix="leave out the others")
        rows = api.bench_quality(
            artifacts[0], quality, cases=cases, threads=threads, say=_say, progress=bar
        )
        show({"cells": rows}, as_json, shares(rows))
        return
    timings = [
        api.bench_artifact(
            artifact,
            prompt=prompt,
            new=new,
            threads=threads,
            rounds=rounds,
            strategy=strategy,
            text=text,
        ).json()
        for artifact in artifacts
    ]
    show_rows(artifacts, timings, TIMED, as_json)


@app.command("eval")
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder, or a GGUF file.")],
    text: Annotated[Path | None, typer.Option(help="A UTF-8 text file.")] = None,
    questions: Annotated[
        int | None,
        typer.Option(min=1, help="Ask about the small world instead: so many a distance."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the questions.")] = 0,
    window: Annotated[
        int | None, typer.Option(min=2, help="Tokens a window; the model's context if left out.")
    ] = None,
    kv: CacheType = None,
    threads: Threads = None,
    reference: Reference = False,
    as_json: Json = False,
) -> None:
    """Measure how well an artifact predicts a text: nats per token and perplexity.

    With --questions: exact answers about held-out people, by how many tokens ago the fact was told.

    \b
    Example: edge eval artifacts/phi-3 --text wiki.test.raw
    Example: edge eval artifacts/edge-stories --questions 120
    """
    from edge import api
    from edge.command.bars import bar
    from edge.run.strategy import Strategy

    if (text is None) == (questions is None):
        raise EdgeError("eval takes either --text or --questions", fix="give one of them")
    strategy = Strategy(reference=reference, kv=kv)
    if text is not None:
        found = api.eval_text(
            artifact, text, window=window, threads=threads, strategy=strategy, progress=bar
        ).json()
    else:
        found = api.ask_questions(
            artifact, per_distance=questions or 1, seed=seed, threads=threads, strategy=strategy
        )
    show(found, as_json)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe of edge/train/recipes, or a YAML file.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the run; the model lies in it.")
    ],
    start: Annotated[
        str | None,
        typer.Option(
            help="The checkpoint to go on from, instead of the recipe's: an id, a folder."
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            help="A UTF-8 text, or a folder of *.txt, instead of the recipe's; repeatable."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run stopped: the same command again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a model by a recipe, on torch: from scratch, or on from a checkpoint with LayerSkip. Several
    processes, one a GPU, share the work; a run goes on with any number of them.

    \b
    Example: edge train stories -o runs/stories
    Example: edge train layerskip-continue --start ./Llama-3.2-1B --text book.txt -o runs/skip
    Example: torchrun --nproc-per-node 2 -m edge train my-recipe.yaml -o runs/skip
    """
    from edge import api

    path = api.train_recipe(recipe, out, start=start, texts=text or (), resume=resume)
    if path is not None:
        show({"path": str(path)}, as_json, str(path))


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="An id of the registry, or a checkpoint folder.")],
    to: Annotated[str, typer.Option(help="The target: onnx.")] = "onnx",
    quant: Annotated[str, typer.Option(help="Weight recipe.")] = "int4",
    context: Annotated[int | None, typer.Option(min=1, help="Tokens of the sequence.")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Say what a model will take here: disk, memory to convert and to run, context, speed.

    From its config and the headers of its weights: of a model that is not here only those are
    fetched, from the hub.

    \b
    Example: edge plan phi-3-mini-4k --quant int4
    """
    from edge import api

    found = api.plan_model(model, target=to, quant=quant, context=context, threads=threads)
    show(found.json(), as_json, found.text())


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="An id of the registry, or owner/name on the hub.")],
    as_json: Json = False,
) -> None:
    """Fetch a checkpoint: pinned from the first pull on, checked, and resumed if it was cut off.

    A gated model needs a token of yours in HF_TOKEN.

    \b
    Example: edge pull phi-3-mini-4k
    """
    from edge import api

    result = api.pull_model(model, say=_say)
    show(result, as_json, str(result["path"]))


@app.command("rm")
def remove(
    model: Annotated[str, typer.Argument(help="An id, or owner/name, that was pulled.")],
    as_json: Json = False,
) -> None:
    """Remove what edge keeps of a model: its checkpoint, its pin, artifacts made from it.

    \b
    Example: edge rm phi-3-mini-4k
    """
    from edge import api

    show(api.remove(model), as_json)


@app.command()
@spread
def serve(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="An id or a folder.")] = None,
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on; loopback needs no key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    key: Annotated[
        str | None,
        typer.Option(envvar="EDGE_API_KEY", help="What clients must give as bearer token."),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="A host name that clients use; may be repeated.")
    ] = None,
    compacting: CompactingOptions,
    threads: Threads = None,
) -> None:
    """Serve a model with OpenAI's API, and a chat page at /.

    \b
    Example: edge serve artifacts/phi-3 --port 8080
    Example: edge serve artifacts/phi-3 --snapkv 4096 --snapkv-for reuse
    """
    from edge import api
    from edge.command.bars import bar

    compact = compacting.compact()
    if compact is not None:
        _say(compact.note)
    names = tuple(name or ())
    strategy = api.Strategy(snapkv=compact)
    api.serve_model(
        model,
        host=host,
        port=port,
        key=key,
        names=names,
        threads=threads,
        strategy=strategy,
        progress=bar,
    )


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models of the registry, and the checkpoints and artifacts on this machine.

    \b
    Example: edge list
    """
    from edge import api

    rows = api.list_models()
    if as_json:
        typer.echo(json.dumps({"models": rows}))
    else:
        typer.echo(listed(rows))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show which targets work here, with versions and hardware.

    \b
    Example: edge doctor
    """
    from edge.measure.doctor import examine

    show(examine(), as_json)


def main() -> None:
    """Run the command line; whatever goes wrong is one message and an exit code, never a traceback."""
    processors.tell_libraries()
    keep_at_home()
    sys.exit(guarded(_command))


def _command() -> object:
    """The command that was named -> its exit code, if it has one of its own."""
    try:
        return app(prog_name="edge", standalone_mode=False)
    except UsageError as error:
        if len(sys.argv) > 1:
            raise explained(error, sys.argv[1:]) from None
        _say(str(error))  # all of the help
        return EdgeError.code


def _answer(
    model: "Model",
    text: str,
    wish: "Wish",
    *,
    system: str | None,
    raw: bool,
    as_json: bool,
    stats: bool,
) -> None:
    answer = model.generate(text, system=system, raw=raw, wish=wish)
    for piece in answer:
        if not as_json:
            _write(piece)
    made = answer.generation
    result = {
        "text": answer.text,
        "tokens": made.tokens,
        "prompt_tokens": list(made.prompt),
        "ending": made.ending,
        "complete": answer.complete,
        **({} if model.tally is None else asdict(model.tally)),
        "cache_rows": max(model.cache_rows),
        "cache_mb": model.cache_mb,
        "prefill_tps": made.prefill_tps,
        "decode_tps": made.decode_tps,
    }
    typer.echo(json.dumps(result) if as_json else "")
    if stats:
        typer.echo(
            f"prompt {len(made.prompt)} tokens, {made.prefill_tps:.1f} tok/s; "
            f"answer {len(made.tokens)} tokens, {made.decode_tps:.1f} tok/s; ended by {made.ending}",
            err=True,
        )


def _chat(model: "Model", system: str | None, wish: "Wish") -> None:
    """Turns until the end of input; Ctrl-C stops an answer, a second one the chat."""
    chat = model.chat(system=system)
    typer.echo(f"{model.artifact.manifest.name}: an empty line or Ctrl-D ends the chat", err=True)
    while True:
        try:
            typer.echo("> ", nl=False, err=True)
            line = sys.stdin.readline().strip()
        except KeyboardInterrupt:
            return
        if not line:
            return
        try:
            for piece in chat.say(line, wish):
                _write(piece)
        except KeyboardInterrupt:
            typer.echo(" [stopped]", nl=False, err=True)
        typer.echo("")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _write(piece: str) -> None:
    """A piece of an answer. What a model writes is a stranger's: it may not steer the terminal."""
    typer.echo(steady(piece) if sys.stdout.isatty() else piece, nl=False)
    sys.stdout.flush()
