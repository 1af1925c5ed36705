"""What texts are compared on: scripts, blanks, numbers, code, and letters that only look alike."""

from collections.abc import Iterator, Sequence

from edge.text.chat import Message

TEXTS: tuple[str, ...] = (
    "",
    " ",
    "   ",
    "a",
    "Hello, world!",
    " leading",
    "trailing ",
    "  both, twice  ",
    "in  the   middle    of      a text",
    "\t",
    "\ttabs\tand\t\tmore\t",
    "\n",
    "\n\n\n",
    "one\ntwo\n\nthree\n \n\t\nfour\n",
    "Windows\r\nlines\r\n\r\nand \rold Macs'\r",
    " \n \t \r\n ",
    "\v\f\x1c\x85\u2028\u2029",
    "no\u00a0break thin\u2009 ideographic\u3000 and zero\u200bwidth\u200d\u2060\ufeff",
    "\u2581 written as a blank is\u2581\u2581inside pieces \u2581",
    "0 1 12 123 1234 12345 123456 1234567890 00012",
    "3.14159 -2.7e-10 1,000,000.00 0x1F 1/2 50% $9.99 1st 2nd 10^6",
    "\u0661\u0662\u0663 \u0967\u0968\u0969 \u2460\u2461 \u00bd \u2167 x\u00b2",
    "I'll don't we've she'd they're 'tis O'Neill's I'LL IT'S \u2019s",
    "def f(x):\n    if x != None:\n        return {'a': [x**2, ~x]}  # comment\n\n\n\tpass",
    '<html><body class="x">&amp; &#160;</body></html> <!-- note --> </s-> <0x41> <0xZZ>',
    "SELECT * FROM t WHERE a <> 'b'; -- \\n \\t \\\\ /* c */ a&&b||c ??= ... --> ==>",
    "https://example.org/a/b_c?d=e&f=%20#g user@example.com C:\\Users\\x ../..",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case __dunder__ x1y2z3",
    "ALL CAPITALS and mIxEd CaSe",
    "\u00dcn\u00efc\u00f6d\u00e9 na\u00efve fa\u00e7ade stra\u00dfe \u1e9e \u0130stanbul \u0131 \u017f",
    "e\u0301 a\u0308 n\u0303 \u1112\u1161\u11ab o\u0323\u0302 (decomposed) \u00e9 \u00e4 \u00f1 \ud55c \u1ed9",
    "\ufb01 \ufb03 \u2126 \u00b5 \u212b \u01c4 \u2122 \u3392 \uff8a\uff9e (compatibility)",
    "\uff21\uff22\uff23 \uff11\uff12\uff13 \uff01\uff1f\uff08\uff09 \uff41\uff42\uff43 (wide)",
    "\u6f22\u5b57\u304b\u306a\u4ea4\u3058\u308a\u6587\u3001\u30c6\u30b9\u30c8\u3002",
    "\u6211\u7231\u5317\u4eac\u5929\u5b89\u95e8\uff0c\u300a\u7ea2\u697c\u68a6\u300b\u2014\u2014\u2026\u2026",
    "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0451\u0416 \u0491",
    "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u03ba\u03cc\u03c3\u03bc\u03b5 \u1fc6",
    "\u0645\u0631\u062d\u0628\u0627\u064b \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0640\u0640 \u200f\u0661",
    "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd \u200e\u200f",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0c24\u0c46\u0c32\u0c41\u0c17\u0c41",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u1019\u103c\u1014\u103a",
    "\u1200\u1201 \u10d0\u10d1 \u0531\u0532 \u0f56\u0f7c\u0f51 \u13a0 \u2c00",
    "\U0001f642 \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd \u2764\ufe0f",
    "1\ufe0f\u20e3 #\ufe0f\u20e3",
    "\U00020000\U0002a6df \U0001d4d0\U0001d7d8 \U00010348 \U000e0041",
    "\ue000\uf8ff \U000f0000 \U0010fffd",
    "\ufffd \ufffe \uffff \U0001ffff",
    "\x01\x02\x07\x08\x1b[0m\x7f\x9f",
    "\u2200x\u2208\u211d: \u2211\u222b\u221a \u2260\u2264 \u2192\u21d2 \u00b1\u00d7\u00f7 \u20ac\u00a3\u00a5",
    "\u201cquotes\u201d \u2018single\u2019 \u00abguillemets\u00bb \u2013 \u2014 \u2026 \u2022 \u00b7",
    "a" * 700,
    "antidisestablishmentarianism" * 20,
    "ab" * 150 + " " * 33 + "=" * 66 + "\n" * 9 + "-" * 70,
    "!" * 17 + "?" * 5 + "." * 11 + "#" * 6 + "*" * 40 + "_" * 13,
    "\u6f22" * 100 + "\U0001f642" * 20 + "\u0301" * 20,
)  # fmt: skip

CONVERSATIONS: tuple[tuple[tuple[Message, ...], bool], ...] = (
    ((Message("user", "Once upon a time,\n there was  a girl. "),), True),
    ((Message("system", "Be brief."), Message("user", "\u00dcn\u00efc\u00f6d\u00e9 123?")), True),
    (
        (
            Message("user", "Hi"),
            Message("assistant", " Hello!\n\nHow can I help? "),
            Message("user", "def f(x):\n\treturn x"),
        ),
        True,
    ),
    ((Message("user", "\U0001f642 <b>"), Message("assistant", "Yes.")), False),
)  # each with whether an answer is to begin


def around(special: Sequence[str], most: int = 48) -> Iterator[str]:
    """Texts with special tokens in them, between words and blanks and side by side; some of many."""
    some = special[:: max(1, len(special) // most)]
    for text in some:
        yield from (text, f"a{text}b", f" {text} {text}\n{text}")
    yield "".join(some)
