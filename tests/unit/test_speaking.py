"""Texts become sentences of phonemes. The lexicon is misaki's; what markup may say is W3C's SSML 1.1."""

import gzip
import hashlib
import stat
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("misaki", reason="needs '.[speech]'")

from hypothesis import example, given
from hypothesis import strategies as st

from edge.errors import Damaged, EdgeError, Unsupported
from edge.text.spoken import guessing, learning
from edge.text.spoken.espeak import Espeak
from edge.text.spoken.lexicon import NAMES, Packed, lexicon, names
from edge.text.spoken.markup import parts
from edge.text.spoken.speaking import Script, script
from edge.text.spoken.symbols import SPACE, bare, ids, is_vowel, spelled, stress_of, table
from edge.text.spoken.words import Words

WORDS = Words()


def spoken(text: str) -> str:
    """Words apart by spaces, each sentence's marks where they are."""
    out = []
    for sentence in script(text, WORDS).sentences:
        firsts = {word.first for word in sentence.words}
        out.append(
            "".join(f" {s}" if i in firsts else s for i, s in enumerate(sentence.symbols)).strip()
        )
    return " / ".join(out)


def test_ids_are_what_they_were() -> None:
    """What was trained knows ids alone: a symbol may be appended, and this hash of the first 96 stays."""
    symbols = table().symbols
    assert len(symbols) == len(set(symbols)) <= 100
    assert hashlib.sha256(" ".join(symbols[:96]).encode()).hexdigest()[:16] == "4a05633faadb6077"
    assert ids(["_", ".", "p", "ˈi"]) == [0, 7, 12, 41]


def test_stress_belongs_to_a_vowel() -> None:
    vowels = [symbol for symbol in table().symbols if is_vowel(symbol)]
    assert len(vowels) == 3 * 19
    assert {stress_of(symbol) for symbol in vowels} == {"", "ˌ", "ˈ"}
    assert {bare(symbol) for symbol in vowels} == table().vowels


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("h@l'oU", "h ə l ˈoʊ"),
        ("həlˈoʊ", "h ə l ˈoʊ"),
        ("hə.ˈloʊ", "h ə l ˈoʊ"),
        ("wˈɜːld", "w ˈɜ l d"),
        ("wˈɝld", "w ˈɜ ɹ l d"),
        ("tʃˈiːz dʒ", "tʃ ˈi z   dʒ"),
        ("t͡ʃˈiz", "tʃ ˈi z"),
        ("tS'i:z", "tʃ ˈi z"),
        (",aUt's'aId", "ˌaʊ t s ˈaɪ d"),
        ("bˈʌʔn̩", "b ˈʌ ʔ ə n"),
    ],
)
def test_phonemes_are_read_in_ipa_and_in_letters_of_any_keyboard(text: str, want: str) -> None:
    assert spelled(text) == tuple(
        " " if s == "" else s for s in want.replace("   ", "  ").split(" ")
    ) or (" ".join(spelled(text)) == want)


def test_a_phoneme_that_is_none_is_named() -> None:
    """espeak-ng/espeak-ng#27: what came after it was lost without a word."""
    with pytest.raises(EdgeError, match="'9' in the phonemes 'm9background'"):
        script("[[m9background]]", WORDS)


def test_every_entry_of_the_lexicon_is_made_of_symbols() -> None:
    """Of both accents; espeak's letters of the same alphabet are no excuse (by was bɪ: its entry is all ASCII)."""
    for accent in ("us", "gb"):
        book = lexicon(accent)
        known = set(table().symbols)
        for word in sorted(book.words())[::29]:
            for way in (book.entry(word) or {}).values():
                assert set(way) <= known
    assert lexicon("us").entry("by") == {"DEFAULT": ("b", "aɪ"), "None": ("b", "ˈaɪ")}


WORDS_OF_ANY_SCRIPT = st.text(st.characters(exclude_characters="\t\n", codec="utf-8"), max_size=4)
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\t\n\r", codec="utf-8"), max_size=4),
    st.dictionaries(
        st.sampled_from(["DEFAULT", "VERB"]), st.one_of(st.none(), st.text(max_size=3))
    ),
)


@given(st.dictionaries(WORDS_OF_ANY_SCRIPT, VALUES), WORDS_OF_ANY_SCRIPT)
def test_packed_words_are_what_a_dictionary_holds(words: dict[str, object], other: str) -> None:
    packed = Packed(words.items())
    assert dict(packed) == words
    assert len(packed) == len(words)
    assert packed.get(other, "none") == words.get(other, "none")


