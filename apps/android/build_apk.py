"""Build, sign and verify the Android app without Gradle and without Android's SDK.

    python apps/android/build_apk.py edge.apk                  # arm64-v8a: today's phones
    python apps/android/build_apk.py edge.apk --abi x86_64     # an emulator on a desk
    python apps/android/build_apk.py edge.apk --stored         # native libraries as they are: larger, not unpacked on a phone

Needs Python, a JDK 17 or newer, npm, and Debian's apt. What it fetches is kept in EDGE_APPS_CACHE (~/.cache/edge-apps), each
file checked by its SHA-256. The key it signs with is made on first use, and is good for one's own devices alone.
"""

import argparse
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
ANDROID = "http://schemas.android.com/apk/res/android"
TOOLS = "http://schemas.android.com/tools"
ABIS = ("arm64-v8a", "armeabi-v7a", "x86", "x86_64")
PAGE = 16384  # bytes: phones since Android 15 may have such pages
PASSWORD = "android"  # of a key that guards nothing


class Unavailable(Exception):
    """Something that cannot be had here: a client is missing, or it refuses a package."""


@dataclass(frozen=True)
class Package:
    client: str
    name: str
    file: str
    sha256: str


KOTLIN = Package(
    "npm",
    "kotlin-compiler@2.4.20",
    "kotlin-compiler-2.4.20.tgz",
    "c23dab400d7ce5ea8b6c909947c0ca5454189e4bb1108695b5f464500e5e950f",
)
# ONNX Runtime 1.29.0's AAR as others have packed it again: build.gradle.kts takes Microsoft's own.
ONNXRUNTIME = Package(
    "npm",
    "com.github.asus4.onnxruntime@0.4.9",
    "com.github.asus4.onnxruntime-0.4.9.tgz",
    "e59788788818fdde1b2e522e766a21ba0f7d8391de55737abf81e32cc801785d",
)
# It brings D8, aapt2, apksigner and the framework's resources.
MOBSF = Package(
    "pip",
    "mobsf==4.4.0",
    "mobsf-4.4.0-py3-none-any.whl",
    "74329efc7eee885ca6b9448726ca448c6f5c7ca80ec3dc9a98ee11fb7cd7c0d4",
)
# android.jar: names of API 23, and what D8 needs to know of the platform.
PLATFORM = Package(
    "apt",
    "pool/main/a/android-framework-23/libandroid-23-java_6.0.1+r72-6_all.deb",
    "libandroid-23-java.deb",
    "8af1b6df556971dda0a6da3536ea526a838e0c363afcdd454213d8bce94793e3",
)


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
    except Unavailable as why:
        sys.exit(f"cannot build here: {why}")
    print(f"{asked.apk}: {asked.apk.stat().st_size / 1e6:.1f} MB, signed and verified")


@dataclass(frozen=True)
class Tools:
    """Where each tool lies."""

    kotlin: Path  # a folder
    onnxruntime: Path  # the AAR, unpacked
    d8: Path
    aapt2: Path
    framework: Path
    apksigner: Path
    platform: Path
    libraries: Path  # Kotlin's and ONNX Runtime's classes as a .dex

    @property
    def stdlib(self) -> Path:
        return self.kotlin / "lib" / "kotlin-stdlib.jar"


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
    tools = fetched()
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
                if name.endswith(".class"):
                    out.writestr(name, data)
    d8(tools, folder, [built.classes], known=libraries[:3])
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
        *("--no-compile-sdk-metadata", "--java", built.folder / "java", "-o", out, built.folder / "res.zip"),
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
    """Compile for the JVM: with the names of Java 8 alone, as an old Android has no newer ones."""
    path = os.pathsep.join(map(str, libraries))
    run(
        *("bash", tools.kotlin / "bin/kotlinc", "-nowarn", "-no-reflect", "-no-stdlib"),
        *("-jvm-target", "1.8", "-Xjdk-release=1.8", "-cp", path, "-d", jar, *sources),
    )


def d8(tools: Tools, folder: Path, jars: Sequence[Path], known: Sequence[Path] = ()) -> None:
    libraries = [part for jar in known for part in ("--classpath", jar)]
    run(
        *("java", "-Xmx1g", "-cp", tools.d8, "com.android.tools.r8.D8", "--release"),
        *("--min-api", said("minSdk"), "--lib", tools.platform, *libraries),
        *("--output", folder, *jars),
    )


