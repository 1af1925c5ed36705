"""What a recording says in another voice, and other words in it: by a recognizer that is told what it hears."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("misaki", reason="needs '.[speech]'")

import voices
from hypothesis import given
from hypothesis import strategies as st
from voices import RATE, hum

from edge.audio.sound import Sound
from edge.audio.spectra import MELS, Framing
from edge.errors import EdgeError
from edge.pipelines.acoustics import middle
from edge.pipelines.editing import CROSSFADE, Change, Words, cut, lengths, spliced
from edge.pipelines.listening import Listener, Spelled, lines, symbols_of
from edge.pipelines.revoicing import moved_to
from edge.pipelines.speech import Speech
from edge.text.spoken.speaking import script
from edge.text.spoken.symbols import START, ids, shown, table
from edge.text.spoken.words import Words as Dictionary

DICTIONARY = Dictionary()
HOP = 200
OVER = int(CROSSFADE * RATE)
TEXT = "Good morning, we meet at nine."


class Told:
    """A recognizer that hears what it was told: symbols, each so many frames."""

    def __init__(self, symbols: Sequence[int], frames: Sequence[int]) -> None:
        self._best = np.repeat(symbols, frames)

    def __call__(self, mel: np.ndarray, frame_mask: np.ndarray) -> dict[str, np.ndarray]:
        marks = self._best < table().marks
        assert mel.shape == (1, len(self._best), 80)
        logits = np.zeros((1, len(self._best), 96), np.float32)
        logits[0, np.arange(len(self._best)), np.where(marks, 0, self._best)] = 9
        return {"logits": logits}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    return voices.in_numpy(voices.write(tmp_path_factory.mktemp("voice") / "it"))


@pytest.fixture
def talk() -> tuple[Sound, np.ndarray, np.ndarray]:
    """A recording of the text, its symbols and how long each lasts: 3 to 7 frames."""
    symbols = symbols_of([one.symbols for one in script(TEXT, DICTIONARY).sentences])
    frames = 3 + np.arange(len(symbols)) % 5
    sound = hum(int(frames.sum()) * HOP / RATE)
    return Sound(samples=sound.samples[: int(frames.sum()) * HOP], rate=RATE), symbols, frames


def listening(speech: Speech, symbols: np.ndarray, frames: np.ndarray) -> Speech:
    """The same, which hears what it is told."""
    own: dict[str, Any] = {**speech.nets, "recognizer": Told(symbols.tolist(), frames.tolist())}
    out = object.__new__(Speech)
    vars(out).update(vars(speech) | {"nets": own})
    return out


def test_a_text_is_aligned(oracle: Speech, talk: Any) -> None:
    sound, symbols, frames = talk
    listener = Listener(Told(symbols, frames), MELS["edge"])  # type: ignore[arg-type]
    found = listener.aligned(listener.heard(sound).bands, symbols)
    np.testing.assert_array_equal(found, frames)
    with pytest.raises(EdgeError, match="do not fit"):
        listener.aligned(listener.heard(sound).bands, np.repeat(symbols, 9))


def test_a_recording_is_read(oracle: Speech) -> None:
    """A pause is a comma; what is short is no pause."""
    a, b, c = ids(("p", "ˈi", "z"))
    heard = [
        (0, 20),
        (a, 4),
        (b, 6),
        (0, 3),
        (c, 5),
        (0, 15),
        (a, 4),
        (a, 0),
        (0, 2),
        (a, 4),
        (0, 9),
    ]
    told = Told(*zip(*heard, strict=True))  # type: ignore[arg-type]
    frames = sum(count for _, count in heard)
    found = Listener(told, MELS["edge"]).read(np.zeros((frames, 80), np.float32))  # type: ignore[arg-type]
    said = [table().symbols[i] for i in found.symbols]
    assert said == [START, "p", "ˈi", "z", ",", "p", "p", "."]
    assert found.frames.tolist() == [20, 4, 9, 5, 15, 6, 4, 9]
    silent = Told([0], [30])
    with pytest.raises(EdgeError, match="nothing is said"):
        Listener(silent, MELS["edge"]).read(np.zeros((30, 80), np.float32))  # type: ignore[arg-type]


def test_in_another_voice_it_lasts_as_long(oracle: Speech, talk: Any) -> None:
    sound, symbols, frames = talk
    speech = listening(oracle, symbols, frames)
    for text in (TEXT, None):
        said = speech.revoice(sound, voice=hum(hertz=210.0), text=text)
        assert said.samples.size == sound.samples.size
        assert said.phonemes[-1].end == pytest.approx(said.seconds)
        assert all(a.end == pytest.approx(b.start) for a, b in pairwise(said.phonemes))
        same = speech.revoice(sound, voice=hum(hertz=210.0), text=text)
        np.testing.assert_array_equal(said.samples, same.samples)
        other = speech.revoice(sound, voice=hum(hertz=90.0), text=text)
        assert np.abs(said.samples - other.samples).max() > 1e-3
    words = speech.revoice(sound, voice=hum(), text=TEXT).words
    assert [word.text for word in words] == ["Good", "morning", "we", "meet", "at", "nine"]
    first = int(frames[0])
    assert words[0].start == pytest.approx(first / 80)


@given(st.lists(st.sampled_from([0.0, 80.0, 120.0, 160.0]), min_size=1), st.floats(60, 400))
def test_a_pitch_is_moved_as_it_is(hertz: list[float], target: float) -> None:
    found = np.expm1(moved_to(np.array(hertz, np.float32), target).astype(np.float64))
    voiced = np.array(hertz) > 0
    assert (np.abs(found[~voiced]) < 1e-6).all()
    if voiced.any():
        assert middle(found.astype(np.float32)) == pytest.approx(target, rel=1e-4)
        factors = found[voiced] / np.array(hertz)[voiced]
        np.testing.assert_allclose(factors, factors[0], rtol=1e-4)


def edited(speech: Speech, talk: Any, change: str) -> tuple[np.ndarray, Any]:
    sound, symbols, frames = talk
    said = listening(speech, symbols, frames).edit(sound, TEXT, change)
    return said.samples, said


def ends_of(talk: Any, word: int) -> tuple[int, int]:
    """Samples of a word of the recording."""
    _, _, frames = talk
    one = Words.of(script(TEXT, DICTIONARY)).words[word]
    stops = np.concatenate([[0], np.cumsum(frames)]) * HOP
    return int(stops[one.first]), int(stops[one.last])


@pytest.mark.parametrize(
    ("change", "first", "last"),
    [
        ("nine=>ten", 5, 5),
        ("morning=>evening", 1, 1),
        ("Good=>Bad", 0, 0),
        ("we meet=>they dance", 2, 3),
        ("at nine=>", 4, 5),
        ("morning, we=>day, we all", 1, 2),
    ],
)
def test_all_else_stays_sample_for_sample(
    change: str, first: int, last: int, oracle: Speech, talk: Any
) -> None:
    sound = talk[0]
    made, said = edited(oracle, talk, change)
    start, stop = ends_of(talk, first)[0], ends_of(talk, last)[1]
    before, after = max(0, start - OVER), sound.samples.size - min(sound.samples.size, stop + OVER)
    np.testing.assert_array_equal(made[:before], sound.samples[:before])
    if after:
        np.testing.assert_array_equal(made[-after:], sound.samples[-after:])
    new = change.partition("=>")[2]
    assert [word.text for word in said.words] == [
        word.strip(",.")
        for word in Change.of(change).made(TEXT).replace(",", " ").split()
        if word != "."
    ]
    assert said.phonemes[-1].end == pytest.approx(made.size / RATE, abs=1e-6)
    if new:
        assert made.size != sound.samples.size or np.abs(made - sound.samples).max() > 1e-3


def test_what_is_new_is_at_its_rate_and_as_loud(oracle: Speech, talk: Any) -> None:
    sound, symbols, frames = talk
    made, _ = edited(oracle, talk, "we meet=>we meet there")
    soft = Sound(samples=sound.samples * np.float32(0.1), rate=RATE)
    quiet = listening(oracle, symbols, frames).edit(soft, TEXT, "we meet=>we meet there").samples
    np.testing.assert_allclose(quiet, made * np.float32(0.1), atol=2e-3)


@given(st.data())
def test_lengths_of_what_stays_are_kept(data: st.DataObject) -> None:
    head, old, new, tail = (data.draw(st.integers(0, 5)) for _ in range(4))
    was = np.array(
        data.draw(
            st.lists(st.integers(0, 9), min_size=head + old + tail, max_size=head + old + tail)
        ),
        np.int64,
    )
    made = np.array(
        data.draw(
            st.lists(st.integers(1, 9), min_size=head + new + tail, max_size=head + new + tail)
        ),
        np.int64,
    )
    from edge.pipelines.editing import Cut

    found = lengths(was, made, Cut(first=head, old=head + old, new=head + new), [True] * len(made))
    np.testing.assert_array_equal(found[:head], was[:head])
    np.testing.assert_array_equal(found[head + new :], was[head + old :])
    assert (found[head : head + new] >= 1).all()


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 40))
def test_a_splice_of_the_same_is_the_same(first: int, second: int, more: int) -> None:
    framing = Framing(rate=1600)  # a crossfade of 16 samples
    start, stop = sorted((first, second))
    whole = np.sin(np.arange(60 + more, dtype=np.float32))
    padded = np.pad(whole, (16, 16))
    made = padded[start : stop + 32]
    np.testing.assert_allclose(spliced(whole, made, start, stop, framing), whole, atol=1e-6)


def test_a_change_is_of_whole_words_and_of_one_place() -> None:
    assert Change.of(" a b => c ").made("x a b, y") == "x c, y"
    assert Change.of("art=>paint").made("a cart of art") == "a cart of paint"
    for wrong in ("a b", "=>b", " =>", ""):
        with pytest.raises(EdgeError, match="what becomes what"):
            Change.of(wrong)
    with pytest.raises(EdgeError, match="are not in the text"):
        Change.of("car=>bus").made("a cart")
    with pytest.raises(EdgeError, match="are 2 times in the text"):
        Change.of("a=>b").made("a and a")


def test_a_cut_lies_between_words() -> None:
    """Weak forms change with what follows them: the apple, the pear."""
    old, new = (
        Words.of(script(t, DICTIONARY)) for t in ("Eat the apple now.", "Eat the pear now.")
    )
    found = cut(old, new)
    assert shown([table().symbols[i] for i in old.symbols[found.first : found.old]]).startswith("ð")
    assert old.symbols[found.old :].tolist() == new.symbols[found.new :].tolist()
    same = cut(old, old)
    assert same.first == same.old == same.new


def test_long_recordings_are_said_in_lines() -> None:
    comma = ids((",",))[0]
    spelled = Spelled(
        symbols=np.array([1, *[40] * 5, comma, *[41] * 9], np.int64), frames=np.full(16, 10)
    )
    assert lines(spelled, symbols=99, frames=999) == [(0, 16)]
    assert lines(spelled, symbols=9, frames=999) == [(0, 7), (7, 16)]
    found = lines(spelled, symbols=99, frames=25)
    assert [a for a, _ in found] + [16] == [0, *(b for _, b in found)]
    assert all((b - a) * 10 <= 25 for a, b in found)


def test_what_cannot_be_heard_is_refused(oracle: Speech, talk: Any, tmp_path: Path) -> None:
    sound, symbols, frames = talk
    speech = listening(oracle, symbols, frames)
    with pytest.raises(EdgeError, match="a recording of 60 seconds"):
        speech.revoice(Sound(samples=np.ones(60 * RATE, np.float32), rate=RATE), voice=hum())
    with pytest.raises(EdgeError, match="recording is silent"):
        speech.revoice(Sound(samples=np.zeros(RATE, np.float32), rate=RATE), voice=hum())
    with pytest.raises(EdgeError, match="nothing to say"):
        speech.edit(sound, "nine", "nine=>", voice=hum())
    with pytest.raises(EdgeError, match="are not in the text"):
        speech.edit(sound, TEXT, "ten=>nine")
    deaf = voices.in_numpy(voices.write(tmp_path / "deaf", recognizer=None))
    with pytest.raises(EdgeError, match="no network that listens"):
        deaf.revoice(sound, voice=hum())
    with pytest.raises(EdgeError, match="no network that listens"):
        deaf.edit(sound, TEXT, "nine=>ten")
