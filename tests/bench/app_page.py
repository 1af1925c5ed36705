"""The browser's app beside `edge run`: bytes to fetch, the first token after the page is opened from cache, and tokens
a second, of each precision.

    python tests/bench/app_page.py [MODEL...] [--rounds 5] [--out docs/app-page.json]

MODEL is a checkpoint; the packaged one where none is named. The page is served as `edge serve ARTIFACT --app` does,
isolated; a real Chromium has it and the model from an earlier visit. Each round opens the page anew, and a script asks
as soon as the model is ready. The packages of the page come from the cache of the tests.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser import Browser, Page, needed
from support import ROOT
from webapp import built, offering

from edge.measure.bench import machine

EDGE = [sys.executable, "-m", "edge"]
RECIPES = ("fp32", "fp16", "int8", "int4")
PROMPT = "Tell me a story about Marla."
# In the page, before its own script: ask once the model is ready, and remember when the first text was there.
ASKS = """
addEventListener("DOMContentLoaded", () => {
  const $ = (id) => document.getElementById(id);
  const asking = setInterval(() => {
    if ($("prompt").disabled) return;
    clearInterval(asking);
    window.readyAt = performance.now();
    $("prompt").value = PROMPT;
    $("form").requestSubmit();
  }, 1);
  new MutationObserver(() => {
    if (document.querySelector(".assistant")?.textContent) window.firstAt ??= performance.now();
  }).observe($("log"), { childList: true, subtree: true, characterData: true });
});
"""
DONE = "window.firstAt && document.querySelector('#send').textContent === 'Send'"
SPEED = r"Number(/([\d.]+) a second/.exec(document.querySelector('#speed').textContent)[1])"


def measured(model: str, recipe: str, page: Path, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        artifact, folder = Path(place) / "artifact", Path(place) / "app"
        ran("convert", model, "--to", "onnx", "--quant", recipe, "-o", str(artifact))
        ran("app", str(artifact), "-o", str(folder))
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        with offering(folder, page) as url:
            found = visits(url, Path(place) / "profile", rounds)
        beside = [
            json.loads(ran("run", str(artifact), PROMPT, "--json", "--max-tokens", "128"))
            for _ in range(rounds)
        ]
    return {
        "megabytes": size / 1e6,
        **found,
        "edge_run_tps": [one["decode_tps"] for one in beside],
    }


def visits(url: str, profile: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds to a ready model and to its first text, and tokens a second, of each visit but the first."""
    browser = Browser(needed(), profile)
    told: dict[str, list[float]] = {"ready": [], "first": [], "tps": []}
    try:
        for number in range(rounds + 1):
            tab = Page(browser)
            tab.call(
                "Page.addScriptToEvaluateOnNewDocument",
                source=ASKS.replace("PROMPT", json.dumps(PROMPT)),
            )
            tab.open(f"{url}/")
            tab.wait(DONE)
            if number:  # the first visit fetches all
                told["ready"].append(tab.value("readyAt / 1000"))
                told["first"].append(tab.value("firstAt / 1000"))
                told["tps"].append(tab.value(SPEED))
            tab.close()
    finally:
        browser.close()
    return told


def ran(*words: str) -> str:
    done = subprocess.run([*EDGE, *words], check=True, capture_output=True, text=True)
    return done.stdout


def line(recipe: str, row: dict[str, Any]) -> str:
    cells = (f"{key} {spread(row[key])}" for key in ("ready", "first", "tps", "edge_run_tps"))
    return f"{recipe}: {row['megabytes']:.1f} MB, {', '.join(cells)}"


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=[str(ROOT / "edge/models/edge-stories")])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    record: dict[str, Any] = {"machine": machine(), "models": {}}
    with tempfile.TemporaryDirectory() as place:
        page = built(Path(place) / "apps")
        for model in given.models:
            rows = record["models"].setdefault(Path(model).name, {})
            for recipe in RECIPES:
                rows[recipe] = measured(model, recipe, page, given.rounds)
                print(f"{Path(model).name} {line(recipe, rows[recipe])}", flush=True)
    if given.out:
        given.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
