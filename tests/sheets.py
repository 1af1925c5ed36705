"""The pictures of docs/reads and what is asked about each: drawn by the fonts of edge/data/fonts.yaml.

    python tests/sheets.py FONTS docs/reads

Of each kind and language the first two sheets of a seed, one of them of two tiles, as `edge eval --sheets 2` asks about
them: lines that no lesson had.
"""

import json
import sys
from pathlib import Path

from edge.data.fonts import found
from edge.measure.reading import cases

SEED = 7
SIDE, MOST = 112, 2  # of edge-reads


def write(fonts: Path, out: Path) -> None:
    from PIL import Image

    out.mkdir(parents=True, exist_ok=True)
    names: dict[bytes, str] = {}
    asked = []
    for case in cases(found(fonts), side=SIDE, most=MOST, seed=SEED, sheets=2):
        name = names.setdefault(case.rgb.tobytes(), f"{len(names) + 1:02}-{case.language}.png")
        Image.fromarray(case.rgb).save(out / name, optimize=True)
        asked.append({"file": name, "question": case.asked.question, "answer": case.asked.answer})
    text = json.dumps(asked, ensure_ascii=False, indent=1)
    (out / "asked.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
