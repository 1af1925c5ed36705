"""`edge pull` against a hub on this machine: pinned, checked, resumed, refused."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Edge
from support import tiny

from edge import registry

SHA = "a" * 40


class Hub(ThreadingHTTPServer):
    """One repository, and what to do wrong."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.sha = SHA
        self.cut_after: int | None = None  # bytes of weights after which the line drops
        self.ranges: list[str] = []
        self.gated = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        """Keep the tests quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        if self.server.gated:
            self._send(403, {"X-Error-Code": "GatedRepo"}, b"", body)
        elif path.startswith("/api/models/some/model/revision/") and not path.endswith(
            self.server.sha
        ):
            self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"", body)
        elif path.startswith("/api/models/some/model"):
            names = [{"rfilename": name} for name in self.server.files]
            info = {"id": "some/model", "sha": self.server.sha, "siblings": names}
            self._send(200, {"Content-Type": "application/json"}, json.dumps(info).encode(), body)
        elif path.startswith(f"/some/model/resolve/{self.server.sha}/"):
            self._file(path.rsplit("/", 1)[1], body)
        else:
            self._send(404, {"X-Error-Code": "RepoNotFound"}, b"", body)

    def _file(self, name: str, body: bool) -> None:
        content = self.server.files[name]
        etag = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": self.server.sha, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        start, code = 0, 200
        if asked := self.headers.get("Range"):
            self.server.ranges.append(asked)
            start, code = int(asked.removeprefix("bytes=").partition("-")[0]), 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if body and name.endswith(".safetensors") and self.server.cut_after is not None:
            self._send(code, headers, content[start:], body, cut=self.server.cut_after)
        else:
            self._send(code, headers, content[start:], body)

    def _send(
        self, code: int, headers: dict[str, str], content: bytes, body: bool, cut: int | None = None
    ) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[:cut])
            self.wfile.flush()
        if cut is not None:
            self.connection.close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # The library writes, and so resumes, in pieces of 10 MB.
    source = tiny(tmp_path / "source", "llama", vocab_size=50_000)
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    server = Hub({**files, "modeling_evil.py": b"raise SystemExit", "pytorch_model.bin": b"\x80"})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.shutdown()
    thread.join()


@pytest.fixture
def source() -> str:
    return "some/model"


def test_a_pull_is_recorded_and_runs(hub: Hub, edge: Edge, source: str) -> None:
    result = edge("pull", source, "--json")
    assert result.code == 0, result.err
    assert result.json["revision"] == SHA
    folder = Path(result.json["path"])
    got = {path.name for path in folder.iterdir() if path.is_file()}
    assert got == {"config.json", "model.safetensors"}  # no code, no pickle
    content = hub.files["model.safetensors"]
    assert result.json["files"]["model.safetensors"] == hashlib.sha256(content).hexdigest()
    assert edge("inspect", folder).code == 0


def test_a_cut_download_goes_on_where_it_stopped(hub: Hub, edge: Edge, source: str) -> None:
    hub.cut_after = 12_000_000
    result = edge("pull", source, "--json")  # every answer is cut off: each goes a little further
    assert result.code == 0, result.err
    assert hub.ranges
    assert "bytes=0-" not in hub.ranges
    content = (Path(result.json["path"]) / "model.safetensors").read_bytes()
    assert content == hub.files["model.safetensors"]


def test_a_pinned_model_accepts_only_its_bytes(hub: Hub, edge: Edge, source: str) -> None:
    folder = Path(edge("pull", source, "--json").json["path"])
    (folder / "config.json").unlink()
    hub.files["config.json"] += b"\n"
    result = edge("pull", source)
    assert result.code == 4
    assert "config.json is not what was got before" in result.err


def test_a_new_revision_is_not_taken_unasked(hub: Hub, edge: Edge, source: str) -> None:
    edge("pull", source)
    hub.sha = "b" * 40
    # This hub knows one revision at a time: the pinned one is gone, and that is said.
    result = edge("pull", source)
    assert (result.code, "pinned revision" in result.err) == (2, True)
    assert edge("rm", source).code == 0
    assert edge("pull", source, "--json").json["revision"] == "b" * 40


def test_a_gated_model_says_how_to_give_a_token(hub: Hub, edge: Edge, source: str) -> None:
    hub.gated = True
    result = edge("pull", source)
    assert result.code == 2
    assert "HF_TOKEN" in result.err


def test_what_is_not_there_is_refused(hub: Hub, edge: Edge) -> None:
    assert "the hub has no" in edge("pull", "some/other").err
    assert "did you mean" in edge("pull", "phi-3-mini").err
    assert "ships with edge" in edge("pull", "edge-stories").err
    assert edge("rm", "../../etc").code == 2


def test_a_plan_fetches_only_the_config(
    hub: Hub, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = registry.Entry(id="it", family="llama", licence="MIT", context=64, source="some/model")
    monkeypatch.setattr(registry, "entries", lambda: {"it": entry})
    result = edge("plan", "it", "--context", "32", "--json")
    assert result.code == 0, result.err
    assert result.json["parameters"] > 0
    assert hub.ranges == []
    assert not list(Path(os.environ["EDGE_HOME"]).rglob("*.safetensors"))
