"""The app's command line on Linux, with this project's evaluator of packages in Core ML's place: slow, and exact.

python apps/apple/demo_linux.py FOLDER PROMPT [TOKENS] [--snapkv] [--layerskip]

FOLDER is what `edge app` wrote of a model for Core ML.
"""

import os
import socket
import sys
import threading
from pathlib import Path

import coreml_pipe
import swift_linux


def answered(build: Path, folder: Path, words: list[str]) -> int:
    """Answer on stdout -> the exit code. `build`: where programs are made; `words`: a prompt and what follows."""
    swift_linux.build(build)
    places = {"/model": folder}
    ours, theirs = socket.socketpair()
    models = coreml_pipe.Models(places)
    threading.Thread(target=coreml_pipe.serve, args=(ours, models), daemon=True).start()
    command, every = ["/build/release/edge-demo", "/model", *words], {"/build": build, **places}
    with theirs:
        return swift_linux.entered(command, every, show=True, pipe=theirs.fileno()).returncode


def main(words: list[str]) -> int:
    if len(words) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    cache = Path(os.environ.get("EDGE_APPS_CACHE", Path.home() / ".cache" / "edge-apps"))
    return answered(cache / "apple-build", Path(words[0]), words[1:])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except swift_linux.Unavailable as why:
        sys.exit(str(why))
