"""What every app's core must give: made from the packaged model by the toolkit itself.

python apps/golden/make.py          writes the files beside this one
python apps/golden/make.py --check  says which of them are no longer what the toolkit gives

The model is converted anew, in float32, each time.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
from rules import rules, vocabularies

from edge import api
from edge.apps.folder import write_app
from edge.convert.options import Options
from edge.decode.generate import generate, text_of
from edge.decode.sampling import Sampling, pick
from edge.decode.snapkv import SnapKV, select, vote
from edge.decode.stops import StopStrings
from edge.measure.recall import text
from edge.pipelines.internvl import placed
from edge.run.model import Model, load
from edge.run.strategy import Strategy
from edge.source import registry
from edge.text.chat import Message
from edge.text.stream import pieces_of
from edge.typing import F32
from edge.vision.pictures import Picture
from edge.vision.preparation import INTERNVIT, prepare
from edge.vision.tiles import grid_of, tiles

HERE = Path(__file__).parent
TEXTS = (
    "Once upon a time", "", " ", "  two blanks", "Marla had a red kite.\nTomtin had a blue drum.", "\t\r\n", "ÀÉ ßœ",
    "e\u0301", "你好，世界", "🙂👩‍👩‍👧", "<|user|>\nHi<|end|>", "<s>", "a" * 70, "3.14159 and 1,000,000",
    "don't", "\u200b\ufeff",
    "\U0001d538", "مرحبا", "x\x00y",
)  # fmt: skip
TALKS = (
    [("user", "Tell me a story about Marla.")],
    [("system", "Be brief."), ("user", "Hello!")],
    [
        ("user", "Marla had a red kite."),
        ("assistant", "Yes."),
        ("user", " What did Marla have? \n"),
    ],
    [("user", "{{ 1 }} <|end|>"), ("assistant", ""), ("user", "")],
)
PROMPTS = (
    "Tell me a story about Marla.",
    "Marla had a red kite. Tomtin had a blue drum. What did Tomtin have?",
)
SAMPLINGS = (
    Sampling(),
    Sampling(temperature=1.0),
    Sampling(temperature=0.05),
    Sampling(temperature=0.7, top_k=5),
    Sampling(temperature=1.3, top_p=0.8),
    Sampling(temperature=1.0, min_p=0.2),
    Sampling(temperature=0.9, top_k=20, top_p=0.9, min_p=0.05, repetition_penalty=1.3),
    Sampling(repetition_penalty=2.0),
)
DECODERS: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    ({"type": "ByteLevel"}, ("ĠHello", "ðŁ", "ĻĤ", "âĤ", "x", "<|im end|>", "Ċ")),
    (
        {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        ("▁", "▁a", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>", "b", "<0xFF>", "<0x41>", "▁▁c", "<0xE4>"),
    ),
)  # fmt: skip
STOPS = (
    (["END"], ["The E", "N", "x E", "ND tail"]),
    (["ab", "abc"], ["xa", "b", "c"]),
    (["aab"], ["aaa", "ab!"]),
    (["\n\n", "User:"], ["one\n", "two\nUse", "r:", "three"]),
    (["zz"], ["no stop z"]),
    ([], ["all ", "of it"]),
)


# Width and height of pictures, the side of their tiles, and how many there may be.
CUT = (
    (114, 105, 112, 2), (300, 130, 112, 2), (130, 300, 448, 12), (1000, 1000, 448, 12), (500, 500, 448, 12),
    (1344, 896, 448, 6), (1300, 900, 448, 40), (7, 1300, 448, 40), (1920, 1080, 448, 12), (897, 448, 448, 3),
)  # fmt: skip
# Numbers that 16 bits hold, or round: to an even neighbour, to the smallest ones, to none and to infinity.
HALVES = (
    0.0, -0.0, 1.0, -2.5, 0.1, 1.00048828125, 1.00146484375, 65504.0, 65519.0, 65520.0, 6.1e-5, 6e-8, 3e-8, 2.9e-8,
)  # fmt: skip


class Fixed:
    """What `pick` draws by, where the draw is given."""

    def __init__(self, value: float) -> None:
        self._value = value

    def random(self) -> float:
        return self._value


def short(values: Any) -> F32:
    """Numbers of few digits, so that the files are small."""
    return np.asarray(np.round(values, 2), np.float32)


def told(values: F32) -> list[float]:
    return [round(value, 6) for value in values.tolist()]


def picks() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(7)
    for sampling in SAMPLINGS:
        logits = short(rng.standard_normal(48) * 3)
        history = rng.integers(0, 48, 12).tolist()
        draws = [0.0, *rng.random(24).tolist(), 1 - 2**-53]
        yield {
            "logits": told(logits),
            "sampling": {k: v for k, v in asdict(sampling).items() if k != "seed"},
            "history": history,
            "draws": draws,
            "tokens": [pick(logits, sampling, history, Fixed(at)) for at in draws],  # type: ignore[arg-type]
        }


def kept() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(8)
    for options, heads, groups in (
        (SnapKV(capacity=24, window=8), 4, 2),
        (SnapKV(capacity=20, window=4, kernel=3, sinks=2), 3, 3),
        (SnapKV(capacity=40, window=6, kernel=1), 4, 1),
    ):
        width, rows = 4, 56
        q = short(rng.standard_normal((options.window, heads, width)))
        k = short(rng.standard_normal((groups, rows, width)))
        scale = width**-0.5
        votes = vote(q, k, scale)
        yield {
            "options": {
                "capacity": options.capacity, "window": options.window, "kernel": options.near,
                "sinks": options.sinks,
            },
            "heads": heads, "kv_heads": groups, "width": width, "rows": rows, "scale": scale,
            "q": told(q.ravel()), "k": told(k.ravel()), "votes": [told(row) for row in votes],
            "kept": select(votes, groups, options).tolist(),
        }  # fmt: skip


def streams() -> Iterator[dict[str, Any]]:
    for decoder, pieces in DECODERS:
        for inside in (False, True):
            stream = pieces_of(decoder, inside=inside)()
            shown = [stream.feed(piece) for piece in pieces]
            yield {
                "decoder": decoder, "inside": inside, "pieces": pieces,
                "shown": [*shown, stream.finish()],
            }  # fmt: skip


def stopped() -> Iterator[dict[str, Any]]:
    for stops, pieces in STOPS:
        found, shown = StopStrings(stops), []
        ended = False
        for piece in pieces:
            text, ended = found.feed(piece)
            shown.append(text)
            if ended:
                break
        yield {
            "stops": stops, "pieces": pieces, "shown": shown, "stopped": ended,
            "rest": "" if ended else found.finish(),
        }  # fmt: skip


def pictures() -> dict[str, Any]:
    """How pictures are cut, resized, turned into numbers, and stand in a text."""
    numbers = np.array([*HALVES], np.float32)
    with np.errstate(over="ignore"):
        halves = numbers.astype(np.float16).view(np.uint16)
    tile = drawn(4, 4)
    return {
        "grids": [
            {"size": size, "grid": astuple(grid_of(*size[:2], side=size[2], most=size[3]))} for size in CUT
        ],
        "tiles": [
            {
                "size": (width, height), "side": side, "most": most,
                "tiles": [
                    tile.tobytes().hex() for tile in
                    tiles(drawn(width, height), grid_of(width, height, side=side, most=most), side=side)
                ],
            }
            for width, height, side, most in (
                (13, 7, 8, 4), (40, 31, 8, 2), (8, 8, 8, 1), (16, 5, 8, 2),
                (3, 90, 8, 1), (29, 31, 8, 1), (20, 32, 8, 1), (12, 60, 8, 1),
            )
        ],
        "prepared": told(prepare(tile, replace(INTERNVIT, resize=None)).ravel()),
        "placed": [
            {"text": text, "rows": rows, "placed": placed(text, rows)} for text, rows in (
                ("What is it?", []), ("What is it?", [2]), ("Is <image> as <image>?", [1, 2]), ("<image>", [1, 1, 3]),
            )
        ],
        "halves": [
            {"number": number, "bits": bits} for number, bits in
            zip(numbers.tolist(), halves.tolist(), strict=True)
        ],
    }  # fmt: skip


def drawn(width: int, height: int) -> Picture:
    """A picture that every core can make anew: hard edges, and all bytes."""
    at = np.arange(width * height * 3, dtype=np.int64)
    return Picture(rgb=((at * at * 7 + at * 13) % 256).astype(np.uint8).reshape(height, width, 3))


def answers(model: Model) -> Iterator[dict[str, Any]]:
    for prompt in PROMPTS:
        ids = model.encode([Message("user", prompt)])
        model.forget()
        made = generate(model.source, ids, max_tokens=48, stop_ids=model.stop_ids)
        pieces = list(text_of(made, model.tokenizer.stream()))
        yield {
            "prompt": prompt, "ids": ids, "tokens": made.tokens, "ending": made.ending,
            "pieces": pieces,
        }  # fmt: skip


def compacted(artifact: Path) -> Iterator[dict[str, Any]]:
    """Answers from a cache that SnapKV cut."""
    options = SnapKV(capacity=96, window=16)
    model = load(artifact, strategy=Strategy(snapkv=options))
    story = " ".join(text(seed=0, count=3).split())
    for question in ("What did they have?", "Tell me a story."):
        ids = model.encode([Message("user", f"{story} {question}")])
        model.forget()
        made = generate(model.source, ids, max_tokens=32, stop_ids=model.stop_ids)
        tokens = list(made)
        yield {
            "ids": ids, "capacity": options.capacity, "window": options.window, "kernel": options.near,
            "sinks": options.sinks, "tokens": tokens, "rows": list(model.cache_rows),
        }  # fmt: skip


def golden() -> dict[str, Any]:
    """Content by the name of its file."""
    with tempfile.TemporaryDirectory() as folder:
        artifact, app = Path(folder) / "it", Path(folder) / "app"
        api.convert_model(registry.DEFAULT, "onnx", artifact, Options(quant="fp32"))
        said = write_app(artifact, app, force=False)
        model = load(artifact, exact=True)
        tokenizer = model.tokenizer
        return {
            "rules": rules(),
            "vocabularies": vocabularies(),
            "texts": [{"text": text, "ids": tokenizer.encode(text, special=False)} for text in TEXTS],
            "chats": {
                "chat": said["chat"], "bos": said["bos"],
                "talks": [
                    {
                        "messages": [{"role": role, "content": content} for role, content in talk],
                        "ids": model.encode([Message(*turn) for turn in talk]),
                    }
                    for talk in TALKS
                ],
            },
            "answers": list(answers(model)),
            "compacted": list(compacted(artifact)),
            "picks": list(picks()),
            "snapkv": list(kept()),
            "streams": list(streams()),
            "stops": list(stopped()),
            "pictures": pictures(),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = []
    for name, content in golden().items():
        file = HERE / f"{name}.json"
        if content is None:  # it is made from data that is not here
            continue
        text = json.dumps(content, ensure_ascii=False) + "\n"
        if check and not (
            file.is_file() and same(json.loads(file.read_text("utf-8")), json.loads(text))
        ):
            stale.append(file.name)
        elif not check:
            file.write_text(text, "utf-8")
    if stale:
        sys.exit(f"no longer what edge gives: {', '.join(stale)}; run {Path(__file__).name} again")


def same(a: Any, b: Any) -> bool:
    """Equal, and fractions as near as another processor's."""
    if isinstance(a, float) and isinstance(b, (int, float)):
        return abs(a - b) <= 1e-4 * max(1, abs(a))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and bool(a == b)


if __name__ == "__main__":
    main()
