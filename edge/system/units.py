"""Numbers as people read them."""

import re

_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([kKMGT]i?)?B?")


def nbytes(text: str) -> int:
    """2.0GB, 600 MB, 1.5GiB or 1000000 -> bytes. ValueError for what is none."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size")
    number, unit = found[1], (found[2] or "").upper()
    base = 1024 if unit.endswith("I") else 1000
    return int(float(number) * base ** " KMGT".index(unit[:1] or " "))


def size(count: float) -> str:
    """Bytes: 2.47 GB, in powers of a thousand."""
    return scaled(count, ("B", "kB", "MB", "GB", "TB"))


def count(number: float) -> str:
    """A large number: 3.82 B for billions."""
    return scaled(number, ("", "k", "M", "B", "T")).rstrip()


def scaled(number: float, units: tuple[str, ...]) -> str:
    """Three digits and the unit that they need, each a thousand times the one before."""
    place = 0
    while number >= 999.5 and place < len(units) - 1:
        number /= 1000
        place += 1
    digits = 0 if place == 0 else max(0, 3 - len(f"{number:.0f}"))
    return f"{number:.{digits}f} {units[place]}"
