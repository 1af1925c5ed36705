"""Which names regular expressions match, in a process of its own, which may be killed.

Run as a script, never imported.
{"patterns", "names"} -> {"found": for each pattern the places of names} or {"error"}.
"""

import json
import re
import sys
from typing import Any


def main() -> None:
    """Answer requests."""
    sys.path[:], forks = json.loads(sys.stdin.buffer.readline())
    from edge.system.child import serve

    serve(lambda: lambda _: _answer, forks=forks)


def _answer(request: Any) -> dict[str, Any]:
    try:
        known = [re.compile(pattern) for pattern in request["patterns"]]
    except (re.error, RecursionError, OverflowError) as error:
        return {"error": str(error)[:500]}
    names = request["names"]
    return {"found": [[i for i, n in enumerate(names) if one.fullmatch(n)] for one in known]}


if __name__ == "__main__":
    main()
