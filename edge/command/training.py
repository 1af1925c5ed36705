"""The command that trains."""

from pathlib import Path
from typing import Annotated

import typer

from edge.command.app import app
from edge.command.options import Json
from edge.command.printing import show


@app.command("train")
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
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="What it learns from, instead of the recipe's: UTF-8 texts, JSON lines, or folders of them, such as "
            "`edge data` makes; lines of JSON with conversations, pairs of answers, or pictures and labels; the folder "
            "of fonts of a recipe that draws its pictures; a folder of arrays. Several may follow."
        ),
    ] = None,
    more: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="More of what --data names.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run stopped: the same command again.")
    ] = False,
    on: Annotated[
        str, typer.Option(help="torch; or mlx, which trains adapters, also beside rounded weights.")
    ] = "torch",
    as_json: Json = False,
) -> None:
    """Train a model by a recipe: from scratch, or on from a checkpoint, on texts, conversations or pairs of
    answers, with LayerSkip or an adapter; a small InternVL that reads, on pictures that it draws; a network that is
    no decoder, on examples; or a vocoder or a voice, on prepared speech. Several processes, one a GPU, share the
    work; a run goes on with any number of them.

    \b
    Example: edge train stories -o runs/stories
    Example: edge train layerskip-continue --start ./Llama-3.2-1B --data book.txt -o runs/skip
    Example: edge train chat --start ./SmolLM2-135M --data chats.jsonl -o runs/chat
    Example: edge train dpo --start runs/chat/model --data pairs.jsonl -o runs/dpo
    Example: edge train lora --start ./SmolLM2-135M-Instruct --data book.txt -o runs/mine
    Example: edge train lora --on mlx --start artifacts/llama-mlx-int4 --data book.txt -o runs/mine
    Example: edge train reads --data fonts -o runs/reads
    Example: edge train classify --start ./vit-base --data pictures.jsonl -o runs/mine
    Example: edge train vocoder --data prepared -o runs/vocoder
    Example: edge train flashspeech --data prepared -o runs/voice
    Example: torchrun --nproc-per-node 2 -m edge train my-recipe.yaml -o runs/skip
    """
    from edge import api

    given = [*(data or ()), *(more or ())]
    path = api.train_recipe(recipe, out, start=start, data=given, resume=resume, on=on)
    if path is not None:
        show({"path": str(path)}, as_json, str(path))
