"""Where the uncompressed records of a zip lie, as PKWARE's APPNOTE 6.3 describes it, zip64 included.

Records are located by their local headers, which must agree with the directory: readers that
trust different ones of the two see different files.
"""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from edge.errors import Damaged, Unsupported

_ENTRIES = 1 << 17
_DIRECTORY = 64 << 20  # bytes
_FAR = 0xFFFFFFFF  # a size that stands in the zip64 field


@dataclass(frozen=True, slots=True)
class Record:
    """What the directory says of a record: bytes, stored or not, and where its local header is."""

    size: int
    method: int
    flags: int
    header: int


def directory(file: int, where: str) -> dict[str, Record]:
    """Every record by name; a name of two records is refused."""
    size = os.fstat(file).st_size
    count, length, start = _end(file, size, where)
    if count > _ENTRIES or length > min(_DIRECTORY, size) or start + length > size:
        raise damaged(where, f"its directory claims {count:,} records in {length:,} bytes")
    content, at, found = os.pread(file, length, start), 0, dict[str, Record]()
    for _ in range(count):
        name, record, at = _entry(content, at, where)
        if name in found:
            raise damaged(where, f"{name!r:.80} is there twice")
        found[name] = record
    return found


def place(file: int, name: str, record: Record, where: str) -> range:
    """The bytes of a record: after its local header, and within the file."""
    head = os.pread(file, 30, record.header)
    if len(head) < 30 or head[:4] != b"PK\3\4":
        raise damaged(where, f"{name!r:.80} has no local header")
    flags, method, stored, names, extra = struct.unpack("<6xHH8xI4xHH", head)
    if record.method or method or (record.flags | flags) & 1:
        raise Unsupported(
            f"{where}: {name!r:.80} is compressed or encrypted", fix="save it with torch.save again"
        )
    local = os.pread(file, names, record.header + 30)
    # Torch writes a record's size behind it as well, and none or that of the zip64 field before it.
    if local != name.encode() or stored not in (0, _FAR, record.size):
        raise damaged(where, f"{name!r:.80} is another in its local header")
    start = record.header + 30 + names + extra
    if start + record.size > os.fstat(file).st_size:
        raise damaged(where, f"{name!r:.80} ends past the file: it is cut off")
    return range(start, start + record.size)


def apart(places: Mapping[str, range], where: str) -> None:
    """Refuse records that share bytes."""
    end = 0
    for name, span in sorted(places.items(), key=lambda item: (item[1].start, item[1].stop)):
        if span.start < end:
            raise damaged(where, f"{name!r:.80} shares bytes with another record")
        end = span.stop


def damaged(where: str, what: str) -> Damaged:
    return Damaged(f"{where} is no valid torch file: {what}", fix="get the file again")


def _end(file: int, size: int, where: str) -> tuple[int, int, int]:
    """How many records, the bytes of the directory, and where it starts."""
    from_ = max(0, size - 65_557)
    tail = os.pread(file, size - from_, from_)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < 22:
        raise damaged(where, "its directory is missing: it is cut off")
    count, length, start = struct.unpack_from("<10xHII", tail, at)
    locator = tail[max(0, at - 20) : at]
    if locator[:4] == b"PK\6\7" and len(locator) == 20:
        (far,) = struct.unpack_from("<8xQ", locator)
        record = os.pread(file, 56, far) if far < size else b""
        if len(record) < 56 or record[:4] != b"PK\6\6":
            raise damaged(where, "its zip64 directory is missing")
        count, length, start = struct.unpack("<32xQQQ", record)
    return count, length, start


def _entry(content: bytes, at: int, where: str) -> tuple[str, Record, int]:
    try:
        fields = struct.unpack_from("<4s4xHH8xIIHHH8xI", content, at)
    except struct.error:
        raise damaged(where, "its directory is cut off") from None
    magic, flags, method, packed, size, names, extra, comment, header = fields
    end = at + 46 + names + extra + comment
    raw = content[at + 46 : at + 46 + names]
    if magic != b"PK\1\2" or end > len(content):
        raise damaged(where, "its directory is malformed")
    size, packed, header = _wide(content[at + 46 + names : end - comment], size, packed, header)
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise damaged(where, f"{raw!r:.80} is no name") from None
    if ".." in name.split("/") or name.startswith("/") or "\\" in name or "\0" in name:
        raise damaged(where, f"{name!r:.80} is no name")
    if header > 1 << 62 or (method == 0 and size != packed):
        raise damaged(where, f"{name!r:.80} has two sizes")
    return name, Record(size, method, flags, header), end


def _wide(extra: bytes, *values: int) -> tuple[int, ...]:
    """Sizes and place, those of the zip64 field where they do not fit into 32 bits."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            raw = extra[4 : 4 + length]
            found = iter(struct.unpack_from(f"<{len(raw) // 8}Q", raw))
            return tuple(next(found, v) if v == _FAR else v for v in values)
        extra = extra[4 + length :]
    return values
