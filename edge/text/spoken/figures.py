"""Rules of reading for what holds digits: numbers, money, dates, times, measures."""

import re
from collections.abc import Iterator

from edge.text.spoken import numbers
from edge.text.spoken.english import folded, tables
from edge.text.spoken.letters import said_or_spelled
from edge.text.spoken.numbers import Words
from edge.text.spoken.place import END, NUMBER, Place, Row, one_of

_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def rules() -> Iterator[Row]:
    """In the order in which they are asked."""
    yield from _dates()
    yield from _counts()


def _dates() -> Iterator[Row]:
    months, signs, sizes = (one_of(list(tables()[n])) for n in ("months", "money", "magnitudes"))
    half = rf"([ap]\.m\.|[ap]m{END}|[AP]\.M\.|[AP]M{END})"
    year = rf"(?:,? (\d{{4}}){END})?"
    yield rf"({signs}) ?({NUMBER}) ?[-–—] ?(?:{signs})? ?({NUMBER}){END}", _money_range, False
    yield rf"([-−]?)({signs}) ?({NUMBER})(?:[ -]?({sizes}){END})?(?!\d)", _money, False
    yield rf"({NUMBER}) ?(€|£|USD|EUR|GBP){END}", _money_after, False
    yield rf"(\d{{4}})-(\d\d)-(\d\d){END}", _iso_date, False
    yield rf"(\d{{1,2}})/(\d{{1,2}})/(\d{{4}}|\d\d){END}", _slash_date, False
    yield rf"({months})\.? (\d{{1,2}})(?:st|nd|rd|th)?{END}(?!:){year}", _month_day, True
    yield rf"(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({months}){END}\.?{year}", _day_month, True
    yield rf"({months})\.?,? (\d{{4}}){END}", _month_year, True
    yield rf"['’]?(\d\d)?(\d0)['’]?s{END}", _decade, False
    yield rf"(\d{{1,2}}):(\d\d)(?::(\d\d))?(?: ?{half})?(?![\d:])", _clock, False
    yield rf"(\d{{1,2}}) ?{half}", _hour, False


def _counts() -> Iterator[Row]:
    units = one_of(list(tables()["units"]))
    local = r"\d{3}[-. ]\d{4}"
    yield (
        rf"(?:\+\d{{1,3}}[ -])?(?:\(\d{{3}}\) ?|\d{{3}}[-. ]){local}{END}|\d{{3}}-\d{{4}}{END}",
        _telephone,
        False,
    )
    yield rf"\+\d{{7,15}}{END}|\+\d{{1,3}}(?:[ -]\d{{2,5}}){{2,5}}{END}", _telephone, False
    yield rf"[vV]\d+(?:\.\d+){{0,5}}{END}|\d+(?:\.\d+){{2,5}}{END}", _version, False
    yield rf"((?:\d{{1,3}}(?:,\d{{3}})+|\d+))(?:st|nd|rd|th){END}", _ordinal, False
    yield rf"(\d+) (\d+/\d{{1,3}}){END}(?!/)", _mixed, False
    yield r"(\d+) ?([½⅓⅔¼¾])", _mixed, False
    yield rf"\d+/\d{{1,3}}{END}(?!/)|[½⅓⅔¼¾]", _fraction, False
    yield rf"({NUMBER}) ?[-–—] ?({NUMBER}){END}(?![-–/])", _range, False
    yield r"(\d{1,2})['′] ?(\d{1,2})?[\"″”]", _feet, False
    yield rf"([-−]?)({NUMBER})[ -]?({units})(?:\.(?= [a-z\d]))?(?![\w/])", _measure, False
    yield rf"({NUMBER})([²³])", _square_or_power, False
    yield rf"[-−]({NUMBER}){END}", _negative, False
    mixed = r"(?=[\w-]{0,80}\d)(?=[\w-]{0,80}[^\W\d_])[^\W_]{1,20}(?:-[^\W_]{1,20}){0,3}"
    yield mixed + END, _letters_and_digits, False
    yield NUMBER, _number, False
    yield r"\.(\d+)", _point, False


