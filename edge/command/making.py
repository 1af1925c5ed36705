"""Commands that make artifacts and look into them: convert, verify, inspect, app."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from edge.command.app import app, say
from edge.command.arguments import calibration, nbytes
from edge.command.options import ConversionOptions, Grouped, Json, spread
from edge.command.printing import VERIFIED, show, show_each, show_rows
from edge.errors import EdgeError
from edge.pipelines.options.pictures import PictureOptions


@app.command("convert", cls=Grouped)
@spread
def convert(
    model: Annotated[str, typer.Argument(help="An id of the registry, or a checkpoint folder.")],
    *,
    to: Annotated[
        str | None,
        typer.Option(
            help="Targets, by commas: onnx, mlx, gguf, coreml, torch; this machine's best if left out. "
            "Of several networks also one for each: vision=onnx:int8,text=gguf:q4_0."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The artifact's folder; of several targets, theirs."),
    ] = None,
    conversion: ConversionOptions,
    pictures: PictureOptions,
    most: Annotated[
        str | None,
        typer.Option(
            "--size",
            help="Bytes of a decoder's artifact at most, all its files, as 2.0GB: each matrix has the bits "
            "of the recipe's method that lose least, found with a text.",
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="A UTF-8 text that the model reads to find which inputs matter: for gptq, awq, quip, "
            "smoothquant and efficientqat, which take pages of books if none is given, and gguf's mixtures."
        ),
    ] = None,
    calibrate_tokens: Annotated[
        int | None, typer.Option(min=32, help="Tokens of it to read at most; 16384 if left out.")
    ] = None,
    calibrate_on: Annotated[
        Literal["numpy", "cpu", "cuda"] | None,
        typer.Option(
            help="Where a text is read: by numpy, or by torch on cpu or cuda; left out, on cuda if torch sees it, or "
            "else by numpy."
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of the tokenizer, if the model has none.")
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a LoRA or DoRA adapter, PEFT's or mlx-lm's: merged into the weights."
        ),
    ] = None,
    via: Annotated[
        str | None,
        typer.Option(help="Of an architecture that edge lacks: optimum exports, edge proves."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an artifact that exists.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert MODEL into artifacts that targets run, in one pass over its weights. A conversion that
    was killed goes on where it stopped.

    \b
    Example: edge convert ./phi-3-mini-4k --to onnx --quant int4 -o artifacts/phi-3
    Example: edge convert ./phi-3-mini-4k --quant int4 --override 'layers.*.mlp.down=int8'
    Example: edge convert ./llama-3.2-1b --to gguf --quant iq3_xs --calibrate wiki.train.raw
    Example: edge convert ./llama-3-8b --to mlx --size 4.0GB
    Example: edge convert ./llama-3-8b --adapter ./my-lora --to gguf --quant q4_k_m -o artifacts/tuned
    Example: edge convert ./llama-3-8b --quant gptq-int4-g64 --calibrate-on cuda
    Example: torchrun --nproc-per-node 4 -m edge convert ./llama-3-8b --quant gptq-int4-g64 -o artifacts/llama
    Example: edge convert ./catlip-b --quant int8 --labels vocab.json --classes mine.txt --wordnet ./dict
    Example: edge convert ./mini-internvl-2b --to vision=onnx,text=gguf:q4_k_m -o artifacts/internvl
    Example: edge convert ./bert-base --to onnx --via optimum -o artifacts/bert
    """
    from edge import api
    from edge.command.bars import bar

    if via is not None:
        asked = conversion.asked() | {"--tokenizer": tokenizer is not None, "--dry-run": dry_run}
        asked |= {"--calibrate": calibrate is not None, "--size": most is not None}
        asked |= {"--calibrate-on": calibrate_on is not None}
        asked |= {"--adapter": adapter is not None}
        asked |= dict.fromkeys(pictures.given(), True)
        made = api.convert_via(via, model, to, out, refused=asked, force=force, say=say)
        show({key: made[key] for key in ("path", "bytes", "files")}, as_json, made["path"])
        return
    options = conversion.options(
        size=nbytes(most, "--size"),
        calibrate=calibration(calibrate, calibrate_tokens),
        calibrate_on=calibrate_on,
        tokenizer=tokenizer,
        adapter=adapter,
        force=force,
        **pictures.conversion(),
    )
    if dry_run:
        tasks = api.plan_conversion(model, to, out, options)
        show_each(tasks, as_json, [f"{task['path']} {task['bytes']} bytes" for task in tasks])
        return
    artifacts = api.convert_model(model, to, out, options, bar, say)
    if not artifacts:  # another process of torchrun's tells
        return
    results = [
        {
            "path": str(artifact.folder),
            "bytes": artifact.nbytes,
            "files": dict(artifact.files),
        }
        for artifact in artifacts
    ]
    show_each(results, as_json, [str(artifact.folder) for artifact in artifacts])


