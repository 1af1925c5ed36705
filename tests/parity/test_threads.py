"""A runtime left to itself takes as many threads as run at once: counted by the kernel, in a process
whose affinity mask, or whose container's quota, is of one processor.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import converted, environment, tiny

MODULES = {"onnx": "onnxruntime", "gguf": "llama_cpp", "torch": "torch"}
COUNT = """
import os, sys
from pathlib import Path
from edge import targets
from edge.run import opening
from edge.system import processors
from edge.artifact.manifest import Artifact

asked, quota = int(sys.argv[2]) or None, float(sys.argv[3]) or None
processors.quota = lambda root: quota
artifact = Artifact.open(Path(sys.argv[1]))
targets.runtime(artifact.manifest.target)
before = len(os.listdir("/proc/self/task"))
decoder = opening.open_decoder(artifact, threads=asked, exact=False)
decoder.prefill(range(3, 40))
print("threads", 1 + len(os.listdir("/proc/self/task")) - before)
if "torch" in sys.modules:
    print("torch", sys.modules["torch"].get_num_threads())
"""

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here"),
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor: nothing to leave out"),
]


def _counted(folder: Path, *, mask: set[int], quota: float = 0, asked: int = 0) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", COUNT, str(folder), str(asked), str(quota)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
        preexec_fn=lambda: os.sched_setaffinity(0, mask),
        timeout=60,
    )
    return {name: int(count) for name, count in map(str.split, done.stdout.splitlines())}


@pytest.mark.parametrize("target", MODULES)
def test_threads_fit_the_mask_and_the_quota(tmp_path: Path, target: str) -> None:
    pytest.importorskip(MODULES[target])
    folder = converted(tmp_path / "out", tiny(tmp_path / "in"), target=target)
    there = os.sched_getaffinity(0)
    masked = _counted(folder, mask={min(there)})
    granted = _counted(folder, mask=there, quota=0.6)
    asked = _counted(folder, mask={min(there)}, quota=0.6, asked=3)
    # torch computes so small a model on one thread, whatever it may take.
    kind = "torch" if target == "torch" else "threads"
    assert (masked[kind], granted[kind], asked[kind]) == (1, 1, 3)
