"""Commands that answer: run, serve."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.command.app import app, say
from edge.command.arguments import answer_form, read_prompt, refuse, split_prompt
from edge.command.options import (
    Adapter,
    CompactingOptions,
    DecodingOptions,
    Json,
    Threads,
    spread,
)
from edge.command.seeing import ImageOptions, answer, refuse_of_text, see
from edge.command.talking import stopping, turns, write
from edge.errors import EdgeError

if TYPE_CHECKING:
    from edge.pipelines.internvl import InternVL
    from edge.run.model import Model, Wish


@app.command("run")
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
    shown: ImageOptions,
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
    adapter: Adapter = None,
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
    Example: edge run artifacts/phi-3 "Why is the sky blue?" --adapter runs/tuned/adapter
    Example: edge run Llama-3.2-1B-Instruct-Q4_K_M.gguf "Why is the sky blue?"
    Example: edge run ./catlip-b --image dog.jpg --labels vocab.json --top 5
    Example: edge run artifacts/internvl "What does it total to?" --image receipt.jpg
    Example: cat book.txt question.txt | edge run artifacts/phi-3 - --snapkv 1024
    Example: edge run artifacts/phi-3 --snapkv 1024 --snapkv-for reuse --snapkv-prefill 512
    """
    from edge.text.rendering import get_ready

    of_text = {"--raw": raw, "--fast": fast, "--stats": stats, "--adapter": adapter is not None}
    if not raw and not shown.image:
        get_ready()  # beside all that is imported and read for the model
    from edge import api
    from edge.command.bars import bar
    from edge.decode.sampling import Sampling

    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    form = answer_form(json_schema=json_schema, regex=regex, lark=grammar)
    wish = api.Wish(max_tokens=max_tokens, sampling=sampling, stops=tuple(stop or ()), grammar=form)
    if shown.image:
        refuse_of_text(of_text)
        how = {"runtime": runtime, "threads": threads, "unchecked": unchecked}
        named, asked = split_prompt(first, second)
        question = read_prompt(asked, raw=False)
        see(named, question, shown, decoding, wish, system=system, as_json=as_json, **how)
        return
    shown.refuse_alone()
    model_name, text = _asked(first, second, raw=raw, as_json=as_json)
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
            say=say,
            adapter=adapter,
        )
    model = api.open_model(
        model_name,
        runtime=runtime,
        threads=threads,
        unchecked=unchecked,
        strategy=strategy,
        progress=bar,
        turns=not raw,
        adapter=adapter,
    )
    if not isinstance(model, api.Model):  # which sees, and was shown nothing as yet
        refuse_of_text(of_text)
        answer(model, text, shown, wish, system=system, as_json=as_json)
    elif text is None:
        _chat(model, system, wish, note=strategy.note)
    else:
        told = api.told_of(adapter)
        _answer(model, text, wish, told, system=system, raw=raw, as_json=as_json, stats=stats)


def _asked(
    first: str | None, second: str | None, *, raw: bool, as_json: bool
) -> tuple[str | None, str | None]:
    """The model's name and the prompt, if they are given."""
    model, prompt = split_prompt(first, second)
    if prompt is None and (raw or as_json):
        raise EdgeError(
            "a chat has no --raw and no --json", fix="give a prompt, or `-` to read one from stdin"
        )
    return model, read_prompt(prompt, raw=raw)


def _answer(
    model: "Model",
    text: str,
    wish: "Wish",
    told: dict[str, Any],
    *,
    system: str | None,
    raw: bool,
    as_json: bool,
    stats: bool,
) -> None:
    """`told`: what the result says beside what was made."""
    answer = model.generate(text, system=system, raw=raw, wish=wish)
    for piece in answer:
        if not as_json:
            write(piece)
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
        **told,
    }
    typer.echo(json.dumps(result) if as_json else "")
    if stats:
        typer.echo(
            f"prompt {len(made.prompt)} tokens, {made.prefill_tps:.1f} tok/s; "
            f"answer {len(made.tokens)} tokens, {made.decode_tps:.1f} tok/s; ended by {made.ending}",
            err=True,
        )


def _chat(model: "Model", system: str | None, wish: "Wish", *, note: str | None) -> None:
    """Turns until the end of input; Ctrl-C stops an answer, a second one the chat."""
    if note is not None:
        say(note)
    chat = model.chat(system=system)
    typer.echo(f"{model.artifact.manifest.name}: an empty line or Ctrl-D ends the chat", err=True)
    for line in turns():
        with stopping():
            for piece in chat.say(line, wish):
                write(piece)
        typer.echo("")


@app.command("serve")
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
    adapter: Adapter = None,
    threads: Threads = None,
    in_browser: Annotated[
        bool, typer.Option("--app", help="No API: a page that runs the model in the browser.")
    ] = False,
    page: Annotated[
        Path | None, typer.Option(help="Of --app: where apps/web/build.mjs wrote the page.")
    ] = None,
) -> None:
    """Serve a model with OpenAI's API, and a chat page at /.

    \b
    Example: edge serve artifacts/phi-3 --port 8080
    Example: edge serve artifacts/phi-3 --snapkv 4096 --snapkv-for reuse
    Example: edge serve artifacts/phi-3 --adapter runs/tuned/adapter
    Example: edge serve artifacts/stories --app
    """
    from edge import api
    from edge.command.bars import bar

    compact = compacting.compact()
    if in_browser:
        given: dict[str, object] = {"--key": key, "--name": name, "--threads": threads}
        given |= {"--snapkv": compact, "--adapter": adapter}
        refuse(given, "no part of --app, where the model runs in the browser")
        api.serve_app(model, host=host, port=port, page=page)
        return
    refuse({"--page": page}, "of --app alone")
    if compact is not None:
        say(compact.note)
    names = tuple(name or ())
    strategy = api.Strategy(snapkv=compact)

    def opened() -> "Model | InternVL":
        return api.open_model(
            model, threads=threads, strategy=strategy, progress=bar, adapter=adapter
        )

    api.serve_model(opened, host=host, port=port, key=key, names=names)
