"""A text is read by one process and by several, which torchrun starts: artifacts come out the same, byte for byte."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import environment

from edge.artifact.manifest import Artifact
from edge.convert.calibrated import Reading
from edge.convert.calibration import Calibration
from edge.convert.conversion import convert
from edge.convert.options import Options

pytest.importorskip("torch")
TOKENS = 700


def options(text: Path, quant: str) -> Options:
    return Options(target="onnx", quant=quant, calibrate=Calibration.of(text, TOKENS))


def shared(processes: int, source: Path, text: Path, quant: str, out: Path, *more: str) -> Artifact:
    """Converted by so many processes, of which one writes and one speaks."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command += ["-m", "edge", "convert", str(source), "--to", "onnx", "--quant", quant, "-o"]
    command += [
        str(out),
        "--calibrate",
        str(text),
        "--calibrate-tokens",
        str(TOKENS),
        "--json",
        *more,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=250, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"path"') == 1
    assert "Warning" not in done.stderr
    return Artifact.open(out)


@pytest.mark.parametrize(
    ("processes", "quant"), [(4, "awq-int4-g32"), (2, "gptq-int4-g64"), (2, "quip-int4-g64")]
)
def test_processes_make_what_one_makes(
    processes: int, quant: str, world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    alone = convert(short_stories, tmp_path / "alone", options(world_text, quant))
    found = shared(processes, short_stories, world_text, quant, tmp_path / "shared")
    assert dict(found.files) == dict(alone.files)
    assert found.manifest == alone.manifest


def test_what_one_process_began_two_finish(
    world_text: Path, tmp_path: Path, short_stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = convert(short_stories, tmp_path / "whole", options(world_text, "gptq-int4-g64"))
    keep, done = Reading.keep, list[int]()

    def stopping(self: Reading, *given: object) -> object:
        if len(done) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done.append(1)
        return keep(self, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Reading, "keep", stopping)
        with pytest.raises(OSError, match="space"):
            convert(short_stories, tmp_path / "it", options(world_text, "gptq-int4-g64"))
    found = shared(2, short_stories, world_text, "gptq-int4-g64", tmp_path / "it")
    assert dict(found.files) == dict(whole.files)
