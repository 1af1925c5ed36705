"""What there is to quantize by: every method, and the recipes that name it."""

from typing import Any

from edge.quant.methods import Method, methods
from edge.quant.recipe import word
from edge.quant.tensor import Scheme

Row = dict[str, Any]


def list_recipes() -> list[Row]:
    """What each method makes, in the words of recipes: by its file, so that a new one is here at once."""
    return [
        {
            "method": method.name,
            "recipe": word(_usual(method, kind)),
            "bits": _values(method, kind, "bits"),
            "groups": _values(method, kind, "group"),
            "zeros": _values(method, kind, "zero"),
            "numbers": _values(method, kind, "number"),
            "names": [name for name, scheme in method.names.items() if scheme in method.schemes],
        }
        for method in methods().values()
        for kind in method.kinds()
    ]


def _usual(method: Method, kind: str) -> Scheme:
    """The one that is nearest to four bits in the groups that the method names."""
    alike = [scheme for scheme in method.schemes if scheme.kind == kind]
    return min(alike, key=lambda s: (abs(s.bits - 4), s.group != method.group))


def _values(method: Method, kind: str, field: str) -> list[Any]:
    found = (getattr(scheme, field) for scheme in method.schemes if scheme.kind == kind)
    return list(dict.fromkeys(found))
