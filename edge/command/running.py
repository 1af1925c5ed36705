"""Commands that answer: run, serve."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.command.app import app, say
from edge.command.arguments import packaged, pairs, read_prompt, refuse, split_prompt
from edge.command.options import (
    Adapter,
    AnswerOptions,
    CompactingOptions,
    DecodingOptions,
    Grouped,
    Json,
    Threads,
    spread,
)
from edge.command.pointing import point, refuse_elsewhere
from edge.command.seeing import answer, refuse_alone, refuse_of_text, see
from edge.command.speaking import aloud_by, speak
from edge.command.talking import stopping, turns, write
from edge.errors import EdgeError
from edge.pipelines.options.pictures import ImageOptions
from edge.pipelines.options.pointing import PointingOptions
from edge.pipelines.options.speech import SpeechOptions

if TYPE_CHECKING:
    from edge.api.speaking import Aloud
    from edge.pipelines.groma import Groma
    from edge.pipelines.internvl import InternVL
    from edge.pipelines.speech import Speech
    from edge.run.model import Model, Wish
    from edge.run.strategy import Strategy


@app.command("run", cls=Grouped)
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
    answers: AnswerOptions,
    seed: Annotated[
        int | None, typer.Option(help="Makes sampling repeatable; of speech, its sound: 0.")
    ] = None,
    shown: ImageOptions,
    pointed: PointingOptions,
    spoken: SpeechOptions,
    decoding: DecodingOptions,
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
    as_json: Json = False,
) -> None:
    """Answer a prompt, or chat; or say a text. Without MODEL, the small model that ships with edge; a
    checkpoint is converted first.

    \b
    Example: edge run "Once upon a time"
    Example: edge run artifacts/phi-3 "Why is the sky blue?" --max-tokens 100
    Example: edge run artifacts/phi-3 "A cat, as JSON." --json-schema cat.schema.json
    Example: edge run artifacts/phi-3 "Why is the sky blue?" --fast
    Example: edge run artifacts/phi-3 "Why is the sky blue?" --adapter runs/tuned/adapter
    Example: edge run Llama-3.2-1B-Instruct-Q4_K_M.gguf "Why is the sky blue?"
    Example: edge run ./catlip-b --image dog.jpg --labels vocab.json --top 5
    Example: edge run artifacts/internvl "What does it total to?" --image receipt.jpg
    Example: edge run artifacts/groma "[grounding] Describe the picture." --image dog.jpg --json
    Example: edge run artifacts/groma "What is <box>?" --image dog.jpg --box 40,30,220,180
    Example: edge run artifacts/voice "Good morning." --voice me.wav -o out.wav
    Example: edge run artifacts/phi-3 "Why is the sky blue?" --speak artifacts/voice -o out.wav
    Example: cat book.txt question.txt | edge run artifacts/phi-3 - --snapkv 1024
    Example: edge run artifacts/phi-3 --snapkv 1024 --snapkv-for reuse --snapkv-prefill 512
    """
    from edge.text.rendering import get_ready

    named, prompt = split_prompt(first, second)
    groups = (pointed, shown) if answers.speak else (pointed, shown, spoken)
    chosen = next((group for group in groups if group.chooses()), None)
    if chosen is None and not answers.raw:
        get_ready()  # beside all that is imported and read for the model
    from edge import api

    if named is None and chosen is not None:
        named = packaged(chosen)
    how: dict[str, Any] = {"runtime": runtime, "threads": threads, "unchecked": unchecked}
    wish = answers.wish(seed)  # refuses what cannot be wished before a model is looked for
    kind = api.pipeline_of_model(named)
    of_words = {**answers.only_of_text(), "--adapter": adapter}
    if kind in (spoken.PIPELINE, pointed.PIPELINE):
        assert named is not None, "the packaged decoder neither speaks nor points"
        text = read_prompt(prompt, raw=False)
        if kind == pointed.PIPELINE:
            others = {name: v for name, v in spoken.given().items() if name != "--out"}
            point(
                named, text, shown, pointed, decoding, wish, out=spoken.out,
                refused={**of_words, **others}, system=answers.system, as_json=as_json, **how,
            )  # fmt: skip
            return
        given = {**answers.given(), **shown.given(), **pointed.given(), "--adapter": adapter}
        refuse(given, "not of a model that speaks")
        speak(named, text, spoken, decoding, seed=seed, as_json=as_json, **how)
        return
    refuse_elsewhere(pointed, named)
    if not answers.speak:
        what = f"of a model that speaks, which {named or 'the packaged one'} is not"
        refuse(spoken.given(), f"{what}; --speak names one for its answers")
    if shown.image:
        assert named is not None, "pictures choose a model"
        refuse_of_text(of_words)
        question = read_prompt(prompt, raw=False)
        see(named, question, shown, decoding, wish, system=answers.system, as_json=as_json, **how)
        return
    refuse_alone(shown)
    voice = None
    if answers.speak:
        voice = aloud_by(answers.speak, spoken, seed=seed, as_json=as_json, **how)
    _of_text(named, prompt, answers, decoding, wish, voice, adapter=adapter, as_json=as_json, **how)


def _of_text(
    model_name: str | None,
    prompt: str | None,
    answers: AnswerOptions,
    decoding: DecodingOptions,
    wish: "Wish",
    voice: "Aloud | None",
    *,
    adapter: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """An answer, or a chat, of a model that was shown nothing as yet. `voice`: what says it."""
    from edge import api
    from edge.command.bars import bar

    text, strategy = _asked(prompt, answers, as_json=as_json), decoding.strategy()
    if answers.fast:
        model_name, strategy = _fastest(model_name, text, answers, strategy, adapter, how)
        how["runtime"] = None
    model = api.open_model(
        model_name, strategy=strategy, progress=bar, turns=not answers.raw, adapter=adapter, **how
    )
    if isinstance(model, api.InternVL):
        refuse_of_text({**answers.only_of_text(), "--adapter": adapter})
        answer(model, text, ImageOptions(), wish, system=answers.system, as_json=as_json)
        return
    assert isinstance(model, api.Model), "what speaks has a way of its own"
    if text is None:
        _chat(model, answers.system, wish, voice, note=strategy.note)
    else:
        _answer(model, text, wish, api.told_of(adapter), answers, voice, as_json=as_json)


def _fastest(
    model_name: str | None,
    text: str | None,
    answers: AnswerOptions,
    strategy: "Strategy",
    adapter: Path | None,
    how: Mapping[str, Any],
) -> "tuple[str, Strategy]":
    """The artifact, and what it decodes this prompt by fastest here."""
    from edge import api
    from edge.command.bars import bar

    if strategy != api.PLAIN or text is None:
        raise EdgeError("--fast chooses by itself, for a prompt", fix="leave out the others")
    folder = api.ready(model_name, bar, how["runtime"])
    found = api.fastest_strategy(
        folder,
        text,
        system=answers.system,
        raw=answers.raw,
        threads=how["threads"],
        say=say,
        adapter=adapter,
    )
    return str(folder), found


def _asked(prompt: str | None, answers: AnswerOptions, *, as_json: bool) -> str | None:
    """The text of the prompt, if one is given."""
    if prompt is None and (answers.raw or as_json):
        raise EdgeError(
            "a chat has no --raw and no --json", fix="give a prompt, or `-` to read one from stdin"
        )
    return read_prompt(prompt, raw=answers.raw)


def _answer(
    model: "Model",
    text: str,
    wish: "Wish",
    told: dict[str, Any],
    answers: AnswerOptions,
    voice: "Aloud | None",
    *,
    as_json: bool,
) -> None:
    """`told`: what the result says beside what was made."""
    answer = model.generate(text, system=answers.system, raw=answers.raw, wish=wish)
    for piece in answer if voice is None else voice.over(answer):
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
        **({} if voice is None else {"speech": voice.report()}),
    }
    typer.echo(json.dumps(result) if as_json else "")
    if answers.stats:
        typer.echo(
            f"prompt {len(made.prompt)} tokens, {made.prefill_tps:.1f} tok/s; "
            f"answer {len(made.tokens)} tokens, {made.decode_tps:.1f} tok/s; ended by {made.ending}",
            err=True,
        )


def _chat(
    model: "Model", system: str | None, wish: "Wish", voice: "Aloud | None", *, note: str | None
) -> None:
    """Turns until the end of input; Ctrl-C stops an answer, a second one the chat."""
    if note is not None:
        say(note)
    chat = model.chat(system=system)
    typer.echo(f"{model.artifact.manifest.name}: an empty line or Ctrl-D ends the chat", err=True)
    for turn, line in enumerate(turns()):
        with stopping():
            said = chat.say(line, wish)
            for piece in said if voice is None else voice.over(said, turn):
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
    voice: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="A recording of a voice, which clients ask for by the name; may be repeated.",
        ),
    ] = None,
    speak: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A model that speaks, beside one that writes."),
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
    """Serve a model with OpenAI's API, and a page at /: for chats, or for texts to be spoken.

    \b
    Example: edge serve artifacts/phi-3 --port 8080
    Example: edge serve artifacts/phi-3 --snapkv 4096 --snapkv-for reuse
    Example: edge serve artifacts/phi-3 --adapter runs/tuned/adapter
    Example: edge serve artifacts/voice --voice anna=anna.wav --voice ben=ben.wav
    Example: edge serve artifacts/phi-3 --speak artifacts/voice
    Example: edge serve artifacts/stories --app
    """
    from edge import api
    from edge.command.bars import bar

    compact = compacting.compact()
    if in_browser:
        given: dict[str, object] = {"--key": key, "--name": name, "--threads": threads}
        given |= {"--snapkv": compact, "--adapter": adapter, "--voice": voice, "--speak": speak}
        refuse(given, "no part of --app, where the model runs in the browser")
        api.serve_app(model, host=host, port=port, page=page)
        return
    refuse({"--page": page}, "of --app alone")
    if compact is not None:
        say(compact.note)
    names = tuple(name or ())
    strategy = api.Strategy(snapkv=compact)

    def opened() -> "Model | InternVL | Groma | Speech":
        return api.open_model(
            model, threads=threads, strategy=strategy, progress=bar, adapter=adapter
        )

    recordings = {name: Path(file) for name, file in pairs(voice or [], "NAME=FILE").items()}
    if len(recordings) < len(voice or []):
        raise EdgeError("two of --voice have one name", fix="give each a name of its own")

    def speaking() -> "Speech":
        return api.open_speaking(str(speak), threads=threads, progress=bar)

    api.serve_model(
        opened,
        host=host,
        port=port,
        key=key,
        names=names,
        speaking=speaking if speak else None,
        voices=recordings,
    )
