"""Commands about what there is, here and on the hub: pull, rm, list."""

import json
from pathlib import Path
from typing import Annotated

import typer

from edge.command.app import app, say
from edge.command.options import Json
from edge.command.printing import listed, recipe_table, show


@app.command("pull")
def pull(
    model: Annotated[str, typer.Argument(help="An id of the registry, or owner/name on the hub.")],
    file: Annotated[
        Path | None,
        typer.Option(help="Weights that you have, of a model that is published as a file alone."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a checkpoint: pinned from the first pull on, checked, and resumed if it was cut off.

    A gated model needs a token of yours in HF_TOKEN.

    \b
    Example: edge pull phi-3-mini-4k
    Example: edge pull catlip-b --file vit_base.pt
    """
    from edge import api

    result = api.pull_model(model, say=say, file=file)
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


@app.command("list")
def list_models(
    recipes: Annotated[
        bool, typer.Option("--recipes", help="The methods of quantization and their recipes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models of the registry, and the checkpoints and artifacts on this machine.

    \b
    Example: edge list
    Example: edge list --recipes
    """
    from edge import api

    if recipes:
        found = api.list_recipes()
        show({"recipes": found}, as_json, recipe_table(found))
        return

    rows = api.list_models()
    if as_json:
        typer.echo(json.dumps({"models": rows}))
    else:
        typer.echo(listed(rows))
