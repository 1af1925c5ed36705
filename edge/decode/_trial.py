"""Compiles one grammar and takes its first steps, in a process of its own, which may be killed.

Run as a script, never imported. Grammars come from clients, and the library that compiles them can
be made to crash (numbers of 64 bits) and to run for ever (what is ignored without end): neither is an
exception. A form that survives here is compiled again where it is used.
{"kind", "text"} -> {"source"} or {"error"}.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

STEPS = 8


def main() -> None:
    """Answer requests."""
    sys.path[:], forks = json.loads(sys.stdin.buffer.readline())
    from edge.system.child import serve

    serve(_prepared, forks=forks)


def _prepared() -> Callable[[object], Callable[[Any], dict[str, Any]]]:
    import llguidance

    def answer(request: Any) -> dict[str, Any]:
        make: Any = {
            "JSON schema": llguidance.JsonCompiler(whitespace_flexible=False).compile,
            "regular expression": llguidance.LLMatcher.grammar_from_regex,
            "Lark grammar": llguidance.LLMatcher.grammar_from_lark,
        }[request["kind"]]
        try:
            source = make(request["text"])
            if problem := llguidance.LLMatcher.validate_grammar(source):
                return {"error": problem}
            for which in (0, -1):
                _walk(llguidance, source, which)
        except BaseException as error:  # a panic inside the library is no Exception
            return {"error": str(error)[:500] or type(error).__name__}
        return {"source": source}

    return lambda _: answer


def _walk(library: Any, source: str, which: int) -> None:
    """A few bytes of an answer: each time the first, or the last, that is allowed."""
    matcher = library.LLMatcher(library.LLTokenizer("byte"), source)
    for _ in range(STEPS):
        for token in matcher.compute_ff_tokens():
            matcher.consume_token(token)
        if matcher.is_error() or matcher.is_stopped():
            return
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        allowed = [token for token in range(mask.bit_length()) if mask >> token & 1]
        if not allowed or not matcher.consume_token(allowed[which]):
            return


if __name__ == "__main__":
    main()
