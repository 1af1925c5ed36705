"""Readers of what is heard and said: sound files (WAV by our own code, others by libsndfile), texts with marks."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

WORDS = (
    b"RIFF",
    b"RF64",
    b"WAVE",
    b"fmt ",
    b"data",
    b"ds64",
    b"LIST",
    b"fLaC",
    b"OggS",
    b"ID3",
    b"\xff" * 4,
)


def files() -> Sequence[bytes]:
    """Each format and kind of sample, tiny."""
    import soundfile

    tone = 0.5 * np.sin(np.arange(600) / 7)
    kinds = [("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")]
    kinds += [("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]
    kinds += [("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
    out = []
    for kind, sample in kinds:
        stream = io.BytesIO()
        soundfile.write(stream, np.stack([tone, -tone], 1), 16000, sample, format=kind)
        out.append(stream.getvalue())
    return out


def read_file(folder: Path, content: bytes) -> None:
    from edge.audio.sound import open_sound

    file = folder / "me.wav"
    file.write_bytes(content)
    sound = open_sound(file, rate=16000, longest=5.0, cut=True)
    assert np.isfinite(sound.samples).all()
    assert sound.samples.size <= 5 * 16000 + 1


TEXT_WORDS = (
    *(
        b"[[",
        b"]]",
        b"<speak>",
        b"</speak>",
        b"<break time='1s'/>",
        b"<prosody rate='slow'>",
        b"</prosody>",
        b"&amp;",
    ),
    *(
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>",
        b"<say-as interpret-as='date'>",
        b"<?xml version='1.0'?>",
        b"\xf0\x9f\x98\x80",
    ),
    *(
        b"12/25/99",
        b"$5-10",
        b"3:05 p.m.",
        b"1,234.50",
        b"MCMXC",
        b"a.b.c.",
        b"http://a.b",
        b"x@y.z",
        b"'",
        b"-" * 80,
    ),
)


def texts() -> Sequence[bytes]:
    return [
        b"Dr. Lee paid $3.50 at 3:05 p.m. on Nov. 30, 2026: 50%!",
        "[[h@l'oU]] world [[həlˈoʊ]] – “it’s” 1/2 of joe@x.co, e.g. NASA's F-16".encode(),
        b'<speak>Hi <break time="500ms"/>there.<s>One <prosody rate="80%" pitch="+2st">two</prosody></s>'
        b'<phoneme alphabet="ipa" ph="a">b</phoneme><say-as interpret-as="characters">AB1</say-as>'
        b'<sub alias="World Wide Web">W3</sub></speak>',
    ]


def read_text(folder: Path, content: bytes) -> None:
    from edge.text.spoken.speaking import script
    from edge.text.spoken.words import Words

    for sentence in script(content.decode(errors="replace"), Words()).sentences:
        assert len(sentence.symbols) <= 400
