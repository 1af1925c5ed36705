"""Every family on a target, in float32, by the project that is imported: python tests/every_family.py TARGET FOLDER"""

import sys
from pathlib import Path

from support import CONFIGS, tiny

import edge
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.prove.verify import verify

if __name__ == "__main__":
    target, folder = sys.argv[1], Path(sys.argv[2])
    assert Path(edge.__file__).is_relative_to(Path.cwd()), edge.__file__
    for family in CONFIGS:
        source = tiny(folder / family, family)
        artifact = convert(source, folder / "out" / family, Options(target=target, quant="fp32"))
        report = verify(artifact, source, tokens=24)
        assert report.passed, (family, report)
        print(family)
