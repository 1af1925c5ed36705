"""What a checkpoint says of itself: its config, and which tensors lie in which file. No weight is
read, but of a head that lies beside a tied embedding: it may be one of its own.

The headers may be of files on this machine or of files on the hub.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from edge.errors import Damaged, Unsupported
from edge.families import Family, Pipeline, family_of, pipeline_of
from edge.files.below import Below, continued
from edge.files.config import Config, is_plain, read_json
from edge.files.safetensors import Entry
from edge.files.weightfile import WeightFile, open_weights, same
from edge.names import Location, Spec
from edge.spec import DecoderSpec
from edge.typing import Shape

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_FLOATS = ("F32", "F16", "BF16", "F64")


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the files of a checkpoint are called."""

    singles: tuple[str, ...]
    index: str
    ending: str


_SAFETENSORS = _Layout((SINGLE,), INDEX, ".safetensors")
_USER_DEFINED = b"\x18\x04"  # the kind of a piece, in SentencePiece's format
_TORCH = _Layout(
    ("pytorch_model.bin", "pytorch_model.pt", "pytorch_model.pth"),
    "pytorch_model.bin.index.json",
    ".bin",
)


@dataclass(frozen=True, slots=True)
class Headers:
    """`files`: every tensor of each file of weights; `download`: bytes to fetch before it is here;
    `strings`: those that reading its tokenizer holds, if that is here; `same`: whether two tensors hold the same
    bytes.
    """

    config: Config
    files: Mapping[str, Mapping[str, Entry]]
    download: int = 0
    strings: int | None = None
    same: Callable[[str, str], bool] = lambda _first, _second: True

    @classmethod
    def of(cls, folder: Path) -> "Headers":
        """Of a checkpoint on this machine."""
        files, paths = {}, checkpoint_files(folder)
        for path in paths:
            with open_weights(path) as file:
                files[path.name] = file.entries
        return cls(config_of(folder), files, strings=_strings(folder), same=partial(same, paths))

    def of_stage(self, name: str) -> "Headers":
        """Of one of the networks of a checkpoint of several."""
        pipeline = _pipeline(self.config)
        stage = pipeline.stage(name)
        every = self.entries()
        pipeline.check(every)

        def whole(own: str, entry: Entry) -> Entry:
            rest = stage.longer.get(own)
            return entry if rest not in every else continued(entry, every[rest], rest)

        files = {
            file: {
                own: whole(own, entry)
                for tensor, entry in entries.items()
                if (own := stage.own(tensor)) is not None
            }
            for file, entries in self.files.items()
        }
        return replace(
            self,
            config=stage.config(pipeline.fields.checked(self.config)),
            files=files,
            same=lambda first, second: self.same(stage.prefix + first, stage.prefix + second),
        )

    @property
    def family(self) -> Family:
        return family_of(self.config)

    def spec(self) -> Spec:
        """What the config says, but that a head which lies beside a tied embedding and differs from it
        is one of its own: transformers reads it so.
        """
        spec, found = self.family.spec(self.config), self.entries()
        if not isinstance(spec, DecoderSpec):
            return spec
        embed, head = self.family.names.ends
        if not (spec.tied and embed in found and head in found):
            return spec
        self.floats_only((embed, head))
        return spec if self.same(embed, head) else replace(spec, tied=False)

    def places(self, spec: Spec | None = None) -> dict[str, Location]:
        """Where each weight lies, once its tensors are those of its config, and floats."""
        found = self.family.names.check(spec or self.spec(), self.shapes())
        self.floats_only(name for place in found.values() for name in place.tensors)
        return found

    def entries(self) -> dict[str, Entry]:
        """Every tensor; a name that two files hold is refused."""
        holders: dict[str, str] = {}
        for file, entries in self.files.items():
            for name in entries:
                if name in holders:
                    raise Damaged(
                        f"tensor {name} lies in {holders[name]} and in {file}", fix="remove one"
                    )
                holders[name] = file
        return {name: self.files[file][name] for name, file in holders.items()}

    def shapes(self) -> dict[str, Shape]:
        return {name: entry.shape for name, entry in self.entries().items()}

    def dtypes(self) -> tuple[str, ...]:
        """The types of its tensors, that of the most weights first."""
        counts: Counter[str] = Counter()
        for entry in self.entries().values():
            counts[entry.dtype] += prod(entry.shape)
        return tuple(dtype for dtype, _ in counts.most_common())

    def floats_only(self, names: Iterable[str]) -> None:
        """Refuse these tensors if one of them is quantized."""
        entries = self.entries()
        for name in names:
            if entries[name].dtype not in _FLOATS:
                raise Unsupported(
                    f"tensor {name} is of type {entries[name].dtype}: the checkpoint is quantized already",
                    fix="convert from the original checkpoint in F32, F16 or BF16",
                )


