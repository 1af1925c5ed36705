"""What precision each weight gets: `fp32`, `fp16`, `bf16`, ggml's own `q4_0`, …,
`[method-]intB[-gG|-row][-asym|-min][-fp16|-bf16]`, `[method-]lutB[-gR][-fp16|-bf16]`, or `method[-gG][-fp16|-bf16]`.

`int4-g64-asym` has a zero for each group, `-min` a minimum, a last `-fp16` scales of that type; in
`lut4-g16` a code is an entry of a table that 16 rows share; `nf4` is a method whose levels are its own,
and so its name says what its codes mean. A method is a file (`edge.quant.methods`); a name is cut at its
hyphens, so one may hold digits. What `int4` and `int8` mean is for the target to say; where none is
named, `rtn-int4-g32`. The embedding and the head follow the body unless
they are given a precision of their own, and so does any weight that a pattern names. `q4_k_m` and its
like are mixtures of types that llama.cpp's own library makes: `edge.convert.mixtures` says of which.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from edge.errors import EdgeError
from edge.quant import ggml
from edge.quant.methods import Balance, Calibrated, Method, Training, methods
from edge.quant.tensor import FLOATS, ROW, Float, QTensor, Scheme, Zero, rounded
from edge.quant.unfit import Unfit, first_wrong
from edge.typing import F32

_ZEROS: Mapping[str | None, Zero] = {None: "middle", "asym": "integer", "min": "minimum"}
_NUMBERS: Mapping[str | None, Float] = {None: "fp32", **{name: name for name in FLOATS}}
_USUAL = {"int": "rtn", "lut": "kmeans"}  # who rounds, where no method is named
_FORM = re.compile(
    r"(?!.*lut.*-(?:asym|min))(?:([a-z][a-z0-9]*)-)?(int|lut)([0-9]{1,4})(?:-g([0-9]{1,4})|-(row))?(?:-(asym|min))?(?:-(fp32|fp16|bf16))?"
)
# Methods that train beside codes: which codes.
_BESIDE = {"qlora": "nf4-g64-fp16", "irqlora": "icq-g64-fp16"}
_FEW = 8  # patterns that a line can tell
_OWN = re.compile(r"([a-z][a-z0-9]*)(?:-g([0-9]{1,4}))?(?:-(fp32|fp16|bf16))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The schemes of the body, the embedding, the head, and of weights that a pattern names: the first
    that fits a canonical name holds. `mixture`: whose name the recipe has, if it is one. `short`: which of body,
    embed and head a short name asked for, and `chosen`, which of these with the widest groups that divide their rows
    (`edge.quant.fitting`).
    `made`: codes of weights that are made already, for they take more than the weights to make.
    """

    body: Scheme
    embed: Scheme
    head: Scheme
    overrides: tuple[tuple[str, Scheme], ...] = ()
    mixture: str | None = None
    short: frozenset[str] = frozenset()
    chosen: frozenset[str] = frozenset()
    made: dict[str, QTensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def foreign(self) -> bool:
        """Whether a library of the target's makes any weight."""
        every = (self.body, self.embed, self.head, *(scheme for _, scheme in self.overrides))
        return self.mixture is not None or any(scheme.block_bytes for scheme in every)

    @property
    def by_inputs(self) -> bool:
        """Whether weights of layers or of the head are made by what they are multiplied with."""
        return any(_method_of(scheme, "calibrated") for scheme in (*self._inner(), self.head))

    @property
    def balanced(self) -> bool:
        """Whether weights are balanced before they are rounded."""
        return any(_method_of(scheme, "balance") for scheme in self._inner())

    def balance(self, name: str) -> Balance | None:
        """How the inputs of a matrix of a layer are balanced, if its method does so."""
        found: Balance | None = _method_of(self.scheme(name), "balance")
        return found

    def calibrated(self, name: str) -> Calibrated | None:
        """How a matrix that is multiplied with is made by its inputs, if its method asks for them."""
        found: Calibrated | None = _method_of(self.scheme(name), "calibrated")
        return found

    @property
    def trained(self) -> bool:
        """Whether weights of layers are trained."""
        return any(_method_of(scheme, "training") for scheme in self._inner())

    def training(self, name: str) -> Training | None:
        """How a matrix of a layer is trained, if its method does so."""
        found: Training | None = _method_of(self.scheme(name), "training")
        return found

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
        made = self._codes(name, weights, scheme, row)
        for part in (made.scales, made.zeros):
            wrong = None if part is None else first_wrong(part)
            if wrong is not None:
                raise Unfit(name, row + wrong * scheme.rows_of_scales, scheme)
        return made

    def _inner(self) -> tuple[Scheme, ...]:
        """What weights of layers are stored as."""
        return (self.body, *(scheme for _, scheme in self.overrides))

    def _codes(self, name: str, weights: F32, scheme: Scheme, row: int) -> QTensor:
        made = self.made.get(name)
        if made is None or made.scheme != scheme:
            return methods()[scheme.method].quantize(weights, scheme)
        return made.cut(row, row + len(weights))

    def check(self, names: Mapping[str, object]) -> None:
        """Every pattern must fit a weight: a typing error is not ignored."""
        for pattern, _ in self.overrides:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise EdgeError(
                    f"no weight is named like {pattern!r}",
                    fix="use names such as layers.0.attn.q, layers.*.mlp.down, embed, head",
                )

    @property
    def brief(self) -> str:
        """In few words, where many weights have their own."""
        few = len(self.overrides) <= _FEW
        return str(self) if few else f"{word(self.body)} and {len(self.overrides)} others"

    def __str__(self) -> str:
        if self.mixture is not None:
            return self.mixture
        text = word(self.body)
        text += f" embed={word(self.embed)}" if self.embed != self.body else ""
        text += f" head={word(self.head)}" if self.head != self.body else ""
        return text + "".join(f" {pattern}={word(scheme)}" for pattern, scheme in self.overrides)


def _method_of(scheme: Scheme, what: str) -> Any:
    """What the method of codes offers; None for floats, and for types of a library."""
    made_here = not scheme.is_float and not scheme.block_bytes
    return getattr(methods()[scheme.method], what) if made_here else None


def word(scheme: Scheme) -> str:
    """A scheme as `parse` reads it."""
    words = {value: key for key, value in named().items()}
    if scheme in words:
        return words[scheme]
    return f"rtn-{scheme}" if scheme.method == "rtn" else str(scheme)


def parse(
    text: str,
    *,
    embed: str | None = None,
    head: str | None = None,
    overrides: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    bodies: Mapping[str, str] | None = None,
) -> Recipe:
    """A recipe from its name and, for the embedding, the head and patterns of names, names of schemes.

    `aliases`: what short names mean to a target; `bodies`: what they mean for matrices of layers, where that is
    another thing.
    """
    known = aliases or {}
    better = (bodies or {}).get(text)
    given = {"body": better is None, "embed": embed is not None, "head": head is not None}
    asked = {"body": text, "embed": embed or text, "head": head or text}
    text = known.get(text, text)
    mixture = text if text in ggml.MIXTURES else None
    plain = _scheme(ggml.MIXTURES.get(text, text))
    ends = _ends(plain)
    own = [ends if part is None else _scheme(known.get(part, part)) for part in (embed, head)]
    some = [(name, _scheme(known.get(part, part))) for name, part in (overrides or {}).items()]
    return Recipe(
        body=plain if better is None else _scheme(better),
        embed=own[0],
        head=own[1],
        overrides=tuple(some),
        mixture=mixture,
        short=frozenset(part for part, name in asked.items() if name in known),
        chosen=frozenset(part for part in given if better and not given[part]),
    )


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


def named() -> Mapping[str, Scheme]:
    """Schemes that have a word of their own: floats, and what methods call so."""
    return {
        **{str(scheme): scheme for scheme in FLOATS.values()},
        **{word: s for method in methods().values() for word, s in method.names.items()},
    }


def _scheme(text: str) -> Scheme:
    if text in named():
        return named()[text]
    if beside := _BESIDE.get(text.partition("-")[0]):
        raise EdgeError(
            f"recipe {text!r}: {text.partition('-')[0]} trains an adapter, which a conversion does not",
            fix="edge train lora, with `method` in the adapter of its recipe; then --adapter. "
            f"The weights that it learns beside are {beside}",
        )
    if match := _FORM.fullmatch(text):
        name, kind, bits, group, row, zero, number = match.groups()
        method = _method(text, name or _USUAL[kind], kind)
        strategy: Zero = "table" if kind == "lut" else _zero(method, zero)
        wished = Scheme(
            int(bits),
            ROW if row else int(group or method.group),
            strategy,
            _NUMBERS[number],
            method.name,
            rotated=method.schemes[0].rotated,
        )
        return _made(text, wished, method)
    if (match := _OWN.fullmatch(text)) and match[1] in _of_kind(""):
        method = methods()[match[1]]
        first = next(scheme for scheme in method.schemes if not scheme.kind)
        wished = replace(first, group=int(match[2] or method.group), number=_NUMBERS[match[3]])
        return _made(text, wished, method)
    words = [word for word, scheme in named().items() if not scheme.block_bytes]
    forms = [f", {name}[-gG][-fp16|-bf16]" for name in _of_kind("")]
    raise EdgeError(
        f"{text!r} is no recipe",
        fix=f"use {', '.join(words)}, int8, int4, or [method-]intB[-gG][-asym|-min][-fp16|-bf16]"
        f" such as rtn-int4-g64-min-fp16, lutB[-gR][-fp16] such as lut4-g32-fp16{''.join(forms)}; "
        f"for gguf also {', '.join(ggml.MIXTURES)}",
    )


def _zero(method: Method, asked: str | None) -> Zero:
    """The one that a recipe names; or a method's own, where it has one alone."""
    own = list(dict.fromkeys(scheme.zero for scheme in method.schemes))
    return own[0] if asked is None and len(own) == 1 else _ZEROS[asked]


def _ends(body: Scheme) -> Scheme:
    """What the embedding and the head are beside it."""
    if body.is_float or body.block_bytes:
        return body
    ends = methods()[body.method].ends
    return body if ends is None else replace(_scheme(ends), number=body.number)


def _of_kind(kind: str) -> list[str]:
    """Methods whose recipes are called so."""
    return [name for name, method in methods().items() if kind in method.kinds()]


def _method(text: str, name: str, kind: str) -> Method:
    able = _of_kind(kind)
    if name not in able:
        raise EdgeError(
            f"recipe {text!r}: no method {name!r} makes {kind}B",
            fix=f"use one of: {', '.join(able)}",
        )
    return methods()[name]


def _made(text: str, wished: Scheme, method: Method) -> Scheme:
    """A scheme, if its method makes it."""
    if wished in method.schemes:
        return wished
    words = [word for word, scheme in method.names.items() if scheme in method.schemes]
    if words:
        raise EdgeError(
            f"recipe {text!r} is no format of {method.name}", fix=f"use {', '.join(words)}"
        )
    alike = [scheme for scheme in method.schemes if scheme.kind == wished.kind]
    bits, groups, zeros, numbers = (
        dict.fromkeys(getattr(scheme, name) for scheme in alike)
        for name in ("bits", "group", "zero", "number")
    )
    group = "a table for {} rows" if wished.zero == "table" else "groups of {}"
    some = _or(size for size in groups if size != ROW)
    fix = f"with {method.name} use {_or(bits)} bits, {group.format(some)}"
    fix += "" if wished.zero in zeros else ", and no zeros of that kind"
    fix += "" if wished.number in numbers else f", numbers in {_or(numbers)}"
    what = "a scale a row" if wished.group == ROW else group.format(wished.group)
    raise EdgeError(f"recipe {text!r}: {wished.bits} bits, {what}", fix=fix)


def _or(values: Iterable[object]) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} or {last}" if first else last
