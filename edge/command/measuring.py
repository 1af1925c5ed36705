"""Commands that measure: bench, eval, plan, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from edge.command.app import app, say
from edge.command.arguments import numbers
from edge.command.options import (
    Adapter,
    CacheType,
    CompactingOptions,
    ConversionOptions,
    DecodingOptions,
    DraftBy,
    Json,
    Reference,
    Threads,
    spread,
)
from edge.command.printing import TIMED, shares, show, show_rows
from edge.command.seeing import refuse_of_text
from edge.errors import EdgeError


@app.command("bench")
@spread
def bench(
    artifacts: Annotated[
        list[Path], typer.Argument(metavar="ARTIFACT...", help="Their folders, or GGUF files.")
    ],
    *,
    prompt: Annotated[
        int | None,
        typer.Option("--prompt", "-p", min=1, help="Tokens of the prompt; 512 if left out."),
    ] = None,
    new: Annotated[
        int | None,
        typer.Option("--new", "-n", min=1, help="Tokens to decode after it; 128 if left out."),
    ] = None,
    decoding: DecodingOptions,
    adapter: Adapter = None,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median is reported.")] = 3,
    text: Annotated[
        Path | None,
        typer.Option(
            help="A UTF-8 text whose pieces are the prompts, where it matters what drafts are worth."
        ),
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            help="Of a model that answers about pictures: tiles of the pictures, by commas; 1,5 if left out."
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
    are measured one after another and compared in a table. Of a network that is no decoder: seconds of
    a call of its smallest size. Of a model that answers about pictures: tiles a second, the first tokens
    of a chat's first question, of its second one, and of a new chat, and decoding.

    \b
    Example: edge bench artifacts/phi-3 -p 512 -n 64 --threads 2
    Example: edge bench artifacts/phi-3 -p 8192 --snapkv 1024
    Example: edge bench artifacts/edge-stories -p 300 --layerskip 2 --text stories.txt
    Example: edge bench artifacts/internvl --tiles 1,5 -n 64
    Example: edge bench artifacts/phi-3 --adapter runs/tuned/adapter
    Example: edge bench artifacts/edge-stories --quality quality.json
    """
    from edge import api
    from edge.command.bars import bar

    strategy = decoding.strategy()
    if quality is not None:
        if strategy != api.PLAIN or len(artifacts) > 1 or text or tiles or adapter:
            raise EdgeError("--quality tries every way of one artifact", fix="leave out the others")
        rows = api.bench_quality(
            artifacts[0], quality, cases=cases, threads=threads, say=say, progress=bar
        )
        show({"cells": rows}, as_json, shares(rows))
        return
    counts = None if tiles is None else numbers(tiles, "--tiles")
    load = api.Load(prompt=prompt, new=new, text=text, tiles=counts)
    told = api.told_of(adapter)
    timings = [
        (artifact, timing.json() | told)
        for artifact in artifacts
        for timing in api.bench_artifact(
            artifact,
            load,
            threads=threads,
            rounds=rounds,
            strategy=strategy,
            adapter=adapter,
            progress=bar,
        )
    ]
    paths, found = zip(*timings, strict=True)
    show_rows(paths, found, TIMED, as_json)