def config_of(
    folder: Path, changes: Mapping[str, Any] | None = None, stage: str | None = None
) -> Config:
    """A checkpoint's config, or that of one of its networks, with fields that are to be others."""
    config = Config.load(folder / "config.json")
    if stage is not None:
        config = _pipeline(config).stage(stage).config(_pipeline(config).fields.checked(config))
    return config if not changes else Config({**config.data, **changes}, config.where)


def opened(folder: Path, paths: Iterable[Path], stage: str | None) -> list[WeightFile]:
    """Files of a checkpoint's weights, or what one of its networks has there."""
    files = list[WeightFile]()
    try:
        for path in paths:  # one by one, so that those before a broken one are closed
            files.append(open_weights(path))
        if stage is None:
            return files
        pipeline = _pipeline(Config.load(folder / "config.json"))
        holders = {name: file for file in files for name in file.entries}
        pipeline.check(holders)
        own = pipeline.stage(stage)
        rest = {n: (holders[other], other) for n, other in own.longer.items() if other in holders}
        return [Below(file, own.prefix, own.within, rest) for file in files]
    except BaseException:
        for file in files:
            file.close()
        raise


def prefix_of(folder: Path, stage: str | None) -> str:
    """What names of a network's tensors begin with in its checkpoint."""
    if stage is None:
        return ""
    return _pipeline(Config.load(folder / "config.json")).stage(stage).prefix


def same_below(paths: Iterable[Path], prefix: str, first: str, second: str) -> bool:
    return same(paths, prefix + first, prefix + second)


def _pipeline(config: Config) -> Pipeline:
    found = pipeline_of(config)
    if found is None:
        raise Damaged(f"{config.where} is of one network, not of several", fix="convert again")
    return found


def _strings(folder: Path) -> int | None:
    """How many strings a tokenizer.json holds, to a few: its quotes by two. A SentencePiece model becomes one
    while it is read, and takes as much as one of so many: 0.41 a byte (Llama 2, Mistral), and
    0.52 where it has symbols (InternLM2), which are judged.
    """
    file, scored = folder / "tokenizer.json", folder / "tokenizer.model"
    if file.is_file():
        return file.read_bytes().count(b'"') // 2
    if not scored.is_file():
        return None
    content = scored.read_bytes()
    return int(len(content) * (0.52 if content.count(_USER_DEFINED) > 8 else 0.41))


def checkpoint_files(folder: Path) -> tuple[Path, ...]:
    """A checkpoint's files of weights, each of which exists: safetensors first, then torch's."""
    for layout in (_SAFETENSORS, _TORCH):
        if found := _found(folder, layout):
            return found
    pickled = sorted(p.name for p in (*folder.glob("*.bin"), *folder.glob("*.pth")))
    if pickled:
        raise Unsupported(
            f"{folder} holds pickled weights of another name ({pickled[0]})",
            fix=f"get its safetensors files, or call a torch file of all weights {_TORCH.singles[0]}",
        )
    raise Damaged(f"{folder} has no {SINGLE} and no {INDEX}", fix="get the complete checkpoint")


def weight_files(folder: Path) -> tuple[Path, ...]:
    """A checkpoint's safetensors files, for what reads no others."""
    files = checkpoint_files(folder)
    if not files[0].name.endswith(_SAFETENSORS.ending):
        raise Unsupported(
            f"{folder} holds pickled weights ({files[0].name}), which are not read here",
            fix="get the checkpoint's safetensors files",
        )
    return files


def _found(folder: Path, layout: _Layout) -> tuple[Path, ...]:
    """A single file comes before an index beside it, as in transformers."""
    for single in layout.singles:
        if (folder / single).is_file():
            return (folder / single,)
    if not (folder / layout.index).is_file():
        return ()
    where = folder / layout.index
    names = shards(read_json(where), str(where), layout.ending)
    lost = [name for name in names if not (folder / name).is_file()]
    if lost:
        raise Damaged(
            f"{folder} lacks {lost[0]}, which its index names", fix="complete the download"
        )
    return tuple(folder / name for name in names)


def shards(index: Mapping[str, Any], where: str, ending: str = ".safetensors") -> tuple[str, ...]:
    """The files that an index names: plain names of files beside it."""
    table = index.get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise Damaged(f"{where} has no weight_map", fix="get the file again")
    names = sorted(set(table.values()))
    for name in names:
        if not is_plain(name) or not name.endswith(ending):
            raise Damaged(
                f"{where} names {name!r:.80}, not a file beside it",
                fix="do not trust this checkpoint",
            )
    return tuple(names)
