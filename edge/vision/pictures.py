"""A picture from a file or bytes that a stranger may have made: RGB, upright, of bounded size.

Pillow decodes, and is given only formats of pixels: no EPS, no PDF, nothing that starts a program. Colours
are what `convert("RGB")` makes them, which transformers and torchvision's loaders call: alpha is dropped,
and a colour profile is ignored. What differs from them is said at its place: orientation and 16 bits.
"""

import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import numpy as np

from edge.errors import Damaged, EdgeError, Unsupported
from edge.typing import U8

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
BYTES = 64 << 20
PIXELS = 64 << 20
SIDE = 32_768
RATIO = (
    200  # of the sides, as in Qwen2-VL's own code: resized to a shortest side, more fills memory
)
# Pillow logs what it cannot read; the error says it. Whoever wants its log sets a handler.
logging.getLogger("PIL").addHandler(logging.NullHandler())
_ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4
_TURNED = (5, 6, 7, 8)  # of its values: width and height are changed about


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """rgb: uint8 [H, W, 3], upright. notes: what was in the file and is not in `rgb`, one a sentence."""

    rgb: U8
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])


def open_picture(source: Path | bytes) -> Picture:
    """The first frame of a picture, turned as its EXIF says. Damaged if it is broken or too large,
    Unsupported if its format or its kind of pixel is not read, EdgeError if there is no such file.
    """
    where = "the picture" if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else _read(source)
    if len(content) > BYTES:
        raise _too_large(where, f"more than {BYTES >> 20} MiB")
    return _by(io.BytesIO(content), where, _decoded)


def measured(file: Path) -> tuple[int, int]:
    """Width and height of a picture as it is to be seen, upright, by its head alone; the same errors, as far as that
    shows them.
    """
    if not file.is_file():
        raise EdgeError(f"there is no file {file}", fix="check its name")
    with file.open("rb") as stream:
        return _by(stream, str(file), _size)


def _by(stream: IO[bytes], where: str, use: "Callable[[Image.Image, str], T]") -> T:
    """What `use` makes of a picture; whatever Pillow says becomes an error that tells where."""
    need_pillow()
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what is refused or noted here
        try:
            with Image.open(stream, formats=FORMATS) as image:
                return use(image, where)
        except EdgeError:
            raise
        except UnidentifiedImageError:
            raise Unsupported(
                f"{where} is none of {', '.join(FORMATS)}, or its head is broken",
                fix="get the file again, or save it as PNG or JPEG",
            ) from None
        except Image.DecompressionBombError:
            raise _too_large(where, f"more than {PIXELS:,} pixels") from None
        except Exception as error:  # a broken file makes Pillow raise nearly anything
            raise Damaged(
                f"{where} cannot be decoded: {type(error).__name__}: {error}",
                fix="get the file again: it may be cut off",
            ) from None


def need_pillow() -> None:
    """Refuse to go on without it: it comes with an extra."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise Unsupported("pictures need Pillow", fix="pip install '.[vision]'") from None


def _read(file: Path) -> bytes:
    """One byte more than is allowed, at most."""
    if not file.is_file():
        raise EdgeError(f"there is no file {file}", fix="check its name")
    with file.open("rb") as stream:
        return stream.read(BYTES + 1)


def _size(image: "Image.Image", where: str) -> tuple[int, int]:
    _check_size(image.size, where)
    width, height = image.size
    return (height, width) if _orientation(image, []) in _TURNED else (width, height)


def _orientation(image: "Image.Image", notes: list[str]) -> object:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a camera's odd EXIF is no reason to refuse its pixels
        notes.append("its EXIF data is broken: it was taken as upright")
        return 1


def _decoded(image: "Image.Image", where: str) -> Picture:
    _check_size(image.size, where)  # before a pixel is decoded
    image.load()
    notes: list[str] = []
    orientation = _orientation(image, notes)
    if image.has_transparency_data:
        notes.append("it is transparent in places: the colours below were taken")
    rgb = _upright(_rgb(image, where), orientation)
    if getattr(image, "is_animated", False):  # last: to know, Pillow may go on to the second frame
        notes.append("it has several frames: the first was taken")
    return Picture(rgb=np.ascontiguousarray(rgb), notes=tuple(notes))


def _check_size(size: tuple[int, int], where: str) -> None:
    width, height = size
    short, long = min(size), max(size)
    if short < 1:
        raise Damaged(f"{where} is {width} x {height}: it has no pixels", fix="get the file again")
    if long > SIDE or width * height > PIXELS:
        raise _too_large(where, f"{width} x {height}")
    if long > RATIO * short:
        raise Damaged(
            f"{where} is {width} x {height}: one side is more than {RATIO} times the other",
            fix="crop it first",
        )


def _too_large(where: str, size: str) -> Damaged:
    limits = f"{BYTES >> 20} MiB, {PIXELS:,} pixels and sides of {SIDE:,}"
    return Damaged(f"{where} is too large: {size}", fix=f"make it smaller: {limits} are read")


def _rgb(image: "Image.Image", where: str) -> U8:
    """-> [H, W, 3]"""
    if image.mode.startswith("I;16"):
        # Pillow would clip at 255, and all but black become white; of 16-bit colours it takes the
        # high byte, and so do we of gray ones.
        gray = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)  # [H, W, 3]
    if image.mode in ("I", "F", "LAB"):
        raise Unsupported(
            f"{where} has pixels of mode {image.mode}, whose range is not known",
            fix="save it as an 8-bit or 16-bit PNG",
        )
    return np.asarray(image.convert("RGB"))


def _upright(rgb: U8, orientation: object) -> U8:
    """[H, W, 3] as stored -> as it is to be seen; anything but 2 to 8 is upright."""
    if orientation in _TURNED:
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return rgb