SAID = {
    "Good morning.": "ɡˈʊd mˈɔɹnɪŋ.",
    "The apple, the pear": "ði ˈæpəl, ðə pˈɛɹ.",
    "I want to eat, to go to": "ˈaɪ wˈɑnt tʊ ˈit, tə ɡˌoʊ tˈu.",
    # hexgrad/kokoro#286, bootphon/phonemizer#12
    "I’m it’s doesn’t": "ˌaɪm ɪts dˈʌzənt.",
    # remsky/Kokoro-FastAPI#239
    "movin' Pan Am": "mˈuvɪn pˈæn æm.",
    "I read it. I have read it. They will read": "ˈaɪ ɹˈid ɪt. / ˈaɪ hæv ɹˈɛd ɪt. / ðeɪ wɪl ɹˈid.",
    "Please record the record": "plˈiz ɹəkˈɔɹd ðə ɹˈɛkəɹd.",
    # rhasspy/piper#363
    "We live. It went live": "wi lˈɪv. / ɪt wˈɛnt lˈaɪv.",
    "The bass guitar": "ðə bˈeɪs ɡətˈɑɹ.",
    "He used to use it for the use": "hi jˈust tə jˈuz ɪt fɔɹ ðə jˈus.",
    # hexgrad/kokoro#165, hexgrad/misaki#46, mzdk100/kokoro#10
    "Metaplastic tales double": "mˌɛɾəplˈæstɪk tˈeɪlz dˈʌbəl.",
    "AI's dogs' watches": "ˈeɪˌaɪz dˈɔɡz wˈɑtʃᵻz.",
    "Paul and Eric at Microsoft": "pˈɔl ænd ˈɛɹɪk æt mˈaɪkɹˌoʊsˈɔft.",
    "[[h@l'oU]] world": "həlˈoʊ wˈɜɹld.",
    "He had it. He had": "hi hæd ɪt. / hi hˌæd.",
    "the NATO, CEO": "ðə nˈeɪɾoʊ, sˈiˌiˈoʊ.",
    # MicheleYin/misaki-rs#4
    "It works; really: it does?": "ɪt wˈɜɹks; ɹˈiəli: ɪt dˈʌz?",
}


@pytest.mark.parametrize("text", SAID)
def test_it_is_said_so(text: str) -> None:
    assert spoken(text) == SAID[text]


def test_the_names_say_whose_work_they_are() -> None:
    with gzip.open(NAMES, "rt", encoding="utf-8") as stream:
        assert stream.readline().startswith("# Copyright (C) 1993-2015 Carnegie Mellon University.")
        assert "THIS SOFTWARE IS PROVIDED" in stream.read(2000)
    known = set(table().symbols)
    assert all(set(spelled(text, "ipa")) <= known for text in list(names().values())[::101])


def test_an_abbreviation_ends_no_sentence() -> None:
    """KittenML/KittenTTS#115, NVIDIA/NeMo-Speech.cpp#36: three sentences became eight."""
    text = "Dr. Smith and Mrs. Jones went to the U.S. capital. The committee met, e.g. for the timeline. St. Mary won."
    assert len(script(text, WORDS).sentences) == 3
    text = "Dr. Sharma arrived at 9:30 a.m., slightly out of breath, but the meeting was on."
    assert len(script(text, WORDS).sentences) == 1


def test_an_unknown_word_is_guessed_and_named() -> None:
    """hexgrad/misaki#33: a word that no table has was a crash."""
    found = script("This is erbgibijagr, of Blorfex", WORDS)
    assert found.guessed == ("erbgibijagr", "Blorfex")
    assert all(len(s.words) == 5 for s in found.sentences)


def test_words_know_where_they_stand() -> None:
    text = "Dr. Lee paid $3.50 on [[tudˈeɪ]]."
    (sentence,) = script(text, WORDS).sentences
    assert [text[w.start : w.end] for w in sentence.words] == [
        "Dr.",
        "Lee",
        "paid",
        "$3.50",
        "on",
        "[[tudˈeɪ]]",
    ]
    assert [w.text for w in sentence.words] == ["Dr.", "Lee", "paid", "$3.50", "on", "[[tudˈeɪ]]"]
    spans = [(w.first, w.last) for w in sentence.words]
    assert spans[0][0] == 0
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert spans[-1][1] == len(sentence.symbols) - 1
    assert SPACE not in sentence.symbols


def test_what_cannot_be_said_is_left_out_and_noted() -> None:
    found = script("Hello 😀😀 world 你好", WORDS)
    assert found.notes == ("not spoken, for it is no English: '😀😀', '你好'",)
    assert [w.text for w in found.sentences[0].words] == ["Hello", "world"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n ",
        "...",
        "😀",
        "привет",
        "()",
        "<speak/>",
        "<speak> <break/> </speak>",
        "a" * 20_000,
    ],
)
def test_nothing_to_say_is_one_error(text: str) -> None:
    with pytest.raises(EdgeError, match="nothing to say"):
        script(text, WORDS)


