"""What a writer says about how a text is spoken: phonemes in double brackets, or a part of SSML.

SSML is W3C's Speech Synthesis Markup Language 1.1. Read by expat with nothing that a document could declare: no
document type, so no entities of its own; bounded in size and depth; what is not known is refused by its name.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from xml.parsers import expat

from edge.errors import Damaged, EdgeError, Unsupported
from edge.text.spoken import numbers
from edge.text.spoken.english import folded, tables
from edge.text.spoken.symbols import Alphabet, Phonemes, spelled

BYTES = 1 << 20
_DEPTH = 32
_LONGEST = 10.0  # seconds of a pause
_SPELLED = re.compile(r"\[\[(.{0,500}?)\]\]", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """rate and pitch are factors of the voice's own."""

    rate: float = 1.0
    pitch: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """`start`: where its text begins in what the user gave. `alias`, where given, is read in place of its text; `words`
    are spoken as they are, and so are `phonemes`. `seconds` of silence come after it; `mark`: a sentence ends.
    """

    text: str
    start: int
    alias: str | None = None
    words: tuple[str, ...] | None = None
    phonemes: Phonemes | None = None
    seconds: float = 0.0
    mark: str = ""
    manner: Manner = field(default_factory=Manner)


def parts(text: str) -> list[Part]:
    """A text, or SSML where it begins with <speak. EdgeError says what cannot be followed."""
    if len(text.encode(errors="replace")) > BYTES:
        raise EdgeError(f"the text has more than {BYTES >> 20} MiB", fix="speak it in pieces")
    if re.match(r"\s*<(\?xml|!DOCTYPE|!--|speak[\s>/])", text):
        found = _Reader(text).parts
    else:
        found = [Part(text=text, start=0)]
    return [piece for part in found for piece in _bracketed(part)]


def _bracketed(part: Part) -> Iterator[Part]:
    """[[h@l'oU]] inside a text."""
    if (part.alias, part.words, part.phonemes) != (None, None, None):
        yield part
        return
    at = 0
    for match in _SPELLED.finditer(part.text):
        yield replace(
            part, text=part.text[at : match.start()], start=part.start + at, seconds=0, mark=""
        )
        sounds = spelled(match[1])
        yield replace(
            part,
            text=match[0],
            start=part.start + match.start(),
            phonemes=sounds,
            seconds=0,
            mark="",
        )
        at = match.end()
    yield replace(part, text=part.text[at:], start=part.start + at)


class _Reader:
    """Elements open and close; each text between them is a part, spoken as what is open says."""

    def __init__(self, text: str) -> None:
        self.parts: list[Part] = []
        self._raw = text.encode(errors="replace")
        self._open: list[tuple[str, Mapping[str, str], Manner]] = []
        parser = self._parser = expat.ParserCreate("utf-8")
        parser.buffer_text = False
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse
        parser.EntityDeclHandler = _refuse
        try:
            parser.Parse(self._raw, True)
        except expat.ExpatError as error:
            raise Damaged(
                f"the SSML is broken: {error}",
                fix="close what is opened; write & as &amp; and < as &lt;",
            ) from None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        known = _ELEMENTS.get(name)
        if known is None or len(self._open) >= _DEPTH or (name == "speak") != (not self._open):
            raise Unsupported(
                f"the SSML has <{name}> where it is not read",
                fix=f"known are {', '.join(_ELEMENTS)}",
            )
        if unknown := sorted(set(attributes) - set(known)):
            raise Unsupported(
                f"<{name}> of SSML has {unknown[0]}=, which is not read",
                fix=f"known are {', '.join(known) or 'none'}",
            )
        manner = self._open[-1][2] if self._open else Manner()
        if name == "prosody":
            rate = manner.rate * _factor(attributes.get("rate", "medium"), _RATES)
            pitch = manner.pitch * _factor(attributes.get("pitch", "medium"), _PITCHES)
            manner = Manner(rate=min(4.0, max(0.25, rate)), pitch=min(4.0, max(0.25, pitch)))
        self._open.append((name, attributes, manner))
        if name == "break":
            seconds = _seconds(attributes)
            self.parts.append(Part(text="", start=self._here(), seconds=seconds, manner=manner))

    def _end(self, name: str) -> None:
        _, _, manner = self._open.pop()
        if mark := _MARKS.get(name):
            self.parts.append(Part(text="", start=self._here(), mark=mark, manner=manner))

    def _text(self, text: str) -> None:
        name, attributes, manner = self._open[-1]
        part = Part(text=text, start=self._here(), manner=manner)
        self.parts.append(_SAID[name](part, attributes) if name in _SAID and text.strip() else part)

    def _here(self) -> int:
        return len(self._raw[: self._parser.CurrentByteIndex].decode(errors="replace"))


def _refuse(*_: object) -> None:
    raise Unsupported("the SSML declares a document type", fix="leave <!DOCTYPE …> away")


