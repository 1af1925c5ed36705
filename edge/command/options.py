"""Options that several commands share, each listed once: a parameter of a command whose type is one of
these classes becomes its fields (`spread`). Imports wait, so that help is instant.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from edge.command.arguments import pairs
from edge.errors import EdgeError

if TYPE_CHECKING:
    from edge.convert.options import Options
    from edge.decode.snapkv import SnapKV
    from edge.measure.asked import Asked
    from edge.run.strategy import Strategy

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on one line.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, max=512, help="Processor threads; left out, as many as run at once here."),
]
Adapter = Annotated[
    Path | None,
    typer.Option(
        "--adapter",
        help="A folder of PEFT or mlx-lm, LoRA or DoRA: computed beside the weights, which stay as they are.",
    ),
]
CacheType = Annotated[
    Literal["int8"] | None,
    typer.Option(
        "--kv", help="A cache of a quarter of the bytes, once it holds 256 tokens to measure."
    ),
]
DraftBy = Annotated[
    Literal["lookup", "snapkv"] | None,
    typer.Option(help="Draft by prompt lookup, or from the cache that --snapkv cuts."),
]
Reference = Annotated[
    bool,
    typer.Option("--reference", help="Evaluate in numpy, slowly, what this system cannot run."),
]

Command = TypeVar("Command", bound=Callable[..., None])


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureOptions:
    """What a network that sees pictures is converted with: of `convert`, and of a first `run`."""

    labels: Annotated[
        Path | None,
        typer.Option(help="What each row of a head means: a text, a line a row, or JSON."),
    ] = None
    wordnet: Annotated[
        Path | None,
        typer.Option(help="A folder of WordNet 3.0, which gives labels such as n02084071 names."),
    ] = None
    classes: Annotated[
        Path | None,
        typer.Option(help="Cut the head to these classes, a line each, without training."),
    ] = None
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels of a picture's side, if not the model's own.")
    ] = None

    def given(self) -> dict[str, Any]:
        """As `edge.convert` takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def asked(self) -> dict[str, bool]:
        """Which of them were given, by the names that a user knows."""
        return {
            f"--{name.replace('_', '-')}": value is not None for name, value in self.given().items()
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversionOptions:
    """What a conversion is asked to keep, and in which precision: of `convert`, and of its `plan`."""

    quant: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16, bf16, int8, int4, q4_0, q4_k_m, … or [method-]intB[-gG][-asym|-min]; "
            "int4, or int8 for a network that is no decoder."
        ),
    ] = None
    embed: Annotated[str | None, typer.Option(help="Precision of the embedding, if another.")] = (
        None
    )
    head: Annotated[str | None, typer.Option(help="Precision of the head, if another.")] = None
    override: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=SCHEME",
            help="Precision of weights whose names fit, as 'layers.*.mlp.down=int8'; may be repeated.",
        ),
    ] = None
    context: Annotated[int | None, typer.Option(min=1, help="A shorter context, in tokens.")] = None
    layerskip: Annotated[
        list[int] | None,
        typer.Option(
            help="Keep an exit after this layer, for drafts; may be repeated. Left out: the exits that "
            "the model was trained with, if the registry knows any."
        ),
    ] = None
    draft_vocab: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Draft there among so many first ids; 0: all. 32768 of a vocabulary of 65536.",
        ),
    ] = None
    snapkv_rows: Annotated[
        list[int] | None,
        typer.Option(
            min=2,
            help="Core ML: a cache of so many rows, for what --snapkv keeps and an answer; may be repeated.",
        ),
    ] = None

    def options(self, **more: Any) -> "Options":
        """As `edge.convert` takes them, with what only one command asks for."""
        from edge.convert.options import Options

        return Options(
            quant=self.quant,
            embed=self.embed,
            head=self.head,
            overrides=pairs(self.override or [], "PATTERN=SCHEME"),
            context=self.context,
            exits=tuple(self.layerskip or ()),
            draft_vocab=self.draft_vocab,
            snapkv_rows=tuple(self.snapkv_rows or ()),
            **more,
        )

    def asked(self) -> dict[str, bool]:
        """Which of them were given, by the names that a user knows."""
        return {
            f"--{field.name.replace('_', '-')}": getattr(self, field.name) not in (None, [])
            for field in fields(self)
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOptions:
    """Which benchmarks are asked, and how: of `eval`."""

    tasks: Annotated[
        str | None,
        typer.Option(help="Benchmarks of lm-evaluation-harness, by commas; needs '.[eval]'."),
    ] = None
    task_data: Annotated[
        Path | None,
        typer.Option(
            help="Of --tasks: the folder of their data: OWNER/NAME as on the hub. Nothing is fetched."
        ),
    ] = None
    fewshot: Annotated[
        int | None,
        typer.Option(min=0, help="Of --tasks: examples before a question, if not the task's own."),
    ] = None
    limit: Annotated[
        int | None, typer.Option(min=1, help="Of --tasks: only so many questions of each.")
    ] = None
    chat: Annotated[
        bool, typer.Option("--chat", help="Of --tasks: questions in the model's chat template.")
    ] = False

    def given(self, seed: int | None) -> "Asked":
        """As `edge.api.eval_tasks` takes them."""
        from edge.measure.asked import SEED, Asked

        if self.tasks is None or self.task_data is None:
            raise EdgeError("--tasks are asked about --task-data", fix="give both")
        names = [name.strip() for name in self.tasks.split(",")]
        if not all(names):
            raise EdgeError(f"--tasks {self.tasks!r} has an empty name", fix="name tasks by commas")
        return Asked(
            tasks=tuple(names),
            data=self.task_data,
            shots=self.fewshot,
            limit=self.limit,
            chat=self.chat,
            seed=SEED if seed is None else seed,
        )

    def besides(self) -> dict[str, object]:
        """All but the tasks' names, by the names that a user knows."""
        return {
            f"--{field.name.replace('_', '-')}": getattr(self, field.name)
            for field in fields(self)
            if field.name != "tasks"
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactingOptions:
    """How a cache is compacted."""

    snapkv: Annotated[
        int | None,
        typer.Option(
            min=2, help="Keep so many cached rows after a prompt: decodes long ones faster."
        ),
    ] = None
    snapkv_window: Annotated[
        int, typer.Option(min=1, help="Of them the last ones, which vote for the others.")
    ] = 32
    snapkv_kernel: Annotated[
        int | None,
        typer.Option(min=1, help="Rows that a vote is pooled over; odd. 7; for reuse 1."),
    ] = None
    snapkv_pool: Annotated[Literal["max", "avg"], typer.Option(help="How votes are pooled.")] = (
        "max"
    )
    snapkv_sinks: Annotated[int, typer.Option(min=0, help="First rows, which always stay.")] = 0
    snapkv_layers: Annotated[
        Literal["even", "pyramid"],
        typer.Option(help="Rows of each layer: alike, or a pyramid of the same sum."),
    ] = "even"
    snapkv_prefill: Annotated[
        int | None,
        typer.Option(
            min=2, help="Cut each time so many tokens of a prompt are read: bounds the cache."
        ),
    ] = None
    snapkv_for: Annotated[
        Literal["question", "reuse"],
        typer.Option(help="Keep rows for the question, or, by repeating all, for reuse by any."),
    ] = "question"

    def compact(self) -> "SnapKV | None":
        """None: not at all. The rest without --snapkv is refused."""
        from edge.decode.snapkv import SnapKV

        least = self.snapkv_window + self.snapkv_sinks + 1
        found = SnapKV(
            capacity=max(SnapKV().capacity, least) if self.snapkv is None else self.snapkv,
            window=self.snapkv_window,
            kernel=self.snapkv_kernel,
            pool=self.snapkv_pool,
            sinks=self.snapkv_sinks,
            layers=self.snapkv_layers,
            chunk=self.snapkv_prefill,
            purpose=self.snapkv_for,
        )
        if self.snapkv is None and found != SnapKV():
            raise EdgeError("nothing says how many rows to keep", fix="give --snapkv 1024")
        return None if self.snapkv is None else found


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingOptions(CompactingOptions):
    """By which strategy an artifact decodes."""

    layerskip: Annotated[
        int | None,
        typer.Option(min=1, help="Draft with the layers before this exit; answers stay the same."),
    ] = None
    draft_by: DraftBy = None
    draft: Annotated[
        int,
        typer.Option(
            min=1,
            help="The most tokens of a draft, which ends earlier where it will hardly be right.",
        ),
    ] = 7
    kv: CacheType = None
    reference: Reference = False

    def strategy(self) -> "Strategy":
        from edge.run.strategy import Strategy

        return Strategy(
            snapkv=self.compact(),
            layerskip=self.layerskip,
            drafting=self.draft_by,
            draft=self.draft,
            kv=self.kv,
            reference=self.reference,
        )


def spread(command: Command) -> Command:
    """The command with every field of its option classes as an option of its own."""
    own = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        parameter.name: parameter.annotation
        for parameter in own.parameters.values()
        if is_dataclass(parameter.annotation)
    }
    parameters: list[Parameter] = []
    for parameter in own.parameters.values():
        kind = groups.get(parameter.name)
        parameters += [parameter] if kind is None else _options(kind)

    @wraps(command)
    def spread_out(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        command(**given, **made)

    named = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    spread_out.__signature__ = own.replace(parameters=named)  # type: ignore[attr-defined]
    spread_out.__annotations__ = {parameter.name: parameter.annotation for parameter in named}
    return spread_out  # type: ignore[return-value]


def _options(kind: Any) -> list[Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)
    ]
