"""What others on the network, and pages in the user's own browser, may not do to `edge serve`.

CVE-2024-28224 (DNS rebinding), CVE-2026-7482 and CVE-2024-39719..22 (what an open server does for
strangers), CVE-2026-21869 (a negative field), CVE-2024-12886 and CVE-2025-0315 (memory).
"""

import gzip
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import serving, talking
from support import environment

from edge.run.model import load

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

from edge.serve.app import create  # noqa: E402 - only with the extra
from edge.serve.guard import Limits  # noqa: E402
from edge.serve.texts import Texts  # noqa: E402

ASK = {"model": "it", "messages": [{"role": "user", "content": "Lily"}], "max_tokens": 1}
CHAT = "/v1/chat/completions"
BODY = 200_000


@pytest.fixture(scope="module")
def artifact(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking(assets, tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def port(artifact: Path) -> Iterator[int]:
    limits = Limits(body=BODY, queue=2, tokens=8, seconds=20)
    with serving(
        create(Texts(load(artifact, threads=1)), hosts=(), key=None, limits=limits)
    ) as port:
        yield port


def raw(port: int, text: str, body: bytes = b"") -> str:
    """The status line of the answer to exactly these bytes; empty where the connection was closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(text.replace("\n", "\r\n").encode("latin-1") + b"\r\n" + body)
        return line.makefile("rb").readline().decode("latin-1").strip()


def post(port: int, body: Any = ASK, **headers: str) -> "httpx.Response":
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} | headers
    return httpx.post(f"http://127.0.0.1:{port}{CHAT}", content=content, headers=given, timeout=60)


HOSTS = [
    "evil.example", "evil.example:PORT", "127.0.0.1.evil.example", "localhost.evil.example:PORT", "127.0.0.2",
    "0.0.0.0:PORT", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "[::]", "user@127.0.0.1", "127.0.0.1@evil",
    "evil#127.0.0.1", "evil,127.0.0.1", "127.0.0.1,evil", "127.0.0.1 evil", "", " ", ":80", "[::1", "[127.0.0.1].evil",
    "localhost..", ".", "\u00e9",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_a_name_that_is_not_this_server_s(port: int, host: str) -> None:
    """A page at evil.example may make that name mean 127.0.0.1; its requests say the name."""
    host = host.replace("PORT", str(port))
    for path in ("/", "/v1/models"):
        assert raw(port, f"GET {path} HTTP/1.1\nHost: {host}\n")[9:12] in ("403", "400"), path


def test_no_host_or_two(port: int) -> None:
    assert raw(port, "GET / HTTP/1.0\n")[9:12] == "403"
    assert raw(port, "GET / HTTP/1.1\n")[9:12] in ("400", "403")
    both = f"GET / HTTP/1.1\nHost: 127.0.0.1:{port}\nHost: evil.example\n"
    assert raw(port, both)[9:12] == "400"
    assert (
        raw(port, f"GET http://evil.example/ HTTP/1.1\nHost: evil.example:{port}\n")[9:12] == "403"
    )


OWN = ["127.0.0.1:PORT", "localhost:PORT", "[::1]:PORT", "localhost"]
OWN += ["LOCALHOST", "LocalHost:PORT", "localhost.", "LOCALHOST.:PORT", "127.0.0.1."]


@pytest.mark.parametrize("host", OWN)
def test_its_own_names(port: int, host: str) -> None:
    host = host.replace("PORT", str(port))
    assert raw(port, f"GET /health HTTP/1.1\nHost: {host}\n")[9:12] == "200"


ORIGINS = [
    "https://evil.example", "http://evil.example:PORT", "null", "", "http://127.0.0.1", "http://127.0.0.1:1",
    "http://127.0.0.1:PORT.evil.example", "http://localhost:PORT", "file://", "chrome-extension://abc",
    "127.0.0.1:PORT",     "http://127.0.0.1:PORT/", "http://evil.example#http://127.0.0.1:PORT",
]  # fmt: skip


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_page_elsewhere(port: int, origin: str) -> None:
    found = post(port, Origin=origin.replace("PORT", str(port)))
    assert found.status_code == 403
    assert "access-control-allow-origin" not in found.headers


def test_its_own_page_and_no_browser(port: int) -> None:
    assert post(port, Origin=f"http://127.0.0.1:{port}").status_code == 200
    assert post(port).status_code == 200


def test_no_page_is_told_that_it_may(port: int) -> None:
    """The question that browsers ask before a request with JSON."""
    ask = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    found = httpx.options(f"http://127.0.0.1:{port}{CHAT}", headers=ask)
    assert found.status_code == 403
    assert not [name for name in found.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"]
)
def test_a_body_that_a_form_could_send(port: int, kind: str) -> None:
    """Such a body needs no question before it: it is no JSON here, even if it reads like it."""
    assert post(port, **{"Content-Type": kind}).status_code == 400


NUMBERS = [
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "n",
]
WRONG = [
    -1,
    -(2**31),
    -(2**63),
    2**31,
    2**63,
    2**64,
    10**30,
    0.5,
    -0.5,
    1e308,
    "1",
    True,
    [1],
    {},
    "NaN",
    "-Infinity",
]
ALLOWED = [("temperature", 0.5), ("top_p", 0.5), ("min_p", 0.5), ("seed", 2**31)]


@pytest.mark.parametrize("field", NUMBERS)
def test_numbers_out_of_range(port: int, field: str) -> None:
    for value in WRONG:
        text = json.dumps(ASK | {field: value})
        text = text.replace('"NaN"', "NaN").replace('"-Infinity"', "-Infinity")
        found = post(port, text.encode())
        want = 200 if (field, value) in ALLOWED else 400
        assert found.status_code == want, (field, value, found.text)
        assert want == 200 or field in found.text


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "cut off": json.dumps(ASK).encode()[:-5],
    "not UTF-8": b'{"model": "\xff"}',
    "deep lists": b"[" * 90_000,
    "deep objects": b'{"a":' * 30_000,
    "deep schema": json.dumps(ASK).encode()[:-1]
    + b', "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": '
    + b'{"a": ' * 400 + b"1" + b"}" * 400 + b"}}}",
    "digits": b'{"max_tokens": ' + b"9" * 100_000 + b"}",
    "a number": b"7",
    "null": b"null",
    "half a character": b'{"model": "it", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "half a role": b'{"model": "it", "messages": [{"role": "\\ud800", "content": "x"}]}',
    "half a field": b'{"model": "it", "\\ud800": 1}',
    "half a field, whole": json.dumps(ASK).encode()[:-1] + b', "\\ud800": 1}',
    "a NUL": b'{"model": "it", "messages": [{"role": "us\\u0000er", "content": "x"}]}',
    "many messages": json.dumps(ASK | {"messages": ASK["messages"] * 1025}).encode(),  # type: ignore[operator]
    "many stops": json.dumps(ASK | {"stop": ["x"] * 17}).encode(),
    "an empty stop": json.dumps(ASK | {"stop": [""]}).encode(),
    "a crash": json.dumps(ASK).encode()[:-1] + b', "response_format": {"type": "json_schema",'
    b' "json_schema": {"name": "x", "schema": {"enum": [-9223372036854775808]}}}}',
    "compressed": gzip.compress(json.dumps(ASK).encode()),
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_bodies_that_are_hostile(port: int, body: bytes) -> None:
    found = post(port, body)
    assert found.status_code == 400, found.text
    assert len(found.text) < 2000
    assert "Traceback" not in found.text
    assert post(port).status_code == 200, "it goes on serving"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_nothing_is_decompressed(port: int, encoding: str) -> None:
    """A thousand times as much would come out of it."""
    bomb = gzip.compress(b" " * 100_000_000)
    assert len(bomb) < BODY
    start = time.monotonic()
    assert post(port, bomb, **{"Content-Encoding": encoding}).status_code == 400
    assert time.monotonic() - start < 10


LINE = f"POST {CHAT} HTTP/1.1\nHost: 127.0.0.1\nContent-Type: application/json\n"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (f"Content-Length: {BODY + 1}\n", "413"),
        ("Content-Length: 99999999999999999999999\n", "4"),
        ("Content-Length: -1\n", "400"),
        ("Content-Length: +5\n", "400"),
        ("Content-Length: 0x10\n", "400"),
        ("Content-Length: 5\nContent-Length: 6\n", "400"),
        ("Content-Length: 5\nTransfer-Encoding: chunked\n", "4"),
        ("Transfer-Encoding: chunked\n", "411"),
        ("Transfer-Encoding: gzip, chunked\n", "4"),
        ("Transfer-Encoding: identity\n", "4"),
        ("A: " + "x" * 100_000 + "\n", "4"),
        ("A: x\n" * 20_000, "4"),
        ("A\x00: x\n", "400"),
        ("Content-Length : 5\n", "400"),
        (" folded: x\n", "4"),
    ],
)
def test_lengths_that_lie(port: int, headers: str, status: str) -> None:
    """Refused from the headers, before a byte of the body is waited for."""
    assert raw(port, LINE + headers)[9:].startswith(status)
    assert post(port).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/page.html",
        "/docs", "/redoc", "/openapi.json", "/v1/models/../../etc/passwd", "/api/pull", "/api/create", "/api/push",
        "/api/delete", "/v1/files", "/v1/fine_tuning/jobs", "/" + "a" * 50_000,
    ],
)  # fmt: skip
def test_there_is_nothing_else(port: int, path: str) -> None:
    """No files, no management of models, no description of itself."""
    for verb in ("GET", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH"):
        head = f"{verb} {path} HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 0\n"
        assert raw(port, head)[9:12] in ("404", "405", "400", "431", "414"), verb


def test_no_piece_waits_for_the_next(port: int) -> None:
    """Forty milliseconds, if the system holds small packets back: each token would take as long."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        seconds = []
        for _ in range(25):
            start = time.monotonic()
            client.post("/nowhere", content=b"{}")
            seconds.append(time.monotonic() - start)
    assert sorted(seconds)[12] < 0.03


def test_what_browsers_are_told(port: int) -> None:
    page = httpx.get(f"http://127.0.0.1:{port}/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    for found in (page, post(port), post(port, Origin="null")):
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["referrer-policy"] == "no-referrer"


def test_a_key_is_compared_as_a_whole(artifact: Path) -> None:
    key = "a key of mine"
    limits = Limits(body=BODY, queue=2, tokens=8, seconds=20)
    app = create(Texts(load(artifact, threads=1)), hosts=(), key=key, limits=limits)
    with serving(app) as port:
        assert post(port, Authorization=f"Bearer {key}").status_code == 200
        for wrong in (
            "",
            "Bearer",
            f"Bearer {key}x",
            f"Bearer {key[:-1]}",
            f"Basic {key}",
            key.upper(),
        ):
            assert post(port, Authorization=wrong).status_code == 401, wrong
        assert (
            raw(port, "GET /v1/models HTTP/1.1\nHost: localhost\nAuthorization: Bearer \xe9\n")[
                9:12
            ]
            == "401"
        )
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200  # the page asks for it


def run_serve(*args: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "edge", "serve", *args]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_others_are_not_served_without_a_key(artifact: Path, host: str) -> None:
    process = run_serve(str(artifact), "--host", host, "--port", "0")
    assert "clients must give a key" in process.communicate(timeout=60)[1]
    assert process.returncode == 2


def test_a_port_that_is_taken_or_an_address_that_is_not_ours(artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = run_serve(str(artifact), "--port", str(taken.getsockname()[1]))
        talk = process.communicate(timeout=60)[1]
        assert (process.returncode, "cannot be listened on" in talk) == (2, True)
    process = run_serve(str(artifact), "--host", "192.0.2.1", "--key", "x")
    assert "cannot be listened on" in process.communicate(timeout=60)[1]


def test_a_free_port_is_said(artifact: Path) -> None:
    process = run_serve(str(artifact), "--port", "0")
    assert process.stderr is not None
    line = process.stderr.readline()
    while "serving" not in line:
        line = process.stderr.readline()
    at = line.split()[-1]
    assert not at.endswith(":0")
    found = httpx.get(at + "/health")
    assert (found.json(), "server" in found.headers) == ({"status": "ok"}, False)
    process.send_signal(2)
    assert process.wait(30) == 0
