"""What each command does, as one function: the command line parses, calls one of these, and prints."""

from edge.api.judging import (
    ask_about_scenes,
    ask_about_sheets,
    ask_questions,
    ask_where,
    compare_artifacts,
    eval_tasks,
    eval_text,
)
from edge.api.keeping import pull_model
from edge.api.making import app_of, convert_model, convert_via, plan_conversion
from edge.api.opening import (
    fastest_strategy,
    open_model,
    open_seeing,
    open_speaking,
    pipeline_of_model,
    ready,
    told_of,
)
from edge.api.planning import plan_model
from edge.api.pointing import regions_of, show_regions
from edge.api.proving import Verdict, inspect_path, verify_artifact, verify_files
from edge.api.seeing import classify, look_at
from edge.api.serving import serve_app, serve_model
from edge.api.speaking import Aloud, Saying, say_into, say_to
from edge.api.timing import Load, bench_artifact, bench_quality
from edge.api.training import make_data, train_recipe
from edge.pipelines.groma import Groma
from edge.pipelines.internvl import InternVL
from edge.quant.listing import list_recipes
from edge.run.model import Chat, Model, Wish, load
from edge.run.strategy import PLAIN, Strategy
from edge.source.listing import list_models
from edge.source.removal import remove

__all__ = [
    "PLAIN",
    "Aloud",
    "Chat",
    "Groma",
    "InternVL",
    "Load",
    "Model",
    "Saying",
    "Strategy",
    "Verdict",
    "Wish",
    "app_of",
    "ask_about_scenes",
    "ask_about_sheets",
    "ask_questions",
    "ask_where",
    "bench_artifact",
    "bench_quality",
    "classify",
    "compare_artifacts",
    "convert_model",
    "convert_via",
    "eval_tasks",
    "eval_text",
    "fastest_strategy",
    "inspect_path",
    "list_models",
    "list_recipes",
    "load",
    "look_at",
    "make_data",
    "open_model",
    "open_seeing",
    "open_speaking",
    "pipeline_of_model",
    "plan_conversion",
    "plan_model",
    "pull_model",
    "ready",
    "regions_of",
    "remove",
    "say_into",
    "say_to",
    "serve_app",
    "serve_model",
    "show_regions",
    "told_of",
    "train_recipe",
    "verify_artifact",
    "verify_files",
]