def fetched() -> Tools:
    """Every tool, from the cache or from where it is published."""
    for client in ("java", "javac", "keytool", "npm"):
        if not shutil.which(client):
            raise Unavailable(f"{client} is not on the path")
    kotlin = unpacked(KOTLIN, "package/")
    aar = unpacked(ONNXRUNTIME, "package/Plugins/Android/onnxruntime.aar")
    inner = "mobsf/StaticAnalyzer/tools/"
    named = ("bundletool-all-1.17.2.jar", "apktool_2.10.0.jar", "apksigner.jar")
    mobsf = unpacked(MOBSF, *(inner + name for name in named)) / inner
    apktool = mobsf / named[1]
    deb = unpacked(PLATFORM, "") / "usr/share/java/com.android.android-23.jar"
    tools = Tools(
        kotlin=kotlin / "package",
        onnxruntime=_unzipped(aar / "package/Plugins/Android/onnxruntime.aar"),
        d8=mobsf / named[0],
        aapt2=_unzipped(apktool) / "prebuilt/linux/aapt2_64",
        framework=_unzipped(apktool) / "brut/androlib/android-framework.jar",
        apksigner=mobsf / named[2],
        platform=deb,
        libraries=cache() / f"libraries-{said('minSdk')}-{ONNXRUNTIME.sha256[:8]}{KOTLIN.sha256[:8]}.dex",
    )
    tools.aapt2.chmod(0o755)
    if not tools.libraries.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as made:
            d8(tools, Path(made), [tools.stdlib, tools.onnxruntime / "classes.jar"])
            (Path(made) / "classes.dex").rename(tools.libraries)
    return tools


def cache() -> Path:
    folder = Path(os.environ.get("EDGE_APPS_CACHE", Path.home() / ".cache" / "edge-apps"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def unpacked(package: Package, *wanted: str) -> Path:
    """A folder with the files of a package whose names begin so."""
    kept = cache() / f"{package.file}-{package.sha256[:8]}"
    if kept.is_dir():
        return kept
    with tempfile.TemporaryDirectory(dir=cache()) as made:
        file = _fetch(package, Path(made))
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != package.sha256:
            raise ValueError(f"{package.name} has another SHA-256 than was checked: {found}")
        out = Path(made) / "out"
        if package.client == "apt":
            run("dpkg-deb", "-x", file, out)
        elif package.client == "npm":
            with tarfile.open(file) as archive:
                members = [one for one in archive if one.name.startswith(wanted)]
                archive.extractall(out, members, filter="data")
        else:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(out, [n for n in archive.namelist() if n.startswith(wanted)])
        if not kept.exists():  # else another one was faster
            out.rename(kept)
    return kept


def _unzipped(file: Path) -> Path:
    folder = file.with_suffix("")
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=file.parent) as made:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(Path(made) / "out")
            if not folder.exists():
                (Path(made) / "out").rename(folder)
    return folder


def _fetch(package: Package, folder: Path) -> Path:
    file = folder / package.file
    if package.client == "npm":
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), package.name]
    elif package.client == "pip":
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--ignore-requires-python", "--dest", str(folder), package.name]
    else:
        command = ["/usr/lib/apt/apt-helper", "download-file", _debian() + package.name, str(file)]
        command += [f"SHA256:{package.sha256}"]
    try:
        run(*command, timeout=300)
    except (OSError, subprocess.SubprocessError, Failed) as why:
        raise Unavailable(f"{package.client} does not give {package.name}: {why}") from why
    return file


def _debian() -> str:
    """Where this system has its packages from."""
    try:
        said = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages")
    except OSError as why:
        raise Unavailable("there is no apt-get, which has android.jar from Debian") from why
    found = [uri for origin, _, uri in (line.partition(" ") for line in said.splitlines()) if origin == "Debian"]
    if not found:
        raise Unavailable("apt-get knows no package list of Debian: apt-get update")
    return min(found, key=len)  # the archive itself, not its security updates


class Failed(Exception):
    """A tool that ended with an error, and what it said."""


def run(*command: object, timeout: float | None = None) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise Failed(f"{Path(str(command[0])).name}: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


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
