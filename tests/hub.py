"""A hub on this machine, with one repository: it counts what it gave, and does wrong when asked to."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

SHA = "a" * 40


class Hub(ThreadingHTTPServer):
    """`some/model` with these files, and what to do wrong."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.sha = SHA
        self.cut_after: int | None = None  # bytes of weights after which the line drops
        self.ranges: list[str] = []
        self.given: Counter[str] = Counter()  # bytes of each file that went out
        self.tokens: set[str | None] = set()  # that came with requests for files
        self.gated = False  # nobody may see anything
        self.closed = False  # anybody may see the listing, nobody the files
        self.deaf = False  # gives whole files, whatever range was asked for

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
        file = path.startswith("/some/model/resolve/")
        if self.server.gated or (file and self.server.closed):
            self._send(403, {"X-Error-Code": "GatedRepo"}, b"", body)
        elif path.startswith("/api/models/some/model/revision/") and not path.endswith(
            self.server.sha
        ):
            self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"", body)
        elif path.startswith("/api/models/some/model"):
            content = self._listing()
            self._send(200, {"Content-Type": "application/json"}, content, body)
        elif path.startswith(f"/some/model/resolve/{self.server.sha}/"):
            self._file(path.rsplit("/", 1)[1], body)
        else:
            self._send(404, {"X-Error-Code": "RepoNotFound"}, b"", body)

    def _listing(self) -> bytes:
        names = [{"rfilename": name, "size": len(it)} for name, it in self.server.files.items()]
        info = {"id": "some/model", "sha": self.server.sha, "siblings": names}
        return json.dumps(info).encode()

    def _file(self, name: str, body: bool) -> None:
        content = self.server.files[name]
        etag = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": self.server.sha, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        self.server.tokens.add(self.headers.get("Authorization"))
        code, size = 200, len(content)
        asked = None if self.server.deaf else self.headers.get("Range")
        if asked:
            self.server.ranges.append(asked)
            first, last = asked.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last or size) + 1, size)
            code, content = 206, content[start:stop]
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        cut = self.server.cut_after if body and name.endswith(".safetensors") else None
        self._send(code, headers, content, body, cut=cut, name=name)

    def _send(
        self,
        code: int,
        headers: dict[str, str],
        content: bytes,
        body: bool,
        *,
        cut: int | None = None,
        name: str = "",
    ) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self._give(name, content[:cut])
        if cut is not None:
            self.connection.close()

    def _give(self, name: str, content: bytes) -> None:
        """In pieces, so that what nobody reads any more is not counted."""
        pieces = [*range(0, len(content), 1 << 16), len(content)]
        try:
            for start, stop in pairwise(pieces):
                self.wfile.write(content[start:stop])
                self.wfile.flush()
                self.server.given[name] += stop - start
        except OSError:  # the other side has heard enough
            self.close_connection = True


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    server = Hub(files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