def _money(place: Place) -> Words | None:
    sign, number, size, minus = place[2], place[3], place[4], place[1]
    return [*(["minus"] if minus else []), *_amount(sign, number, size)]


def _money_range(place: Place) -> Words:
    """$5-10"""
    several = tables()["money"][place[1]][1].split()
    return [*numbers.decimal(place[2]), "to", *numbers.decimal(place[3]), *several]


def _money_after(place: Place) -> Words:
    return _amount(place[2], place[1], "")


def _amount(sign: str, number: str, size: str) -> Words:
    one, many, cent, cents = tables()["money"][sign]
    if size:
        return [*numbers.decimal(number), tables()["magnitudes"][size], *many.split()]
    whole, _, rest = number.replace(",", "").partition(".")
    if rest and (len(rest) != 2 or not cent):
        return [*numbers.decimal(number), *many.split()]
    main = [*numbers.cardinal(whole), *(one if int(whole) == 1 else many).split()]
    if not rest or not int(rest):
        return main
    small = [*numbers.cardinal(rest), cent if int(rest) == 1 else cents]
    return small if not int(whole) else [*main, "and", *small]


def _iso_date(place: Place) -> Words | None:
    return _date(place[1], place[2], place[3])


def _slash_date(place: Place) -> Words | None:
    """Month first, as in America, unless it can be none."""
    first, second, year = place[1], place[2], place[3]
    if int(first) > 12:
        first, second = second, first
    return _date(
        year if len(year) == 4 else ("19" if int(year) > 50 else "20") + year, first, second
    )


def _date(year: str, month: str, day: str) -> Words | None:
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= _DAYS[int(month) - 1]):
        return None
    name = list(tables()["months"].values())[int(month) - 1]
    return [name, *numbers.ordinal(day), *_year(year)]


def _month_day(place: Place) -> Words | None:
    month, day, year = place[1].lower(), place[2], place[3]
    if not 1 <= int(day) <= 31:
        return None
    return [tables()["months"][month], *numbers.ordinal(day), *(_year(year) if year else [])]


def _day_month(place: Place) -> Words | None:
    day, month, year = place[1], place[2].lower(), place[3]
    if not 1 <= int(day) <= 31:
        return None
    said = ["the", *numbers.ordinal(day), "of", tables()["months"][month]]
    said = said[1:] if place.before == "the" else said
    return [*said, *(_year(year) if year else [])]


def _month_year(place: Place) -> Words:
    return [tables()["months"][place[1].lower()], *_year(place[2])]


def _year(digits: str) -> Words:
    return (
        numbers.year(digits) if len(digits) == 4 and digits[0] != "0" else numbers.cardinal(digits)
    )


def _decade(place: Place) -> Words:
    century, tens = place[1], place[2]
    if not century:
        return numbers.plural(numbers.cardinal(tens))
    return numbers.plural(numbers.year(century + tens))


def _clock(place: Place) -> Words | None:
    hour, minute, second, half = place[1], place[2], place[3], place[4]
    if int(hour) > 24 or int(minute) > 59:
        return None
    out = numbers.cardinal(hour)
    if int(minute):
        out += (["oh"] if int(minute) < 10 else []) + numbers.cardinal(minute)
    elif not half and int(hour) <= 12:
        out += ["o'clock"]
    elif not half:
        out += ["hundred"] if int(hour) > 12 else []
    if second:
        out += ["and", *numbers.cardinal(second), "seconds"]
    return [*out, *_half_of_day(half)]


def _hour(place: Place) -> Words | None:
    return (
        [*numbers.cardinal(place[1]), *_half_of_day(place[2])] if 1 <= int(place[1]) <= 12 else None
    )


def _half_of_day(text: str) -> Words:
    return [letter.upper() for letter in text if letter.isalpha()]


def _telephone(place: Place) -> Words:
    out: Words = []
    for group in re.findall(r"\+|\d+", place[0]):
        out += ["plus"] if group == "+" else numbers.spelled_out(group, "zero")
    return out


