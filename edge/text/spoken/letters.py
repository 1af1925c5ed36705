"""Rules of reading for letters: addresses, abbreviations, capitals, names of letters, words."""

import re
import unicodedata
from collections.abc import Iterator

from edge.text.spoken import numbers
from edge.text.spoken.english import folded, tables
from edge.text.spoken.numbers import Words
from edge.text.spoken.place import END, Place, Row, one_of

_VOWELS = frozenset("aeiouyAEIOUY")
_LONGEST = 64  # letters of a word: a longer one is none


def first_rules() -> Iterator[Row]:
    """Those that come before the ones for figures: whole texts, and addresses, whatever they hold."""
    top = "com|org|net|edu|gov|io|ai|dev|co|uk|us|de|fr|app|info|me|tv|html|eu"
    last = r"[^\s<>\".,;:!?)'\]]"  # a point or a bracket after an address is none of it
    yield r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,8}", _address, True
    yield rf"(?:[a-z]{{2,8}}://|www\.)[^\s<>\"]{{0,500}}{last}", _address, True
    yield (
        rf"(?:[\w-]{{1,64}}\.){{1,6}}(?:{top})(?![\w-])(?:/[^\s<>\"]{{0,300}}{last})?/?",
        _address,
        True,
    )
    yield one_of(list(tables()["phrases"])) + r"(?![\w'’])", _phrase, True
    yield rf"([IVXLCDM]{{1,12}})(['’]s)?{END}(?!['’.-]\w)", _roman, False


def rules() -> Iterator[Row]:
    """Those that come after them."""
    names = sorted(tables()["abbreviations"], key=len, reverse=True)
    whole = r"(?![\w'’])(?!\.\w)"  # a letter after it makes it another word
    written = "|".join(re.escape(name) + ("" if name[-1] in "./" else whole) for name in names)
    yield r"St\.", _saint_or_street, False
    yield r"Dr\.?" + END, _doctor_or_drive, False
    yield written, _abbreviation, True
    yield r"(?:[^\W\d_]\.){2,10}(?!\w)|[A-HJ-Z]\.(?= ?[A-Z])", _initials, False
    yield rf"[#@](\w{{2,64}})(?<!\d){END}", _tag, False
    yield r"[\u0370-\u03ff](?!\w)", _greek, False
    yield r"['’]?[^\W\d_]+(?:['’ʼ-][^\W\d_]+)*(?:['’](?!\w))?", _word, False


def _address(place: Place) -> Words:
    """Of a page or of mail; the scheme is not spoken."""
    text = re.sub(r"^[a-z]+://", "", place[0], flags=re.IGNORECASE)
    out: Words = []
    for run in re.findall(r"[^\W\d_]+|\d+|[\W_]", text):
        if run.isdigit():
            out += numbers.cardinal(run) if len(run) < 4 else numbers.spelled_out(run)
        elif run[0].isalpha():
            short = len(run) == 1 or (len(run) == 2 and not place.known(run.lower()))
            out += list(run.upper()) if short else said_or_spelled(run.lower(), place)
        else:
            out += tables()["address"].get(run, "").split()
    return out


def _phrase(place: Place) -> Words:
    return tables()["phrases"][folded(place[0]).lower()].split()


def _roman(place: Place) -> Words | None:
    """After a word that such numerals follow: of kings it is which, of wars how many."""
    value, contexts = numbers.roman(place[1]), tables()["contexts"]
    if not 0 < value < 100:
        return None
    if place.before in contexts["cardinals"]:
        said = numbers.cardinal(str(value))
    elif place.before in contexts["ordinals"] and (len(place[1]) > 1 or place[1] in "VX"):
        said = ["the", *numbers.ordinal(str(value))]
    else:
        return None
    return [*said[:-1], said[-1] + ("'s" if place[2] else "")]


def _tag(place: Place) -> Words:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", place[1])
    out: Words = ["hashtag"] if place[0][0] == "#" else ["at"]
    for word in words:
        out += numbers.cardinal(word) if word.isdigit() else said_or_spelled(word, place)
    return out


