"""From a valid file to a hostile one: by bytes, by JSON values, by protobuf fields, by lines of text.

Every mutation is a function of a random generator and a seed: the same two give the same bytes.
"""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (
    0, 1, -1, 2, 7, 8, 31, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53,
    2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**31), -(2**63),
)  # fmt: skip
TEXTS = (
    "", " ", "\0", "a", "..", "../x", "/etc/passwd", "C:\\x", "\\\\host\\x", "x" * 300, "\ud800", "\ufffd", "é",
    "\u2581", "<|end|>", "<s>", "</s>", "<0x0A>", "nan", "F32", "BF16", "I8", "llama", "phi3", "{{ x }}", "%n%s",
    "(a+)+$", "(?:a|a)*b", "\\p{L}+", "[", "__class__", "a{99999}", "9" * 5000,
)  # fmt: skip
_PLAIN: tuple[Any, ...] = (None, True, False, 0.5, -0.5, 1e308, float("nan"), float("inf"), [], {})

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def mutate(rng: random.Random, kind: str, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A hostile variant of one of the seeds."""
    content = rng.choice(seeds)
    large = 2 * len(content) + (1 << 15)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if len(content) > large:  # what doubles and doubles would fill our own memory
            break
        content = rng.choice(_KINDS[kind])(rng, content, words or (b"\0",))
    if rng.random() < 0.05:
        content = _spliced(rng, content, rng.choice(seeds))
    return content


def _flipped(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    out = bytearray(content or b"\0")
    for _ in range(rng.choice((1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _overwritten(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """A number of some width, of either order, anywhere: lengths and offsets are such numbers."""
    width = rng.choice((1, 2, 4, 8))
    value = (rng.choice(NUMBERS) & ((1 << 8 * width) - 1)).to_bytes(
        width, rng.choice(("little", "big"))
    )
    at = (
        rng.randrange(len(content) + 1)
        if rng.random() < 0.7
        else rng.randrange(min(64, len(content) + 1))
    )
    return content[:at] + value + content[at + width :]


def _cut(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _removed(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.choice((1, 2, 8, 100, 5000)) :]


def _repeated(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    start = rng.randrange(len(content) + 1)
    piece = content[start : start + rng.choice((1, 4, 50, 1000))]
    times = min(rng.choice((1, 2, 50, 3000)), 100_000 // max(1, len(piece)))
    return content[:start] + piece * times + content[start:]


def _worded(rng: random.Random, content: bytes, words: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice(words) + content[at + rng.choice((0, 0, 1, 8)) :]


def _numbered(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Another number where a text holds one."""
    places = [i for i, byte in enumerate(content[:20_000]) if 48 <= byte <= 57]
    if not places:
        return _flipped(rng, content, ())
    at = rng.choice(places)
    return content[:at] + str(rng.choice(NUMBERS)).encode() + content[at + 1 :]


def _spliced(rng: random.Random, content: bytes, other: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def _valued(rng: random.Random, content: bytes, words: Sequence[bytes]) -> bytes:
    """One value, at any depth of a JSON text, replaced, removed, renamed, doubled or buried."""
    try:
        root = json.loads(content)
    except (ValueError, RecursionError):
        return _flipped(rng, content, words)
    place, keys = root, []
    while isinstance(place, dict | list) and place and (not keys or rng.random() < 0.8):
        keys.append(
            rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        )
        place = place[keys[-1]]
    if not keys:
        return json.dumps(_value(rng, root)).encode()
    parent = root
    for key in keys[:-1]:
        parent = parent[key]
    _change(rng, parent, keys[-1])
    text = json.dumps(root)
    if rng.random() < 0.03:  # a name that is there twice
        text = text.replace("{", '{"' + str(keys[0]) + '": 1, ', 1)
    return text.encode(errors="replace")


def _change(rng: random.Random, parent: Any, key: Any) -> None:
    do = rng.randrange(8)
    if do == 0:
        del parent[key]
    elif do == 1 and isinstance(parent, dict):
        parent[rng.choice((*TEXTS, str(key) + "x"))] = parent.pop(key)
    elif do == 2 and isinstance(parent, list):
        parent[key:key] = [parent[key]] * rng.choice((1, 2, 100))
    elif do == 3 and isinstance(parent, dict):
        parent[rng.choice(TEXTS)] = _value(rng, parent[key])
    else:
        parent[key] = _value(rng, parent[key])


def _value(rng: random.Random, was: Any) -> Any:
    """Another value in the place of one, of its own type more often than not."""
    do = rng.randrange(8)
    if do < 3:
        return rng.choice((_PLAIN, TEXTS, NUMBERS)[do])
    if do == 3:
        return [was] * rng.choice((1, 2, 9, 200))
    if do == 4:
        return _buried(rng, was)
    if isinstance(was, str):
        longer = (was + rng.choice(TEXTS), was * rng.choice((0, 2, 1000)), was[: len(was) // 2])
        return rng.choice(longer)
    if isinstance(was, int | float):
        return was + rng.choice((-1, 1)) if abs(was) > 1 << 53 else was + rng.choice((-1, 1, 0.5))
    return rng.choice(NUMBERS)


def _buried(rng: random.Random, was: Any) -> Any:
    """Deep in lists and objects."""
    for _ in range(rng.choice((1, 3, 60, 120, 300))):
        was = [was] if rng.random() < 0.5 else {"type": "Sequence", "decoders": [was], "a": 1}
    return was


def _headed(rng: random.Random, content: bytes, words: Sequence[bytes]) -> bytes:
    """safetensors: the header's JSON changed, and its length made true again, mostly."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 + length or length > 1 << 20:
        return _overwritten(rng, content, words)
    header = _valued(rng, content[8 : 8 + length], words)
    said = len(header) + rng.choice((0, 0, 0, 0, 0, 1, -1, 8))
    return max(0, said).to_bytes(8, "little") + header + content[8 + length :]


def _field(rng: random.Random, content: bytes, words: Sequence[bytes]) -> bytes:
    """protobuf: one field, at any depth, changed; the lengths around it are made true again."""
    fields = _fields(content)
    if not fields:
        return _flipped(rng, content, words)
    number, wire, value = rng.choice(fields)
    at = fields.index((number, wire, value))
    do = rng.randrange(7)
    if wire == 2 and do < 4 and len(value) > 2 and _fields(value):
        fields[at] = (number, wire, _field(rng, value, words))
    elif do == 4:
        fields[at:at] = [(number, wire, value)] * rng.choice((1, 1, 30))
    elif do == 5:
        del fields[at]
    elif wire == 2:
        fields[at] = (
            number,
            wire,
            rng.choice((_worded, _flipped, _cut, _repeated))(rng, value, words),
        )
    else:
        fields[at] = (rng.choice((number, number, 0, 15, 2**29)), wire, rng.choice(NUMBERS) % 2**64)
    return b"".join(_written(*field) for field in fields)


def _fields(content: bytes) -> list[tuple[int, int, Any]]:
    """Of a message; empty where it is none."""
    out: list[tuple[int, int, Any]] = []
    at = 0
    while at < len(content):
        key, at = _read(content, at)
        number, wire = key >> 3, key & 7
        if number == 0 or wire not in (0, 1, 2, 5):
            return []
        if wire == 0:
            value, at = _read(content, at)
            out.append((number, wire, value))
            continue
        size = {1: 8, 5: 4}.get(wire, 0)
        if wire == 2:
            size, at = _read(content, at)
        if at + size > len(content):
            return []
        raw = content[at : at + size]
        out.append((number, wire, raw if wire == 2 else int.from_bytes(raw, "little")))
        at += size
    return out


def _read(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content) and shift < 64:
        value |= (content[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if content[at - 1] < 0x80:
            break
    return value, at


def _written(number: int, wire: int, value: Any) -> bytes:
    key = _varint(number << 3 | wire)
    if wire == 2:
        return key + _varint(len(value)) + value
    if wire == 0:
        return key + _varint(value)
    width = 8 if wire == 1 else 4
    return key + (value % (1 << 8 * width)).to_bytes(width, "little")


def _varint(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


_BYTES: tuple[Mutation, ...] = (_flipped, _overwritten, _cut, _removed, _repeated, _worded)
_KINDS: dict[str, tuple[Mutation, ...]] = {
    "bytes": _BYTES,
    "text": (*_BYTES, _numbered, _worded, _worded),
    "json": (*_BYTES, _numbered, *(_valued,) * 12),
    "safetensors": (*_BYTES, *(_headed,) * 12),
    "protobuf": (*_BYTES, *(_field,) * 12),
}
