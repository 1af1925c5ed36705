"""Compiles one grammar and takes its first steps, in a process of its own, which may be killed.

Run as a script, never imported. Grammars come from clients, and the library that compiles them can
be made to crash (numbers of 64 bits) and to run for ever (what is ignored without end): neither is an
exception. A form that survives here is compiled again where it is used.
stdin: {"path", "seconds", "megabytes", "kind", "text"}; stdout: {"source"} or {"error"}.
"""

import json
import sys
from typing import Any

STEPS = 8


def main() -> None:
    """Read the request, try the grammar, write the answer."""
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    import llguidance
    import numpy as np

    from edge.confined import limit

    limit(request["seconds"], request["megabytes"])
    make: Any = {
        "JSON schema": llguidance.JsonCompiler(whitespace_flexible=False).compile,
        "regular expression": llguidance.LLMatcher.grammar_from_regex,
        "Lark grammar": llguidance.LLMatcher.grammar_from_lark,
    }[request["kind"]]
    try:
        source = make(request["text"])
        problem = llguidance.LLMatcher.validate_grammar(source)
        answer = {"error": problem} if problem else {"source": source}
        if not problem:
            for which in (0, -1):
                _walk(llguidance, np, source, which)
    except BaseException as error:  # a panic inside the library is no Exception
        answer = {"error": str(error)[:500] or type(error).__name__}
    json.dump(answer, sys.stdout)


def _walk(library: Any, np: Any, source: str, which: int) -> None:
    """A few bytes of an answer: each time the first, or the last, that is allowed."""
    tokens = library.LLTokenizer("byte")
    matcher = library.LLMatcher(tokens, source)
    bits = np.zeros(-(-tokens.vocab_size // 32), np.int32)
    for _ in range(STEPS):
        for token in matcher.compute_ff_tokens():
            matcher.consume_token(token)
        if matcher.is_error() or matcher.is_stopped():
            return
        matcher.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
        allowed = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
        if not len(allowed) or not matcher.consume_token(int(allowed[which])):
            return


if __name__ == "__main__":
    main()
