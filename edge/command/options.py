"""Options that several commands share, each listed once: a parameter of a command whose type is one of
these classes becomes its fields (`spread`). Imports wait, so that help is instant.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand

from edge.command.arguments import answer_form, pairs
from edge.errors import EdgeError
from edge.pipelines.options import Option

if TYPE_CHECKING:
    from edge.convert.options import Options
    from edge.decode.snapkv import SnapKV
    from edge.measure.asked import Asked
    from edge.run.model import Wish
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
class AnswerOptions:
    """How a text is asked for, and what it may be."""

    raw: Annotated[bool, typer.Option("--raw", help="The prompt as it is: no template.")] = False
    system: Annotated[str | None, typer.Option(help="A system message.")] = None
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.0
    top_k: Annotated[int | None, typer.Option(help="Sample among the k likeliest.")] = None
    top_p: Annotated[
        float | None, typer.Option(help="Sample among the likeliest that reach this share.")
    ] = None
    min_p: Annotated[
        float | None, typer.Option(help="Drop tokens less likely than this share of the best.")
    ] = None
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1 makes repeated tokens rarer.")
    ] = 1.0
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text; may be repeated.")
    ] = None
    json_schema: Annotated[
        Path | None, typer.Option(help="A file: the answer is JSON of this schema.")
    ] = None
    regex: Annotated[
        str | None, typer.Option(help="The answer matches this regular expression.")
    ] = None
    grammar: Annotated[
        Path | None, typer.Option(help="A file: the answer follows this Lark grammar.")
    ] = None
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Decode by what measurably pays here; answers stay the same."),
    ] = False
    stats: Annotated[bool, typer.Option("--stats", help="Print speeds on stderr.")] = False
    speak: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="A model that says the answer while it is written: -o out.wav."
        ),
    ] = None

    def wish(self, seed: int | None) -> "Wish":
        from edge.decode.sampling import Sampling
        from edge.run.model import Wish

        sampling = Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            seed=seed,
        )
        form = answer_form(json_schema=self.json_schema, regex=self.regex, lark=self.grammar)
        stops = tuple(self.stop or ())
        return Wish(max_tokens=self.max_tokens, sampling=sampling, stops=stops, grammar=form)

    def given(self) -> dict[str, Any]:
        """Those that were given, by the names that a user knows."""
        every = {field: getattr(self, field.name) for field in fields(self)}
        return {
            f"--{field.name.replace('_', '-')}": value
            for field, value in every.items()
            if value not in (None, []) and value != field.default
        }

    def only_of_text(self) -> dict[str, Any]:
        """What a model that sees has no use for."""
        given = {"--raw": self.raw, "--fast": self.fast, "--stats": self.stats}
        return {**given, "--speak": self.speak}


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
class WhereOptions:
    """What a model that points is asked to find: of `eval`."""

    where: Annotated[
        Path | None,
        typer.Option(
            help="Ask a model that points where things are: a file as COCO, RefCOCO or LVIS have them."
        ),
    ] = None
    pictures: Annotated[
        Path | None,
        typer.Option(help="Of --where: the folder of its pictures. Nothing is fetched."),
    ] = None

    def folder(self) -> Path:
        if self.pictures is None:
            raise EdgeError("--where is asked about --pictures", fix="give both")
        return self.pictures


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
        int | None,
        typer.Option(min=1, help="Of --tasks and --where: only so many questions of each."),
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
            annotation=_annotation(kind, field.name, hints[field.name]),
        )
        for field in fields(kind)
    ]


def _annotation(kind: Any, name: str, hint: Any) -> Any:
    """As the parser takes it; of a pipeline's own `Option`, listed under the pipeline's title."""
    given, option = get_args(hint)[:2]
    if not isinstance(option, Option):
        return hint
    long = option.name or name.replace("_", "-")
    names = [f"--{long}", *([f"-{option.letter}"] if option.letter else [])]
    made = typer.Option(
        *names, help=option.help, min=option.low, max=option.high, rich_help_panel=kind.TITLE
    )
    return Annotated[given, made]


class Grouped(TyperCommand):
    """A command whose help lists the options of each pipeline under a title of their own."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                own = "Arguments" if parameter.param_type_name == "argument" else "Options"
                title = vars(parameter).get("rich_help_panel") or own
                groups.setdefault(title, []).append(record)
        for title in sorted(groups, key=lambda title: (title not in _FIRST, title != _FIRST[0])):
            with formatter.section(title):
                formatter.write_dl(groups[title])


_FIRST = ("Arguments", "Options")
