"""What tests of data engines share: texts that pass every filter, runs of an engine, and what a folder holds."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge.data.frame import work
from edge.data.frame.crew import Alone, Crew
from edge.data.frame.step import Means
from edge.data.making import Order, make

WORDS = tuple(
    re.findall(
        "[a-z]+",
        "river mountain letter window garden silver captain village morning story yellow basket winter market "
        "kitchen horse bridge island ladder candle forest pocket summer travel wonder answer golden mirror number "
        "paper ribbon shadow teacher uncle velvet whisper anchor butter cotton doctor engine farmer hammer insect",
    )
)
CHINESE = (
    "春天来了，山里的雪慢慢融化，溪水沿着石头流下来。村里的孩子们跑到田边去放风筝，老人坐在门口晒太阳，谈论今年的收成。"
    "傍晚时分，炊烟从屋顶升起，远处传来牛铃的声音。大家围坐在桌旁吃饭，讲起从前的故事，笑声一直传到河对岸。"
    "夜里下了一场小雨，第二天早晨空气格外清新，路旁的野花都开了，蜜蜂忙着采蜜，燕子在屋檐下筑起了新巢。"
)


def prose(seed: int, words: int = 80) -> str:
    """A text of its own: no filter has anything against it."""
    rng = random.Random(seed)
    some = [rng.choice(WORDS) for _ in range(words)]
    return " ".join(word + ("." if i % 9 == 8 else "") for i, word in enumerate(some)) + "."


def lines(texts: Sequence[Any]) -> bytes:
    """JSON lines: a text becomes a record, bytes stand as they are."""
    made = [one if isinstance(one, bytes) else json.dumps({"text": one}).encode() for one in texts]
    return b"".join(line + b"\n" for line in made)


def run(
    sources: Sequence[Path],
    out: Path,
    *,
    crew: Crew | None = None,
    resume: bool = False,
    seed: int = 0,
    means: Means | None = None,
    engine: str = "text",
    **options: str,
) -> dict[str, Any]:
    """An engine, in this process unless a crew is given."""
    order = Order(
        engine=engine,
        sources=tuple(map(str, sources)),
        options=options,
        means=means or Means(),
        seed=seed,
    )
    return make(order, out, lambda: crew or Alone(), resume=resume)


def content(folder: Path) -> dict[str, bytes]:
    """Every file, by its name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def rows(folder: Path) -> list[Any]:
    shards = sorted(folder.glob("data-*.jsonl"))
    return [json.loads(line) for shard in shards for line in shard.read_text().split("\n")[:-1]]


def rejected(folder: Path) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().split("\n")[:-1]]


def adds_up(report: Mapping[str, Any]) -> bool:
    reasons = sum(sum(found.values()) for found in report["reasons"].values())
    whole = report["read"] + report["made"] == report["rejected"] + report["kept"]
    return whole and reasons == report["rejected"]


class Stops(Alone):
    """Work that ends after so many parts."""

    def __init__(self, parts: int) -> None:
        self.parts = parts

    def each(self, requests: Sequence[str]) -> Any:
        for request in requests:
            if "job" in json.loads(request):
                self.parts -= 1
                if self.parts < 0:
                    raise KeyboardInterrupt
            yield work.answer(request)


def stopped(source: Path, out: Path, parts: int = 3, **options: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run([source], out, crew=Stops(parts), **options)
    assert not out.exists()
