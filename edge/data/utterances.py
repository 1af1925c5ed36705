"""Prepared speech: what was said, by whom, which symbols it is, how long each lasts, how high the voice is, and the
sound. Rows of JSON lie in data-*.jsonl, as `edge data speech` writes them; the sound of each file's rows lies beside
it, in a file of 16-bit numbers that is mapped and not read.

P symbols, T frames of 200 samples (80 a second at 16 kHz). A row's sound is 201 T numbers: its samples [200 T], then
its pitch [T] in tenths of a Hz.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.audio.spectra import MELS, log_mel
from edge.data import jsonl
from edge.data.frame.places import line
from edge.data.frame.sink import BESIDE
from edge.errors import Damaged, EdgeError
from edge.files.config import parse_json
from edge.text.spoken.symbols import PAD, table
from edge.typing import F32, I64

FRAMING = MELS["edge"].framing
HOP: Final = FRAMING.hop
BLOCK: Final = HOP + 1  # numbers of 16 bits that a frame takes
MOST_FRAMES: Final = 4096
TRAIN, VOICE, TEXT = "train", "voice", "text"
SPLITS = (
    TRAIN,
    VOICE,
    TEXT,
)  # to learn from; of voices that are held out; texts that are, in other voices
SOUND = "sound"  # of a row: where its sound begins, its bytes, and their CRC-32
_FIX = "make the folder again with edge data speech"
_TENTHS = 10.0
_FULL = 32768.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """symbols [P]: ids of `edge.text.spoken.symbols`, of which the first is START, the silence before; frames [P]: how
    long each lasts, T in sum; hertz [T], 0 where there is no voice; samples [200 T] at 16 kHz, full scale is 1.
    exact: somebody knew how long they last; else a recognizer found it, or it is a guess.
    """

    text: str
    voice: str
    symbols: I64
    frames: I64
    hertz: F32
    samples: F32
    exact: bool = True

    def mel(self) -> F32:
        """[T, 80], natural logarithm of `MELS["edge"]`."""
        return log_mel(self.samples, MELS["edge"])


class Utterances:
    """The rows of one split, in their order. All are checked when the folder is opened, but for their sound, which
    is when it is taken. `voices` and `lengths` [N]: each row's voice and frames. `digest`: of every row of the
    folder, of their sound, too.
    """

    def __init__(self, folder: Path, split: str = TRAIN) -> None:
        if split not in SPLITS:
            raise EdgeError(f"there is no split {split!r}", fix=f"use one of: {', '.join(SPLITS)}")
        if not folder.is_dir():
            raise EdgeError(f"{folder} is no folder of prepared speech", fix=_FIX)
        seen = hashlib.sha256()
        found = [
            one
            for file in jsonl.files(folder, "data-*.jsonl")
            for one in _rows(file, split, seen.update)
        ]
        if not found:
            raise EdgeError(f"{folder} holds no row of the split {split!r}", fix=_FIX)
        self.digest = seen.hexdigest()
        self.voices: Sequence[str] = [one.voice for one in found]
        self.lengths: I64 = np.array([one.frames for one in found], np.int64)
        self._places = found
        self._open: dict[Path, np.memmap[Any, np.dtype[np.int16]]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: int) -> Utterance:
        place = self._places[i]
        with place.file.open("rb") as file:
            file.seek(place.line)
            row = parse_json(file.readline(), place.where, fix=_FIX)
        sound = place.file.with_suffix(BESIDE)
        if sound not in self._open:
            self._open[sound] = np.memmap(sound, "<i2", "r")
        begin = place.begin // 2
        block = np.array(self._open[sound][begin : begin + BLOCK * place.frames])
        if zlib.crc32(block.tobytes()) != place.crc:
            raise Damaged(f"{place.where}: its sound is not what it was", fix=_FIX)
        return unpacked(row, block)


def packed(utterance: Utterance) -> tuple[dict[str, Any], bytes]:
    """A row without its sound, and the bytes of that."""
    row = {
        "text": utterance.text,
        "voice": utterance.voice,
        "symbols": utterance.symbols.tolist(),
        "frames": utterance.frames.tolist(),
        "exact": utterance.exact,
    }
    samples = np.clip(np.rint(utterance.samples * np.float32(_FULL)), -_FULL, _FULL - 1)
    hertz = np.clip(np.rint(utterance.hertz * np.float32(_TENTHS)), 0, _FULL - 1)
    return row, np.concatenate([samples, hertz]).astype("<i2").tobytes()


def unpacked(row: Mapping[str, Any], block: Any) -> Utterance:
    """What `packed` made, of the row and [201 T] numbers."""
    frames = len(block) // BLOCK
    samples, hertz = block[: HOP * frames], block[HOP * frames :]
    return Utterance(
        text=row["text"],
        voice=row["voice"],
        symbols=np.array(row["symbols"], np.int64),
        frames=np.array(row["frames"], np.int64),
        hertz=hertz.astype(np.float32) / np.float32(_TENTHS),
        samples=samples.astype(np.float32) / np.float32(_FULL),
        exact=row.get("exact", True),
    )


def placed(begin: int, content: bytes) -> list[int]:
    """What a row says of its sound, which begins there."""
    return [begin, len(content), zlib.crc32(content)]


def write(
    folder: Path, utterances: Sequence[Utterance], splits: Sequence[str] | None = None
) -> None:
    """A folder of so many rows, in one file: for tests and small sets. `edge data speech` makes larger ones."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, begin = [], 0
    with (folder / f"data-00000{BESIDE}").open("wb") as sound:
        for utterance, split in zip(utterances, splits or [TRAIN] * len(utterances), strict=True):
            row, content = packed(utterance)
            rows.append(row | {"split": split, SOUND: placed(begin, content)})
            begin += sound.write(content)
    (folder / "data-00000.jsonl").write_bytes(b"".join(map(line, rows)))


