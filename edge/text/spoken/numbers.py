"""Numbers as English words: counted, in order, as years, by their digits. American: no "and" before the last part."""

from collections.abc import Sequence

_ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen""".split()  # noqa: SIM905 - one reads it as words
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_GREAT = """thousand million billion trillion quadrillion quintillion
    sextillion septillion octillion nonillion decillion""".split()  # noqa: SIM905
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_ROMAN = {"M": 1000, "D": 500, "C": 100, "L": 50, "X": 10, "V": 5, "I": 1}
Words = list[str]


def cardinal(digits: str) -> Words:
    """How many: "1204" -> one thousand two hundred four. What is longer than has a name is read by its digits."""
    digits = digits.lstrip("0") or "0"
    if len(digits) > 3 * (len(_GREAT) + 1):
        return spelled_out(digits)
    if digits == "0":
        return ["zero"]
    out: Words = []
    groups = [digits[max(0, end - 3) : end] for end in range(len(digits), 0, -3)]
    for place, group in reversed(list(enumerate(groups))):
        if int(group):
            out += [*_below_thousand(int(group)), *([_GREAT[place - 1]] if place else [])]
    return out


def _below_thousand(number: int) -> Words:
    hundreds, rest = divmod(number, 100)
    return [
        *([_ONES[hundreds], "hundred"] if hundreds else []),
        *(_below_hundred(rest) if rest else []),
    ]


def _below_hundred(number: int) -> Words:
    if number < 20:
        return [_ONES[number]]
    tens, ones = divmod(number, 10)
    return [_TENS[tens], *([_ONES[ones]] if ones else [])]


def ordinal(digits: str) -> Words:
    """Which in a row: "21" -> twenty first"""
    *most, last = cardinal(digits)
    if last in _ORDINALS:
        return [*most, _ORDINALS[last]]
    return [*most, last[:-1] + "ieth" if last.endswith("y") else last + "th"]


def spelled_out(digits: str, zero: str = "zero") -> Words:
    """Digit by digit."""
    return [zero if digit == "0" else _ONES[int(digit)] for digit in digits]


def year(digits: str) -> Words:
    """Of four digits: "1908" -> nineteen oh eight; "2005" -> two thousand five; "2026" -> twenty twenty six"""
    first, second = int(digits[:2]), int(digits[2:])
    if first % 10 == 0 and second < 10:
        return cardinal(digits)
    if second == 0:
        return [*_below_hundred(first), "hundred"]
    return [*_below_hundred(first), *(["oh"] if second < 10 else []), *_below_hundred(second)]


def decimal(text: str) -> Words:
    """With a point, with commas or without: "1,204.50" -> … point five zero"""
    whole, point, rest = text.replace(",", "").partition(".")
    out = cardinal(whole or "0")
    return [*out, "point", *spelled_out(rest)] if point and rest else out


def fraction(above: str, below: str) -> Words:
    """ "3", "4" -> three quarters"""
    one = int(above) == 1
    name = {"2": "half", "4": "quarter"}.get(below.lstrip("0")) or " ".join(ordinal(below))
    name = name if one else "halves" if name == "half" else name + "s"
    return [*cardinal(above), *name.split()]


def roman(text: str) -> int:
    """The number of a Roman numeral, 0 if it is none: only the usual way to write one counts."""
    values = [_ROMAN.get(letter, 0) for letter in text]
    if not values or 0 in values or len(values) > 12:
        return 0
    total = sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))
    return total if to_roman(total) == text else 0


def to_roman(number: int) -> str:
    """The usual way to write it."""
    steps = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
    ]
    steps += [(10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    out = ""
    for value, letters in steps:
        count, number = divmod(number, value)
        out += letters * count
    return out


def plural(words: Sequence[str]) -> Words:
    """Of a number word, as in "the nineteen eighties"."""
    *most, last = words
    return [
        *most,
        last[:-1] + "ies" if last.endswith("y") else last + ("es" if last == "six" else "s"),
    ]
