"""No code of a model's folder is ever run, and no pickle is ever opened: shown by Python's audit events.

CVE-2025-32434, CVE-2026-24747 (torch.load, weights_only included), the fallback to an unsafe loader,
CVE-2026-5843 (`model_file` imported by a plain load), auto_map and trust_remote_code.
"""

import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from attack import give_tokenizer
from support import config_of, environment, tiny

from edge.targets import names as targets


class Evil:
    """What a pickle does when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.canary, "it was run")


CODE = (
    "modeling_evil.py", "configuration_evil.py", "tokenization_evil.py", "processing_evil.py", "model.py",
    "__init__.py", "setup.py", "conftest.py", "sitecustomize.py", "usercustomize.py", "json.py", "numpy.py",
    "tokenizers.py", "edge.py", "runtimes/__init__.py", "converters/__init__.py", "runtimes/onnx/__init__.py",
    "edge_runtimes/__init__.py", "edge_converters/__init__.py",
    "edge/__init__.py", "evil.pth",
)  # fmt: skip
PICKLES = (
    "pytorch_model.bin", "consolidated.00.pth", "model.pt", "model.ckpt", "training_args.bin", "optimizer.pt",
    "scheduler.pt", "rng_state.pth", "model.pkl", "model.joblib", "model.npy", "model.npz", "tokenizer.pkl",
    "adapter_model.bin",
)  # fmt: skip
CLAIMS = {
    "model_file": "model.py",
    "auto_map": {
        "AutoConfig": "configuration_evil.EvilConfig",
        "AutoModelForCausalLM": "modeling_evil.EvilForCausalLM",
        "AutoTokenizer": ["tokenization_evil.EvilTokenizer", None],
    },
    "custom_pipelines": {"text-generation": {"impl": "modeling_evil.Evil", "pt": ["AutoModel"]}},
    "trust_remote_code": True,
    "architectures": ["modeling_evil.EvilForCausalLM"],
    "torch_dtype": "__import__('os').system('true')",
    "tokenizer_class": "tokenization_evil.EvilTokenizer",
    "processor_class": "processing_evil.EvilProcessor",
    "transformers_version": "${jndi:ldap://127.0.0.1/x}",
    "_target_": "os.system",
    "library": "model.py",
    "_name_or_path": "../../evil",
}

WATCH = """
import json, os, sys
folder, endings, out, found, code = sys.argv[1], tuple(json.loads(sys.argv[2])), sys.argv[3], [], 0
def hear(event, args):
    if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
        path = os.path.abspath(os.fsdecode(args[0]))
        if path.startswith(folder) and path.endswith(endings):
            found.append(f"open {path}")
    elif event == "import" and args[1] is not None and str(args[1]).startswith(folder):
        found.append(f"import {args[1]}")
    elif event in ("pickle.find_class", "os.system", "os.exec", "socket.connect"):
        found.append(f"{event} {args}")
sys.addaudithook(hear)
sys.argv = ["edge", *sys.argv[4:]]
try:
    from edge.command.cli import main
    main()
except SystemExit as end:
    code = end.code
finally:
    open(out, "w").write(json.dumps({"code": code or 0, "found": found}))
