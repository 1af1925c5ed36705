"""The generated parts of README.md, apps/README.md and docs/*.md: from proofs and benchmarks, never typed by hand.

    python tests/readme.py --write      the parts between `<!-- NAME -->` and `<!-- end -->`, and docs/speed.svg

docs/parity.json is kept by `pytest tests/parity/test_matrix.py --record docs/parity.json`,
docs/speed-*.json by `python tests/bench/speed.py ... --out`, docs/fuzz.json by `python tests/fuzz.py --out`,
docs/snapkv-quality.* by `python tests/bench/budget.py ... --out`,
docs/app-*.json by `tests/bench/app_page.py` and `jvm.py`.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from figures import speed  # noqa: E402
from tables import PARTS  # noqa: E402

README = ROOT / "README.md"
PAGES = (README, ROOT / "apps" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PICTURES = {ROOT / "docs" / "speed.svg": speed}


def generated(text: str) -> str:
    """A page's text with its generated parts made anew."""
    for name, make in PARTS.items():
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        if start in text:
            before, _, rest = text.partition(start)
            text = before + start + make() + "\n" + rest[rest.index(end) :]
    return text


def parts(text: str) -> list[str]:
    """Which of them a page has."""
    return [name for name in re.findall(r"^<!-- (\w+) -->$", text, re.MULTILINE) if name in PARTS]


def made() -> dict[Path, str]:
    """Every page and picture as it should be."""
    pages = {page: generated(page.read_text()) for page in PAGES}
    return pages | {file: draw() for file, draw in PICTURES.items()}


def stale() -> list[str]:
    return [
        str(file.relative_to(ROOT))
        for file, text in made().items()
        if not file.is_file() or file.read_text() != text
    ]


if __name__ == "__main__":
    if "--write" in sys.argv:
        for file, text in made().items():
            file.write_text(text)
    elif wrong := stale():
        sys.exit(f"out of date: {', '.join(wrong)}: python tests/readme.py --write")
