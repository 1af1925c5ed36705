"""The Android app as it is built here, and what is read of an APK: references of a .dex, names that a platform has."""

import ast
import struct
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from support import ROOT, lacking

ANDROID = ROOT / "apps" / "android"
APP = ANDROID / "app" / "src"
sys.path.insert(0, str(ANDROID))

import apk_tools  # noqa: E402
import build_apk  # noqa: E402

# Names of API 36, with types, from Android's own documentation.
STUBS = apk_tools.Package(
    "pip",
    "chaquopy-stubs-android==36.20260406",
    "chaquopy_stubs_android-36.20260406-py3-none-any.whl",
    "5e18511ccb7ae519d8c4643408cf16262fa5f20eb1d1a7e97cfe28de16e12008",
)


def built(folder: Path) -> build_apk.Built:
    """The app, compiled; a test is skipped where the tools cannot be had."""
    try:
        return build_apk.compiled(folder)
    except apk_tools.Unavailable as why:
        lacking("android", f"the Android app cannot be built: {why}")


def stubs() -> Path:
    try:
        return apk_tools.unpacked(STUBS, "")
    except apk_tools.Unavailable as why:
        lacking("android", f"names of API 36 cannot be had: {why}")


class Member(NamedTuple):
    """A method or a field of a class: java/lang/String, length, ()I."""

    owner: str
    name: str
    type: str


class Dex:
    """The names in a .dex file: those it defines, and those it refers to."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        assert data[:4] == b"dex\n"
        strings, types, protos, fields, methods, classes = (
            struct.unpack_from("<II", data, 56 + 8 * at) for at in range(6)
        )
        self.strings = [self._string(at) for (at,) in self._table(*strings, "<I")]
        self.types = [self.strings[at] for (at,) in self._table(*types, "<I")]
        shapes = [self._shape(*one) for one in self._table(*protos, "<III")]
        self.members = [
            Member(self._class(owner), self.strings[name], self.types[kind])
            for owner, kind, name in self._table(*fields, "<HHI")
        ] + [
            Member(self._class(owner), self.strings[name], shapes[shape])
            for owner, shape, name in self._table(*methods, "<HHI")
        ]
        found = list(self._table(*classes, "<IIIIIIII"))
        self.defined = {self._class(one[0]) for one in found}

    def _table(self, count: int, start: int, form: str) -> Iterator[tuple[int, ...]]:
        size = struct.calcsize(form)
        yield from struct.iter_unpack(form, self._data[start : start + count * size])

    def _string(self, start: int) -> str:
        while self._data[start] & 0x80:  # its length, a number of several bytes
            start += 1
        end = self._data.index(0, start + 1)
        return self._data[start + 1 : end].decode("utf-8", "replace")

    def _shape(self, _short: int, result: int, taken: int) -> str:
        types: tuple[int, ...] = ()
        if taken:
            (count,) = struct.unpack_from("<I", self._data, taken)
            types = struct.unpack_from(f"<{count}H", self._data, taken + 4)
        return f"({''.join(self.types[one] for one in types)}){self.types[result]}"

    def _class(self, at: int) -> str:
        return self.types[at].lstrip("[").removeprefix("L").removesuffix(";")

    def needs(self, start: str) -> tuple[set[str], set[Member]]:
        """Classes and members of others, of packages that begin so."""
        classes = {one.lstrip("[")[1:-1] for one in self.types if one.lstrip("[")[:1] == "L"}
        return (
            {one for one in classes if one.startswith(start) and one not in self.defined},
            {one for one in self.members if one.owner.startswith(start)},
        )


class Jar:
    """What the classes of an android.jar have."""

    def __init__(self, file: Path) -> None:
        self._zip = zipfile.ZipFile(file)
        self._read: dict[str, tuple[list[str], set[tuple[str, str]]] | None] = {}

    def has(self, member: Member) -> bool:
        """Whether a class has it, or one that it extends."""
        found = self._of(member.owner)
        if found is None:
            return False
        parents, members = found
        return (member.name, member.type) in members or any(
            self.has(member._replace(owner=one)) for one in parents
        )

    def knows(self, name: str) -> bool:
        return self._of(name) is not None

    def _of(self, name: str) -> tuple[list[str], set[tuple[str, str]]] | None:
        if name not in self._read:
            try:
                self._read[name] = _class_file(self._zip.read(f"{name}.class"))
            except KeyError:
                self._read[name] = None
        return self._read[name]


_CONSTANTS = {
    3: 4,
    4: 4,
    5: 8,
    6: 8,
    7: 2,
    8: 2,
    9: 4,
    10: 4,
    11: 4,
    12: 4,
    15: 3,
    16: 2,
    17: 4,
    18: 4,
}


def _class_file(data: bytes) -> tuple[list[str], set[tuple[str, str]]]:
    """Its parents, and the names and types of its fields and methods: chapter 4 of the JVM's specification."""
    (count,) = struct.unpack_from(">H", data, 8)
    at, index = 10, 1
    texts: dict[int, str] = {}
    classes: dict[int, int] = {}
    while index < count:
        tag = data[at]
        if tag == 1:
            (size,) = struct.unpack_from(">H", data, at + 1)
            texts[index] = data[at + 3 : at + 3 + size].decode("utf-8", "replace")
            at += 3 + size
        else:
            if tag == 7:
                (classes[index],) = struct.unpack_from(">H", data, at + 1)
            at += 1 + _CONSTANTS[tag]
        index += 2 if tag in (5, 6) else 1
    _, _, parent, interfaces = struct.unpack_from(">4H", data, at)
    above = [parent, *struct.unpack_from(f">{interfaces}H", data, at + 8)]
    at += 8 + 2 * interfaces
    members = set()
    for _ in range(2):
        (count,) = struct.unpack_from(">H", data, at)
        at += 2
        for _ in range(count):
            _, name, kind, attributes = struct.unpack_from(">4H", data, at)
            members.add((texts[name], texts[kind]))
            at += 8
            for _ in range(attributes):
                at += 6 + struct.unpack_from(">I", data, at + 2)[0]
    return [texts[classes[one]] for one in above if one], members


