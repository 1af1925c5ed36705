"""Commands that measure: bench, eval, plan, doctor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.command.app import app, say
from edge.command.arguments import numbers, refuse
from edge.command.options import (
    Adapter,
    CacheType,
    CompactingOptions,
    ConversionOptions,
    DecodingOptions,
    DraftBy,
    Json,
    Reference,
    TaskOptions,
    Threads,
    WhereOptions,
    spread,
)
from edge.command.printing import TIMED, scores, shares, show, show_rows
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
    of a chat's first question, of its second one, and of a new chat, and decoding. Of a voice: seconds of work
    a second of sound, and until the first sound.

    \b
    Example: edge bench artifacts/phi-3 -p 512 -n 64 --threads 2
    Example: edge bench artifacts/phi-3 -p 8192 --snapkv 1024
    Example: edge bench artifacts/edge-stories -p 300 --layerskip 2 --text stories.txt
    Example: edge bench artifacts/internvl --tiles 1,5 -n 64
    Example: edge bench artifacts/groma -n 64
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


# What each way of judging a model may be told besides.
_JUDGED = {
    "--text": ("--window", "--against", "--kv", "--adapter", "--exact", "--reference"),
    "--questions": ("--seed", "--kv", "--adapter", "--exact", "--reference"),
    "--sheets": ("--data", "--seed"),
    "--where": ("--pictures", "--limit"),
    "--scenes": ("--seed",),
    "--tasks": (
        "--task-data",
        "--fewshot",
        "--limit",
        "--chat",
        "--seed",
        "--kv",
        "--adapter",
        "--exact",
        "--reference",
    ),
}


@app.command("eval")
@spread
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder, or a GGUF file.")],
    *,
    text: Annotated[Path | None, typer.Option(help="A UTF-8 text file.")] = None,
    benchmarks: TaskOptions,
    places: WhereOptions,
    questions: Annotated[
        int | None,
        typer.Option(min=1, help="Ask about the small world instead: so many a distance."),
    ] = None,
    sheets: Annotated[
        int | None,
        typer.Option(min=1, help="Ask a model that reads about so many pictures of each kind."),
    ] = None,
    scenes: Annotated[
        int | None,
        typer.Option(min=1, help="Ask a model that points about so many made scenes."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Of --sheets: a folder with the fonts they are drawn in.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the questions, or of the tasks' examples.")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(min=2, help="Of --text: tokens a window; the model's context if left out."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Of --text: the full model, to say how far from it the artifact is."),
    ] = None,
    kv: CacheType = None,
    adapter: Adapter = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="In floats, where a runtime's fast kernels round them.")
    ] = False,
    threads: Threads = None,
    reference: Reference = False,
    as_json: Json = False,
) -> None:
    """Measure how well an artifact predicts a text, nats per token and perplexity; or what it answers.

    With --against: also the divergence from the full model, and how often both would choose the same token; that one
    is computed in numpy, which takes a while. With --tasks: benchmarks of lm-evaluation-harness, whose data you have in
    a folder (docs/evaluation.md). With --questions: exact answers about held-out people, by how many
    tokens ago the fact was told. With
    --sheets: exact answers about generated pictures, of lines that no lesson had. With --where: how often a model that
    points is right. With --scenes: words and regions of its answers about made scenes, of things that no lesson had.

    \b
    Example: edge eval artifacts/phi-3 --text wiki.test.raw
    Example: edge eval artifacts/edge-stories --text stories.txt --against edge-stories
    Example: edge eval artifacts/phi-3 --text wiki.test.raw --adapter runs/tuned/adapter
    Example: edge eval artifacts/phi-3 --tasks arc_easy,piqa --task-data data --limit 200
    Example: edge eval artifacts/edge-stories --questions 120
    Example: edge eval artifacts/edge-reads --sheets 50 --data fonts
    Example: edge eval artifacts/groma --where refcoco_val.json --pictures train2017 --limit 500
    Example: edge eval artifacts/points --scenes 50
    """
    from edge import api
    from edge.command.bars import bar, steps
    from edge.run.strategy import Strategy

    ways = {
        "--text": text,
        "--questions": questions,
        "--sheets": sheets,
        "--where": places.where,
        "--scenes": scenes,
        "--tasks": benchmarks.tasks,
    }
    given: dict[str, object] = {"--data": data, "--seed": seed, "--window": window}
    given |= {"--against": against, "--kv": kv, "--adapter": adapter}
    given |= {"--exact": exact, "--reference": reference, "--pictures": places.pictures}
    given |= benchmarks.besides()
    way = _way(ways, given)
    strategy = Strategy(reference=reference, kv=kv, exact=exact)
    how: Any = {"threads": threads, "strategy": strategy, "adapter": adapter}
    if text is not None:
        how |= {"window": window, "against": against}
        judged = api.eval_text(artifact, text, progress=bar, **how).json()
        show(judged | api.told_of(adapter), as_json)
    elif way == "--tasks":
        asked = benchmarks.given(seed)
        found = api.eval_tasks(artifact, asked, progress=steps, **how)
        _say_counts(found["counts"])
        show(found | api.told_of(adapter), as_json, scores(found))
    elif places.where is not None:
        where: Any = {"limit": benchmarks.limit, "threads": threads, "progress": steps}
        show(api.ask_where(artifact, places.where, places.folder(), **where), as_json)
    elif sheets is not None:
        if data is None:
            raise EdgeError("--sheets are drawn in the fonts of --data", fix="give both")
        of: Any = {"sheets": sheets, "fonts": data, "seed": seed or 0, "threads": threads}
        show(api.ask_about_sheets(artifact, **of), as_json)
    elif scenes is not None:
        of = {"scenes": scenes, "seed": seed or 0, "threads": threads}
        show(api.ask_about_scenes(artifact, **of), as_json)
    else:
        how |= {"per_distance": questions, "seed": seed or 0}
        show(api.ask_questions(artifact, **how) | api.told_of(adapter), as_json)


def _way(ways: Mapping[str, object], given: Mapping[str, object]) -> str:
    """The one way of judging that was asked for; what is not of it is refused."""
    asked = [name for name, value in ways.items() if value is not None]
    if len(asked) != 1:
        raise EdgeError(f"eval takes one of {', '.join(ways)}", fix="give one of them")
    others = {
        name: value is not None and value is not False
        for name, value in given.items()
        if name not in _JUDGED[asked[0]]
    }
    refuse(others, f"not of {asked[0]}")
    return asked[0]


def _say_counts(counts: Mapping[str, int]) -> None:
    said = {
        "cut": "longer than the context: their beginning was left out",
        "joined": "parted inside of a token, as the harness does it",
        "empty": "with nothing to score",
    }
    for name, what in said.items():
        if counts[name]:
            say(f"{counts[name]:,} of {counts['requests']:,} requests were {what}")


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
