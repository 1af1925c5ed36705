"""A GGUF file that edge did not make, as an artifact: what a manifest would say is read from its keys."""

from collections import Counter
from pathlib import Path

from edge.artifact.manifest import Artifact, Manifest
from edge.errors import EdgeError, Unsupported
from edge.gguf.architectures import architecture, places
from edge.gguf.judge import spec_of
from edge.gguf.kinds import Kind
from edge.gguf.mixtures import RULES
from edge.gguf.shards import GGUFModel
from edge.quant.ggml import BLOCKS, FORMATS, MIXTURES
from edge.spec import DecoderSpec

TARGET = "gguf"
_FLOATS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_MIXTURES = {mixture.file_type: name for name, mixture in RULES.items()}


def artifact_at(path: Path) -> Artifact:
    """The artifact of a folder; or a file, which our own reader judges before any library sees it."""
    if not path.is_file():
        return Artifact.open(path)
    with GGUFModel(path) as file:
        spec = spec_of(file)
        words = _words(file, spec)
        name = file.get("general.name")
        return Artifact(path.parent, _manifest(file, spec, words, str(name or path.stem)), path)


def folder_only(path: Path, what: str) -> None:
    """Refuse what only an artifact with a manifest allows."""
    if path.is_file():
        raise EdgeError(
            f"{path} is a file that edge did not make: it has no edge.json, and cannot be {what}",
            fix="convert its checkpoint with edge, and name the artifact's folder",
        )


def kinds_of(file: GGUFModel) -> dict[str, int]:
    """How many tensors are of each type, the most first."""
    counts = Counter(tensor.kind.name for tensor in file.tensors.values())
    return dict(counts.most_common())


def _manifest(file: GGUFModel, spec: DecoderSpec, words: dict[str, str], name: str) -> Manifest:
    layers = Counter(word for at, word in words.items() if at.startswith("layers."))
    said = _MIXTURES.get(_number(file, "general.file_type") or 0, "")
    body = MIXTURES.get(said) or layers.most_common(1)[0][0]
    others = {at: word for at, word in words.items() if at.startswith("layers.") and word != body}
    bos, stop = (_number(file, f"tokenizer.ggml.{part}_token_id") for part in ("bos", "eos"))
    return Manifest(
        target=TARGET,
        family=str(file["general.architecture"]),
        name=name,
        recipe=said or body,
        embed=words["embed"],
        head=words["head"],
        overrides=others,
        spec=spec,
        bos=bos,
        stop=() if stop is None else (stop,),
        repository=None,
        revision=None,
        source={},
        files={file.path.name: ""},
        tools={},
    )


def _words(file: GGUFModel, spec: DecoderSpec) -> dict[str, str]:
    """Every matrix's type as a recipe has it, by canonical name, the head's apart."""
    arch = architecture(str(file["general.architecture"]))
    found = places(spec, arch, head="output.weight" in file.tensors)
    out = {
        name: _word(file.tensors[at[0].tensor].kind, file.path, name)
        for name, at in found.items()
        if len(file.tensors[at[0].tensor].shape) == 2
    }
    last = found.get("head", found["embed"])[-1].tensor
    return {**out, "head": _word(file.tensors[last].kind, file.path, "head")}


def _word(kind: Kind, path: Path, name: str) -> str:
    word = _FLOATS.get(kind.name, kind.name.lower())
    if word not in (*_FLOATS.values(), *FORMATS, *BLOCKS):
        raise Unsupported(
            f"{path} holds {name} as {kind.name}, which no weights of a model are",
            fix="use a file quantized to another type",
        )
    return word


def _number(file: GGUFModel, key: str) -> int | None:
    value = file.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
