"""What precision each weight gets: `fp32`, `fp16`, `bf16`, ggml's own `q4_0`, …,
`[method-]intB[-gG][-asym|-min][-fp16|-bf16]`, or `lutB[-gR][-fp16]`.

`int4-g64-asym` has a zero for each group, `-min` a minimum, a last `-fp16` scales of that type; in
`lut4-g16` a code is an entry of a table that 16 rows share. What `int4` and `int8` mean is for the
target to say; where none is named, `rtn-int4-g32`. The embedding and the head follow the body unless
they are given a precision of their own, and so does any weight that a pattern names. `q4_k_m` and its
like are mixtures of types that llama.cpp's own library makes: `edge.convert.mixtures` says of which.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from edge.errors import EdgeError
from edge.quant import ggml, kmeans, rtn
from edge.quant.tensor import BF16, FP16, FP32, Float, QTensor, Scheme, Zero, rounded
from edge.quant.unfit import Unfit, first_wrong
from edge.typing import F32

METHODS: Mapping[str, Callable[[F32, Scheme], QTensor]] = {
    "rtn": rtn.quantize,
    "ggml": ggml.quantize,
    "kmeans": kmeans.quantize,
}
# What `Scheme.zero` says of codes is true of these methods' codes: they are integers, or entries of a
# table. A target holds a method's schemes by one of these sets, or by its name.
INTEGERS, TABLES = frozenset({"rtn", "ggml"}), frozenset({"kmeans"})
NAMED: Mapping[str, Scheme] = {"fp32": FP32, "fp16": FP16, "bf16": BF16, **ggml.FORMATS}
_WORDS: Mapping[str, Scheme] = {**NAMED, **ggml.BLOCKS}
_BITS, _GROUPS = (2, 3, 4, 5, 6, 8), (32, 64, 128)
_TABLE_BITS, _TABLE_ROWS = (1, 2, 3, 4, 6, 8), (1, 8, 16, 32, 64)
_ZEROS: Mapping[str | None, Zero] = {None: "middle", "asym": "integer", "min": "minimum"}
_NUMBERS: Mapping[str, Float] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
_FORM = re.compile(
    r"(?:([a-z]+)-)?int([0-9]{1,4})(?:-g([0-9]{1,4}))?(?:-(asym|min))?(?:-(fp32|fp16|bf16))?"
)
_TABLE = re.compile(r"(?:kmeans-)?lut([0-9]{1,4})(?:-g([0-9]{1,4}))?(?:-(fp32|fp16|bf16))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The schemes of the body, the embedding, the head, and of weights that a pattern names: the first
    that fits a canonical name holds. `mixture`: whose name the recipe has, if it is one.
    """

    body: Scheme
    embed: Scheme
    head: Scheme
    overrides: tuple[tuple[str, Scheme], ...] = ()
    mixture: str | None = None

    @property
    def foreign(self) -> bool:
        """Whether a library of the target's makes any weight."""
        every = (self.body, self.embed, self.head, *(scheme for _, scheme in self.overrides))
        return self.mixture is not None or any(scheme.block_bytes for scheme in every)

    @property
    def name(self) -> str:
        """As `parse` reads it, of the body."""
        return word(self.body) if self.mixture is None else self.mixture

    def scheme(self, name: str, *, by_row: bool = False) -> Scheme:
        """How a matrix is stored; a tied table is the embedding where it is asked for by row, else
        the head.
        """
        for pattern, scheme in self.overrides:
            if fnmatchcase(name, pattern):
                return scheme
        if by_row:
            return self.embed
        return self.head if name in ("head", "embed") else self.body

    def stored(self, name: str, weights: F32, scheme: Scheme, *, row: int = 0) -> F32 | QTensor:
        """Rows of a weight, from `row` on, as this recipe stores them: `weights` [N, K] -> the same as
        floats or codes. Refuses numbers that the scheme does not hold.
        """
        if scheme.is_float:
            largest = np.abs(weights).max(initial=0, keepdims=True)
            if not np.isfinite(rounded(largest, scheme.number)).all():
                wrong = first_wrong(rounded(weights, scheme.number))
                raise Unfit(name, row + (wrong or 0), scheme)
            return weights
        made = METHODS[scheme.method](weights, scheme)
        for part in (made.scales, made.zeros):
            wrong = None if part is None else first_wrong(part)
            if wrong is not None:
                raise Unfit(name, row + wrong * scheme.rows_of_scales, scheme)
        return made

    def check(self, names: Mapping[str, object]) -> None:
        """Every pattern must fit a weight: a typing error is not ignored."""
        for pattern, _ in self.overrides:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise EdgeError(
                    f"no weight is named like {pattern!r}",
                    fix="use names such as layers.0.attn.q, layers.*.mlp.down, embed, head",
                )

    def __str__(self) -> str:
        if self.mixture is not None:
            return self.mixture
        text = word(self.body)
        text += f" embed={word(self.embed)}" if self.embed != self.body else ""
        text += f" head={word(self.head)}" if self.head != self.body else ""
        return text + "".join(f" {pattern}={word(scheme)}" for pattern, scheme in self.overrides)


