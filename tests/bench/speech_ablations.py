"""FlashSpeech's ablations (arXiv 2404.14700, tables 3 to 6) in miniature: nets of less than 1 M parameters.

    python tests/bench/speech_ablations.py PREPARED RECOGNIZER [--steps 3000] [--seeds 3] [--out FILE.json]

Of each seed stage 1 is trained once. From it go on, for as many steps each: consistency alone, a discriminator with the
prompt's projection, one without; each then learns prosody refinement. Held-out sentences are made in 1, 2 and 4 steps
by the durations and pitch that were spoken, and judged by how far their log mel bands are from what was spoken
(nepers), and by phoneme errors of the recognizer, beside those of what was spoken. With alpha 0, 0.2 and 1 durations
and pitch are made, and their distributions compared with what was spoken (Jensen-Shannon divergence, bits).
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "names")]

import torch  # noqa: E402 - the paths come first
import toy_speech  # noqa: E402

from edge.nn.networks import define  # noqa: E402
from edge.text.spoken.symbols import table  # noqa: E402
from edge.train.recipe import Rates  # noqa: E402
from edge.train.speech.batches import Example, padded  # noqa: E402
from edge.train.speech.model import joined_network  # noqa: E402
from edge.train.speech.recipe import (  # noqa: E402
    AdversarialTable,
    ConsistencyTable,
    SpeechRecipe,
    UtterancesTable,
)
from edge_runtimes.torch.net import TorchNetOps  # noqa: E402
from edge_runtimes.torch.speech.networks import Batch  # noqa: E402
from edge_runtimes.torch.speech.run import SpeechRun  # noqa: E402
from edge_runtimes.torch.speech.speaking import resaid, timed  # noqa: E402

RATES = Rates(matrix=2e-3, other=2e-3, shrink=0.01, warmup=0.05, decay=0.5, optimizer="adam")
CPU = torch.device("cpu")
ALPHAS = (0.0, 0.2, 1.0)
STEPS = (1, 2, 4)
WIDTH = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("recognizer", type=Path)
    parser.add_argument(
        "--steps", type=int, default=3000, help="of stage 1; the others have a third"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=40)
    parser.add_argument("--work", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--out", type=Path, default=Path("docs/speech-ablations.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for seed in range(given.seeds) for row in of_seed(seed, given)]
    kept = {"steps": given.steps, "seeds": given.seeds, "sentences": given.sentences, "rows": rows}
    given.out.write_text(json.dumps(kept | {"means": means(rows)}, indent=1) + "\n")
    print(json.dumps(means(rows), indent=1))


def recipe(given: Any, seed: int, **changes: Any) -> SpeechRecipe:
    first = ConsistencyTable(
        steps=given.steps, first=10, last=40, norm="element", middle=2.0, clean=1.0
    )
    made = SpeechRecipe(
        seed=seed,
        model=toy_speech.model(WIDTH),
        utterances=UtterancesTable(batch=6, crop=240, prompt_least=80, prompt_most=160),
        rates=RATES,
        consistency=first,
        features=str(given.recognizer),
        samples=10**6,
        precision="bf16",
    )
    return replace(made, **changes)


def of_seed(seed: int, given: Any) -> list[dict[str, Any]]:
    data = [str(given.prepared)]
    first = SpeechRun(recipe(given, seed), given.work / f"{seed}-first", data=data)
    learn(first)
    start = str(first.export())
    third = max(1, given.steps // 3)
    on = replace(recipe(given, seed).consistency, steps=1, first=40)
    refined = replace(on, steps=third, first=10)
    two = AdversarialTable(steps=2 * third, width=32)
    ways: Mapping[str, dict[str, Any]] = {
        "consistency alone": {"consistency": replace(on, steps=third)},
        "adversarial": {"consistency": on, "adversarial": two},
        "adversarial, no projection": {
            "consistency": on,
            "adversarial": replace(two, projection=False),
        },
    }
    rows = []
    for name, changes in ways.items():
        made = recipe(given, seed, refinement=refined, **changes)
        run = SpeechRun(made, given.work / f"{seed}-{name}", data=data, start=start)
        learn(run)
        rows.append({"seed": seed, "way": name, **judged(run, given)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def learn(run: SpeechRun) -> None:
    while run.at.tokens < run.total:
        run.step()


def judged(run: SpeechRun, given: Any) -> dict[str, Any]:
    held = run.origin.sentences(given.sentences)
    hears = Hears(given.recognizer)
    scale, mean = run.origin.model.scale, run.origin.model.mean
    out: dict[str, Any] = {"parameters": sum(w.numel() for w in run.weights.values())}
    spoken = [hears.sounds(one.latent * scale + mean) for one in held]
    out["errors, spoken"] = rate(spoken, [hears.wanted(one) for one in held])
    for steps in STEPS:
        far, heard = [], []
        for number, one in enumerate(held):
            batch = Batch.of(padded([one]), CPU)
            with torch.no_grad():
                made = resaid(
                    run.networks, batch, run.networks.seen(batch), steps=steps, seed=number
                )[0]
            far.append(float(np.abs(made - one.latent).mean()) * scale)
            heard.append(hears.sounds(made * scale + mean))
        out[f"nepers, {steps} steps"] = float(np.mean(far))
        out[f"errors, {steps} steps"] = rate(heard, [hears.wanted(one) for one in held])
    for alpha in ALPHAS:
        pairs = [timed(run.networks, one, CPU, alpha=alpha, seed=n) for n, one in enumerate(held)]
        long = np.concatenate([batch.durations[0].numpy() for batch in pairs])
        high = np.concatenate([batch.log_pitch[0].numpy() for batch in pairs])
        out[f"duration divergence, alpha {alpha:g}"] = divergence(
            long, np.concatenate([one.frames for one in held]), np.arange(-0.5, 40.5)
        )
        out[f"pitch divergence, alpha {alpha:g}"] = divergence(
            np.expm1(high), np.expm1(np.concatenate([one.log_pitch for one in held])),
            np.concatenate([[0], np.geomspace(40, 600, 40)]),
        )  # fmt: skip
    return out


class Hears:
    """What a recognizer says of log mel bands: its likeliest sounds, each once."""

    def __init__(self, folder: Path) -> None:
        part = joined_network(folder)
        self._spec = part.spec
        self._ops = TorchNetOps({name: torch.from_numpy(w) for name, w in part.weights()})

    def sounds(self, mel: np.ndarray) -> list[int]:
        given = torch.from_numpy(mel.astype(np.float32))[None]
        with torch.no_grad():
            logits = define(self._ops, self._spec, mel=given, frame_mask=torch.ones(1, len(mel)))[
                "logits"
            ]
        best = logits[0].argmax(-1).tolist()
        return [b for b, before in zip(best, [0, *best[:-1]], strict=True) if b not in (0, before)]

    def wanted(self, one: Example) -> list[int]:
        """What it was taught to say of these symbols."""
        return [symbol for symbol in one.symbols.tolist() if symbol >= table().marks]


def rate(heard: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> float:
    """Of all sounds, how many must be changed, left out or put in."""
    return sum(map(distance, heard, wanted)) / sum(map(len, wanted))


def distance(a: Sequence[int], b: Sequence[int]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def divergence(a: np.ndarray, b: np.ndarray, bins: np.ndarray) -> float:
    """Jensen and Shannon's, in bits: 0 where two sets are distributed alike, 1 where they have nothing in common."""
    p, q = (np.histogram(np.clip(x, bins[0], bins[-1]), bins)[0] / len(x) for x in (a, b))
    m = (p + q) / 2

    def far(x: np.ndarray) -> float:
        some = x > 0
        return float((x[some] * np.log2(x[some] / m[some])).sum())

    return (far(p) + far(q)) / 2


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Of each way and number the mean over seeds, and the largest distance from it."""
    out: dict[str, dict[str, list[float]]] = {}
    for way in dict.fromkeys(row["way"] for row in rows):
        some = [row for row in rows if row["way"] == way]
        out[way] = {}
        for name in some[0]:
            if name not in ("seed", "way"):
                values = np.array([row[name] for row in some], np.float64)
                most = float(np.abs(values - values.mean()).max())
                out[way][name] = [round(float(values.mean()), 5), round(most, 5)]
    return out


if __name__ == "__main__":
    main()
