"""The reader of sound files: WAV by our own code, the rest by libsndfile."""

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
