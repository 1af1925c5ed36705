"""Build, sign and verify the Android app without Gradle and without Android's SDK.

    python apps/android/build_apk.py edge.apk                  # arm64-v8a: today's phones
    python apps/android/build_apk.py edge.apk --abi x86_64     # an emulator on a desk
    python apps/android/build_apk.py edge.apk --stored         # libraries not compressed, nor unpacked on a phone

Needs Python, a JDK 17 or newer, npm, and Debian's apt. What it fetches is kept in EDGE_APPS_CACHE (~/.cache/edge-apps),
each file checked by its SHA-256. The key it signs with is made on first use, and is good for one's own devices alone.
"""

import argparse
import os
import re
import struct
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from apk_tools import Failed, Tools, Unavailable, cache, d8, fetched, run

HERE = Path(__file__).resolve().parent
ANDROID = "http://schemas.android.com/apk/res/android"
TOOLS = "http://schemas.android.com/tools"
ABIS = ("arm64-v8a", "armeabi-v7a", "x86", "x86_64")
PAGE = 16384  # bytes: phones since Android 15 may have such pages
PASSWORD = "android"  # of a key that guards nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("apk", type=Path, help="the file to write")
    parser.add_argument("--abi", nargs="+", choices=ABIS, default=["arm64-v8a"])
    parser.add_argument("--stored", action="store_true", help="do not compress native libraries")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as made:
            built = compiled(Path(made))
            packed(built, asked.apk, asked.abi, stored=asked.stored)
    except (Unavailable, Failed) as why:
        sys.exit(f"cannot build here: {why}")
    print(f"{asked.apk}: {asked.apk.stat().st_size / 1e6:.1f} MB, signed and verified")


@dataclass(frozen=True)
class Built:
    """Classes of the app and its core, and their .dex; resources and manifest."""

    tools: Tools
    folder: Path

    @property
    def classes(self) -> Path:
        return self.folder / "classes.jar"

    @property
    def dex(self) -> Path:
        return self.folder / "classes.dex"


def compiled(folder: Path) -> Built:
    """What does not depend on how it is packed."""
    tools = fetched(said("minSdk"))
    resources = HERE / "app/src/main/res"
    run(tools.aapt2, "compile", "--dir", resources, "-o", folder / "res.zip")
    built = Built(tools, folder)
    linked(built, folder / "names.apk", stored=False)
    ours = sorted(HERE.glob("*/src/main/kotlin/**/*.kt"))
    libraries = [tools.platform, tools.stdlib, tools.onnxruntime / "classes.jar", folder / "R.jar"]
    names = folder / "java/edge/app/R.java"
    run("javac", "-nowarn", "--release", "8", "-d", folder / "R", names)
    _jar(folder / "R", folder / "R.jar")
    kotlinc(tools, ours, folder / "kotlin.jar", libraries)
    with zipfile.ZipFile(built.classes, "w") as out:
        for jar in ("kotlin.jar", "R.jar"):
            for name, data in _entries(folder / jar):
                if not name.endswith("MANIFEST.MF"):
                    out.writestr(name, data)
    d8(tools, folder, said("minSdk"), [built.classes], known=libraries[:3])
    return built


def packed(built: Built, apk: Path, abis: Sequence[str], *, stored: bool) -> None:
    base = built.folder / "base.apk"
    linked(built, base, stored=stored)
    bare = built.folder / "bare.apk"
    with zipfile.ZipFile(bare, "w") as out:
        for name, data in _contents(built, base, abis):
            compress = not (name == "resources.arsc" or (stored and name.endswith(".so")))
            _add(out, name, data, compress=compress)
    _signed(built.tools, bare, apk)
    verified(built.tools, apk)


def linked(built: Built, out: Path, *, stored: bool) -> None:
    """Manifest and resources in Android's binary form."""
    manifest = built.folder / "AndroidManifest.xml"
    library = (built.tools.onnxruntime / "AndroidManifest.xml").read_text("utf-8")
    own = (HERE / "app/src/main/AndroidManifest.xml").read_text("utf-8")
    manifest.write_text(merged(own, [library], stored=stored), "utf-8")
    run(
        *(built.tools.aapt2, "link", "-I", built.tools.framework, "--manifest", manifest),
        *("--min-sdk-version", said("minSdk"), "--target-sdk-version", said("targetSdk")),
        *("--version-code", said("versionCode"), "--version-name", said("versionName")),
        *(
            "--no-compile-sdk-metadata",
            "--java",
            built.folder / "java",
            "-o",
            out,
            built.folder / "res.zip",
        ),
    )


def said(name: str) -> str:
    """A number or a text of the app's build.gradle.kts, so that both ways to build agree."""
    text = (HERE / "app/build.gradle.kts").read_text("utf-8")
    found = re.search(rf'\b{name} = "?([^"\n]+)"?', text)
    assert found, f"build.gradle.kts says no {name}"
    return found[1]


