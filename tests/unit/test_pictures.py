"""Pictures become upright RGB whatever they are stored as, or one error; Pillow and numpy are the oracles."""

import io
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs '.[vision]'")
from PIL import Image, ImageOps
from support import ROOT, environment

from edge.errors import Damaged, EdgeError, Unsupported
from edge.vision import pictures
from edge.vision.pictures import open_picture

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (7, 10, 3), dtype=np.uint8)


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(orientation: int, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return stored(Image.fromarray(COLOURS), kind, exif=exif)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK"])
def test_every_mode_is_what_the_references_make_of_it(kind: str, mode: str) -> None:
    """transformers and torchvision call `convert("RGB")`."""
    try:
        content = stored(Image.fromarray(COLOURS).convert(mode), kind)
    except (OSError, ValueError):
        pytest.skip(f"{kind} does not hold {mode}")
    want = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    picture = open_picture(content)
    assert (picture.width, picture.height) == (10, 7)
    assert picture.rgb.dtype == np.uint8
    np.testing.assert_array_equal(picture.rgb, want)


LAW: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.rot90(np.fliplr(a)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.fliplr(a), -1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", LAW)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_exif_turns_a_picture(kind: str, orientation: int) -> None:
    """ggml-org/llama.cpp#20870 and ollama/ollama#18418: a phone's photos lay on their side."""
    content = turned(orientation, kind)
    with Image.open(io.BytesIO(content)) as image:
        want = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(open_picture(content).rgb, want)
    if kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(open_picture(content).rgb, LAW[orientation](COLOURS))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_is_upright(orientation: int) -> None:
    np.testing.assert_array_equal(open_picture(turned(orientation)).rgb, COLOURS)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_and_not_clipped(kind: str) -> None:
    """python-pillow/Pillow#2574: `convert("RGB")` makes all but black white."""
    ramp = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    picture = open_picture(stored(Image.fromarray(ramp), kind))
    np.testing.assert_array_equal(picture.rgb[:, :, 1].ravel(), np.arange(256))


def test_adobes_inverted_inks() -> None:
    """python-pillow/Pillow#6563: no ink at all is white, in a JPEG of four inks."""
    white = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert open_picture(stored(white, "JPEG")).rgb.min() > 250
    assert open_picture(stored(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "JPEG")).rgb.max() < 5


def test_alpha_is_dropped_and_said() -> None:
    image = Image.new("RGBA", (3, 2), (10, 20, 30, 0))
    picture = open_picture(stored(image))
    assert (picture.rgb == (10, 20, 30)).all()
    assert "transparent" in picture.notes[0]


def test_a_palette_with_alpha_warns_nobody() -> None:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = open_picture(stored(image, transparency=b"\xff\x40"))
    assert (picture.rgb == (9, 8, 7)).all()
    assert "transparent" in picture.notes[0]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first(kind: str) -> None:
    """WebP is read at all: ollama/ollama#17755 had to, llama-server could not."""
    first, second = (Image.new("RGB", (4, 4), c) for c in ("#ff0000", "#0000ff"))
    options = {"lossless": True} if kind == "WEBP" else {}
    content = stored(first, kind, save_all=True, append_images=[second], **options)
    picture = open_picture(content)
    assert (picture.rgb == (255, 0, 0)).all()
    assert "several frames" in picture.notes[0]


def test_a_file_whose_frames_go_round_ends() -> None:
    """A TIFF's directory that names itself as the next one."""
    content = bytearray(stored(Image.fromarray(COLOURS), "TIFF"))
    (at,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    struct.pack_into("<I", content, at + 2 + 12 * count, at)
    np.testing.assert_array_equal(open_picture(bytes(content)).rgb, COLOURS)


def test_a_file_is_read_as_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(stored(Image.fromarray(COLOURS)))  # a lying name, too
    np.testing.assert_array_equal(open_picture(tmp_path / "a.jpg").rgb, COLOURS)
    with pytest.raises(EdgeError, match="there is no file"):
        open_picture(tmp_path / "b.jpg")


@pytest.mark.parametrize("content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%PDF-1.7\n"])
def test_other_formats_are_refused(content: bytes) -> None:
    with pytest.raises(Unsupported, match="none of JPEG"):
        open_picture(content)


def test_pixels_of_unknown_range_are_refused() -> None:
    with pytest.raises(Unsupported, match="mode F"):
        open_picture(stored(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ((1, 60_000), "too large"),
        ((16_000, 16_000), "too large"),
        ((9_000, 9_000), "too large"),
        ((2, 401), "more than 200 times"),
        ((0, 5), "."),
    ],
)
def test_sizes_are_refused_before_decoding(size: tuple[int, int], problem: str) -> None:
    """huggingface/transformers#46040, OpenGVLab/InternVL#1221: a picture that fills the memory."""
    head = stored(Image.fromarray(COLOURS))
    lying = head[:16] + size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    with pytest.raises(EdgeError, match=problem):
        open_picture(lying + _checked(lying, head))


def _checked(lying: bytes, head: bytes) -> bytes:
    import zlib

    rest = head[24:29]
    return rest + zlib.crc32(lying[12:] + rest).to_bytes(4, "big") + head[33:]


def test_a_file_of_too_many_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pictures, "BYTES", 10)
    (tmp_path / "a.png").write_bytes(bytes(20))
    for source in (bytes(20), tmp_path / "a.png"):
        with pytest.raises(Damaged, match="too large"):
            open_picture(source)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "JPEG", "WEBP", "AVIF"])
def test_a_cut_file_is_an_error_or_whole(kind: str) -> None:
    content = stored(Image.fromarray(COLOURS), kind)
    whole = open_picture(content).rgb
    refused = 0
    for length in range(len(content)):
        try:
            np.testing.assert_array_equal(open_picture(content[:length]).rgb, whole)
        except EdgeError:
            refused += 1
    assert refused > len(content) // 3


def test_a_text_that_unpacks_to_too_much() -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("bomb", "a" * (3 << 20), zip=True)
    with pytest.raises(Damaged, match="cannot be decoded"):
        open_picture(stored(Image.fromarray(COLOURS), pnginfo=info))


def test_what_pillow_logs_is_in_the_error_alone() -> None:
    """A TIFF of 2,048 samples a pixel: Pillow writes that to stderr where nobody handles its log, as here
    pytest does. So in a process of its own.
    """
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "TIFF")
    samples = struct.pack("<HHI", 277, 3, 1)
    head, tail = buffer.getvalue().split(samples)
    code = """
import sys
from edge.errors import EdgeError
from edge.vision.pictures import open_picture
try:
    open_picture(sys.stdin.buffer.read())
except EdgeError:
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=head + samples + struct.pack("<H", 2048) + tail[2:],
        cwd=ROOT, env=environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == ([b"refused"], b"")
