"""The command that makes what models learn from."""

from pathlib import Path
from typing import Annotated

import typer

from edge.command.app import app
from edge.command.arguments import pairs
from edge.command.options import Json
from edge.command.printing import show


@app.command("data")
def data(
    engine: Annotated[str, typer.Argument(help="Which engine: text, speech.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Files, or folders of them. Of text: .txt and .md are a text each, .jsonl (.gz, .zst) and .parquet a "
            "text a row, in `text`. Of speech: docs/speech-data.md lists the layouts.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder that is made.")],
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the engine, as least_words=20; docs/data.md and docs/speech-data.md list them; may be "
            "repeated.",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Write rows of tokens, of this model's tokenizer: an id, or a folder."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Who is asked what a text is worth: an artifact, or http://HOST:PORT/v1 that answers OpenAI's "
            "API; its key is in EDGE_API_KEY or OPENAI_API_KEY. Of speech: a recognizer, which finds times."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="What chance is left to.")] = 0,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=512,
            help="How many work at once; left out, as many as run here, or one that holds --model.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Work on this Ray cluster, HOST:PORT, or on one begun here: local.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run stopped: the same command again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make training data of SOURCES: the same rows in the same order for one seed, whoever computes them. What
    cannot be read or does not stay is named in rejected.jsonl, and counted.

    \b
    Example: edge data text books/ pages.jsonl -o clean
    Example: edge data text pages.jsonl.gz -o rows --tokenizer ./Llama-3.2-1B --set length=2048
    Example: edge data text pages/ -o good --model artifacts/judge --set least_rating=4
    Example: edge data text pages/ -o clean --ray 10.0.0.5:6379 --resume
    Example: edge data speech LibriTTS/dev-clean -o prepared --model runs/recognizer/model --set held-out=1272
    """
    from edge import api
    from edge.command.bars import bar
    from edge.data.frame.step import Means
    from edge.data.making import Order

    order = Order(
        engine=engine,
        sources=tuple(sources),
        options=pairs(option or [], "NAME=VALUE"),
        means=Means(tokenizer=tokenizer, model=model),
        seed=seed,
    )
    made = api.make_data(order, out, processes=processes, ray=ray, resume=resume, progress=bar)
    show(made, as_json)