def merged(own: str, libraries: Sequence[str], *, stored: bool) -> str:
    """The app's manifest with what libraries ask for, less what it says to remove: as Gradle merges them."""
    tree = ElementTree.fromstring(own)
    application = _only(tree, "application")
    for library in libraries:
        theirs = ElementTree.fromstring(library)
        for part in theirs:
            if part.tag == "application":
                _union(application, part)
        _union(tree, [one for one in theirs if one.tag not in ("application", "uses-sdk")])
    for parent in (tree, application):
        for one in [one for one in parent if one.get(f"{{{TOOLS}}}node") == "remove"]:
            parent.remove(one)
    for one in tree.iter():
        for name in [name for name in one.attrib if name.startswith(f"{{{TOOLS}}}")]:
            del one.attrib[name]
    tree.set("package", said("namespace"))
    application.set(f"{{{ANDROID}}}extractNativeLibs", str(not stored).lower())
    ElementTree.register_namespace("android", ANDROID)
    text = ElementTree.tostring(tree, encoding="unicode")
    return text.replace("${applicationId}", said("namespace"))


def _union(into: ElementTree.Element, parts: Sequence[ElementTree.Element]) -> None:
    """Add parts that are not there by kind and name; what is there has the last word."""
    there = {(one.tag, one.get(f"{{{ANDROID}}}name")) for one in into}
    into.extend(one for one in parts if (one.tag, one.get(f"{{{ANDROID}}}name")) not in there)


def _only(tree: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = tree.find(tag)
    assert found is not None, f"the manifest has no {tag}"
    return found


def _contents(built: Built, base: Path, abis: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    yield from _entries(base)
    yield "classes.dex", built.dex.read_bytes()
    yield "classes2.dex", built.tools.libraries.read_bytes()
    for abi in abis:
        for library in sorted((built.tools.onnxruntime / "jni" / abi).glob("*.so")):
            yield f"lib/{abi}/{library.name}", library.read_bytes()
    for file in sorted(HERE.glob("*/src/main/resources/**/*")):
        if file.is_file():
            yield "/".join(file.relative_to(HERE).parts[4:]), file.read_bytes()


def _add(out: zipfile.ZipFile, name: str, data: bytes, *, compress: bool) -> None:
    entry = zipfile.ZipInfo(name)  # of 1980: the same sources make the same bytes
    if compress:
        out.writestr(entry, data, zipfile.ZIP_DEFLATED, 9)
        return
    # An extra field of kind 0xd935 says how a file is aligned, and fills up to there; apksigner keeps it.
    multiple = PAGE if name.endswith(".so") else 4
    start = out.fp.tell() + 30 + len(name.encode()) + 6
    entry.extra = struct.pack("<HHH", 0xD935, 2 + -start % multiple, multiple)
    entry.extra += bytes(-start % multiple)
    out.writestr(entry, data, zipfile.ZIP_STORED)


def _signed(tools: Tools, bare: Path, apk: Path) -> None:
    key = cache() / "debug.p12"
    if not key.exists():
        run(
            *("keytool", "-genkeypair", "-keystore", key, "-storetype", "PKCS12"),
            *("-storepass", PASSWORD, "-alias", "debug", "-dname", "CN=debug"),
            *("-keyalg", "RSA", "-keysize", "2048", "-validity", "10000"),
        )
    run(
        *("java", "-jar", tools.apksigner, "sign", "--ks", key, "--ks-pass", f"pass:{PASSWORD}"),
        *("--v1-signing-enabled", "false", "--min-sdk-version", said("minSdk"), "--out", apk, bare),
    )


def verified(tools: Tools, apk: Path) -> str:
    """What apksigner says of a signature that is good; else an error with what is wrong."""
    return run("java", "-jar", tools.apksigner, "verify", "--verbose", apk)


def kotlinc(tools: Tools, sources: Sequence[Path], jar: Path, libraries: Sequence[Path]) -> None:
    """Compile, with the names of Java 8 alone: an old Android has no newer ones. A warning is an error."""
    path = os.pathsep.join(map(str, libraries))
    run(
        *("bash", tools.kotlin / "bin/kotlinc", "-Werror", "-no-reflect", "-no-stdlib"),
        *("-jvm-target", "1.8", "-Xjdk-release=1.8", "-cp", path, "-d", jar, *sources),
    )


def _jar(folder: Path, jar: Path) -> None:
    with zipfile.ZipFile(jar, "w") as out:
        for file in sorted(folder.rglob("*.class")):
            out.write(file, str(file.relative_to(folder)))


def _entries(jar: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            yield name, archive.read(name)


if __name__ == "__main__":
    main()
