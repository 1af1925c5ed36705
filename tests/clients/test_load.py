"""Many clients at once: every request is answered rightly, or told when to come back; memory is level."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving import served, talking

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

PROMPTS = ("Once upon a time", "Lily found a ball", "Tom had a dog", "One day", "The sun")
CLIENTS, REQUESTS = 12, 60
SPARE = 16 << 20  # bytes that an allocator may keep


def asks() -> list[tuple[str, dict[str, Any]]]:
    """One in six is a chat, whose template takes longer than its answer."""
    out: list[tuple[str, dict[str, Any]]] = []
    for i in range(REQUESTS):
        text = PROMPTS[i % len(PROMPTS)]
        said = {"messages": [{"role": "user", "content": text}]} if i % 6 == 0 else {"prompt": text}
        route = "/v1/chat/completions" if i % 6 == 0 else "/v1/completions"
        out.append((route, {"model": "it", "temperature": 0, "max_tokens": 16, **said}))
    return out


def said(found: "httpx.Response") -> str:
    choice = found.json()["choices"][0]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_none_is_lost_but_by_the_bound_of_the_queue(
    assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = talking(assets, tmp_path_factory.mktemp("load"))
    limits = httpx.Limits(max_connections=CLIENTS)
    with (
        served(folder, queue=6) as (url, _),
        httpx.Client(base_url=url, limits=limits, timeout=60) as http,
        ThreadPoolExecutor(CLIENTS) as crowd,
    ):
        want = {str(ask): said(http.post(ask[0], json=ask[1])) for ask in asks()}
        for _ in range(2):
            found = list(crowd.map(lambda ask: http.post(ask[0], json=ask[1]), asks()))
            answered = [
                (ask, got) for ask, got in zip(asks(), found, strict=True) if got.is_success
            ]
            assert len(answered) >= 7, "as many as there are places, at the least"
            assert all(said(got) == want[str(ask)] for ask, got in answered)
            refused = [got for got in found if not got.is_success]
            assert {got.status_code for got in refused} <= {503}
            assert all(1 <= int(got.headers["retry-after"]) <= 30 for got in refused)
        if Path("/proc/self/statm").exists():
            before = resident()
            list(crowd.map(lambda ask: http.post(ask[0], json=ask[1]), asks()))
            assert resident() - before < SPARE
