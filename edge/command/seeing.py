"""`edge run --image`: what a picture shows, or an answer about it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edge.command.app import say
from edge.command.arguments import refuse
from edge.command.options import DecodingOptions
from edge.command.talking import stopping, turns, write
from edge.errors import EdgeError, steady
from edge.pipelines.options.pictures import ImageOptions

if TYPE_CHECKING:
    from edge.pipelines.internvl import InternVL, Shown
    from edge.run.classifier import Classifier
    from edge.run.model import Wish


def refuse_alone(shown: ImageOptions) -> None:
    """What is of pictures is not ignored where there is none."""
    names = list(shown.given())
    if names:
        raise EdgeError(f"{' and '.join(names)} are of pictures", fix="give --image, too")


def refuse_of_text(given: Mapping[str, object]) -> None:
    """Options that a model that sees has no use for are not ignored."""
    refuse(given, "not of a model that sees")


def see(
    model: str,
    prompt: str | None,
    shown: ImageOptions,
    decoding: DecodingOptions,
    wish: "Wish",
    *,
    system: str | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Print labels, or an answer; `how`: as `edge.api.open_seeing` takes it."""
    from edge import api
    from edge.command.bars import bar
    from edge.convert.options import Options
    from edge.run.classifier import Classifier

    options = Options(**shown.conversion())
    strategy = decoding.strategy()
    opened = api.open_seeing(model, options, strategy=strategy, progress=bar, **how)
    if isinstance(opened, Classifier):
        _classify(opened, prompt, shown, as_json=as_json)
    else:
        answer(opened, prompt, shown, wish, system=system, as_json=as_json)


def _classify(
    opened: "Classifier", prompt: str | None, shown: ImageOptions, *, as_json: bool
) -> None:
    """Print the labels of each picture."""
    from edge import api

    if prompt is not None or shown.max_tiles is not None:
        raise EdgeError(
            "a classifier of pictures takes no prompt, and cuts no tiles", fix="leave them out"
        )
    found = api.classify(opened, shown.image or [], shown.top or 5)
    for note in (note for answer in found for note in answer.pop("notes")):
        say(note)
    if as_json:
        typer.echo(json.dumps(found[0] if len(found) == 1 else {"answers": found}))
        return
    for answer in found:
        if len(found) > 1:
            typer.echo(f"{answer['images'][0]['file']}:")
        for label in answer["labels"]:
            typer.echo(steady(f"{label['score']:.3f}  {label['label']}"))


def answer(
    opened: "InternVL",
    prompt: str | None,
    shown: ImageOptions,
    wish: "Wish",
    *,
    system: str | None,
    as_json: bool,
) -> None:
    """Print what a model says of pictures, or of none; without a question, a chat about them."""
    from edge import api
    from edge.command.bars import steps

    if shown.top is not None:
        raise EdgeError("a model that answers in words gives no labels", fix="leave out --top")
    found = api.look_at(opened, shown.image or [], shown.max_tiles, steps)
    for note in (note for one in found for note in one["notes"]):
        say(note)
    pictures = [one["shown"] for one in found]
    if prompt is None:
        _chat(opened, pictures, shown.max_tiles, system, wish)
        return
    made = opened.generate(prompt, images=pictures, system=system, wish=wish)
    for piece in made:
        if not as_json:
            write(piece)
    result = {
        "text": made.text,
        "tokens": made.generation.tokens,
        "prompt_tokens": list(made.generation.prompt),
        "ending": made.generation.ending,
        "complete": made.complete,
        **({} if opened.model.tally is None else asdict(opened.model.tally)),
        "cache_rows": max(opened.model.cache_rows),
        "cache_mb": opened.model.cache_mb,
        "prefill_tps": made.generation.prefill_tps,
        "decode_tps": made.generation.decode_tps,
        "images": [one["said"] for one in found],
    }
    typer.echo(json.dumps(result) if as_json else "")


SHOW = "/image"


def _chat(
    opened: "InternVL",
    pictures: "list[Shown]",
    most: int | None,
    system: str | None,
    wish: "Wish",
) -> None:
    """Turns until the end of input. `/image FILE` shows a picture, which the next question is about."""
    from edge import api
    from edge.command.bars import steps

    chat = opened.chat(system=system)
    name = opened.artifact.manifest.name
    say(f"{name}: {SHOW} FILE shows a picture; an empty line or Ctrl-D ends the chat")
    for line in turns():
        if line.split()[0] == SHOW:
            try:
                new = api.look_at(opened, [Path(line.removeprefix(SHOW).strip())], most, steps)
            except EdgeError as error:  # a chat is not lost by a wrong name
                say(str(error))
                continue
            pictures = [*pictures, *(one["shown"] for one in new)]
            continue
        with stopping():
            for piece in chat.say(line, pictures, wish=wish):
                write(piece)
            pictures = []
        typer.echo("")
