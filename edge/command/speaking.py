"""`edge run` of a model that speaks: a text into a sound file, or onto stdout."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edge.command.app import say
from edge.command.arguments import refuse
from edge.command.options import DecodingOptions
from edge.errors import EdgeError
from edge.pipelines.options.speech import SpeechOptions

if TYPE_CHECKING:
    from edge.api.speaking import Aloud, Saying

STDOUT = "-"


def speak(
    model: str,
    text: str | None,
    spoken: SpeechOptions,
    decoding: DecodingOptions,
    *,
    seed: int | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Say it; `how`: as `edge.api.open_speaking` takes it."""
    from edge import api
    from edge.command.bars import bar

    out = _place(spoken, as_json=as_json)
    _agree(text, spoken)
    saying = _saying(spoken, seed)
    opened = api.open_speaking(model, strategy=decoding.strategy(), progress=bar, **how)
    if str(out) == STDOUT:
        api.say_to(opened, text, sys.stdout.buffer, saying, say)
        return
    found = api.say_into(opened, text, out, saying, say)
    if as_json:
        typer.echo(json.dumps(found[0] if len(found) == 1 else {"takes": found}))
        return
    for one in found:
        typer.echo(f"{one['file']}  {one['seconds']:.1f} s, made in {one['rtf']:.3f} of that")


def _agree(text: str | None, spoken: SpeechOptions) -> None:
    """What is asked for must be one thing."""
    if text is None and spoken.source is None:
        raise EdgeError("there is nothing to say", fix="give a text, or `-` to read it from stdin")
    if spoken.edit is not None and (spoken.source is None or text is None):
        raise EdgeError(
            "--edit is of a recording and its text",
            fix="give --from talk.wav, and what it says as the text",
        )
    if spoken.source is not None:
        refuse({"--speed": spoken.speed}, "a recording that is said again lasts as long as it does")
    if spoken.source is not None and spoken.edit is None:
        refuse({"--alpha": spoken.alpha}, "a recording that is said again has its own prosody")


def aloud_by(
    model: str, spoken: SpeechOptions, *, seed: int | None, as_json: bool, **how: Any
) -> "Aloud":
    """What says the answers of another model; `how`: as `edge.api.open_speaking` takes it."""
    from edge import api
    from edge.command.bars import bar

    alone = {"--takes": spoken.takes, "--picture": spoken.picture}
    refuse({**alone, "--from": spoken.source, "--edit": spoken.edit}, "not with --speak")
    out = _place(spoken, as_json=as_json)
    if str(out) == STDOUT:
        raise EdgeError("stdout has the text of the answer", fix="give -o out.wav")
    saying = _saying(spoken, seed)
    return api.Aloud(api.open_speaking(model, progress=bar, **how), saying, out, say)


def _saying(spoken: SpeechOptions, seed: int | None) -> "Saying":
    """How it is said. What no model can follow is refused."""
    from edge import api

    saying = api.Saying(
        voice=spoken.voice,
        source=spoken.source,
        edit=spoken.edit,
        steps=spoken.steps,
        alpha=spoken.alpha,
        speed=spoken.speed,
        seed=seed,
        takes=spoken.takes or 1,
        picture=spoken.picture,
    )
    saying.check()
    return saying


def _place(spoken: SpeechOptions, *, as_json: bool) -> Path:
    """Where the sound goes. What cannot be written is refused before anything is opened."""
    out = spoken.out
    if out is None:
        raise EdgeError(
            "nothing says where the sound goes", fix="give -o out.wav, or -o - for stdout"
        )
    piped = str(out) == STDOUT
    if piped and (as_json or spoken.takes is not None):
        raise EdgeError(
            "stdout takes the sound of one take, and nothing else",
            fix="leave out --json and --takes, or give -o out.wav",
        )
    if not piped:
        _check(out, ".wav", "-o")
    if spoken.picture is not None:
        _check(spoken.picture, ".svg", "--picture")
    return out


def _check(file: Path, ending: str, option: str) -> None:
    if file.suffix.lower() != ending:
        raise EdgeError(
            f"{option} {file} is no {ending} file", fix=f"give it a name that ends with {ending}"
        )
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise EdgeError(
            f"{option} {file} is no place for a file", fix="name one in a folder that is there"
        )
