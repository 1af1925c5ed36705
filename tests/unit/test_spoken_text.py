"""What is written becomes the words that are spoken. Whole numbers are held to a second, slow way to say them."""

import random
from itertools import pairwise

import pytest

from edge.text.spoken import numbers
from edge.text.spoken.english import tables
from edge.text.spoken.reading import read

WORDS = set(
    """the a an i it is at was on in and to of we he she war chapter world henry louis king cost costs call read nasa
    live cat hello see mail me met room street church elm members jones army born stop house have record used says said
    go end smith senate won by my code zip degrees version well known state art rock movin' hoped there would be stew
    for dinner its it's dog's john's""".split()  # noqa: SIM905 - one reads it as words
)


def known(word: str) -> bool:
    return word.lower() in WORDS and not (word.isupper() and len(word) > 1 and word != "NASA")


def said(text: str) -> str:
    out = []
    for token in read(text, known):
        out += [token.pause] if token.pause else list(token.words)
    return " ".join(out)


READ = {
    # open-webui#7125, #7751
    "### Hello world": "Hello world",
    "# Hello\n## World": "Hello World",
    # rhasspy/piper#363
    "World War II": "World War two",
    "It cost $500.": "It cost five hundred dollars .",
    "Mr. and Mrs. Jones Jr. met": "mister and missus Jones junior met",
    "Beverly Hills, CA 90210": "Beverly Hills , C A nine zero two one zero",
    "my zip code is 90210": "my zip code is nine zero two one zero",
    "in 1920 and 1908": "in nineteen twenty and nineteen oh eight",
    # kyutai-labs/pocket-tts#76
    "2/3": "two thirds",
    "$100": "one hundred dollars",
    "50g": "fifty grams",
    "Sunset Blvd": "Sunset boulevard",
    # tgeczy/TGSpeechBox#44
    "2001 and 2009": "two thousand one and two thousand nine",
    # rhasspy/rhasspy#327
    "1st 2nd 23rd": "first second twenty third",
    "1/1/2023": "january first twenty twenty three",
    "12:01 12:01am": "twelve oh one twelve oh one A M",
    # CrispStrobe/CrispASR#316
    "82 million": "eighty two million",
    # NVIDIA-NeMo/Speech#2266
    "12-inch and a 21-knot": "twelve inch and a twenty one knot",
    "550-pound": "five hundred fifty pound",
    # matatonic/openedai-speech#94
    "$100B, 5 kWh": "one hundred billion dollars , five kilowatt hours",
    # marytts/marytts#651
    "300km, 5oz": "three hundred kilometers , five ounces",
    # NVIDIA/NeMo-text-processing#228
    "Li and Xi": "Li and Xi",
    # jaredrhod/backtalk#31
    "at 9 a.m. sharp, e.g. this in the U.S. economy": "at nine A M sharp , for example this in the U S economy",
    # rhasspy/piper-recording-studio#31
    "it is -5 in 2 April 2025": "it is minus five in the second of april twenty twenty five",
    # christopherthompson81/vernacula#75
    "30°C": "thirty degrees celsius",
    "$1,200.50": "one thousand two hundred dollars and fifty cents",
    "£0.99 and €1": "ninety nine pence and one euro",
    "$1.5 million, $2M": "one point five million dollars , two million dollars",
    "$5-10": "five to ten dollars",
    "-$3": "minus three dollars",
    "50%": "fifty percent",
    "1,234,567.8": "one million two hundred thirty four thousand five hundred sixty seven point eight",
    "007": "zero zero seven",
    "1914–1918, 10-20": "nineteen fourteen to nineteen eighteen , ten to twenty",
    "3-2": "three two",
    "the 1990s and '80s": "the nineteen nineties and eighties",
    "2026-11-30": "november thirtieth twenty twenty six",
    "2026-02-30": "twenty twenty six zero two thirty",
    "31/12/99": "december thirty first nineteen ninety nine",
    "Jan. 5, 1950": "january fifth nineteen fifty",
    "the 20th of May": "the twentieth of may",
    "at 3 p.m. and 15:00, 07:30": "at three P M and fifteen hundred , seven thirty",
    "at 12:00": "at twelve o'clock",
    "555-123-4567": "five five five one two three four five six seven",
    "v1.2.3": "version one point two point three",
    "192.168.0.1": "one hundred ninety two point one hundred sixty eight point zero point one",
    "1 1/2 and ½": "one and a half and a half",
    "6 ft. at 60 mph": "six feet at sixty miles per hour",
    "5'10\"": "five feet ten inches",
    "Henry VIII, Louis XIV's": "Henry the eighth , Louis the fourteenth's",
    "Chapter IV. I met": "Chapter four . i met",
    "MP3 H2O F-16": "M P three H two O F sixteen",
    "NASA and the USA": "NASA and the U S A",
    "CEOs, STOP": "C E O's , stop",
    "HE HOPED THERE WOULD BE STEW": "he hoped there would be stew",
    "Dr. Jones on Elm St. and St. John's": "doctor Jones on Elm street and saint John's",
    "e.g. this etc. The end": "for example this et cetera . The end",
    "in the U.S. We won": "in the U S . We won",
    "the U.S. Senate": "the U S Senate",
    "No. 5 is no.": "number five is no .",
    "J. R. R. Jones": "J R R Jones",
    "joe@example.co.uk": "joe at example dot C O dot U K",
    "https://www.example.com/a?b=1.": "W W W dot example dot com slash A question mark B equals one .",
    "foo.py": "foo dot py",
    "#1 and #TextToSpeech": "number one and hashtag Text To Speech",
    "24/7 and/or w/o": "twenty four seven and or without",
    "well-known re-read": "well known re read",
    "x = 5 + 3": "X equals five plus three",
    "wait... what?! (no)": "wait … what ? , no ,",
    "one -- two — three": "one — two — three",
    "one\n\ntwo": "one . two",
    "“It’s” ‘quoted’": "It's quoted",
    "π": "pi",
    "café": "cafe",
}


