"""Debian's Swift 6.0 in a folder.

It is made once, in the cache that EDGE_APPS_CACHE names, of packages that apt-get fetches and whose signatures
it checks: 0.5 GB to fetch, 1.6 GB on the disk, about a minute. No script of a package is run, and this system's
own packages stay as they are.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

RELEASE = "trixie"  # the first of Debian's that has Swift 6
PACKAGES = ("swiftlang", "swiftlang-dev", "g++", "libc6-dev", "bash", "coreutils", "grep", "tzdata")
VERSION = "6.0."
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LEFT_OUT = (
    "./usr/share/doc",
    "./usr/share/man",
    "./usr/share/locale",
    "./usr/libexec/gcc/*/*/cc1*",
    "./usr/libexec/gcc/*/*/lto*",
    "*swift_static*",
    "*lldb*",
    "*clangd",
    "*sourcekit*",
    "*/docc",
)


class Unavailable(Exception):
    """Swift cannot be had here, and why."""


def made() -> Path:
    """The folder; made where it is not there yet. Raises Unavailable."""
    cache = Path(os.environ.get("EDGE_APPS_CACHE", Path.home() / ".cache" / "edge-apps"))
    kept = cache / f"swift-{VERSION}{RELEASE}"
    if not kept.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as place:
            _unpack(_fetched(Path(place) / "apt"), Path(place) / "root")
            if not kept.exists():  # else another one was faster
                (Path(place) / "root").rename(kept)
    return kept


def _fetched(folder: Path) -> list[Path]:
    """Debian's packages and all that they need, in state of their own."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    signed = f"[signed-by={KEYS}] " if KEYS.is_file() else ""
    (folder / "sources").write_text(f"deb {signed}{_archive()} {RELEASE} main\n")
    settings = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::SourceList": folder / "sources",
        "Dir::Etc::SourceParts": "-",
        "Dir::Etc::Preferences": "-",
        "Dir::Etc::PreferencesParts": "-",
        "APT::Sandbox::User": "",
        "Acquire::Retries": 3,
    }
    apt = [
        "apt-get",
        "--quiet",
        *(part for name, value in settings.items() for part in ("-o", f"{name}={value}")),
    ]
    wanted = ["install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES]
    for command in ([*apt, "update"], [*apt, *wanted]):
        done = run(command)
        if done.returncode:
            raise Unavailable(f"apt-get does not give Swift: {done.stderr[-500:]}")
    files = sorted((folder / "cache" / "archives").glob("*.deb"))
    if not any(file.name.startswith(f"swiftlang_{VERSION}") for file in files):
        raise Unavailable(f"Debian's {RELEASE} has another Swift than {VERSION}")
    return files


def _archive() -> str:
    """Where this system has its packages from."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable("there is no apt-get, which has Swift from Debian")
    said = run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"]
    )
    lines = [line.partition(" ") for line in said.stdout.splitlines()]
    found = [address for origin, _, address in lines if origin == "Debian"]
    if not found:
        raise Unavailable("apt-get knows no package list of Debian: apt-get update")
    return min(found, key=len)  # the archive itself, not its security updates


def _unpack(files: Sequence[Path], out: Path) -> None:
    out.mkdir()
    tar = ["tar", "-x", "-C", str(out), "--keep-directory-symlink", "--no-same-owner"]
    for file in files:
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE
        ) as packed:
            subprocess.run(
                [*tar, *(f"--exclude={name}" for name in LEFT_OUT)], stdin=packed.stdout, check=True
            )
        if packed.returncode:
            raise Unavailable(f"{file.name} cannot be unpacked")
        file.unlink()  # the disk is not to hold both
    for name in ("proc", "dev", "tmp"):
        (out / name).mkdir(exist_ok=True)


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
