"""What precision each weight gets: `fp32`, `fp16`, `int8`, `int4`, or `[method-]intB[-gG]`.

`int4` is `rtn-int4-g32`. The embedding and the head follow the body unless they are given a
precision of their own.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edge.errors import Damaged, EdgeError
from edge.quant import rtn
from edge.quant.tensor import FP16, FP32, QTensor, Scheme
from edge.typing import F32

METHODS: Mapping[str, Callable[[F32, Scheme], QTensor]] = {"rtn": rtn.quantize}
_BITS, _GROUPS = (4, 8), (32, 64, 128)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A method, and the schemes of the body, the embedding and the head."""

    method: str
    body: Scheme
    embed: Scheme
    head: Scheme

    def scheme(self, name: str, *, by_row: bool = False) -> Scheme:
        """How a matrix is stored; a tied table is the embedding where it is asked for by row, else
        the head.
        """
        if by_row:
            return self.embed
        return self.head if name in ("head", "embed") else self.body

    def stored(self, name: str, weights: F32, scheme: Scheme) -> F32 | QTensor:
        """Rows of a weight as this recipe stores them: `weights` [N, K] -> the same as floats or
        codes.
        """
        if scheme.is_float:
            return weights
        made = METHODS[self.method](weights, scheme)
        if not np.isfinite(made.scales).all():
            raise Damaged(
                f"{name} holds NaN or infinity, which {scheme} cannot",
                fix="get the checkpoint again, or convert with --quant fp32 to look into it",
            )
        return made

    def __str__(self) -> str:
        text = str(self.body) if self.body.is_float else f"{self.method}-{self.body}"
        text += f" embed={self.embed}" if self.embed != self.body else ""
        return text + (f" head={self.head}" if self.head != self.body else "")


def parse(text: str, *, embed: str | None = None, head: str | None = None) -> Recipe:
    """A recipe from its name and, for the embedding and the head, names of schemes."""
    method, body = _scheme(text)
    schemes = [body if part is None else _scheme(part)[1] for part in (embed, head)]
    return Recipe(method=method, body=body, embed=schemes[0], head=schemes[1])


def _scheme(text: str) -> tuple[str, Scheme]:
    floats = {"fp32": FP32, "fp16": FP16}
    if text in floats:
        return "rtn", floats[text]
    match = re.fullmatch(r"(?:([a-z]+)-)?int([0-9]{1,4})(?:-g([0-9]{1,4}))?", text)
    if match is None:
        raise EdgeError(
            f"{text!r} is no recipe",
            fix="use fp32, fp16, int8, int4, or [method-]intB[-gG] such as rtn-int4-g64",
        )
    method, bits, group = match[1] or "rtn", int(match[2]), int(match[3] or 32)
    if method not in METHODS:
        raise EdgeError(
            f"recipe {text!r}: no method {method!r}", fix=f"use one of: {', '.join(METHODS)}"
        )
    if bits not in _BITS or group not in _GROUPS:
        raise EdgeError(
            f"recipe {text!r}: {bits} bits in groups of {group}",
            fix=f"use {' or '.join(map(str, _BITS))} bits, groups of {', '.join(map(str, _GROUPS))}",
        )
    return method, Scheme(bits, group)
