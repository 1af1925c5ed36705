"""The chat page, and what a browser may do with it: nothing but its own script and this server."""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

_PARTS = re.compile(
    r'<(?:link rel="stylesheet" href|script src)="(\w+\.(?:css|js))">(?:</script>)?'
)


def html() -> str:
    """One page, with what lies beside it in its place: nothing is asked for once it is there."""
    return _PARTS.sub(lambda found: _inside(found[1]), _beside("page.html"))


def _inside(name: str) -> str:
    tag = {"css": "style", "js": "script"}[name.rsplit(".", 1)[1]]
    return f"<{tag}>\n{_beside(name)}</{tag}>"


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def headers(page: str) -> Mapping[str, str]:
    """For the page: its script and style are named by their hashes, so that no other ever runs."""
    policy = {
        "default-src": "'none'",
        "script-src": _hashes(page, "script"),
        "style-src": _hashes(page, "style"),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }


# For every answer: a browser takes it as what it is said to be, and tells nobody where it came from.
ALWAYS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def _hashes(page: str, tag: str) -> str:
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (hashlib.sha256(text.encode()).digest() for text in found)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
