"""The dependency rules of the design, read from the code: each with a source that breaks it.

A rule is a function from a file's place and syntax tree to what it finds wrong.
"""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from support import ROOT, environment

from edge.families import families
from edge.targets import names as targets

Rule = Callable[[Path, ast.AST], Iterator[str]]

WORKER = "edge/via/worker.py"  # runs in an environment of its own; nothing imports it
# 4. Where a toolkit may be imported, by the start of a file's path.
TOOLKITS = {
    "onnxruntime": ("runtimes/onnx/", WORKER),
    "onnx_ir": ("converters/onnx/", "runtimes/onnx/adapted.py"),
    "onnx": (),
    "onnxruntime_genai": (),
    "torch": ("runtimes/torch/", WORKER),
    "safetensors": ("runtimes/torch/",),
    "transformers": (WORKER,),
    "optimum": (WORKER,),
    "coremltools": ("converters/coreml/", "runtimes/coreml/"),
    "mlx": ("runtimes/mlx/",),
    "mlx_lm": (),
    "llama_cpp": ("runtimes/gguf/", "converters/gguf/quantizer.py"),
    "gguf": (),
    "tokenizers": (
        "edge/text/tokenizer.py",
        "edge/text/bounds.py",
        "edge/text/exact.py",
        "edge/prove/judges.py",
        "edge/train/",
        "runtimes/torch/",
    ),
    "jinja2": ("edge/text/_render.py",),
    "yaml": ("edge/source/registry.py", "edge/train/fields.py", "edge/data/fonts.py"),
    "rich": ("edge/command/bars.py",),
    "fastapi": ("edge/serve/",),
    "starlette": ("edge/serve/",),
    "pydantic": ("edge/serve/",),
    "pydantic_core": ("edge/serve/",),
    "uvicorn": ("edge/serve/run.py",),
    "sentencepiece": ("edge/prove/judges.py",),
    "tiktoken": ("edge/prove/judges.py",),
    "llguidance": ("edge/decode/grammar.py", "edge/decode/_trial.py"),
    "typer": ("edge/command/",),
    "PIL": (
        "edge/measure/scatter.py",
        "edge/vision/",
    ),
    "soundfile": ("edge/audio/sound.py", "edge/audio/encoding.py"),
    "misaki": (),  # its lexicon is read, none of its code
    "platformdirs": ("edge/system/home.py",),
    "pyarrow": ("edge/data/frame/arrow.py",),
    "ray": ("edge/data/frame/on_ray.py",),
    "threadpoolctl": ("edge/system/team.py",),
    "lm_eval": ("edge/measure/benchmarks.py", "edge/measure/harness_model.py"),
    "datasets": ("edge/measure/benchmarks.py", "edge/measure/task_data.py"),
    "evaluate": ("edge/measure/benchmarks.py",),
}

# 3. Rooms of edge, from the ground up: a folder, or a file of the waist that stands alone. A room
# imports only rooms that come before it.
ROOMS = (
    *("errors", "typing", "system", "files"),
    *("spec", "net", "names", "ops", "protocols"),
    *("nn", "audio", "vision", "families", "quant", "adapters", "artifact", "source", "text"),
    *("contracts", "decode", "targets", "gguf"),
    *("convert", "run", "pipelines", "data", "prove", "measure"),
    *("apps",),
    *("train", "serve", "via", "api", "command"),
)
# The checkpoint reader asks which family a config is of; a family knows only what a model is in numbers, its
# names, and how it is shown pictures.
INNER = {
    "families": {"errors", "typing", "spec", "net", "names", "files", "nn", "vision", "families"}
}

FOLDERS = ("edge_converters", "edge_runtimes", "converters", "runtimes")
TARGET_NAMES = {"onnx", "onnxruntime", "mlx", "gguf", "coreml", "llama_cpp", "genai", "torch"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "imp"}
# Code of a template goes from one confined process to another, and is no more there than it.
CONFINED = ("edge/text/_render.py", "marshal")


def sources(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


@cache
def parsed(file: Path) -> ast.AST:
    """Once for all rules."""
    return ast.parse(file.read_text())


@cache
def nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree))


@cache
def imported(tree: ast.AST) -> tuple[str, ...]:
    """Full names of what is imported anywhere in a file, a function's own imports included."""
    return tuple(_imported(tree))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def compared(tree: ast.AST) -> Iterator[str]:
    """Texts that a branch depends on: in comparisons, match cases, and tests of a prefix."""
    for node in nodes(tree):
        if isinstance(node, ast.Compare | ast.MatchValue | ast.MatchOr) or (
            isinstance(node, ast.Call) and ast.unparse(node.func).endswith("swith")
        ):
            yield from _texts(node)