def test_a_sentence_too_long_is_parted_between_words() -> None:
    """thewh1teagle/kokoro-onnx#115, #184: without a point in it, the rest was lost."""
    text = "it may be that this communication will be considered as a freak " * 30
    found = script(text, WORDS, longest=100)
    assert max(len(s.symbols) for s in found.sentences) <= 100
    assert sum(len(s.words) for s in found.sentences) == len(text.split())
    clauses = script("one two three, " * 40, WORDS, longest=95)
    assert all(s.symbols[-2] == "ˈi" for s in clauses.sentences)  # each ends with a clause
    assert sum(len(s.words) for s in clauses.sentences) == 120


@pytest.mark.parametrize("text", ["word " * 4000, "1" * 20_000, "A.B" * 6000])
def test_twenty_thousand_letters(text: str) -> None:
    found = script(text, WORDS)
    assert max(len(s.symbols) for s in found.sentences) <= 400


SSML = (
    '<speak>Hi <break time="500ms"/>there.<s>One <prosody rate="80%" pitch="+12st">two</prosody></s>'
    '<phoneme alphabet="ipa" ph="təˈmɑːtoʊ">tomato</phoneme> <say-as interpret-as="characters">AB1</say-as> '
    '<sub alias="World Wide Web">W3</sub></speak>'
)


def test_ssml_says_how() -> None:
    found = script(SSML, WORDS).sentences
    assert [len(s.words) for s in found] == [2, 2, 3]
    assert found[0].pauses == {1: 0.5}
    assert [(m.rate, round(m.pitch, 6)) for m in found[1].manners] == [(1.0, 1.0)] * 3 + [
        (0.8, 2.0)
    ] * 2 + [(1.0, 1.0)]
    words = found[2].words
    sounds = ["".join(found[2].symbols[w.first : w.last]) for w in words]
    assert sounds == ["təmˈɑtoʊ", "ˈeɪbˈiwˈʌn", "wˈɜɹldwˈaɪdwˈɛb"]
    assert [SSML[w.start : w.end] for w in words] == ["tomato", "AB1", "W3"]


