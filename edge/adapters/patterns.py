"""Which modules of a model an adapter's config means: by the end of their names, or by regular expressions.

A stranger's expression may take for ever: one that is more than a name is tried in a process apart.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import Damaged
from edge.system.confined import Limits, ask

ALL = "all-linear"
_SCRIPT = Path(__file__).parent / "_matching.py"
_LIMITS = Limits(seconds=1, patience=20.0, megabytes=512)
_PLAIN = re.compile(r"[\w.\-]*")  # a dot of an expression is any letter, and takes no time
_LONGEST = 1 << 16  # letters of all expressions


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """`modules`: ends of names, an expression, or `ALL` but the head; of them not those that `exclude` means.
    `layers`: of these layers alone, if any; their number follows a name that is one of `lists`, if any.
    """

    modules: tuple[str, ...] | str
    exclude: tuple[str, ...] | str = ()
    layers: tuple[int, ...] = ()
    lists: tuple[str, ...] = ()

    def among(self, names: Iterable[str], head: str | None = None) -> frozenset[str]:
        """Those of a model's modules that are meant; `head`: which of them makes logits."""
        known = sorted(names)
        every = [name for name in known if name != head]
        found = every if self.modules == ALL else _meant(self.modules, known)
        left = set(_meant(self.exclude, known)) if self.exclude else set()
        return frozenset(n for n in found if n not in left and self._in_layers(n))

    def _in_layers(self, name: str) -> bool:
        if not self.layers:
            return True
        before = "|".join(map(re.escape, self.lists)) or r"[^.]*"
        start = r"(?:^|.*?\.)" if self.lists else r".*?\."
        found = re.match(rf"{start}(?:{before})\.(\d+)\.", name)
        return found is not None and int(found[1]) in self.layers


def by_pattern(table: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """PEFT's rank_pattern or alpha_pattern: the value of the first expression that matches a name, or its end
    after a dot. Names that none matches have none.
    """
    out: dict[str, float] = {}
    found = _matching(list(table), names, before=r"(?:.*\.)?")
    for value, matched in zip(table.values(), found, strict=True):
        for name in matched:
            out.setdefault(name, value)
    return out


def _meant(modules: tuple[str, ...] | str, names: Sequence[str]) -> list[str]:
    if isinstance(modules, str):
        return _matching([modules], names)[0]
    ends = tuple(f".{module}" for module in modules)
    return [name for name in names if name in modules or name.endswith(ends)]


def _matching(patterns: Sequence[str], names: Sequence[str], before: str = "") -> list[list[str]]:
    """For each expression the names that all of it matches, in their order; `before`: what may come first."""
    whole = [f"{before}(?:{pattern})" for pattern in patterns]
    if sum(map(len, whole)) > _LONGEST:
        raise _unusable("they are too long")
    if all(_PLAIN.fullmatch(pattern) for pattern in patterns):
        return [[name for name in names if re.fullmatch(pattern, name)] for pattern in whole]
    answer = ask(_SCRIPT, {"patterns": whole, "names": list(names)}, _LIMITS)
    if "error" in answer:
        raise _unusable(answer["error"])
    return [[names[int(at)] for at in found] for found in answer["found"]]


def _unusable(why: object) -> Damaged:
    return Damaged(
        f"the regular expressions of adapter_config.json cannot be used: {why}",
        fix="name the modules one by one there",
    )
