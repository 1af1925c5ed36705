"""Canonical weight names, and how a family's checkpoint spells them.

`shapes` lists every weight of a spec: `layers.3.attn.q`, unfused. A `NameMap` says where each lies
in the checkpoint: a tensor, or some rows of a fused one. It is total both ways: a weight without a
tensor, or a tensor without a weight, is an error that names it.
"""

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from edge.errors import Damaged, EdgeError, Unsupported
from edge.net import NetConfig, NetSpec
from edge.spec import DecoderSpec, LayerSpec
from edge.typing import F32, Shape

Spec = DecoderSpec | NetSpec
Rows = tuple[range, ...]
# Buffers that older code saved with the weights, whatever holds them: angles, masks.
_INERT = (
    r"(?:.*\.)?(?:rotary_emb|pos_embedding|attention\.rope)\.inv_freq",
    r"(?:.*\.)?attention\.(?:masked_)?bias",
)


def decoder_of(spec: Spec, name: str) -> DecoderSpec:
    """The spec of what must be a decoder of text; refuses a network of another kind. `name`: the model's."""
    if isinstance(spec, DecoderSpec):
        return spec
    ports = (*spec.config.inputs, *spec.config.outputs)
    raise Unsupported(
        f"{name} is no decoder of text but a network of the kind {spec.kind}, from and to "
        f"{', '.join(port.name for port in ports)}",
        fix="give edge run a picture with --image; or name a language model",
    )


@dataclass(frozen=True, slots=True)
class Part:
    """One of the weights in a fused tensor: `split` gives the rows of each, in order."""

    tensor: str
    split: Callable[[Any], tuple[Rows, ...]]  # of a decoder's layer, or of a network's config
    part: int