@pytest.mark.parametrize(
    ("ssml", "kind", "words"),
    [
        ("<speak>a", Damaged, "is broken"),
        ("<speak>a & b</speak>", Damaged, "is broken"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><speak>&a;</speak>', Unsupported, "document type"),
        (
            "<!DOCTYPE speak SYSTEM 'file:///etc/passwd'><speak>a</speak>",
            Unsupported,
            "document type",
        ),
        ("<speak>&x;</speak>", Damaged, "is broken"),
        ("<speak><audio src='x'/></speak>", Unsupported, "<audio>"),
        ("<speak><break duration='1s'/></speak>", Unsupported, "duration="),
        ("<speak><break time='1h'/></speak>", EdgeError, "'1h'"),
        ("<speak><break time='11s'/></speak>", EdgeError, "'11s'"),
        ("<speak><break strength='loud'/></speak>", EdgeError, "'loud'"),
        ("<speak><prosody rate='quick'>a</prosody></speak>", EdgeError, "'quick'"),
        ("<speak><prosody rate='2st'>a</prosody></speak>", EdgeError, "'2st'"),
        ("<speak><phoneme>a</phoneme></speak>", EdgeError, "no ph="),
        ("<speak><phoneme ph='ɮ'>a</phoneme></speak>", EdgeError, "'ɮ'"),
        ("<speak><sub>a</sub></speak>", EdgeError, "no alias="),
        ("<speak><say-as interpret-as='poem'>a</say-as></speak>", Unsupported, "'poem'"),
        (
            "<speak><say-as interpret-as='ordinal'>many</say-as></speak>",
            EdgeError,
            "'many' is no ordinal",
        ),
        (
            "<speak>" + "<p>" * 40 + "a" + "</p>" * 40 + "</speak>",
            Unsupported,
            "where it is not read",
        ),
        ("<speak><speak>a</speak></speak>", Unsupported, "<speak>"),
        ("<speak>" + "a" * (1 << 20) + "</speak>", EdgeError, "1 MiB"),
    ],
)
def test_markup_that_is_not_followed_is_refused(
    ssml: str, kind: type[EdgeError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        script(ssml, WORDS)


@pytest.mark.parametrize(
    ("kind", "text", "want"),
    [
        ("cardinal", "1,204", "one thousand two hundred four"),
        ("ordinal", "21", "twenty first"),
        ("digits", "10-4", "one zero four"),
        ("telephone", "555 12", "five five five one two"),
        ("fraction", "3/4", "three quarters"),
        ("spell-out", "a-b", "A dash B"),
    ],
)
def test_say_as(kind: str, text: str, want: str) -> None:
    found = parts(f'<speak><say-as interpret-as="{kind}">{text}</say-as></speak>')
    assert [part.words for part in found if part.words] == [tuple(want.split())]


@given(st.text(max_size=80) | st.text("abc .,!?'-’$1290:/<>&[]()\n", max_size=80))
@example("[[a")
@example("]] [[ ]]")
@example("١٢٣ ½½ ²")
@example("[[ ]]")
def test_any_text_is_said_or_refused(text: str) -> None:
    try:
        found = script(text, WORDS, longest=60)
    except EdgeError:
        return
    check(found, text, 60)


def check(found: Script, text: str, longest: int) -> None:
    for sentence in found.sentences:
        assert 1 < len(sentence.symbols) <= longest
        assert sentence.symbols[-1] in ".?!…"
        assert len(ids(sentence.symbols)) == len(sentence.symbols) == len(sentence.manners)
        assert set(sentence.pauses) <= set(range(len(sentence.symbols)))
        last = 0
        for word in sentence.words:
            assert last <= word.first < word.last
            assert 0 <= word.start < word.end <= len(text)
            assert word.text == text[word.start : word.end].strip()
            last = word.last


def test_the_guess_is_a_distribution_that_knows_what_it_learned(tmp_path: Path) -> None:
    """On a language of three rules: a is æ, but before e it is eɪ, and e is silent at the end."""
    data = [
        (w, tuple(p.split()))
        for w, p in {
            "cat": "k ˈæ t",
            "cate": "k ˈeɪ t",
            "tac": "t ˈæ k",
            "tace": "t ˈeɪ k",
            "acat": "ˈæ k æ t",
        }.items()
    ] * 5
    pairs, counts = learning.learned(data)
    guessing.write(tmp_path / "it.npz", pairs, counts)
    guesser = guessing.loaded(tmp_path / "it.npz")
    assert [guesser.phonemes(word) for word, _ in data[:4]] == [sounds for _, sounds in data[:4]]
    codes = [guessing.EDGE, *range(2, len(pairs) + 2)]
    whole = guesser.probabilities([(1,), (1, 2), (1, 3, 4), (1, 4, 2, 3)], codes)
    np.testing.assert_allclose(whole.sum(1), 1)
    assert whole.min() > 0


def test_the_guess_of_the_package() -> None:
    """Of words that it has not learned: `docs/phonemes.json` says how often it is right."""
    said = {
        word: "".join(guessing.guesser().phonemes(word))
        for word in ("blorf", "snizzle", "tramping")
    }
    assert said == {"blorf": "blˈɔɹf", "snizzle": "snˈɪzəl", "tramping": "tɹˈæmpɪŋ"}
    assert guessing.guesser().phonemes("") == ()


def test_without_the_lexicon_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def lacks(name: str) -> object:
        raise metadata.PackageNotFoundError(name)

    lexicon.cache_clear()
    monkeypatch.setattr("importlib.metadata.distribution", lacks)
    with pytest.raises(Unsupported, match="misaki") as error:
        Words()
    assert "[speech]" in str(error.value)
    monkeypatch.undo()
    lexicon.cache_clear()


def test_espeak_is_asked_where_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="no program espeak-ng"):
        Espeak()
    program = tmp_path / "espeak-ng"
    program.write_text('#!/bin/sh\nread word\necho " bˈɜːt_$word" | /bin/sed s/_.*//\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    assert Espeak().phonemes("xyz") == ("b", "ˈɜ", "ɹ", "t")
    words = Words(speller=Espeak())
    (sentence,) = script("erbgibijagr", words).sentences
    assert "".join(sentence.symbols) == "bˈɜɹt."
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(EdgeError, match="espeak-ng cannot say"):
        Espeak().phonemes("xyz")


def test_silence_at_every_place_is_kept() -> None:
    """Before the first word, after the last, and between two sentences."""
    text = '<speak><break time="1s"/>One.<break time="2s"/> Two<break time="3s"/> three.<break time="4s"/></speak>'
    first, second = script(text, WORDS).sentences
    assert first.pauses == {-1: 1.0, len(first.symbols) - 1: 2.0}
    assert second.pauses == {second.words[0].last - 1: 3.0, len(second.symbols) - 1: 4.0}