def _texts(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value.lower()


def inward(file: Path, tree: ast.AST) -> Iterator[str]:
    """Rule 1: edge imports neither converters nor runtimes."""
    if file.parts[0] == "edge":
        yield from (m for m in imported(tree) if m.split(".")[0] in FOLDERS)


def apart(file: Path, tree: ast.AST) -> Iterator[str]:
    """Rule 2: converters and runtimes import neither each other nor a sibling target."""
    if file.parts[0] in ("converters", "runtimes"):
        own = ".".join(("edge_" + file.parts[0], file.parts[1]))
        for module in imported(tree):
            outside = module.split(".")[0] in FOLDERS
            if outside and module != own and not module.startswith(own + "."):
                yield module


def floors(file: Path, tree: ast.AST) -> Iterator[str]:
    """Rule 3: a room of edge imports only rooms below it."""
    if file.parts[0] != "edge" or (len(file.parts) == 2 and file.stem in ("__init__", "__main__")):
        return
    here = room(".".join(file.with_suffix("").parts))
    for module in imported(tree):
        there = room(module)
        if there in ("", here):
            continue
        if here in INNER:
            if there not in INNER[here]:
                yield module
        elif ROOMS.index(there) > ROOMS.index(here):
            yield module


def room(module: str) -> str:
    """Which room of edge a module lies in; nothing for what is no part of one."""
    parts = module.split(".")
    if parts[0] != "edge" or len(parts) < 2:
        return ""
    assert parts[1] in ROOMS, f"edge.{parts[1]} has no place: give it one in this test"
    return parts[1]


def toolkits_at_home(file: Path, tree: ast.AST) -> Iterator[str]:
    """Rule 4: a toolkit is imported only in the files of its target."""
    for module in imported(tree):
        homes = TOOLKITS.get(module.split(".")[0])
        if homes is not None and not file.as_posix().startswith(homes or ("nowhere",)):
            yield module


def family_blind(file: Path, tree: ast.AST) -> Iterator[str]:
    """Rule 5: no branch on a family in converters and runtimes."""
    if file.parts[0] in ("converters", "runtimes"):
        known = {t for family in families() for t in (family.name, *family.model_types)}
        yield from (text for text in compared(tree) if any(name in text for name in known))
        yield from (m for m in imported(tree) if m.startswith("edge.families"))


def target_blind(file: Path, tree: ast.AST) -> Iterator[str]:
    """Rule 5: no branch on a target in the maths, in quantization and in decoding."""
    if file.parts[:2] in (("edge", "nn"), ("edge", "quant"), ("edge", "decode")):
        yield from (text for text in compared(tree) if text in TARGET_NAMES)


def no_foreign_code(file: Path, tree: ast.AST) -> Iterator[str]:
    """Rule 6: nothing unpickles, evaluates, or trusts a model folder's code."""
    modules = (m for m in imported(tree) if m.split(".")[0] in FORBIDDEN_MODULES)
    yield from (m for m in modules if (file.as_posix(), m) != CONFINED)
    for node in nodes(tree):
        if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
            yield node.arg
        elif isinstance(node, ast.Call):
            yield from _dangerous(node)


def _dangerous(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    endings = ("yaml.load", "torch.load", "spec_from_file_location")
    if name in FORBIDDEN_CALLS or name.endswith(endings):
        yield name


RULES: dict[Rule, tuple[str, str]] = {  # rule -> a file that breaks it
    inward: ("edge/prove/verify.py", "def f():\n    from edge_runtimes.onnx import open"),
    apart: ("runtimes/onnx/decoder.py", "import edge_converters.onnx.store"),
    floors: ("edge/spec.py", "from edge.artifact.manifest import Artifact"),
    toolkits_at_home: ("edge/quant/rtn.py", "def f():\n    import torch"),
    family_blind: ("converters/onnx/ops.py", "if spec.family == 'phi3': pass"),
    target_blind: ("edge/nn/decoder.py", "if ops.name in ('onnx', 'mlx'): pass"),
    no_foreign_code: ("edge/source/checkpoint.py", "torch.load(path)"),
}
BROKEN = [
    *((rule, *offence) for rule, offence in RULES.items()),
    (apart, "runtimes/onnx/decoder.py", "from edge_runtimes.reference.ops import NumpyOps"),
    (apart, "converters/onnx/ops.py", "from edge_runtimes import onnx"),
    (floors, "edge/families/llama.py", "from edge.source.checkpoint import Checkpoint"),
    (floors, "edge/decode/generate.py", "from edge.run.model import Model"),
    (floors, "edge/api/making.py", "from edge.command import cli"),
    (toolkits_at_home, "runtimes/reference/ops.py", "import onnxruntime as ort"),
    (toolkits_at_home, "edge/text/chat.py", "from transformers import AutoTokenizer"),
    (family_blind, "runtimes/onnx/decoder.py", "match name:\n    case 'openelm': pass"),
    (family_blind, "runtimes/onnx/decoder.py", "name.startswith('Llama')"),
    (toolkits_at_home, "edge/via/optimum.py", "import transformers"),
    (no_foreign_code, "edge/text/chat.py", "eval(template)"),
    (
        no_foreign_code,
        "edge/convert/conversion.py",
        "AutoModel.from_pretrained(p, trust_remote_code=True)",
    ),
    (no_foreign_code, "edge/data/rows.py", "np.load(p, allow_pickle=True)"),
    (no_foreign_code, "edge/data/rows.py", "import pickle"),
    (no_foreign_code, "edge/text/chat.py", "import marshal"),
    (no_foreign_code, "edge/text/_render.py", "import pickle"),
    (no_foreign_code, "runtimes/torch/train.py", "torch.load(path, weights_only=True)"),
    (no_foreign_code, "edge/source/registry.py", "yaml.load(text)"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps_the_rule(rule: Rule) -> None:
    found = {
        str(file.relative_to(ROOT)): wrong
        for file in sources("edge", "converters", "runtimes")
        if (wrong := sorted(set(rule(file.relative_to(ROOT), parsed(file)))))
    }
    assert not found, f"{rule.__doc__} {found}"


@pytest.mark.parametrize(("rule", "file", "source"), BROKEN)
def test_the_rule_can_fail(rule: Rule, file: str, source: str) -> None:
    assert list(rule(Path(file), ast.parse(source)))


def test_no_two_files_import_each_other() -> None:
    """Through however many others: then one of them cannot be understood alone."""
    files = {dotted(file): file for file in sources("edge", "converters", "runtimes")}
    tied = {
        name: {m for m in imported(ast.parse(file.read_text())) if m in files and m != name}
        for name, file in files.items()
    }
    for package in [name for name, file in files.items() if file.stem == "__init__"]:
        tied[package] -= {name for name in tied if name.startswith(f"{package}.")}
    assert not circles(tied)
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {"a", "b", "c"}


def dotted(file: Path) -> str:
    """The name that a file is imported by."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    top = parts[0] if parts[0] == "edge" else f"edge_{parts[0]}"
    return ".".join((top, *parts[1:])).removesuffix(".__init__")


def circles(tied: dict[str, set[str]]) -> set[str]:
    """Those on a circle, or between two: what is left when ends are taken away from both sides."""
    left = set(tied)
    while True:
        pointed = {name for source in left for name in tied[source] & left}
        ends = {name for name in left if not tied[name] & left or name not in pointed}
        if not ends:
            return left
        left -= ends


def test_code_is_loaded_by_name_only_from_this_project() -> None:
    """importlib finds families, methods, networks and targets by the folders of the package, never a model's folder."""
    users = {
        str(file.relative_to(ROOT))
        for file in sources("edge", "converters", "runtimes")
        if any(m.split(".")[0] in ("importlib", "runpy") for m in imported(parsed(file)))
    }
    metadata = {
        "edge/convert/telling.py",
        "edge/measure/benchmarks.py",
        "edge/measure/doctor.py",
        "edge/data/frame/arrow.py",
        "edge/text/spoken/lexicon.py",
        WORKER,
    }  # whether packages are there, and their versions
    folders = {
        "edge/data/engines/__init__.py",
        "edge/families/__init__.py",
        "edge/nn/networks.py",
        "edge/quant/methods.py",
        "edge/targets.py",
    }
    assert users - metadata <= folders


HEAVY = {
    "PIL",
    "onnxruntime",
    "onnx_ir",
    "torch",
    "transformers",
    "tokenizers",
    "jinja2",
    "numpy",
    "yaml",
}
HEAVY |= {"rich", "edge_converters", "edge_runtimes", "safetensors", "ml_dtypes"}


@pytest.mark.parametrize(
    "code",
    [
        "import edge",
        "import sys; sys.argv = ['edge', '--help']; from edge.command.cli import main; main()",
    ],
    ids=["import", "help"],
)
def test_what_a_start_imports(code: str) -> None:
    watch = f"import atexit, sys; atexit.register(lambda: print('MODULES', *sys.modules)); {code}"
    done = subprocess.run(
        [sys.executable, "-c", watch],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    modules = done.stdout.partition("MODULES ")[2].split()
    assert "edge" in modules
    assert not HEAVY & set(modules)


def test_the_waist_works_without_any_toolkit() -> None:
    """Specs, names, checkpoints, quantization and decoding need numpy alone."""
    code = (
        "import sys, edge.source.checkpoint, edge.artifact.manifest, edge.nn.decoder, edge.quant.recipe;"
        "import edge.decode.generate, edge.protocols, edge.families as f; f.families();"
        "import edge_runtimes.reference; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & (set(TOOLKITS) - {"yaml", "platformdirs"})


def test_every_target_has_a_folder_and_an_open() -> None:
    assert "onnx" in targets("converters")
    assert {"onnx", "reference"} <= set(targets("runtimes"))