class Stubs:
    """What classes have by name, read from .pyi files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, owner: str, name: str) -> bool:
        """Whether a class such as android/view/View$OnClickListener has it, or one that it extends."""
        found = self._class(owner)
        if found is None:
            return owner == "java/lang/Object"
        names, parents = found
        return name in names or any(self.has(one, name) for one in parents)

    def knows(self, owner: str) -> bool:
        return self._class(owner) is not None

    def _class(self, owner: str) -> tuple[set[str], list[str]] | None:
        package, _, name = owner.rpartition("/")
        body = self._module(package)
        found = None
        for part in name.split("$"):
            found = next(
                (one for one in body if isinstance(one, ast.ClassDef) and one.name == part), None
            )
            if found is None:
                return None
            body = found.body
        assert found is not None
        return set(_names(body)), [_owner(ast.unparse(one), package) for one in found.bases]

    @cache  # noqa: B019
    def _module(self, package: str) -> list[ast.stmt]:
        first, _, rest = package.partition("/")
        file = self._folder / f"{first}-stubs" / rest / "__init__.pyi"
        return ast.parse(file.read_text("utf-8")).body if file.exists() else []


def _names(body: list[ast.stmt]) -> Iterator[str]:
    for one in body:
        if isinstance(one, ast.FunctionDef):
            yield one.name
        elif isinstance(one, ast.AnnAssign):
            yield ast.unparse(one.target)


def _owner(written: str, package: str) -> str:
    """android.view.View.OnClickListener[T] as android/view/View$OnClickListener."""
    parts = written.partition("[")[0].split(".")
    first = next((at for at, part in enumerate(parts) if part[0].isupper()), len(parts))
    return f"{'/'.join(parts[:first]) or package}/{'$'.join(parts[first:])}"
