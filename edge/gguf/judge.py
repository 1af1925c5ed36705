"""What a file says it is, and whether llama.cpp may see it.

llama.cpp ends the process where a file's numbers contradict each other, so every number that it
computes with is checked first: keys have the types and bounds of an honest model, tensors are
exactly those of the spec that the keys say, and no key of the architecture is one nobody read.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge.errors import Damaged, Unsupported
from edge.gguf.architectures import Architecture, architecture, check, longest, stacks, tensor_of
from edge.gguf.reader import GGUFFile
from edge.gguf.shards import COUNT, GGUFModel
from edge.spec import DecoderSpec, LayerSpec, Llama3Scaling, LongRope, MatrixName, Norm, Rope

_MOST = 1 << 20  # widths, heads: more is no honest model
_TOKENS = 1 << 24  # of a context
_LAYERS = 512  # the most that llama.cpp holds
# Keys that say nothing where they have one of these values.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.causal": (True,),
    "attention.layer_norm_epsilon": (),
    "rope.scaling.type": ("none", "longrope"),
    "rope.scaling.finetuned": (True, False),
    "rope.scaling.factor": (0.0, 1.0),
    "rope.scale_linear": (0.0, 1.0),
    "tensor_data_layout": ("Meta AI original pth",),
}


def spec_of(file: GGUFFile) -> DecoderSpec:
    """The spec of a sound file; its context is that up to which llama.cpp computes what it says."""
    whole = isinstance(file, GGUFModel) and file.files > 1
    if not whole and file.get(COUNT, 1) not in (0, 1):
        raise Unsupported(
            f"{file.path} is one of {file[COUNT]} parts",
            fix="join them with llama.cpp's gguf-split --merge",
        )
    numbers = _Numbers(file)
    spec = _spec(file, numbers)
    # Factors are held as those of LongRope, whichever rule made them.
    plain = "rope_freqs.weight" in file.tensors
    check(replace(spec, rope=replace(spec.rope, scaling=None)) if plain else spec, numbers.arch)
    numbers.check_rest()
    _check_tensors(file, spec, numbers.arch)
    _check_tokens(file, spec.vocab)
    return spec


class _Numbers:
    """The keys of a file's architecture, each with its type and bounds checked."""

    def __init__(self, file: GGUFFile) -> None:
        self._file = file
        name = file.get("general.architecture")
        if not isinstance(name, str):
            raise self._wrong("general.architecture", name, "a text")
        self.arch = architecture(name)
        self._read = {"vocab_size"}

    def integer(self, key: str, default: int | None = None, *, high: int = _MOST) -> int:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= high:
            raise self._wrong(key, value, f"a whole number from 1 to {high:,}")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
            raise self._wrong(key, value, "a positive number")
        return float(value)

    def each(self, key: str, layers: int, default: Sequence[int] | None = None) -> list[int]:
        """One number for all layers, or a list with one a layer."""
        value = self._value(key, default)
        values = list(value) if isinstance(value, list | tuple) else [value] * layers
        if len(values) != layers or not all(
            isinstance(v, int) and not isinstance(v, bool) and 0 < v <= _MOST for v in values
        ):
            raise self._wrong(key, value, f"{layers} whole numbers, one a layer, or one for all")
        return [v for v in values if isinstance(v, int)]

    def window(self) -> int | None:
        """A window of 0 is none."""
        value = self._value("attention.sliding_window", 0)
        return None if value == 0 else self.integer("attention.sliding_window")

    def check_rest(self) -> None:
        """Refuse keys of the architecture that nobody read: each may change what is computed."""
        for key in self._file:
            name = key.removeprefix(f"{self.arch.name}.")
            if name == key or name in self._read:
                continue
            if name not in _NEUTRAL or (_NEUTRAL[name] and self._file[key] not in _NEUTRAL[name]):
                raise Unsupported(
                    f"{self._file.path}: {key} = {self._file[key]!r:.60} says what edge does not know",
                    fix="use a file of a plain model of its architecture",
                )

    def _value(self, key: str, default: object) -> object:
        self._read.add(key)
        return self._file.get(f"{self.arch.name}.{key}", default)

    def _wrong(self, key: str, value: object, what: str) -> Damaged:
        name = key if key.startswith("general.") else f"{self.arch.name}.{key}"
        found = "missing" if value is None else repr(value)[:60]
        return Damaged(
            f"{self._file.path}: {name} is {found}, not {what}", fix="get the file again"
        )