def _version(place: Place) -> Words:
    """Numbers between points: addresses of machines, versions, chapters."""
    out: Words = []
    for part in place[0].lstrip("vV").split("."):
        out += [*(["point"] if out else []), *_digits_or_number(part)]
    return (["version"] if place[0][0] in "vV" else []) + out


def _digits_or_number(digits: str) -> Words:
    return (
        numbers.spelled_out(digits)
        if digits[0] == "0" and len(digits) > 1
        else numbers.cardinal(digits)
    )


def _ordinal(place: Place) -> Words:
    return numbers.ordinal(place[1].replace(",", ""))


def _mixed(place: Place) -> Words | None:
    """1 1/2, 2½"""
    return [*numbers.cardinal(place[1]), "and", *_parts(place[2])] if _parts(place[2]) else None


def _fraction(place: Place) -> Words | None:
    return _parts(place[0]) or None


def _parts(text: str) -> Words:
    """1/2 or ½; what is no fraction is empty."""
    if text in tables()["symbols"]:
        words = tables()["symbols"][text].split()
        return ["a", *words[1:]] if words[0] == "one" else words
    above, _, below = text.partition("/")
    if not 2 <= int(below) <= 100 or len(above) > 3:
        return []
    words = numbers.fraction(above, below)
    return ["a", *words[1:]] if words == ["one", "half"] else words


def _range(place: Place) -> Words | None:
    """10–20; years, too. A score or a telephone number is none: one side is not less than the other."""
    low, high = place[1], place[2]
    if place.glued or float(low.replace(",", "")) >= float(high.replace(",", "")):
        return None
    return [*_number_words(low, place), "to", *_number_words(high, place)]


def _measure(place: Place) -> Words | None:
    minus, number, unit = place[1], place[2], place[3]
    if unit in tables()["unit_rules"]["glued"] and place[0].endswith(" " + unit):
        return None
    one, many = tables()["units"][unit]
    value = numbers.decimal(number)
    said = [*(["minus"] if minus else []), *value, *(one if value == ["one"] else many).split()]
    return None if minus and place.glued else said


def _feet(place: Place) -> Words:
    """5'10\""""
    inches = (
        [*numbers.cardinal(place[2]), "inch" if place[2] == "1" else "inches"] if place[2] else []
    )
    return [*numbers.cardinal(place[1]), "foot" if place[1] == "1" else "feet", *inches]


def _square_or_power(place: Place) -> Words:
    powers = {"²": ["squared"], "³": ["cubed"]}
    return [*numbers.decimal(place[1]), *powers[place[2]]]


def _point(place: Place) -> Words:
    return ["point", *numbers.spelled_out(place[1])]


def _negative(place: Place) -> Words | None:
    if place.glued and place.glued not in "([{=<>≤≥±":
        return None
    return ["minus", *numbers.decimal(place[1])]


def _number(place: Place) -> Words:
    return _number_words(place[0], place)


def _number_words(text: str, place: Place) -> Words:
    digits = text.replace(",", "")
    plain = text.isdigit()
    coded = set(place.recent) & set(tables()["contexts"]["digits"])
    if plain and (coded or (len(digits) > 1 and digits[0] == "0")):
        return numbers.spelled_out(digits)
    if (
        plain
        and len(digits) == 5
        and re.search(r"\b[A-Z]{2} $", place.match.string[: place.match.start()][-4:])
    ):
        return numbers.spelled_out(digits)  # a state, and the code of a place in it
    if plain and len(digits) == 4 and "1100" <= digits <= "2099":
        return numbers.year(digits)
    return numbers.decimal(text)


def _letters_and_digits(place: Place) -> Words | None:
    """MP3, H2O, B2B, COVID-19, F-16, 4K, i7"""
    out: Words = []
    for run in re.findall(r"[^\W\d_]+|\d+", folded(place[0])):
        if run.isdigit():
            out += _digits_or_number(run) if len(run) < 5 else numbers.spelled_out(run)
        else:
            word = len(run) > 2 or (run.istitle() and len(run) == 2 and place.known(run))
            out += said_or_spelled(run, place) if word else list(run.upper())
    return out
