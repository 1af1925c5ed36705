"""Filters of the engine `text`, beside slow versions of what the papers say; and texts of other scripts, which stay."""

import random
import re
from collections import Counter
from typing import Any

import pytest
from engines import CHINESE, WORDS, prose
from hypothesis import given
from hypothesis import strategies as st

from edge.data.engines.text import Settings, check, steps
from edge.data.frame.step import Drop, Each, Means, Row
from edge.data.steps.c4 import Lines
from edge.data.steps.gopher import Quality, Repetition, _repeated, _top
from edge.data.steps.words import Words

JAPANESE = (
    "むかしむかし、あるところにおじいさんとおばあさんが住んでいました。おじいさんは山へしばかりに、おばあさんは川へ洗濯に行きました。"
    "おばあさんが川で洗濯をしていると、大きな桃が流れてきました。家に持ち帰って切ってみると、中から元気な男の子が生まれました。"
    "二人はその子を桃太郎と名づけて、大切に育てました。やがて桃太郎は鬼を退治するために旅に出ることにしました。"
)
THAI = (
    "กาลครั้งหนึ่งนานมาแล้ว มีชาวนาคนหนึ่งอาศัยอยู่ในหมู่บ้านเล็กๆ ริมแม่น้ำ ทุกเช้าเขาออกไปทำนากับควายของเขา "
    "ตอนเย็นเขากลับบ้านมากินข้าวกับภรรยาและลูกสามคน พวกเขายากจนแต่มีความสุขมาก วันหนึ่งฝนตกหนักจนน้ำท่วมทุ่งนา "
    "ชาวบ้านทุกคนช่วยกันสร้างเขื่อนกั้นน้ำ และในที่สุดข้าวก็รอดพ้นจากความเสียหาย"
)
HINDI = (
    "एक समय की बात है, एक छोटे से गाँव में एक किसान रहता था। वह हर सुबह अपने बैलों के साथ खेत में काम करने जाता था। "
    "उसकी पत्नी घर पर भोजन बनाती थी और बच्चे पाठशाला में पढ़ते थे। एक दिन बहुत तेज़ बारिश हुई और नदी का पानी गाँव तक आ गया। "
    "सभी लोगों ने मिलकर एक मज़बूत बाँध बनाया, जिससे फसल और पशु दोनों बच गए।"
)
ARABIC = (
    "كان يا ما كان في قديم الزمان فلاح يعيش في قرية صغيرة قرب النهر. "
    "كان يخرج كل صباح إلى حقله مع ثوره ويعمل حتى المساء. "
    "وكانت زوجته تعد الطعام بينما يتعلم الأطفال القراءة والكتابة في المدرسة. "
    "وفي يوم من الأيام هطل المطر بغزارة ففاض النهر. "
    "اجتمع أهل القرية وبنوا سدا قويا من الحجارة والطين حتى نجا الزرع والماشية من الغرق."
)
RUSSIAN = (
    "Жил-был в небольшой деревне у реки старый крестьянин. "
    "Каждое утро он выходил в поле вместе со своей лошадью и трудился до вечера. "
    "Жена готовила обед, а дети учились читать и писать в сельской школе. "
    "Однажды пошёл сильный дождь, и вода поднялась выше берегов. "
    "Тогда все жители собрались вместе и построили крепкую плотину, которая спасла урожай и скот от наводнения."
)
OTHERS = {"zh": CHINESE, "ja": JAPANESE, "th": THAI, "hi": HINDI, "ar": ARABIC, "ru": RUSSIAN}


def outcome(text: str, **options: Any) -> Row | Drop:
    """What the steps that look at one row make of a text."""
    row = Row("a", 1, {"text": text})
    for step in steps(Settings(**options), Means()):
        if isinstance(step, Each):
            made = step.do(row, 0)
            if isinstance(made, Drop):
                return made
            assert isinstance(made, Row)
            row = made
    return row


def reason(text: str, **options: Any) -> str:
    made = outcome(text, **options)
    return made.reason if isinstance(made, Drop) else ""


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_texts_of_other_scripts_stay(text: str) -> None:
    assert reason(text) == ""
    if text is not THAI:  # it has no sign that ends a sentence
        assert reason(text, c4=True) == ""


def test_prose_stays_as_it_is() -> None:
    assert outcome(prose(1)) == Row("a", 1, {"text": prose(1)})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (prose(0, 49), "few words"),
        (CHINESE[:60], "few words"),
        ("a an of to in " * 30, "short words"),
        (" ".join(word * 3 for word in WORDS * 2), "long words"),
        (prose(0) + " #" * 9, "many symbols"),
        (prose(0) + "…" * 9, "many symbols"),
        ("\n".join(f"- {' '.join(WORDS[i : i + 9])}" for i in range(12)), "many bullets"),
        ("\n".join(f"{' '.join(WORDS[i : i + 19])}..." for i in range(7)), "many ellipses"),
        (prose(0) + " 123 4567 89 10" * 9, "few letters"),
        (prose(0) + " |" * 30, "few letters"),
        ("\n".join([prose(0)] * 3), "repeated lines"),
        (
            "\n\n".join([prose(0)] * 2 + [prose(i, 12) for i in range(1, 6)]),
            "letters in repeated lines",
        ),
        ("golden river " * 60, "frequent run of 2 words"),
        (" ".join(f"{w} red kite flies" for w in WORDS), "frequent run of 2 words"),
        (
            prose(1, 50) + " " + " ".join(prose(1, 50).split()[5:25]) + " " + prose(2, 30),
            "repeated runs of 5 words",
        ),
        (f"春天来了{'我爱北京天安门' * 30}", "frequent run of 2 words"),
    ],
    ids=lambda given: given[:24],
)
def test_what_gopher_leaves_out_goes_with_its_reason(text: str, why: str) -> None:
    assert reason(text) == why
    assert reason(text, quality=False, repetition=False) == ""


