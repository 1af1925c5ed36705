"""Files within a request: as data URLs, for nothing is fetched."""

import base64
import binascii
import re

from edge.serve.fields import FieldError

_DATA = re.compile(
    r"data:(\w{1,16})/[\w.+-]{1,32}(;[\w=.-]{1,32})?;base64,", re.ASCII | re.IGNORECASE
)
_BLANK = re.compile(r"[\s=]+", re.ASCII)


def content_of(url: str, kind: str, *, field: str, what: str) -> bytes:
    """The file itself. `kind`: image or audio; `field` and `what`: for an error, whose it is."""
    begin = _DATA.match(url)
    if begin is None or begin[1].lower() != kind:
        example = {"image": "image/png", "audio": "audio/wav"}[kind]
        raise FieldError(
            field,
            f"{what} is no data URL, and nothing is fetched here",
            fix=f"send data:{example};base64,… with the file itself",
        )
    # Clients break its lines, as MIME does, and leave out what fills its end.
    text = _BLANK.sub("", url[begin.end() :])
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise FieldError(
            field, f"{what} has a data URL that is no base64", fix="encode the file again"
        ) from None