@pytest.mark.parametrize("text", READ)
def test_it_is_read_so(text: str) -> None:
    assert said(text) == READ[text]


def test_what_is_no_english_is_one_token_without_words() -> None:
    tokens = read("ok 你好吗 привет 😀", known)
    assert [(t.start, t.end, t.words) for t in tokens][1:] == [
        (3, 6, ()),
        (7, 13, ()),
        (14, 15, ()),
    ]


@pytest.mark.parametrize(
    "text", ["a" * 20_000, "1" * 20_000, "-" * 20_000, "$" * 5000, "a." * 5000, "1," * 5000]
)
def test_twenty_thousand_letters_take_no_time(text: str) -> None:
    tokens = read(text, known)
    assert tokens[-1].end == len(text)
    assert all(a.end <= b.start for a, b in pairwise(tokens))


def slow(number: int) -> str:
    """Another way: by taking away the largest name that fits."""
    names = {
        10**12: "trillion",
        10**9: "billion",
        10**6: "million",
        1000: "thousand",
        100: "hundred",
    }
    small = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    small += " seventeen eighteen nineteen"
    tens = "twenty thirty forty fifty sixty seventy eighty ninety"
    if number < 20:
        return small.split()[number]
    for size, name in names.items():
        if number >= size:
            rest = f" {slow(number % size)}" if number % size else ""
            return f"{slow(number // size)} {name}{rest}"
    rest = f" {small.split()[number % 10]}" if number % 10 else ""
    return tens.split()[number // 10 - 2] + rest


def test_cardinals_are_those_of_the_slow_way() -> None:
    rng = random.Random(0)
    for number in [*range(1200), *(rng.randrange(10 ** rng.randrange(1, 15)) for _ in range(300))]:
        assert " ".join(numbers.cardinal(str(number))) == slow(number)


def test_ordinals_years_fractions_and_romans() -> None:
    ordinals = {
        1: "first",
        2: "second",
        3: "third",
        12: "twelfth",
        20: "twentieth",
        41: "forty first",
        100: "one hundredth",
    }
    for number, words in ordinals.items():
        assert " ".join(numbers.ordinal(str(number))) == words
    years = {
        "1066": "ten sixty six",
        "1900": "nineteen hundred",
        "2000": "two thousand",
        "2026": "twenty twenty six",
    }
    for digits, words in years.items():
        assert " ".join(numbers.year(digits)) == words
    assert " ".join(numbers.fraction("5", "8")) == "five eighths"
    assert [numbers.roman(numbers.to_roman(n)) for n in range(1, 200)] == list(range(1, 200))
    assert [numbers.roman(text) for text in ("IIII", "VX", "IC", "", "ABC", "I" * 13)] == [0] * 6
    assert numbers.cardinal("9" * 40) == ["nine"] * 40


def test_every_word_of_the_tables_can_be_looked_up() -> None:
    """A table's word that is no word would be guessed from its letters."""
    pytest.importorskip("misaki", reason="needs '.[speech]'")
    from edge.text.spoken.words import Words

    words, english = Words(), tables()
    names = ("abbreviations", "months", "symbols", "address", "phrases")
    spoken = [w for name in names for w in english[name].values()]
    spoken += [w for name in ("money", "units") for row in english[name].values() for w in row if w]
    single = {word for text in spoken for word in text.split() if len(word) > 1}
    assert {word for word in single if not words.known(word)} <= {
        "sen",
        "jeon",
        "paisa",
        "kopek",
        "kopeks",
        "decibels",
    }
