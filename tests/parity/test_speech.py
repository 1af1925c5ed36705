"""A voice from a checkpoint to sound, on numpy and on every target: one seed is one sound."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("misaki", reason="needs '.[speech]'")

import voices
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from speaking import EDGE_SPEECH
from voices import hum

from edge.artifact.pipeline import PipelineArtifact
from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.errors import EdgeError
from edge.families import pipelines
from edge.pipelines.acoustics import Delivery, Noise, counted, moved
from edge.pipelines.loading import load
from edge.pipelines.runners import RUNNERS, open_pipeline
from edge.pipelines.speech import Said, Speech, halved, line_of
from edge.pipelines.utterance import laid, sounds
from edge.prove import voices as proofs
from edge.run.strategy import Strategy
from edge.text.spoken.speaking import script
from edge.text.spoken.symbols import START, table
from edge.text.spoken.words import Words

TEXT = "Good morning, Dr. Lee. It is 3:05 p.m."
WORDS = Words()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voices.write(tmp_path_factory.mktemp("voice") / "it")


@pytest.fixture(scope="module")
def oracle(source: Path) -> Speech:
    return voices.in_numpy(source)


def made(speech: Speech, text: str = TEXT, **how: object) -> Said:
    """All of it."""
    said = speech.speak(text, voice=how.pop("voice", hum()), **how)  # type: ignore[arg-type]
    assert np.isfinite(said.samples).all()
    return said


def test_what_works_together_has_a_runner() -> None:
    assert {pipeline.name for pipeline in pipelines() if pipeline.together} == set(RUNNERS)


@pytest.mark.parametrize("target", ["onnx", "mlx", "coreml", "torch"])
def test_one_seed_is_one_sound(target: str, source: Path, oracle: Speech, tmp_path: Path) -> None:
    convert_pipeline(source, tmp_path / "it", Options(target=target, quant="fp32"))
    strategy = Strategy(reference=target == "coreml")
    speech = open_pipeline(tmp_path / "it", exact=True, strategy=strategy)
    for how in ({}, {"steps": 2, "alpha": 0.0, "speed": 1.5, "seed": 4}):
        want, got = made(oracle, **how), made(speech, **how)
        assert got.phonemes == want.phonemes
        assert np.abs(got.samples - want.samples).max() < 1e-3 * np.abs(want.samples).max()
        assert 0.01 < np.abs(want.samples).max() <= 1


def test_networks_are_placed_each_for_itself(source: Path, oracle: Speech, tmp_path: Path) -> None:
    parts = {"vocoder": ("torch", "fp32"), "denoiser": ("coreml", "fp32")}
    options = Options(target="onnx", quant="fp32")
    artifact = convert_pipeline(source, tmp_path / "it", options, parts)
    placed = voices.stages_of(artifact)
    assert (placed["vocoder"], placed["denoiser"], placed["prompt"]) == ("torch", "coreml", "onnx")
    speech = open_pipeline(tmp_path / "it", strategy=Strategy(reference=True))
    want = made(oracle, "Hello.").samples
    assert np.abs(made(speech, "Hello.").samples - want).max() < 1e-3


def test_a_seed_and_each_manner_counts(oracle: Speech) -> None:
    """Also a seed alone (metavoice-src#86), and one seed is one sound (Matcha-TTS#54)."""
    plain = made(oracle).samples
    np.testing.assert_array_equal(made(oracle, seed=0, steps=1, alpha=0.2, speed=1).samples, plain)
    for how in (
        {"seed": 1},
        {"steps": 2},
        {"alpha": 1.0},
        {"speed": 2.0},
        {"voice": hum(hertz=220.0)},
    ):
        other = made(oracle, **how).samples
        assert other.shape != plain.shape or np.abs(other - plain).max() > 1e-3, how
    assert made(oracle, speed=2.0).seconds < 0.7 * made(oracle, speed=1.0).seconds


def test_what_is_said_fills_the_time(oracle: Speech) -> None:
    said = made(oracle)
    assert len(said.samples) == round(said.seconds * said.rate)
    assert 0 <= said.phonemes[0].start < 0.1  # after the silence before it
    assert all(a.end == pytest.approx(b.start) for a, b in pairwise(said.phonemes))
    assert said.phonemes[-1].end == pytest.approx(said.seconds)
    assert [word.text for word in said.words] == [
        "Good",
        "morning",
        "Dr.",
        "Lee",
        "It",
        "is",
        "3:05 p.m.",
    ]
    for word in said.words:
        assert any(word.start == phoneme.start for phoneme in said.phonemes)
        assert any(word.end == phoneme.end for phoneme in said.phonemes)
    assert said.first_sound_seconds is not None
    assert 0 < said.first_sound_seconds <= said.busy_seconds
    assert said.rtf == pytest.approx(said.busy_seconds / said.seconds)


def test_sound_comes_in_pieces(oracle: Speech) -> None:
    said = oracle.speak("One. Two. Three.", voice=hum())
    pieces = iter(said)
    first = next(pieces)
    early = [one.text for one in said.words]
    assert early == ["One"]
    assert said.seconds == first.size / said.rate
    rest = [first, *pieces]
    np.testing.assert_array_equal(np.concatenate(rest), said.samples)
    assert [one.text for one in said.words] == ["One", "Two", "Three"]


@given(frames=st.integers(1, 300), begin=st.integers(1, 90), seed=st.integers(0, 9))
@settings(max_examples=12, deadline=None)
def test_pieces_of_sound_are_the_whole(oracle: Speech, frames: int, begin: int, seed: int) -> None:
    """To 1e-5, wherever they are cut: what each is made of reaches as far as the network does (audio.cpp#429)."""
    bands = np.random.default_rng(seed).normal(-4, 2, (frames, 80)).astype(np.float32)
    line = laid(bands, np.array([frames]), {}, -11.5)
    vocoder = oracle.nets["vocoder"]
    found = np.concatenate(list(sounds(vocoder, line, oracle.mel, begin=begin)))
    whole = vocoder(mel=bands[None], frame_mask=np.ones((1, frames), np.float32))["audio"]
    whole = np.concatenate(list(sounds(lambda_of(vocoder, whole), line, oracle.mel, begin=frames)))
    np.testing.assert_allclose(found, whole, atol=1e-5 * np.abs(whole).max())


class lambda_of:  # noqa: N801
    """A vocoder that knows one answer."""

    def __init__(self, vocoder: object, audio: np.ndarray) -> None:
        self.spec, self._audio = vocoder.spec, audio  # type: ignore[attr-defined]

    def __call__(self, **_: np.ndarray) -> dict[str, np.ndarray]:
        return {"audio": self._audio}


def test_silence_that_was_asked_for_is_silent(oracle: Speech) -> None:
    text = '<speak>One.<break time="500ms"/> Two<break time="250ms"/> three.</speak>'
    said, plain = made(oracle, text), made(oracle, "<speak>One. Two three.</speak>")
    assert said.seconds == pytest.approx(plain.seconds + 0.75, abs=0.02)
    one, two = said.words[:2]
    silent = said.samples[
        round((two.start - 0.45) * said.rate) : round((two.start - 0.05) * said.rate)
    ]
    assert not silent.any()
    assert said.samples[round(one.start * said.rate) : round(one.end * said.rate)].any()
    gap = two.start - one.end
    assert gap > 0.5
    assert said.words[2].start - two.end == pytest.approx(0.25, abs=0.02)


def test_words_are_where_they_are_said_however_slowly(oracle: Speech) -> None:
    """With breaks and a slower rate, sentence after sentence (cognitive-services-speech-sdk-js#435)."""
    one = 'Hello, <break time="300ms"/> you.'
    said = made(oracle, f'<speak><prosody rate="-25%">{one * 4}</prosody></speak>')
    assert [word.text for word in said.words] == ["Hello", "you"] * 4
    assert said.phonemes[-1].end == pytest.approx(said.seconds)
    for first, second in zip(said.words[::2], said.words[1::2], strict=True):
        middle = [round((second.start - s) * said.rate) for s in (0.29, 0.01)]
        assert not said.samples[middle[0] : middle[1]].any()
        assert said.samples[round(first.start * said.rate) : round(first.end * said.rate)].any()


def test_every_sentence_begins_and_ends_softly(oracle: Speech) -> None:
    """No step from silence (chatterbox-tts-api#14), no static at the end (home-assistant/core#156603)."""
    said = made(oracle, "One. Two! Three")
    ends = [0.0, *(p.end for p in said.phonemes if p.text in ".!")]
    for at in ends:
        place = round(at * said.rate)
        near = said.samples[max(0, place - 2) : place + 2]
        assert np.abs(near).max() < 0.01 * np.abs(said.samples).max()
    np.testing.assert_array_equal(made(oracle, "Three").samples, made(oracle, "Three.").samples)


def test_a_table_of_too_few_symbols_is_refused(tmp_path: Path) -> None:
    """When it is opened, not at the first button (piper#124)."""
    prior = {**EDGE_SPEECH["prior_encoder"], "vocab_size": 90}
    folder = voices.write(tmp_path / "few", prior_encoder=prior)
    with pytest.raises(EdgeError, match="not of 96 symbols"):
        voices.in_numpy(folder)


def test_manners_of_a_part(oracle: Speech) -> None:
    slow = '<speak>One. <prosody rate="50%">Two.</prosody></speak>'
    ends = [made(oracle, text, alpha=0.0).words[-1] for text in ("<speak>One. Two.</speak>", slow)]
    assert ends[1].end - ends[1].start == pytest.approx(2 * (ends[0].end - ends[0].start), rel=0.2)
    high = line_of(
        script('<speak><prosody pitch="+50%">Two.</prosody></speak>', WORDS).sentences[0]
    )
    assert (high.pitches == np.float32(1.5)).all()
    np.testing.assert_allclose(
        moved(np.log1p(np.float32([100, 0])), high.pitches[:2]), np.log1p([150, 0])
    )


def test_lengths_are_whole_and_of_sounds_one_at_least() -> None:
    """Marks may take no time, as where they were learned."""
    log, heard = np.log1p(np.array([0.0, 0.4, 2.4, 2.6, 1e9])), np.array([True] * 5)
    assert counted(log, np.float32(1), heard).tolist() == [1, 1, 2, 3, 400]
    assert counted(log, np.float32(2), heard).tolist() == [1, 1, 1, 1, 200]
    assert counted(log, np.float32(2), ~heard).tolist() == [0, 0, 1, 1, 200]
    assert counted(np.array([-3.0, np.log1p(8)]), np.float32(0.5), heard[:2]).tolist() == [1, 16]


def test_a_line_begins_with_what_stands_before_a_text() -> None:
    line = line_of(script("Hi.", WORDS).sentences[0])
    assert [table().symbols[i] for i in line.symbols] == [START, "h", "ˈaɪ", "."]
    assert line.heard.tolist() == [False, True, True, False]


def test_noise_of_one_use_is_its_own() -> None:
    noises = Noise(3, 1)
    np.testing.assert_array_equal(noises.of("pitch", 1, 4), noises.of("pitch", 1, 9)[:, :4])
    keys = [(3, 1, "pitch"), (3, 2, "pitch"), (4, 1, "pitch"), (3, 1, "duration")]
    first = {float(Noise(a, b).of(use, 1)[0]) for a, b, use in keys}
    assert len(first) == len(keys)


def test_long_sentences_are_said_in_parts(oracle: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what would last longer than a network's frames, and hundreds of words without a mark: none is lost
    (kokoro-onnx#184, KokoroSharp#9) and nothing hangs (kokoro#325).
    """
    text = "one two three four five six seven eight nine ten"
    whole = made(oracle, text, alpha=0.0)
    monkeypatch.setattr(type(oracle.acoustics), "most", property(lambda _: 60))
    parts = made(oracle, text, alpha=0.0)
    assert [word.text for word in parts.words] == text.split()
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(parts.words))
    assert parts.phonemes[-1].end == pytest.approx(parts.seconds)
    assert [p.text for p in parts.phonemes] == [p.text for p in whole.phonemes]
    (sentence,) = script("Supercalifragilistic.", WORDS).sentences
    assert halved(sentence) == [sentence]
    many = "word " * 250
    assert [w.text for w in made(oracle, many, speed=4.0, alpha=0.0).words] == many.split()


def test_one_phoneme_to_four_hundred(oracle: Speech) -> None:
    for phonemes in ("ə", "ə" * 399):
        said = made(oracle, f"[[{phonemes}]]", alpha=0.0, speed=4.0)
        assert len(said.phonemes) == len(phonemes) + 1


@pytest.mark.parametrize("seconds", [1.1, 3.0, 10.0, 14.0])
def test_prompts_of_any_length(seconds: float, oracle: Speech) -> None:
    voice = oracle.voice(hum(seconds))
    assert 0 < voice.rows.shape[1] <= 800
    assert voice.hertz == pytest.approx(120, rel=0.1)
    assert made(oracle, "Hi.", voice=voice).seconds > 0


def test_a_voice_is_listened_to_once(oracle: Speech, tmp_path: Path) -> None:
    """By its content, not by its name (sherpa-onnx#3185)."""
    first = voices.recorded(tmp_path / "a.wav", hum(2.5))
    second = voices.recorded(tmp_path / "b.wav", hum(2.5))
    assert oracle.voice(first) is oracle.voice(str(second))
    assert oracle.voice(first) is oracle.voice(first.read_bytes())
    voices.recorded(first, hum(2.5, 200.0))
    assert oracle.voice(first) is not oracle.voice(second)


def test_what_a_checkpoint_lacks_is_refused(source: Path, tmp_path: Path) -> None:
    plain = voices.in_numpy(voices.write(tmp_path / "plain", refiner=None))
    assert "duration_refiner" not in plain.nets
    same = [made(plain, "Hello.", alpha=alpha).samples for alpha in (None, 0.0)]
    np.testing.assert_array_equal(*same)
    with pytest.raises(EdgeError, match="no network that refines"):
        plain.speak("Hello.", voice=hum(), alpha=0.5)
    with pytest.raises(EdgeError, match="no voice of its own"):
        plain.speak("Hello.")
    for wrong in (
        {"steps": 0},
        {"speed": 0.0},
        {"speed": float("nan")},
        {"alpha": -1.0},
        {"seed": -1},
    ):
        with pytest.raises(EdgeError, match=next(iter(wrong))):
            plain.speak("Hello.", voice=hum(), **wrong)  # type: ignore[arg-type]


def test_a_voice_comes_along(source: Path, oracle: Speech, tmp_path: Path) -> None:
    folder = voices.write(tmp_path / "with")
    voices.recorded(folder / "voice.wav", hum())
    artifact = convert_pipeline(folder, tmp_path / "it", Options(target="torch", quant="fp32"))
    assert "voice.wav" in artifact.files
    speech = load(tmp_path / "it")
    want = speech.speak("Hello.", voice=folder / "voice.wav").samples
    np.testing.assert_array_equal(speech.speak("Hello.").samples, want)
    voices.recorded(tmp_path / "it" / "voice.wav", hum(3.0))
    with pytest.raises(EdgeError, match=r"voice\.wav is not the file"):
        load(tmp_path / "it")
    (tmp_path / "it" / "voice.wav").unlink()
    with pytest.raises(EdgeError, match=r"lacks the file voice\.wav"):
        PipelineArtifact.open(tmp_path / "it")


@pytest.mark.parametrize("name", ["../secret.wav", "/etc/passwd", "prompt/../../x"])
def test_no_file_beyond_the_artifact(name: str, source: Path, tmp_path: Path) -> None:
    convert_pipeline(source, tmp_path / "it", Options(target="torch", quant="fp32"))
    file = tmp_path / "it" / "edge.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "files": {name: "0" * 64}}))
    with pytest.raises(EdgeError, match="no file of its folder"):
        PipelineArtifact.open(tmp_path / "it")


def test_a_voice_decodes_no_tokens(source: Path, tmp_path: Path) -> None:
    convert_pipeline(source, tmp_path / "it", Options(target="torch", quant="fp32"))
    with pytest.raises(EdgeError, match="--draft-by and --kv: a voice"):
        open_pipeline(tmp_path / "it", strategy=Strategy(kv="int8", drafting="lookup"))


def test_deliveries_have_bounds() -> None:
    assert Delivery() == Delivery(steps=1, alpha=None, speed=1.0, seed=0)
    with pytest.raises(EdgeError, match="steps 65"):
        Delivery(steps=65)


def test_a_proof_of_all_together_can_fail(source: Path, tmp_path: Path) -> None:
    """By another source's weights, and by settings that are not the source's."""
    artifact = convert_pipeline(source, tmp_path / "it", Options(target="torch", quant="fp32"))
    proof = proofs.together(artifact, source, same=True)
    assert proof.passed
    assert 0 < proof.error < 1e-4
    assert not proofs.together(artifact, source, same=False).passed
    tensors = load_file(source / "model.safetensors")
    tensors["vocoder.head.out.bias"] = tensors["vocoder.head.out.bias"] + np.float32(0.01)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_bytes((source / "config.json").read_bytes())
    save_file(tensors, other / "model.safetensors")
    assert not proofs.together(artifact, other, same=True).passed


def test_a_line_is_what_its_networks_make_of_it(oracle: Speech) -> None:
    """Each of them called by hand, in the order and with the numbers of the paper (arXiv 2404.14700)."""
    nets, acoustics, noises = oracle.nets, oracle.acoustics, Noise(5, 0)
    line = line_of(
        script('<speak><prosody rate="50%">Good</prosody> morning.</speak>', WORDS).sentences[0]
    )
    voice, how = oracle.voice(hum()), Delivery(steps=2, alpha=0.3, speed=1.25, seed=5)
    prompt = {"rows": voice.rows, "prompt_mask": np.ones((1, voice.rows.shape[1]))}
    ones = np.ones((1, line.symbols.size))
    hidden = nets["phonemes"](phonemes=line.symbols[None], phoneme_mask=ones, style=voice.style)[
        "hidden"
    ]
    long = nets["duration"](hidden=hidden, phoneme_mask=ones, **prompt)

    def refined(name: str, found: dict[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
        given = {"features": found["features"], "initial": found["log"], "mask": mask}
        noisy, sigma = 80 * noises.of(name, *mask.shape), np.full((1, 1), 80.0)
        alone = nets[f"{name}_refiner"](noisy=noisy, sigma=sigma, alpha=np.ones((1, 1)), **given)
        return found["log"] + 0.3 * (alone["refined"] - found["log"])

    rates = np.where(np.arange(line.symbols.size) <= 3, 0.5, 1.0) * 1.25
    least = np.where(line.symbols >= table().marks, 1, 0)
    counts = np.maximum(np.rint((np.exp(refined("duration", long, ones)[0]) - 1) / rates), least)
    frames = np.minimum(counts, 400).astype(np.int64)
    np.testing.assert_array_equal(acoustics.frames(line, hidden, voice, how, noises), frames)
    mask = np.ones((1, int(frames.sum())))
    high = nets["pitch"](
        hidden=hidden,
        alignment=np.array([[i for i, n in enumerate(frames) for _ in range(n)]]),
        frame_mask=mask,
        **prompt,
    )
    said = nets["condition"](
        repeated=high["repeated"], log_pitch=refined("pitch", high, mask), frame_mask=mask
    )["condition"]
    x = np.zeros((1, mask.shape[1], 80))
    for number, sigma in enumerate((80.0, 2.0)):
        noisy = x + sigma * noises.of(f"latent {number}", *x.shape)
        given = {"condition": said, "tokens": voice.tokens, "frame_mask": mask}
        x = nets["denoiser"](latent=noisy, sigma=np.full((1, 1), sigma), **given)["clean"]
    prosody = acoustics.prosody(line, hidden, frames, voice, how, noises)
    got = acoustics.bands(prosody, voice, how, noises)
    np.testing.assert_allclose(got, 3.0 * x[0] - 4.0, atol=1e-3)
