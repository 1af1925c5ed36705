"""`edge run --image --box`: answers that name regions of a picture, and questions about some."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edge.command.app import say
from edge.command.arguments import refuse
from edge.command.options import DecodingOptions
from edge.command.talking import stopping, turns, write
from edge.errors import EdgeError
from edge.pipelines.options.pictures import ImageOptions
from edge.pipelines.options.pointing import PointingOptions

if TYPE_CHECKING:
    from edge.pipelines.groma import Conversation
    from edge.run.model import Wish
    from edge.vision.boxes import Box


def refuse_elsewhere(pointed: PointingOptions, model: str | None) -> None:
    """Regions are not ignored by a model that points at none."""
    refuse(pointed.given(), f"of a model that points, which {model or 'the packaged one'} is not")


def point(
    model: str,
    prompt: str | None,
    shown: ImageOptions,
    pointed: PointingOptions,
    decoding: DecodingOptions,
    wish: "Wish",
    *,
    out: Path | None,
    refused: Mapping[str, object],
    system: str | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Print an answer about a picture and the regions that it names; without a question, a chat. `out`: where the
    picture is drawn with them; `refused`: what was given that is of other models.
    """
    from edge import api
    from edge.command.bars import bar, steps
    from edge.vision.marking import marks_of, save

    boxes = _boxes(prompt, shown, pointed, out, refused, as_json=as_json)
    opened = api.open_model(model, strategy=decoding.strategy(), progress=bar, **how)
    assert isinstance(opened, api.Groma), "its own files say so"
    picture, about, said = api.show_regions(opened, shown.image or [], boxes, steps)
    for note in picture.notes:
        say(note)
    chat = opened.chat([about], system=system)
    if prompt is None:
        _chat(opened.artifact.manifest.name, chat, wish)
        return
    opened.model.forget()
    answer = chat.ask(prompt, wish=wish)
    for piece in answer:
        if not as_json:
            write(piece)
    named = api.regions_of(answer)
    if out is not None:
        save(out, picture, marks_of([(one["phrase"], tuple(one["box"])) for one in named]))
    if not as_json:
        typer.echo("")
        _list(named)
        return
    model_ = opened.model
    result = {
        "text": answer.text,
        "regions": named,
        "tokens": answer.generation.tokens,
        "prompt_tokens": list(answer.generation.prompt),
        "ending": answer.generation.ending,
        "complete": answer.complete,
        **({} if model_.tally is None else asdict(model_.tally)),
        "cache_rows": max(model_.cache_rows),
        "cache_mb": model_.cache_mb,
        "prefill_tps": answer.generation.prefill_tps,
        "decode_tps": answer.generation.decode_tps,
        "images": [said],
    }
    typer.echo(json.dumps(result))


def _boxes(
    prompt: str | None,
    shown: ImageOptions,
    pointed: PointingOptions,
    out: Path | None,
    refused: Mapping[str, object],
    *,
    as_json: bool,
) -> "list[Box]":
    """A user's, once nothing else is wrong with what was asked."""
    from edge.vision.boxes import read_box
    from edge.vision.marking import format_of

    others = {name: value for name, value in shown.given().items() if name != "--image"}
    refuse({**refused, **others}, "not of a model that points")
    if not shown.image:
        raise EdgeError("this model answers about a picture", fix="give --image")
    if out is not None:
        format_of(out)  # before anything is computed
    if prompt is None:
        refuse({"--json": as_json, "--out": out}, "of one question: a chat has none")
    return [read_box(text) for text in pointed.box or []]


def _list(named: Sequence[Mapping[str, Any]]) -> None:
    """The regions of an answer, a line each, for a person."""
    for one in named:
        sides = ",".join(f"{side:g}" for side in one["box"])
        say(f"{one['phrase'] or 'a region'}: {sides}")


def _chat(name: str, chat: "Conversation", wish: "Wish") -> None:
    """Turns until the end of input, about one picture."""
    from edge import api

    say(f"{name}: an empty line or Ctrl-D ends the chat")
    for line in turns():
        try:
            with stopping():
                for piece in chat.say(line, wish=wish):
                    write(piece)
        except EdgeError as error:  # a chat is not lost by a wrong question
            say(str(error))
            continue
        typer.echo("")
        if chat.last is not None:
            _list(api.regions_of(chat.last))