@dataclass(frozen=True, slots=True)
class Made:
    """A small weight that no tensor is as it lies: a kernel as a matrix, a norm that is folded into it, a
    table with the class token. `shapes`: of the tensors, by a network's config and the weight's own shape, where
    -1 is any size;
    `make`: the weight of that config and of the tensors, whole and in float32; `parts`: the tensors of a
    weight, where training may write them.
    """

    tensors: tuple[str, ...]
    shapes: Callable[[Any, Shape], tuple[Shape, ...]]
    make: Callable[..., F32]
    parts: Callable[[Any, F32], tuple[F32, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Location:
    """Where one weight lies: these rows of that tensor, in this order; no rows: the whole tensor. One that
    is `made` is so of that tensor and of `others`, for a network of this `config`.
    """

    tensor: str
    shape: Shape  # of the weight
    stored: Shape  # of the tensor that holds it
    rows: Rows = ()
    others: tuple[tuple[str, Shape], ...] = ()
    made: Made | None = None
    config: NetConfig | None = None

    @property
    def tensors(self) -> dict[str, Shape]:
        """Every tensor that is read for it."""
        return {self.tensor: self.stored, **dict(self.others)}

    def make(self, *tensors: F32) -> F32:
        """The weight, of the whole tensors that it is made of."""
        assert self.made is not None, f"{self.tensor} holds the weight as it is"
        return self.made.make(self.config, *tensors)

    def parts(self, weight: F32) -> dict[str, F32]:
        """The tensors that make this weight."""
        if self.made is None or self.made.parts is None:
            raise Unsupported(
                f"tensor {self.tensor} cannot be written from the weights that it is read for",
                fix="train a checkpoint of another family",
            )
        return dict(zip(self.tensors, self.made.parts(self.config, weight), strict=True))

    def row(self, row: int) -> int:
        """A weight's row as a row of the tensor."""
        for rows in self.rows:
            if row < len(rows):
                return rows[row]
            row -= len(rows)
        return row


@dataclass(frozen=True, slots=True)
class FusedTensor:
    """A tensor of a checkpoint: the weights that lie in it, each in these rows, in this order."""

    shape: Shape
    weights: Mapping[str, Rows]


@dataclass(frozen=True, slots=True)
class NameMap:
    """canonical name -> tensor name or `Part`; `{i}` stands for the layer. `ignore`: tensors that
    carry no weight, beside the buffers of any family. `optional`: what names begin with that a checkpoint
    of the bare model lacks. `spellings`: parts of names, and what they are in checkpoints of another age.
    """

    entries: Mapping[str, str | Part | Made]
    ignore: tuple[str, ...] = ()
    optional: str = ""
    spellings: tuple[tuple[str, str], ...] = ()

    def places(self, spec: Spec) -> dict[str, Location]:
        """Every canonical weight of the spec -> its place."""
        return {name: self._place(name, shape, spec) for name, shape in shapes(spec).items()}

    def check(self, spec: Spec, found: Mapping[str, Shape]) -> dict[str, Location]:
        """The places, once the checkpoint holds exactly these tensors in these shapes."""
        other = self._of(found)
        if other is not None:
            return other.check(spec, found)
        places, head = self.places(spec), ""
        if isinstance(spec, DecoderSpec):
            embed, head = self.ends
            if spec.tied and embed not in found and head in found:
                places["embed"] = replace(places["embed"], tensor=head)
        needed = {name: s for place in places.values() for name, s in place.tensors.items()}
        missing = sorted(needed.keys() - found.keys())
        unknown = sorted(n for n in found.keys() - needed.keys() if not self._ignored(n, spec))
        if missing or unknown:
            fix = "check that config.json and the weights belong together, and that the download is whole"
            if missing == [head]:
                fix += "; a head that is the embedding is tied by a field of config.json"
            raise Damaged(
                f"checkpoint does not match its config: {_some(missing)} missing, {_some(unknown)} unknown",
                fix=fix,
            )
        for name, shape in needed.items():
            if not _fits(found[name], shape):
                raise Damaged(
                    f"tensor {name} has shape {list(found[name])}, but config.json makes it {list(shape)}",
                    fix="check that config.json and the weights belong together",
                )
        return places

    @property
    def ends(self) -> tuple[str, str]:
        """The tensors of the embedding and of the head: two names of one matrix where they are tied."""
        embed = self.entries["embed"]
        head = self.entries.get("head", embed)
        assert isinstance(embed, str)
        assert isinstance(head, str)
        return embed, head

    def _of(self, found: Collection[str]) -> "NameMap | None":
        """The same of a checkpoint whose names have no beginning, or are of another age; None: as they are."""
        if self.optional and not any(name.startswith(self.optional) for name in found):
            bare = self._renamed(lambda name: name.removeprefix(self.optional))
            return replace(bare, optional="")
        if any(other in name for _, other in self.spellings for name in found):
            return replace(self._renamed(self._respelt), spellings=())
        return None

    def _respelt(self, name: str) -> str:
        return reduce(lambda name, pair: name.replace(*pair), self.spellings, name)

    def _renamed(self, to: Callable[[str], str]) -> "NameMap":
        """The same of tensors of other names."""

        def renamed(entry: str | Part | Made) -> str | Part | Made:
            if isinstance(entry, str):
                return to(entry)
            if isinstance(entry, Part):
                return replace(entry, tensor=to(entry.tensor))
            return replace(entry, tensors=tuple(map(to, entry.tensors)))

        return replace(self, entries={name: renamed(entry) for name, entry in self.entries.items()})

    def _place(self, name: str, shape: Shape, spec: Spec) -> Location:
        match = re.match(r"([a-z]+)\.(\d+)(?=\.|$)", name)
        index = int(match[2]) if match else -1
        if name not in self.entries:
            entry = self._entry(re.sub(r"^([a-z]+)\.\d+(?=\.|$)", r"\1.{i}", name))
        else:
            entry = self.entries[name]
        if isinstance(entry, str):
            return Location(entry.replace("{i}", str(index)), shape, shape)
        if isinstance(entry, Made):
            assert isinstance(spec, NetSpec), "a decoder's weights are rows of tensors"
            tensors = (tensor.replace("{i}", str(index)) for tensor in entry.tensors)
            first, *others = zip(tensors, entry.shapes(spec.config, shape), strict=True)
            return Location(first[0], shape, first[1], (), tuple(others), entry, spec.config)
        whole = spec.layers[index] if isinstance(spec, DecoderSpec) else spec.config
        parts = entry.split(whole)
        height = sum(len(rows) for part in parts for rows in part)
        tensor = entry.tensor.replace("{i}", str(index))
        return Location(tensor, shape, (height, *shape[1:]), parts[entry.part])

    def _entry(self, name: str) -> str | Part | Made:
        """Where a weight of any layer lies."""
        if name not in self.entries:
            raise Unsupported(
                f"this family has no tensor for {name}, which its config asks for",
                fix="add the name to the family's NameMap in edge/families",
            )
        return self.entries[name]

    def _ignored(self, name: str, spec: Spec) -> bool:
        """Also a head that repeats a tied embedding: some tools save it twice (see `Headers.spec`)."""
        repeated = isinstance(spec, DecoderSpec) and spec.tied and name == self.ends[1]
        return repeated or any(re.fullmatch(pattern, name) for pattern in (*_INERT, *self.ignore))


def stored(places: Mapping[str, Location]) -> dict[str, FusedTensor]:
    """The map the other way: every tensor of a checkpoint, and which weights it is made of."""
    shapes: dict[str, Shape] = {}
    weights: dict[str, dict[str, Rows]] = {}
    for name, place in places.items():
        shapes[place.tensor] = place.stored
        rows = place.rows or (range(place.stored[0]),)
        weights.setdefault(place.tensor, {})[name] = rows
    for tensor, parts in weights.items():
        given = sorted(itertools.chain.from_iterable(itertools.chain(*parts.values())))
        if given != list(range(shapes[tensor][0])):
            raise EdgeError(
                f"tensor {tensor} cannot be written: the weights that were read from it are not each "
                "of its rows once",
                fix="train a checkpoint of another family",
            )
    return {tensor: FusedTensor(shapes[tensor], parts) for tensor, parts in weights.items()}


def shapes(spec: Spec) -> dict[str, Shape]:
    """Every weight of a model -> its shape, in the order of use. A matrix is [out, in]."""
    return _decoder_shapes(spec) if isinstance(spec, DecoderSpec) else dict(spec.config.shapes())


def own_places(spec: Spec) -> dict[str, Location]:
    """Every weight under its canonical name, spelt as parameters of modules are: NAME.weight, NAME.bias."""
    return {
        name: Location(name if name.endswith(".bias") else f"{name}.weight", shape, shape)
        for name, shape in shapes(spec).items()
    }


def tied(spec: Spec, name: str) -> bool:
    """Whether a weight is a decoder's embedding and its head."""
    return isinstance(spec, DecoderSpec) and spec.tied and name == "embed"


def _decoder_shapes(spec: DecoderSpec) -> dict[str, Shape]:
    out: dict[str, Shape] = {"embed": (spec.vocab, spec.width)}
    for index, layer in enumerate(spec.layers):
        parts = _layer_shapes(spec, layer).items()
        out |= {f"layers.{index}.{name}": shape for name, shape in parts}
    out["norm"] = (spec.width,)
    if spec.norm.kind == "layer":
        out["norm.bias"] = (spec.width,)
    if not spec.tied:
        out["head"] = (spec.vocab, spec.width)
    return out


def _layer_shapes(spec: DecoderSpec, layer: LayerSpec) -> dict[str, Shape]:
    width = spec.width
    q, kv = layer.heads * layer.head_width, layer.kv_heads * layer.head_width
    weights: dict[str, Shape] = {
        "attn.norm": (width,),
        "attn.q": (q, width),
        "attn.k": (kv, width),
        "attn.v": (kv, width),
        "attn.o": (width, q),
        "mlp.norm": (width,),
        "mlp.gate": (layer.ffn_width, width),
        "mlp.up": (layer.ffn_width, width),
        "mlp.down": (width, layer.ffn_width),
    }
    out: dict[str, Shape] = {}
    for name, shape in weights.items():
        out[name] = shape
        if name in layer.biases if len(shape) == 2 else spec.norm.kind == "layer":
            out[f"{name}.bias"] = shape[:1]
    if layer.qk_norm is not None:
        out |= {"attn.q_norm": (layer.head_width,), "attn.k_norm": (layer.head_width,)}
    return out


def heads_split(layer: LayerSpec) -> tuple[Rows, ...]:
    """A fused qkv: all of q, then all of k, then all of v."""
    q, kv = layer.heads * layer.head_width, layer.kv_heads * layer.head_width
    return _stacked(q, kv, kv)


def groups_split(layer: LayerSpec) -> tuple[Rows, ...]:
    """A fused qkv in groups: for each kv head its query heads, itself, and its value head."""
    queries, width = layer.heads // layer.kv_heads, layer.head_width
    group = (queries + 2) * width
    starts = [head * group for head in range(layer.kv_heads)]
    cuts = (0, queries * width, (queries + 1) * width, group)
    return tuple(
        tuple(range(at + start, at + stop) for at in starts)
        for start, stop in itertools.pairwise(cuts)
    )


def gate_split(layer: LayerSpec) -> tuple[Rows, ...]:
    """A fused feed-forward input: gate, then up."""
    return _stacked(layer.ffn_width, layer.ffn_width)


def interleaved_split(layer: LayerSpec) -> tuple[Rows, ...]:
    """A fused feed-forward input row by row: gate, up, gate, up, …"""
    height = 2 * layer.ffn_width
    return (range(0, height, 2),), (range(1, height, 2),)


def _stacked(*heights: int) -> tuple[Rows, ...]:
    cuts = itertools.accumulate(heights, initial=0)
    return tuple((range(start, stop),) for start, stop in itertools.pairwise(cuts))


def _fits(found: Shape, wanted: Shape) -> bool:
    return len(found) == len(wanted) and all(
        want in (-1, size) for size, want in zip(found, wanted, strict=True)
    )


def _some(names: Collection[str]) -> str:
    first: Iterable[str] = sorted(names)[:3]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} [{', '.join(first)}{more}]"