"""


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Path:
    """A checkpoint that converts, among everything that would run if it were touched."""
    folder = tmp_path_factory.mktemp("trap") / "model"
    tiny(folder, vocab_size=512)
    give_tokenizer(folder, assets)
    canary = folder.parent / "canary"
    (folder / "config.json").write_text(json.dumps(config_of("llama", vocab_size=512) | CLAIMS))
    for name in ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json"):
        (folder / name).write_text(
            json.dumps({k: CLAIMS[k] for k in ("auto_map", "trust_remote_code")})
        )
    for name in (
        "processor_config.json",
        "adapter_config.json",
        "model_index.json",
        "mergekit_config.yml",
    ):
        (folder / name).write_text(json.dumps(CLAIMS))
    for name in CODE:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(
            f"import pathlib; pathlib.Path({str(canary)!r}).write_text('run')"
        )
    content = pickle.dumps(Evil(canary))
    for name in PICKLES:
        (folder / name).write_bytes(content)
    with zipfile.ZipFile(folder / "pytorch_model-00001-of-00001.bin", "w") as archive:
        archive.writestr("archive/data.pkl", content)  # as torch writes them
    return folder


def watched(trap: Path, place: Path, *args: str) -> tuple[int, list[str]]:
    """A command in a process of its own, in the model's folder: how it ended, and what it touched."""
    (place / "bin").mkdir(exist_ok=True)
    (place / "bin" / "watch.py").write_text(WATCH)
    endings = json.dumps(
        [".py", ".pyc", ".bin", ".pth", ".pt", ".ckpt", ".pkl", ".joblib", ".npy", ".npz"]
    )
    command = [str(place / "bin" / "watch.py"), str(trap), endings, str(place / "out.json"), *args]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=trap,
        env=environment() | {"EDGE_HOME": str(place / "home")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (place / "out.json").exists(), done.stderr
    result = json.loads((place / "out.json").read_text())
    assert "Traceback" not in done.stderr
    assert not (trap.parent / "canary").exists(), "code of the model's folder was run"
    return result["code"], result["found"]


def test_the_watcher_sees(trap: Path, tmp_path: Path) -> None:
    """Both kinds of trap work, and are seen."""
    (tmp_path / "evil").mkdir()
    canary = tmp_path / "evil" / "canary"
    pickle.loads(pickle.dumps(Evil(canary)))
    assert canary.exists()
    program = WATCH.replace(
        "from edge.command.cli import main", "import importlib.util as u"
    ).replace(
        "    main()",
        "    open(os.path.join(folder, 'model.pt'), 'rb').close()\n"
        "    open(os.path.join(folder, 'modeling_evil.py')).close()\n"
        "    raise SystemExit(0)",
    )
    (tmp_path / "watch.py").write_text(program)
    asked = [str(trap), json.dumps([".py", ".pt"]), str(tmp_path / "out.json")]
    subprocess.run([sys.executable, str(tmp_path / "watch.py"), *asked], check=True, timeout=60)
    assert len(json.loads((tmp_path / "out.json").read_text())["found"]) == 2


@pytest.mark.parametrize("target", [t for t in targets("converters") if t not in ("reference",)])
def test_converting(trap: Path, tmp_path: Path, target: str) -> None:
    code, found = watched(
        trap, tmp_path, "convert", str(trap), "--to", target, "-o", str(tmp_path / "it"), "--json"
    )
    assert found == []
    assert code in (0, 2, 3), "refused where a target lacks its package or this shape"
    if code == 0:
        held = {path.name for path in (tmp_path / "it").rglob("*")}
        assert not held & {Path(name).name for name in (*CODE, *PICKLES)}, "nothing is passed on"


def test_all_else(trap: Path, tmp_path: Path) -> None:
    """Inspect, plan, run, verify and measure; each by the folder's own name."""
    made = str(tmp_path / "it")
    commands = (
        ("inspect", "."),
        ("plan", "."),
        ("convert", ".", "-o", made),
        ("verify", made, "--against", ".", "--tokens", "4"),
        ("verify", made, "--files", "--against", "."),
        ("run", made, "hello there", "--raw", "--max-tokens", "2"),
        ("bench", made, "-p", "4", "-n", "2", "--rounds", "1"),
        ("run", ".", "hello there", "--raw", "--max-tokens", "2"),
    )
    for command in commands:
        code, found = watched(trap, tmp_path, *command)
        assert (code, found) == (0, []), command


def test_never_the_unsafe_loader_instead(trap: Path, tmp_path: Path) -> None:
    """A safetensors file that is broken is an error, however many pickles stand beside it."""
    weights = trap / "model.safetensors"
    whole = weights.read_bytes()
    try:
        for broken in (whole[:1000], b"\x80\x02}q\x00.", b""):
            weights.write_bytes(broken)
            code, found = watched(trap, tmp_path, "convert", ".", "-o", str(tmp_path / "it"))
            assert (code, found) == (4, [])
        weights.unlink()
        code, found = watched(trap, tmp_path, "convert", ".", "-o", str(tmp_path / "it"))
        # Without one it is read as data, and refused by what it names: nothing of it is run.
        assert (code, found) == (3, [f"open {trap / 'pytorch_model.bin'}"])
    finally:
        weights.write_bytes(whole)
