"""`edge convert --via optimum`: an architecture without a family here becomes a network of its own, exported by
optimum and compared with transformers on the same inputs, in an environment of their own.

Only safetensors and JSON of a checkpoint get there, so that no pickle and no code of a model folder
can be loaded.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edge.artifact import integrity, network
from edge.artifact.manifest import for_later, write_manifest
from edge.artifact.network import Network
from edge.artifact.publishing import publishing
from edge.convert.text_files import TEXT_FILES
from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.config import Config, read_json
from edge.files.hashing import sha256
from edge.files.safetensors import SafetensorsFile
from edge.source.headers import INDEX, weight_files
from edge.source.pull import pin_of
from edge.system.progress import silent
from edge.typing import Say
from edge.via import environment

HERE = Path(__file__).parent
ENTRY = "model.onnx"
TOLERANCE = 1e-4  # of each output, relative to its largest value
FILES = (
    "config.json",
    INDEX,
    *TEXT_FILES,
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "preprocessor_config.json",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """An exported network beside transformers: largest error of each output, over all inputs."""

    passed: bool
    changed_files: tuple[str, ...]
    errors: Mapping[str, float]
    tolerance: float
    cases: Mapping[str, int]  # kind of inputs -> how many

    def json(self) -> dict[str, Any]:
        return asdict(self)


def check(via: str, to: str | None, asked: Sequence[str]) -> None:
    """Refuse what this export is not, and options that it cannot honour."""
    if via != "optimum" or to not in (None, "onnx"):
        raise EdgeError(
            f"there is no export to {to or 'onnx'} via {via}", fix="use --to onnx --via optimum"
        )
    if asked:
        raise EdgeError(
            f"{asked[0]} means nothing to an export via optimum: it stores all of a model in float32",
            fix=f"leave {asked[0]} out",
        )


def convert(source: Path, out: Path, *, force: bool, say: Say) -> Network:
    """Export a checkpoint folder; `out` appears when the network is there and proved."""
    with staged(source) as allowed, publishing(out, force=force) as folder:
        inputs = [source / file.name for file in sorted(allowed.iterdir())]
        with TemporaryDirectory(dir=folder) as made:
            found = _work("export", allowed, Path(made), say)
            proof = _proof(found, ())
            if not proof.passed:
                raise Damaged(
                    f"what optimum exported is not what transformers computes: {proof.errors}",
                    fix="do not use it; the architecture needs a family here",
                )
            for file in Path(made).glob(f"{ENTRY}*"):
                file.rename(folder / file.name)
        for file in inputs:
            if file.name in FILES and file.name != INDEX:
                shutil.copyfile(file, folder / file.name)
        manifest = _manifest(source, inputs, sorted(folder.iterdir()), found, proof)
        write_manifest(folder, manifest)
    return network.read(out)


def verify(folder: Path, source: Path, *, say: Say) -> Proof:
    """Prove a network anew beside the checkpoint that it was made from, and keep the result."""
    manifest = network.read(folder)
    named = read_json(source / "config.json").get("architectures")
    if named != [manifest.architecture]:
        raise EdgeError(
            f"{source} is of {named!r:.80}, not of {manifest.architecture} as {folder} is",
            fix="give --against the checkpoint that it was made from",
        )
    with staged(source) as allowed:
        found = _work("prove", allowed, folder, say)
    proof = _proof(found, integrity.compare(folder, manifest, None, silent).changed_files)
    with for_later(say):
        network.record(folder, manifest, proof.json())
    return proof


@contextmanager
def staged(source: Path) -> Iterator[Path]:
    """A folder of links to what may be read, and of configs that name no code."""
    weights = weight_files(source)
    for file in weights:
        SafetensorsFile(file).close()  # its header is sound
    with TemporaryDirectory(prefix="edge-") as made:
        allowed = Path(made) / source.resolve().name
        allowed.mkdir()
        for file in (*weights, *(source / name for name in FILES)):
            if file.is_file() and file.name.endswith("config.json"):
                config = read_json(file)
                config.pop("auto_map", None)  # names code of the folder
                (allowed / file.name).write_text(json.dumps(config))
            elif file.is_file():
                (allowed / file.name).symlink_to(file.resolve())
        yield allowed


def _work(job: str, source: Path, folder: Path, say: Say) -> dict[str, Any]:
    """What the worker found; its talk goes to stderr."""
    inside = environment.ready(HERE / "optimum.txt", say)
    say(f"{job} with optimum")
    command = [str(inside.python), "-I", str(HERE / "worker.py"), job, str(source), str(folder)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=inside.variables(),
        check=False,
    )
    lines = done.stdout.splitlines()
    found = json.loads(lines[-1]) if done.returncode == 0 and lines else {}
    if not found:
        raise Unsupported(
            f"optimum ended with code {done.returncode} and no result",
            fix="see its messages above; with too little memory, a smaller checkpoint works",
        )
    if "problem" in found:
        raise Unsupported(found["problem"], fix=found["fix"])
    return dict(found)


def _proof(found: Mapping[str, Any], changed: tuple[str, ...]) -> Proof:
    errors = {str(name): float(error) for name, error in found["errors"].items()}
    return Proof(
        passed=bool(errors) and not changed and max(errors.values()) <= TOLERANCE,
        changed_files=changed,
        errors=errors,
        tolerance=TOLERANCE,
        cases=found["cases"],
    )


def _manifest(
    source: Path, inputs: list[Path], outputs: list[Path], found: dict[str, Any], proof: Proof
) -> Network:
    config, pin = Config(found, "what optimum found"), pin_of(source)
    return Network(
        target="onnx",
        via="optimum",
        name=source.resolve().name,
        architecture=config.text("architecture"),
        task=config.text("task"),
        entry=ENTRY,
        inputs=network.ports(config, "inputs"),
        outputs=network.ports(config, "outputs"),
        repository=None if pin is None else pin.source,
        revision=None if pin is None else pin.revision,
        source={file.name: sha256(file) for file in inputs},
        files={file.name: sha256(file) for file in outputs},
        tools=config.strings("tools"),
        verified=proof.json(),
    )