@app.command("verify")
def verify(
    artifacts: Annotated[list[Path], typer.Argument(metavar="ARTIFACT...", help="Their folders.")],
    against: Annotated[
        str | None, typer.Option(help="The checkpoint that it was made from.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Greedy tokens to compare; 64 if left out.")
    ] = None,
    files: Annotated[
        bool,
        typer.Option("--files", help="Compare only hashes of files; the inputs' with --against."),
    ] = False,
    remake: Annotated[
        bool,
        typer.Option(
            "--remake",
            help="Round again by the text that codes were rounded by, and compare every byte: as long as it took.",
        ),
    ] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Of --remake: that text, if it is not edge's own.")
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="The adapter that was merged into its weights; where none was: one beside them, as of run."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove an artifact equal to its source: files, weights, tokens, logits, greedy choices. Exit
    code 0 or 1. Several artifacts of one model are compared in a table.

    \b
    Example: edge verify artifacts/phi-3 --against ./phi-3-mini-4k
    Example: edge verify artifacts/phi-3 --against ./phi-3-mini-4k --remake
    Example: edge verify artifacts/phi-3 --against ./phi-3-mini-4k --adapter runs/tuned/adapter
    Example: edge verify artifacts/phi-3 --files
    Example: edge verify artifacts/phi-3-onnx artifacts/phi-3-gguf --against ./phi-3-mini-4k
    """
    from edge import api
    from edge.command.bars import bar

    if files and tokens is not None:
        raise EdgeError("--files compares no tokens", fix="leave out --files or --tokens")
    if (files and remake) or (calibrate is not None and not remake):
        wrong = "--files rounds nothing again" if files else "--calibrate is of --remake"
        raise EdgeError(wrong, fix="give --remake alone, or with --calibrate")
    if files and adapter is not None and against is None:
        raise EdgeError("--adapter changed a checkpoint", fix="give --against that, too")
    reports: list[api.Verdict] = [
        api.verify_files(artifact, against, bar, adapter)
        if files
        else api.verify_artifact(
            artifact,
            against,
            tokens=tokens,
            progress=bar,
            say=say,
            remake=remake,
            calibrate=calibrate,
            adapter=adapter,
        )
        for artifact in artifacts
    ]
    told = api.told_of(adapter)
    show_rows(artifacts, [report.json() | told for report in reports], VERIFIED, as_json)
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


@app.command("inspect")
def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="Folder of a checkpoint, an artifact or an adapter; a GGUF file, or a recording."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show what a checkpoint or an artifact holds, from its headers; or what an adapter changes, or
    whether a recording will do as a voice.

    \b
    Example: edge inspect artifacts/phi-3
    Example: edge inspect runs/tuned/adapter
    """
    from edge import api

    show(api.inspect_path(path), as_json)


@app.command("app")
def make_app(
    artifact: Annotated[Path, typer.Argument(help="An artifact's folder, of any target.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The app's folder.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an app that is there.")] = False,
    test: Annotated[
        bool,
        typer.Option(
            "--self-test/--no-self-test",
            help="Evaluate what a device must compute with the artifact, if its target has such a test.",
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Write the folder that an app loads: app.json, a whole tokenizer.json, and the artifact's files.

    \b
    Example: edge app artifacts/phi-3-onnx -o apps/phi-3
    """
    from edge import api

    made = api.app_of(artifact, out, force=force, test=test)
    if as_json:
        typer.echo(json.dumps(made, ensure_ascii=False))
        return
    files = [file for module in made["modules"].values() for file in module["files"]]
    files += [made[name] for name in ("tokenizer", "selftest") if made[name]]
    size = sum(file["bytes"] for file in files)
    say(f"wrote {out}: {len(files) + 1} files, {size / 1e6:.1f} MB")