@app.command("eval")
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder, or a GGUF file.")],
    text: Annotated[Path | None, typer.Option(help="A UTF-8 text file.")] = None,
    questions: Annotated[
        int | None,
        typer.Option(min=1, help="Ask about the small world instead: so many a distance."),
    ] = None,
    sheets: Annotated[
        int | None,
        typer.Option(min=1, help="Ask a model that reads about so many pictures of each kind."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Of --sheets: a folder with the fonts they are drawn in.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the questions.")] = 0,
    window: Annotated[
        int | None, typer.Option(min=2, help="Tokens a window; the model's context if left out.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Of --text: the full model, to say how far from it the artifact is."),
    ] = None,
    kv: CacheType = None,
    adapter: Adapter = None,
    threads: Threads = None,
    reference: Reference = False,
    as_json: Json = False,
) -> None:
    """Measure how well an artifact predicts a text: nats per token and perplexity.

    With --against: also the divergence from the full model, and how often both would choose the same token; that one
    is computed in numpy, which takes a while. With --questions: exact answers about held-out people, by how many
    tokens ago the fact was told. With
    --sheets: exact answers about generated pictures, of lines that no lesson had.

    \b
    Example: edge eval artifacts/phi-3 --text wiki.test.raw
    Example: edge eval artifacts/edge-stories --text stories.txt --against edge-stories
    Example: edge eval artifacts/phi-3 --text wiki.test.raw --adapter runs/tuned/adapter
    Example: edge eval artifacts/edge-stories --questions 120
    Example: edge eval artifacts/edge-reads --sheets 50 --data fonts
    """
    from edge import api
    from edge.command.bars import bar
    from edge.run.strategy import Strategy

    if [text, questions, sheets].count(None) != 2:
        raise EdgeError(
            "eval takes one of --text, --questions and --sheets", fix="give one of them"
        )
    if text is None and against is not None:
        raise EdgeError("--against is of --text", fix="give a text, or leave it out")
    if (sheets is None) != (data is None):
        raise EdgeError("--sheets are drawn in the fonts of --data", fix="give both")
    if sheets is not None and data is not None:
        refuse_of_text(
            {
                "--window": window is not None,
                "--kv": kv is not None,
                "--reference": reference,
                "--adapter": adapter is not None,
            }
        )
        show(
            api.ask_about_sheets(artifact, sheets=sheets, fonts=data, seed=seed, threads=threads),
            as_json,
        )
        return
    strategy = Strategy(reference=reference, kv=kv)
    if text is not None:
        found = api.eval_text(
            artifact,
            text,
            window=window,
            threads=threads,
            strategy=strategy,
            against=against,
            progress=bar,
            adapter=adapter,
        ).json()
    else:
        found = api.ask_questions(
            artifact,
            per_distance=questions or 1,
            seed=seed,
            threads=threads,
            strategy=strategy,
            adapter=adapter,
        )
    show(found | api.told_of(adapter), as_json)


@app.command("compare")
def compare(
    artifacts: Annotated[list[Path], typer.Argument(help="Artifacts' folders, or GGUF files.")],
    text: Annotated[Path, typer.Option(help="A UTF-8 text file that none of them was made by.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the table and picture.")],
    against: Annotated[
        str | None, typer.Option(help="The full model, to say how far from it each of them is.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=2, help="Tokens a window; the model's context if left out.")
    ] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Artifacts beside each other: size, speed and loss, as a table (md, csv, json) and a picture (svg; png with
    Pillow).

    \b
    Example: edge compare artifacts/q4 artifacts/gptq --text book.txt --against ./llama-3.2-1b -o compared
    """
    from edge import api
    from edge.command.bars import bar
    from edge.measure.comparison import COLUMNS
    from edge.system.table import table

    rows, files = api.compare_artifacts(
        artifacts,
        text,
        out,
        against=against,
        window=window,
        threads=threads,
        say=say,
        progress=bar,
    )
    found = [row.json() for row in rows]
    shown = {name: words.strip() for name, (words, _) in COLUMNS.items() if name in found[0]}
    result = {"artifacts": found, "files": [str(file) for file in files]}
    show(result, as_json, table(found, shown) + "\n\n" + "\n".join(map(str, files)))


@app.command("plan")
@spread
def plan(
    model: Annotated[str, typer.Argument(help="An id of the registry, or a checkpoint folder.")],
    *,
    to: Annotated[str, typer.Option(help="Targets, by commas: onnx, mlx, gguf, …")] = "onnx",
    conversion: ConversionOptions,
    snapkv: Annotated[
        int | None, typer.Option(min=2, help="Keep so many cached rows after a prompt.")
    ] = None,
    snapkv_prefill: Annotated[
        int | None, typer.Option(min=2, help="Cut each time so many tokens of a prompt are read.")
    ] = None,
    draft_by: DraftBy = None,
    kv: CacheType = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Say what a model will take here: disk, memory to convert and to run, context, speed.

    From its config and the headers of its weights: of a model that is not here only those are
    fetched, from the hub.

    \b
    Example: edge plan phi-3-mini-4k --quant int4
    Example: edge plan phi-3-mini-4k --to onnx,gguf,mlx --context 4096 --snapkv 1024
    """
    from edge import api

    cut = CompactingOptions(snapkv=snapkv, snapkv_prefill=snapkv_prefill)
    exit_ = max(conversion.layerskip or [], default=None)
    strategy = api.Strategy(snapkv=cut.compact(), layerskip=exit_, drafting=draft_by, kv=kv)
    found = api.plan_model(model, to, conversion.options(), threads=threads, strategy=strategy)
    rows = [row.json() for row in found]
    show(
        rows[0] if len(rows) == 1 else {"plans": rows},
        as_json,
        "\n\n".join(row.text() for row in found),
    )


@app.command("doctor")
def doctor(as_json: Json = False) -> None:
    """Show which targets work here, with versions and hardware.

    \b
    Example: edge doctor
    """
    from edge.measure.doctor import examine

    show(examine(), as_json)
