"""A real browser, driven over the DevTools protocol through a pipe: no driver and no package.

Messages are JSON with a zero byte after each, on the browser's descriptors 3 (in) and 4 (out).
"""

import base64
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROBE = "/is-this-answered-here"  # which no server has
PATIENCE = 60.0  # seconds: a busy machine starts a browser slowly


def executable() -> str | None:
    """Where a browser is; `EDGE_CHROMIUM` names one that is not on the path."""
    named = os.environ.get("EDGE_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


def needed() -> str:
    """The same; a module of tests is skipped where there is none."""
    found = executable()
    if found is None:
        pytest.skip("no chromium on the path: apt-get install chromium", allow_module_level=True)
    return found


_LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, number in zip(ends, (3, 4)):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


_CODES = {"Tab": 9, "Enter": 13, "Escape": 27, "Delete": 46}
_CODES |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class Browser:
    """One process, without a window; `folder` holds its profile."""

    def __init__(self, program: str, folder: Path) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        flags = [
            "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--force-color-profile=srgb",
            "--disable-component-update", "--disable-sync", "--font-render-hinting=none", f"--user-data-dir={folder}",
        ]  # fmt: skip
        ends = (str(theirs_in), str(theirs_out))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *ends, program, *flags, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.Queue[Any]] = {}
        self.events: list[dict[str, Any]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def call(self, method: str, session: str | None = None, **params: Any) -> Any:
        """One command, and its result."""
        number = next(self._numbers)
        answers = self._answers[number] = queue.Queue()
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        answer = answers.get(timeout=PATIENCE)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _listen(self) -> None:
        rest = b""
        while piece := os.read(self._in, 1 << 16):
            *whole, rest = (rest + piece).split(b"\0")
            for message in map(json.loads, whole):
                if "id" in message:
                    self._answers[message["id"]].put(message)
                else:
                    self.events.append(message)


class Page:
    """A tab of some size, and what happens in it."""

    def __init__(
        self, browser: Browser, *, width: int = 1100, height: int = 760, dark: bool = False
    ):
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self._target, self._session = target, attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        narrow = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1.5 if narrow else 1, mobile=narrow,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def call(self, method: str, **params: Any) -> Any:
        return self._browser.call(method, self._session, **params)

    def events(self, method: str) -> list[dict[str, Any]]:
        """What the tab told of this kind, so far."""
        return [
            event["params"]
            for event in list(self._browser.events)
            if event.get("sessionId") == self._session and event["method"] == method
        ]

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(f"Boolean({condition})"):
            assert time.monotonic() < end, (
                f"never: {condition}\n{self.value('document.body.innerText')}"
            )
            time.sleep(0.02)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def press(self, key: str, *, shift: bool = False) -> None:
        """A key, down and up."""
        code = _CODES[key]
        also = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind, key=key, code=key, windowsVirtualKeyCode=code, modifiers=8 if shift else 0,
                **(also if kind == "keyDown" else {}),
            )  # fmt: skip

    def click(self, selector: str) -> None:
        """The middle of an element, as a mouse would."""
        box = self.value(
            f"(b => [b.x + b.width / 2, b.y + b.height / 2])(document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=box[0],
                y=box[1],
                button="left",
                clickCount=1,
            )

    def answer_with(
        self, url: str, body: str, *, status: int = 200, kind: str = "text/event-stream"
    ) -> None:
        """From here on, requests to a URL get this answer instead of the server's."""
        patterns = [{"urlPattern": url}, {"urlPattern": f"*{PROBE}"}]
        self.call("Fetch.enable", patterns=patterns)

        def serve() -> None:
            seen = 0
            while self._session:
                paused = self.events("Fetch.requestPaused")
                for event in paused[seen:]:
                    self.call(
                        "Fetch.fulfillRequest",
                        requestId=event["requestId"],
                        responseCode=status,
                        responseHeaders=[{"name": "Content-Type", "value": kind}],
                        body=base64.b64encode(body.encode()).decode(),
                    )
                seen = len(paused)
                time.sleep(0.02)

        threading.Thread(target=serve, daemon=True).start()
        # A busy browser says that it is enabled before it is.
        while self.value(f"fetch('{PROBE}').then(found => found.status)") == 404:
            time.sleep(0.02)

    def picture(self, file: Path) -> None:
        file.write_bytes(
            base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        )

    def close(self) -> None:
        session, self._session = self._session, ""
        del session
        self._browser.call("Target.closeTarget", targetId=self._target)