def _spec(file: GGUFFile, numbers: _Numbers) -> DecoderSpec:
    table = file.tensors.get("token_embd.weight")
    if table is None or len(table.shape) != 2:
        raise Damaged(f"{file.path} has no table token_embd.weight", fix="get the file again")
    width = numbers.integer("embedding_length")
    layers = numbers.integer("block_count", high=_LAYERS)
    heads = numbers.each("attention.head_count", layers)
    kv_heads = numbers.each("attention.head_count_kv", layers, heads)
    ffn = numbers.each("feed_forward_length", layers)
    head_width = numbers.integer("attention.key_length", max(width // heads[0], 1))
    if numbers.integer("attention.value_length", head_width) != head_width:
        raise Unsupported(
            f"{file.path} has values of another width than keys", fix="use another file"
        )
    eps, window = numbers.real("attention.layer_norm_rms_epsilon"), numbers.window()
    layer_specs = tuple(
        LayerSpec(
            heads=h,
            kv_heads=g,
            head_width=head_width,
            ffn_width=f,
            window=window,
            qk_norm=eps if numbers.arch.qk_norm else None,
            biases=_biases(file, i, numbers.arch),
        )
        for i, (h, g, f) in enumerate(zip(heads, kv_heads, ffn, strict=True))
    )
    context = numbers.integer("context_length", high=_TOKENS)
    spec = DecoderSpec(
        vocab=table.shape[0],
        width=width,
        layers=layer_specs,
        norm=Norm(eps=eps),
        rope=_rope(file, numbers, head_width, context),
        context=context,
        tied="output.weight" not in file.tensors,
    )
    return replace(spec, context=longest(spec))


def _biases(file: GGUFFile, index: int, arch: Architecture) -> tuple[MatrixName, ...]:
    """The matrices of a layer for which the file has one; what else it has is unknown."""
    found = ((name, tensor_of(f"layers.{index}.{name}.bias", arch)) for name in arch.biases)
    return tuple(name for name, tensor in found if tensor in file.tensors)


def _rope(file: GGUFFile, numbers: _Numbers, head_width: int, context: int) -> Rope:
    theta = numbers.real("rope.freq_base", 10000.0)
    width = numbers.integer("rope.dimension_count", head_width, high=head_width)
    original = numbers.integer("rope.scaling.original_context_length", context, high=_TOKENS)
    attention = numbers.real("rope.scaling.attn_factor", 1.0)
    if width % 2:
        raise Damaged(f"{file.path} rotates {width} dimensions of a head", fix="get the file again")
    names = ("rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight")
    given = {name: _factors(file, name, width // 2) for name in names if name in file.tensors}
    plain, short, long = (given.get(name, ()) for name in names)
    if plain:  # the same factors at every length
        short, long, original = plain, plain, context
    if not short and not long and attention == 1:
        return Rope(theta=theta, width=width)
    ones = (1.0,) * (width // 2)
    scaling = LongRope(
        short=short or ones,
        long=long or ones,
        short_attention=attention,
        long_attention=attention,
        original_context=original,
    )
    return Rope(theta=theta, width=width, scaling=scaling)


def _factors(file: GGUFFile, name: str, pairs: int) -> tuple[float, ...]:
    tensor = file.tensors[name]
    if tensor.shape != (pairs,) or tensor.kind.name != "F32":
        raise Damaged(
            f"{file.path}: {name} is no vector of {pairs} factors in F32", fix="get the file again"
        )
    values = file.rows(name, 0, 1)[0]
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise Damaged(
            f"{file.path}: {name} holds a factor that none can be", fix="get the file again"
        )
    return tuple(values.tolist())


def _check_tensors(file: GGUFFile, spec: DecoderSpec, arch: Architecture) -> None:
    """Exactly the tensors of the spec, in its shapes; vectors in F32."""
    factors = {"rope_freqs.weight"} if Llama3Scaling in arch.scaling else set[str]()
    if LongRope in arch.scaling:
        factors |= {"rope_factors_short.weight", "rope_factors_long.weight"}
    want = {name: part.shape for name, part in stacks(spec, arch, head=False).items()}
    found = {name: tensor for name, tensor in file.tensors.items() if name not in factors}
    if want.keys() != found.keys():
        missing, unknown = sorted(want.keys() - found.keys()), sorted(found.keys() - want.keys())
        raise Damaged(
            f"{file.path} is no model of its keys: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}",
            fix="get the file again, or use a plain model of its architecture",
        )
    for name, tensor in found.items():
        wrong_type = len(tensor.shape) == 1 and tensor.kind.name != "F32"
        if tensor.shape != want[name] or wrong_type:
            raise Damaged(
                f"{file.path}: {name} is {tensor.kind.name} {list(tensor.shape)}, "
                f"but its keys make it {list(want[name])}",
                fix="get the file again",
            )


def _check_tokens(file: GGUFFile, rows: int) -> None:
    """A table of as many tokens as the model has rows, each of a text of its own."""
    if file.get("tokenizer.ggml.model") in ("none", "no_vocab"):
        return
    tokens = file.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or len(tokens) != rows:
        raise Damaged(f"{file.path} has no table of {rows} tokens", fix="get the file again")
    if len(set(tokens)) != rows or "" in tokens:
        raise Damaged(
            f"{file.path} has tokens without a text of their own", fix="get the file again"
        )
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        if key in file and file.count(key) != rows:
            raise Damaged(f"{file.path}: {key} has not one value a token", fix="get the file again")