def test_stop_words_are_asked_for_by_those_who_want_english() -> None:
    assert reason(prose(0), least_stop_words=2) == "few stop words"
    assert reason("The cat and the dog. " + prose(0), least_stop_words=2) == ""


def test_bounds_are_inclusive() -> None:
    words = " ".join(f"w{'abcdefghijklmnopqrstuvwxyz'[i % 26]}{i}x" for i in range(50))
    assert reason(words) == ""
    assert reason(words.rpartition(" ")[0]) == "few words"
    assert reason(words, most_words=50) == ""
    assert reason(words, most_words=49, least_words=0) == "many words"


# Slowly, as the paper says it: letters of words, by marking each of them.


def slow_repeated(words: list[str], n: int) -> int:
    marked = [False] * len(words)
    for i in range(len(words) - n + 1):
        if any(words[j : j + n] == words[i : i + n] for j in range(i)):
            marked[i : i + n] = [True] * n
    return sum(len(word) for word, mark in zip(words, marked, strict=True) if mark)


def slow_top(words: list[str], n: int) -> int:
    runs = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    best = [(count, sum(map(len, run))) for run, count in runs.items() if count > 1]
    return max(best, default=(0, 0))[0] * max(best, default=(0, 0))[1]


@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=30), st.integers(1, 6))
def test_repetition_is_what_marking_every_word_says(words: list[str], n: int) -> None:
    assert _repeated(words, n) == slow_repeated(words, n)
    assert _top(words, n) == slow_top(words, n)


@given(st.text(st.sampled_from("ab .\n#-…春天😀\u0e01\u0e31"), max_size=300))
def test_any_text_has_a_verdict(text: str) -> None:
    outcome(text, c4=True)
    outcome(text, least_words=0, repetition=False)
    assert re.sub(r"\s", "", text) == "".join(Words.of(text).raw)


@given(st.randoms(use_true_random=False))
def test_every_reason_is_right_about_its_bound(rng: random.Random) -> None:
    """The figure that is said lies beyond the bound that is said."""
    text = "".join(
        rng.choices(
            ["# ", "- a\n", "bb ", "river ", "7 ", "end...\n", "\n\n"], k=rng.randint(0, 120)
        )
    )
    settings = Settings()
    quality = Quality(**{name: getattr(settings, name) for name in Quality.__slots__})
    repetition = Repetition(**{name: getattr(settings, name) for name in Repetition.__slots__})
    for _, said in (*quality.fails(text), *repetition.fails(text)):
        value, side, bound = re.fullmatch(r"([\d.e+-]+), (above|below) ([\d.e+-]+)", said).groups()  # type: ignore[union-attr]
        assert float(value) > float(bound) if side == "above" else float(value) < float(bound)


def test_words_of_scripts_without_blanks() -> None:
    assert Words.of("春天，来了 abc, d").raw == ("春", "天，", "来", "了", "abc,", "d")
    assert Words.of("春天，来了 abc, d").plain == ("春", "天", "来", "了", "abc", "d")
    assert Words.of("春天，来了 abc, d").count == 4
    assert Words.of("हिन्दी भाषा।").plain == ("हिन्दी", "भाषा")  # signs of vowels are no signs
    assert Words.of("กัน").raw == ("กั", "น")
    assert Words.of("한국어 문장").plain == ("한국어", "문장")
    assert Words.of("don't re-do “that”…").plain == ("don't", "re-do", "that")
    assert Words.of(" \n").raw == ()


def lines(**changes: Any) -> Lines:
    return Lines(**{"ended": True, "words": 5, "sentences": 3} | changes)


def test_c4_keeps_lines_that_are_sentences() -> None:
    text = (
        "Home | News\n\nThe ship left the harbour.\nIt was late.\n"
        'He said "we are going home."\nPlease enable Javascript on this page.\nA line without its end'
    )
    assert lines().kept(text) == 'The ship left the harbour.\nHe said "we are going home."'
    assert lines(words=3).kept(text).count("\n") == 2
    assert lines(ended=False).kept(text).endswith("without its end")
    assert lines(words=2).kept("我们回家吧。\n菜单").endswith("。")
    assert lines(words=1).kept("هل انت هنا؟\nनमस्ते।\nno") == "هل انت هنا؟\nनमस्ते।"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("One. Two.", "few sentences"),
        ("One... Two!", "few sentences"),
        ("if (x) { y; } One. Two. Three.", "curly brackets"),
        ("Lorem Ipsum dolor. Sit. Amet.", "lorem ipsum"),
        ("a. b. c.", "no line stays"),
    ],
)
def test_c4_throws_pages_away(text: str, why: str) -> None:
    assert reason(text, c4=True, quality=False, repetition=False) == why


def test_settings_that_belong_together_are_all_known() -> None:
    check(frozenset(), Settings(), Means())
    check(frozenset(["line_words"]), Settings(c4=True), Means())