def _seconds(attributes: Mapping[str, str]) -> float:
    if "time" not in attributes:
        strength = attributes.get("strength", "medium")
        if strength not in _STRENGTHS:
            raise EdgeError(
                f"a break of strength {strength!r} is none",
                fix=f"known are {', '.join(_STRENGTHS)}",
            )
        return _STRENGTHS[strength]
    match = re.fullmatch(r"\+?(\d{1,6}(?:\.\d{1,6})?)(ms|s)", attributes["time"].strip())
    seconds = float(match[1]) / (1000 if match[2] == "ms" else 1) if match else -1.0
    if not 0 <= seconds <= _LONGEST:
        raise EdgeError(
            f"a break of time {attributes['time']!r} is none of 0 to {_LONGEST:g} seconds",
            fix='write time="500ms" or time="1.5s"',
        )
    return seconds


def _factor(text: str, names: Mapping[str, float]) -> float:
    """ "slow", "80%", "+10%", "-2st" -> a factor"""
    if text.strip() in names:
        return names[text.strip()]
    match = re.fullmatch(r"([+-]?)(\d{1,4}(?:\.\d{1,3})?)(%|st)", text.strip())
    if not match or (match[3] == "st" and names is _RATES):
        raise EdgeError(
            f"prosody of {text!r} is not understood", fix=f"write 80%, +10%, or {', '.join(names)}"
        )
    number = float(match[2]) * (-1 if match[1] == "-" else 1)
    if match[3] == "st":
        return float(2 ** (number / 12))
    return max(0.1, 1 + number / 100 if match[1] else number / 100)


def _phoneme(part: Part, attributes: Mapping[str, str]) -> Part:
    if (
        attributes.get("alphabet", "ipa") not in ("ipa", "x-espeak")
        or not attributes.get("ph", "").strip()
    ):
        raise EdgeError(
            "a phoneme of SSML has no ph=, or an alphabet that is not read",
            fix='write <phoneme alphabet="ipa" ph="həˈloʊ">hello</phoneme>',
        )
    alphabet: Alphabet = "ipa" if attributes.get("alphabet", "ipa") == "ipa" else "ascii"
    return replace(part, phonemes=spelled(attributes["ph"], alphabet))


def _sub(part: Part, attributes: Mapping[str, str]) -> Part:
    if "alias" not in attributes:
        raise EdgeError("a sub of SSML has no alias=", fix='write <sub alias="doctor">Dr</sub>')
    return replace(part, alias=attributes["alias"])


def _say_as(part: Part, attributes: Mapping[str, str]) -> Part:
    kind = attributes.get("interpret-as", "")
    if kind in _READ:
        return part
    if kind not in _SAY:
        raise Unsupported(
            f"say-as of {kind!r} is not read", fix=f"known are {', '.join((*_SAY, *_READ))}"
        )
    said = _SAY[kind](part.text.strip())
    if not said:
        raise EdgeError(
            f"{part.text.strip()!r} is no {kind}", fix="correct it, or leave say-as away"
        )
    return replace(part, words=tuple(said))


def _characters(text: str) -> numbers.Words:
    """Letters by their names, digits, and signs as in an address."""
    out: numbers.Words = []
    for sign in folded(text):
        if sign.isdecimal() and sign.isascii():
            out += numbers.spelled_out(sign)
        elif sign.isalpha():
            out.append(sign.upper())
        else:
            out += str(tables()["address"].get(sign, "")).split()
    return out


def _digits(text: str) -> numbers.Words:
    return numbers.spelled_out("".join(re.findall(r"[0-9]", text)))


def _whole(say: Callable[[str], numbers.Words]) -> Callable[[str], numbers.Words]:
    def said(text: str) -> numbers.Words:
        digits = text.replace(",", "")
        return say(digits) if re.fullmatch(r"[0-9]{1,60}", digits) else []

    return said


def _quotient(text: str) -> numbers.Words:
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    return numbers.fraction(match[1], match[2]) if match and int(match[2]) else []


_SAY: Mapping[str, Callable[[str], numbers.Words]] = {
    "characters": _characters,
    "spell-out": _characters,
    "digits": _digits,
    "telephone": _digits,
    "cardinal": _whole(numbers.cardinal),
    "number": _whole(numbers.cardinal),
    "ordinal": _whole(numbers.ordinal),
    "fraction": _quotient,
}
_READ = ("date", "time", "currency")  # as they are read anyway
_SAID: Mapping[str, Callable[[Part, Mapping[str, str]], Part]] = {
    "phoneme": _phoneme,
    "sub": _sub,
    "say-as": _say_as,
}
_ELEMENTS: Mapping[str, tuple[str, ...]] = {
    "speak": ("version", "xmlns", "xml:lang", "xmlns:xsi", "xsi:schemaLocation"),
    "p": (),
    "s": (),
    "break": ("time", "strength"),
    "prosody": ("rate", "pitch"),
    "phoneme": ("alphabet", "ph"),
    "say-as": ("interpret-as", "format"),
    "sub": ("alias",),
}
_MARKS = {"p": ".", "s": "."}
_STRENGTHS = {
    "none": 0.0,
    "x-weak": 0.1,
    "weak": 0.2,
    "medium": 0.4,
    "strong": 0.7,
    "x-strong": 1.2,
}
_RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "fast": 1.25, "x-fast": 1.6, "default": 1.0}
_PITCHES = {"x-low": 0.7, "low": 0.85, "medium": 1.0, "high": 1.15, "x-high": 1.4, "default": 1.0}