def _abbreviation(place: Place) -> Words | None:
    written = place[0].lower()
    if written not in tables()["abbreviations"] or not _belongs(written, place):
        return None
    return str(tables()["abbreviations"][written]).split()


def _belongs(written: str, place: Place) -> bool:
    """Whether an abbreviation that is also a word stands where only the abbreviation does."""
    rules, after = tables()["abbreviation_rules"], place.after.lstrip()
    if written in rules["before_numbers"]:
        return after[:1].isdigit()
    if written in rules["before_names"]:
        return after[:1].isupper() and (place[0][0].isupper() or written == "v.")
    return written not in rules["after_numbers"] or bool(place.before)


def _saint_or_street(place: Place) -> Words | None:
    """A saint has a name after, a street one before."""
    after, before = place.after.lstrip(" "), place.match.string[: place.match.start()].rstrip(" ")
    named = after[:1].isupper() and not (before[-1:].isalpha() and before.split()[-1][:1].isupper())
    return ["saint" if named else "street"]


def _doctor_or_drive(place: Place) -> Words | None:
    after, before = place.after.lstrip(" "), place.match.string[: place.match.start()].rstrip(" ")
    drive = not after[:1].isupper() and bool(before) and before.split()[-1][:1].isupper()
    return ["drive" if drive else "doctor"]


def _initials(place: Place) -> Words:
    """J. R. R. and U.S.S.R."""
    return [letter.upper() for letter in place[0] if letter.isalpha()]


def _word(place: Place) -> Words:
    """Letters, with apostrophes inside and hyphens between, as they are; capitals may be spelled. What is no English
    is taken, and not spoken.
    """
    text = folded(place[0])
    if len(text) > _LONGEST or not text.isascii():
        return []
    if "-" in text and not place.known(text.lower()) and not place.known(text):
        return [word for part in text.split("-") if part for word in _cased(part, place)]
    return _cased(text, place)


def _cased(text: str, place: Place) -> Words:
    if text[-1:] == "'" and not place.known(text):  # a quotation ends
        text = text[:-1]
    if len(text) == 1:
        return [text.lower()] if text in "aAI" else [text.upper()]
    stem, ending = (text[:-2], text[-2:].lower()) if text[-2:].lower() == "'s" else (text, "")
    if stem.isupper() and len(stem) > 1:
        return _capitals(stem, ending, place)
    plural = re.fullmatch(r"([A-Z]{2,})s", stem)
    if plural and not place.known(stem):
        return _capitals(plural[1], "s", place)
    if re.fullmatch(r"[A-Z]?[a-z]+(?:[A-Z][a-z]*)+", stem) and not place.known(stem) and not ending:
        parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[A-Z]", stem)
        return [
            word
            for part in parts
            for word in (said_or_spelled(part, place) if part[1:] else [part.upper()])
        ]
    return said_or_spelled(text, place)


def _capitals(stem: str, ending: str, place: Place) -> Words:
    """NASA and STOP are words, USA and CEO are letters; where all is in capitals, words come first."""
    if place.shouted and place.known(stem.lower()):
        return [stem.lower() + ending]
    if place.known(stem):
        return [stem + ending]
    if len(stem) > 2 and place.known(stem.lower()) and _VOWELS & set(stem):
        return [stem.lower() + ending]
    if len(stem) > 5 or (place.shouted and len(stem) > 3 and _VOWELS & set(stem)):
        return said_or_spelled(stem.lower() + ending, place)
    return [*stem[:-1], stem[-1] + ("'s" if ending else "")]


def said_or_spelled(text: str, place: Place) -> Words:
    """A word, or letters where none can be said."""
    if (
        place.known(text)
        or place.known(text.lower())
        or _VOWELS & set(text.replace("'", ""))
        or len(text) > 5
    ):
        return [text]
    return [letter.upper() for letter in text if letter.isalpha()]


def _greek(place: Place) -> Words | None:
    """A single letter stands for a number or an angle, and is called by its name; of a word there is none."""
    name = unicodedata.name(place[0], "")
    return (
        [name.rsplit(" ", 1)[-1].lower()]
        if name.startswith("GREEK") and "WITH" not in name
        else None
    )