@dataclass(frozen=True, slots=True)
class _Place:
    """A row of a file: where its line and its sound begin."""

    file: Path
    number: int
    line: int
    begin: int
    crc: int
    frames: int
    voice: str

    @property
    def where(self) -> str:
        return f"{self.file}, line {self.number}"


def _rows(file: Path, split: str, update: Callable[[bytes], object]) -> Iterator[_Place]:
    """Those of a split in one file; each row of it is checked."""
    sound = file.with_suffix(BESIDE)
    size = sound.stat().st_size if sound.is_file() else 0
    begin = 0
    with file.open("rb") as opened:
        for number, content in enumerate(jsonl.lines(opened, file), 1):
            update(content)
            where = f"{file}, line {number}"
            row = parse_json(content, where, fix=_FIX)
            wrong = _wrong(row, size)
            if wrong:
                raise Damaged(f"{where}: {wrong}", fix=_FIX)
            if row["split"] == split:
                at, _, crc = row[SOUND]
                yield _Place(file, number, begin, at, crc, sum(row["frames"]), row["voice"])
            begin += len(content)


def _wrong(row: Mapping[str, Any], size: int) -> str:
    """What a row says that cannot be, with so many bytes of sound beside it."""
    lists = [row.get(name) for name in ("symbols", "frames", SOUND)]
    if not all(isinstance(row.get(name), str) for name in ("text", "voice")):
        return "it has no text or no voice"
    if row.get("split") not in SPLITS or not isinstance(row.get("exact", True), bool):
        return "its split is none, or exact is neither true nor false"
    if not all(_whole(values) for values in lists) or len(row[SOUND]) != 3:
        return "symbols, frames and sound are whole numbers from 0"
    return _amiss(row["symbols"], row["frames"], row[SOUND], size)


def _amiss(symbols: list[int], frames: list[int], sound: list[int], size: int) -> str:
    if not symbols or len(symbols) != len(frames):
        return f"{len(symbols)} symbols have {len(frames)} durations"
    known = range(table().ids[PAD] + 1, len(table().symbols))
    if any(symbol not in known for symbol in symbols):
        return "one of its symbols is unknown"
    if not 1 <= sum(frames) <= MOST_FRAMES:
        return f"it lasts {sum(frames)} frames, not 1 to {MOST_FRAMES}"
    begin, length, _ = sound
    if length != 2 * BLOCK * sum(frames) or begin % 2 or begin + length > size:
        return "its sound is not as long as its symbols, or not there"
    return ""


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
