"""The machine that a pickle is a program for: the opcodes that tensors and plain containers need.

Nothing is imported and nothing is called but functions of the caller's own, each under one exact
name. Opcodes as in Python's pickletools, protocols 0 to 5; what is not listed here is refused.
"""

import io
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge.errors import Unsupported

LIMIT = 64 << 20  # bytes of a pickle, and of what it makes of its own strings
FIX = "get the safetensors or JSON of it, or let whoever made it save tensors or plain data alone"
_STEPS = 1 << 22  # instructions: one byte of a pickle makes an object of sixty
_MEMO = 1 << 20
_LINE = 1 << 20  # bytes of a line of protocol 0

Make = Callable[[tuple[object, ...]], object]


@dataclass(frozen=True, slots=True)
class Call:
    """A name that a pickle may call, and what stands for it here."""

    name: str
    make: Make


class Machine:
    """A stack, a memo and where the marks are."""

    def __init__(
        self, content: bytes, where: str, names: Mapping[str, object], persistent: Make | None
    ) -> None:
        self.file, self.where, self.names = io.BytesIO(content), where, names
        self.persistent = persistent
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.made = 0
        self.steps = 0

    def run(self) -> object:
        """What is on the stack when it stops."""
        while (code := self.take(1)) != b".":
            self.steps += 1
            if self.steps > _STEPS:
                raise ValueError(f"more than {_STEPS:,} instructions")
            if code not in _OPCODES:
                raise Unsupported(f"{self.where} uses the pickle opcode {code!r}", fix=FIX)
            _OPCODES[code](self)
        (value,) = self.stack
        if self.marks:
            raise ValueError("a mark is left")
        return value

    def take(self, size: int) -> bytes:
        """Exactly these bytes, which are there."""
        got = self.file.read(size)
        if len(got) != size:
            raise ValueError("it ends too early")
        return got

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def sized(self, form: str) -> bytes:
        return self.take(self.number(form))

    def line(self) -> str:
        got = self.file.readline(_LINE)
        if not got.endswith(b"\n"):
            raise ValueError("a line has no end")
        return got[:-1].decode("latin1")

    def text(self) -> str:
        value = self.pop()
        if not isinstance(value, str):
            raise ValueError("a name is no text")
        return value

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("the stack is empty")
        return self.stack.pop()

    def popped(self) -> list[object]:
        """All above the last mark."""
        at = self.marks.pop()
        got = self.stack[at:]
        del self.stack[at:]
        return got

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def put(self, key: int) -> None:
        if not 0 <= key < _MEMO or len(self.memo) >= _MEMO:
            raise ValueError(f"a memo of more than {_MEMO:,} entries")
        self.memo[key] = self.stack[-1]

    def get(self, key: int) -> None:
        self.push(self.memo[key])

    def tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def extend(self, items: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("items for what is no list")
        target.extend(items)

    def fill(self, items: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("items for what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def name(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full not in self.names:
            raise Unsupported(
                f"{self.where} asks for {full!r:.100}: it may run code, so edge does not read it",
                fix=FIX,
            )
        self.push(self.names[full])

    def reduce(self) -> None:
        args, call = self.pop(), self.pop()
        if not isinstance(call, Call) or not isinstance(args, tuple):
            # Its type alone: to write out what shares its parts takes exponential time.
            what = call.name if isinstance(call, Call) else f"a {type(call).__name__}"
            raise Unsupported(f"{self.where} calls {what} as no function", fix=FIX)
        value = call.make(args)
        self.made += len(value) if isinstance(value, bytes) else 0
        if self.made > LIMIT:
            raise ValueError(f"it makes more than {LIMIT >> 20} MiB")
        self.push(value)

    def build(self) -> None:
        """The attributes of an ordered dict, such as a state dict's versions, which say nothing here."""
        self.pop()
        if type(self.stack[-1]) is not OrderedDict:
            raise Unsupported(f"{self.where} builds an object with the opcode BUILD", fix=FIX)

    def outside(self) -> None:
        given = self.pop()
        if self.persistent is None or not isinstance(given, tuple):
            raise Unsupported(f"{self.where} names objects outside of the pickle", fix=FIX)
        self.push(self.persistent(given))


def _key(value: object) -> object:
    """A key whose hash is cheap: nested tuples take exponential time."""
    for item in value if isinstance(value, tuple) else (value,):
        if not isinstance(item, str | bytes | int | float | None):
            raise ValueError(f"a key of type {type(item).__name__}")
    return value


def _integer(text: str) -> int | bool:
    if text in ("00", "01"):  # protocol 0 writes flags so
        return text == "01"
    if len(text) > 22:
        raise ValueError("an integer of more than 64 bits")
    return _fits(int(text.removesuffix("L")))


def _long(raw: bytes) -> int:
    if len(raw) > 9:
        raise ValueError("an integer of more than 64 bits")
    return _fits(int.from_bytes(raw, "little", signed=True))


def _fits(value: int) -> int:
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError("an integer of more than 64 bits")
    return value


def _utf8(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


_Opcode = Callable[[Machine], None]
_OPCODES: Mapping[bytes, _Opcode] = {
    b"\x80": lambda m: _protocol(m.number("B")),
    b"\x95": lambda m: _frame(m.number("<Q"), m),
    b"(": Machine.mark,
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": lambda m: m.push(_integer(m.line())),
    b"L": lambda m: m.push(_integer(m.line())),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.push(_long(m.sized("B"))),
    b"F": lambda m: m.push(float(m.line())),
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"V": lambda m: m.push(m.line().encode("latin1").decode("raw-unicode-escape")),
    b"X": lambda m: m.push(_utf8(m.sized("<I"))),
    b"\x8c": lambda m: m.push(_utf8(m.sized("B"))),
    b"\x8d": lambda m: m.push(_utf8(m.sized("<Q"))),
    b"C": lambda m: m.push(m.sized("B")),
    b"B": lambda m: m.push(m.sized("<I")),
    b"\x8e": lambda m: m.push(m.sized("<Q")),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"t": lambda m: m.push(tuple(m.popped())),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.popped()),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.popped()),
    b"}": lambda m: m.push({}),
    b"d": lambda m: _dict(m, m.popped()),
    b"s": lambda m: m.fill([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.fill(m.popped()),
    b"p": lambda m: m.put(int(m.line()[:20])),
    b"q": lambda m: m.put(m.number("B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"g": lambda m: m.get(int(m.line()[:20])),
    b"h": lambda m: m.get(m.number("B")),
    b"j": lambda m: m.get(m.number("<I")),
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": lambda m: m.name(*[m.text(), m.text()][::-1]),
    b"R": Machine.reduce,
    b"b": Machine.build,
    b"Q": Machine.outside,
}


def _protocol(version: int) -> None:
    if version > 5:
        raise ValueError(f"protocol {version}")


def _frame(size: int, machine: Machine) -> None:
    if size > LIMIT:
        raise ValueError(f"a frame of {size:,} bytes in {machine.where}")


def _dict(machine: Machine, items: list[object]) -> None:
    machine.push({})
    machine.fill(items)
