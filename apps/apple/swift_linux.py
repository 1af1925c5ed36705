"""Compiles and runs the app's sources on Linux, by Debian's Swift.

python apps/apple/swift_linux.py swift build     runs a command in apps/apple, which it calls /src

A command has the folder of `swift_root.py` as its root: root can do that, and others where namespaces of users
are allowed.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import swift_root
from swift_root import Unavailable

SOURCES = Path(__file__).resolve().parent
# A library that swiftlang's own ones ask for has a name that it does not define (swiftlang/swift, issue 75670).
LINKED = ("-Xlinker", "--unresolved-symbols=ignore-in-shared-libs")


def root() -> Path:
    """The folder of Swift, made where it is not there yet. Raises Unavailable."""
    _entered(Path("/"))  # before anything is fetched
    return swift_root.made()


def entered(
    command: Sequence[str],
    places: Mapping[str, Path],
    timeout: float | None = None,
    *,
    show: bool = False,
    pipe: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command there. `places`: folders of this system by the names that they have there, such as "/src".

    `pipe`: an end of a socket, at whose other one `coreml_pipe.py` answers for Core ML.
    """
    paths = "PATH=/usr/libexec/swift/bin:/usr/bin"
    inside = ["/usr/bin/env", "-i", paths, "HOME=/tmp", "LANG=C.UTF-8", "TMPDIR=/tmp"]
    told = [] if pipe is None else [f"EDGE_COREML_PIPE={pipe}"]
    return subprocess.run(
        [*_enter(root(), places), *inside, *told, *command],
        capture_output=not show,
        text=True,
        timeout=timeout,
        check=False,
        pass_fds=() if pipe is None else (pipe,),
    )


def build(scratch: Path, source: Path = SOURCES, timeout: float = 900) -> Path:
    """The folder of all programs of Package.swift, optimized; raises AssertionError with what Swift says.

    `scratch`: where they are made, and less anew where some are there.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    flags = ["-c", "release", "--disable-sandbox", "--scratch-path", "/build", *LINKED]
    command = ["swift", "build", "--package-path", "/src", *flags]
    done = entered(command, {"/src": source, "/build": scratch}, timeout)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert "warning:" not in done.stdout + done.stderr, (done.stdout + done.stderr)[-6000:]
    return scratch / "release"


def _enter(folder: Path, places: Mapping[str, Path]) -> list[str]:
    """What a command begins with to have the folder as its root, in which others lie."""
    mounts = {"/proc": Path("/proc"), "/dev": Path("/dev"), **places}
    steps = [
        'root=$1; shift; while [ "$1" != -- ]; do mkdir -p "$root$2"; mount --rbind "$1" "$root$2"; shift 2; done'
    ]
    script = "set -e; " + "; ".join([*steps, "shift; cd /", 'exec chroot "$root" "$@"'])
    pairs = [part for name, place in mounts.items() for part in (str(place.resolve()), name)]
    mapped = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", "--mount", *mapped, "sh", "-c", script, "sh", str(folder), *pairs, "--"]


def _entered(folder: Path) -> None:
    try:
        done = swift_root.run([*_enter(folder, {}), "/bin/true"])
    except OSError as why:
        raise Unavailable("there is no unshare, which lets a command have another root") from why
    if done.returncode:
        raise Unavailable(f"a command cannot have another root here: {done.stderr[-300:]}")


if __name__ == "__main__":
    try:
        sys.exit(
            entered(
                ["bash", "-c", 'cd /src && exec "$@"', "bash", *sys.argv[1:]],
                {"/src": SOURCES},
                show=True,
            ).returncode
        )
    except Unavailable as why:
        sys.exit(str(why))