def word(scheme: Scheme) -> str:
    """A scheme as `parse` reads it."""
    named = {value: key for key, value in _WORDS.items()}
    if scheme in named:
        return named[scheme]
    return f"rtn-{scheme}" if scheme.method == "rtn" else str(scheme)


def parse(
    text: str,
    *,
    embed: str | None = None,
    head: str | None = None,
    overrides: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Recipe:
    """A recipe from its name and, for the embedding, the head and patterns of names, names of schemes.

    `aliases`: what short names mean to a target.
    """
    known = aliases or {}
    text = known.get(text, text)
    mixture = text if text in ggml.MIXTURES else None
    body = _scheme(ggml.MIXTURES.get(text, text))
    own = [body if part is None else _scheme(known.get(part, part)) for part in (embed, head)]
    some = [(name, _scheme(known.get(part, part))) for name, part in (overrides or {}).items()]
    return Recipe(body=body, embed=own[0], head=own[1], overrides=tuple(some), mixture=mixture)


def mixed(recipe: Recipe, words: Mapping[str, str], *, own: Collection[str] = ()) -> Recipe:
    """A recipe whose weights have the types that a mixture gives them, by canonical name, but for
    those that its patterns name; `own`: of embed and head, what was given a precision.
    """
    embed = recipe.embed if "embed" in own else _scheme(words["embed"])
    head = recipe.head if "head" in own else _scheme(words["head"])
    some = {
        name: _scheme(text)
        for name, text in words.items()
        if name not in ("embed", "head")
        and not any(fnmatchcase(name, fits) for fits, _ in recipe.overrides)
    }
    others = [(name, scheme) for name, scheme in some.items() if scheme != recipe.body]
    return replace(recipe, embed=embed, head=head, overrides=(*recipe.overrides, *others))


def _scheme(text: str) -> Scheme:
    if text in _WORDS:
        return _WORDS[text]
    if table := _TABLE.fullmatch(text):
        return _table(text, int(table[1]), int(table[2] or 32), _NUMBERS[table[3] or "fp32"])
    match = _FORM.fullmatch(text)
    if match is None:
        raise EdgeError(
            f"{text!r} is no recipe",
            fix=f"use {', '.join(NAMED)}, int8, int4, or [method-]intB[-gG][-asym|-min][-fp16|-bf16]"
            " such as rtn-int4-g64-min-fp16, or lutB[-gR][-fp16] such as lut4-g32-fp16; for gguf also "
            f"{', '.join(ggml.MIXTURES)}",
        )
    method, bits, group = match[1] or "rtn", int(match[2]), int(match[3] or 32)
    methods = [name for name in METHODS if name not in TABLES]
    if method not in methods:
        raise EdgeError(
            f"recipe {text!r}: no method {method!r}", fix=f"use one of: {', '.join(methods)}"
        )
    if bits not in _BITS or group not in _GROUPS:
        raise EdgeError(
            f"recipe {text!r}: {bits} bits in groups of {group}",
            fix=f"use {', '.join(map(str, _BITS))} bits, groups of {', '.join(map(str, _GROUPS))}",
        )
    scheme = Scheme(bits, group, _ZEROS[match[4]], _NUMBERS[match[5] or "fp32"])
    if method == "ggml" and replace(scheme, method="ggml") not in ggml.FORMATS.values():
        raise EdgeError(
            f"recipe {text!r} is no format of ggml", fix=f"use {', '.join(ggml.FORMATS)}"
        )
    return replace(scheme, method=method)


def _table(text: str, bits: int, rows: int, number: Float) -> Scheme:
    if bits not in _TABLE_BITS or rows not in _TABLE_ROWS:
        raise EdgeError(
            f"recipe {text!r}: {bits} bits, a table for {rows} rows",
            fix=f"use {', '.join(map(str, _TABLE_BITS))} bits, tables for {', '.join(map(str, _TABLE_ROWS))} rows",
        )
    return Scheme(bits, rows, "table", number, "kmeans")
