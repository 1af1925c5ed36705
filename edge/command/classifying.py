"""`edge run --image`: what a picture shows."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.command.app import say
from edge.command.options import DecodingOptions, PictureOptions
from edge.errors import EdgeError, steady


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOptions(PictureOptions):
    """Pictures, and what is asked of them."""

    image: Annotated[
        list[Path] | None,
        typer.Option(help="A picture, for a model that sees; may be repeated."),
    ] = None
    top: Annotated[
        int | None, typer.Option(min=1, help="Of a picture: so many labels; 5 if left out.")
    ] = None

    def refuse_alone(self) -> None:
        """What is of pictures is not ignored where there is none."""
        names = [f"--{name}" for name in ("top",) if getattr(self, name) is not None]
        names += [name for name, given in self.asked().items() if given]
        if names:
            raise EdgeError(f"{' and '.join(names)} are of pictures", fix="give --image, too")

    def given(self) -> dict[str, Any]:
        known = PictureOptions.given(self)
        return {name: value for name, value in known.items() if name not in ("image", "top")}


def classify(
    model: str | None,
    prompt: str | None,
    shown: ImageOptions,
    decoding: DecodingOptions,
    *,
    as_json: bool,
    **how: Any,
) -> None:
    """Print the labels of each picture; `how`: as `edge.api.open_classifier` takes it."""
    from edge import api
    from edge.command.bars import bar
    from edge.convert.options import Options

    _refuse(model, prompt, decoding)
    opened = api.open_classifier(
        model or "",
        Options(**shown.given()),
        reference=decoding.reference,
        progress=bar,
        **how,
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


def _refuse(model: str | None, prompt: str | None, decoding: DecodingOptions) -> None:
    if model is None or prompt is not None:
        raise EdgeError(
            "a classifier of pictures takes no prompt, and must be named",
            fix="edge run MODEL --image FILE",
        )
    if replace(decoding, reference=False) != DecodingOptions():
        raise EdgeError("a classifier decodes no tokens", fix="leave out the options of decoding")
