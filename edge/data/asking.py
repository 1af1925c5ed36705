"""A language model that a step asks: an artifact of this toolkit, in this process; or whoever answers OpenAI's chat
completions at an address that the user named, and nobody else: no redirect is followed, no proxy is used.

An answer has the form of a JSON schema, and is the model's likeliest, so that it is the same whoever asks.
"""

import http.client
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from edge.errors import EdgeError, Unsupported

KEYS = ("EDGE_API_KEY", "OPENAI_API_KEY")  # of the environment, the first that is set
_TRIES = 5
_WAIT = 1.0  # seconds, which double
_PATIENCE = 600.0  # seconds for an answer
_LONGEST = 1 << 20  # bytes of one
_LATER = {408, 409, 425, 429, 500, 502, 503, 504}


class Asked(Protocol):
    """What a model is to a step."""

    def answer(self, prompt: str, schema: Mapping[str, Any], tokens: int) -> str:
        """The answer to a user's turn, of the form of a schema, in at most so many tokens; it may be cut off."""
        ...


def is_address(model: str) -> bool:
    return model.lower().startswith(("http://", "https://"))


def open_asked(model: str) -> Asked:
    """A model by its folder, or by its address: `http://HOST:PORT/v1`, with `#NAME` where it serves several."""
    return Address.of(model) if is_address(model) else Artifact.load(model)


def identity(model: str) -> str:
    """What decides its answers, as far as that can be known from here; refused if nobody is there."""
    if is_address(model):
        Address.of(model).check()
        return model
    from edge.files.hashing import sha256

    path = Path(model)
    file = next((file for file in (path / "edge.json", path) if file.is_file()), None)
    if file is None:
        raise EdgeError(
            f"{model} is no artifact", fix="give --model an artifact, or http://HOST:PORT/v1"
        )
    return sha256(file)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model of this process, on one thread: sums come out alike however many processes there are."""

    model: Any

    @classmethod
    def load(cls, path: str) -> "Artifact":
        from edge.pipelines.loading import load

        model = load(path, threads=1)
        if getattr(model, "template", None) is None:
            raise Unsupported(
                f"{path} answers no questions: it has no chat template", fix="give another --model"
            )
        return cls(model)

    def answer(self, prompt: str, schema: Mapping[str, Any], tokens: int) -> str:
        from edge.decode.grammar import Grammar
        from edge.run.model import Wish

        form = Grammar.of_schema(json.dumps(schema))
        return "".join(self.model.generate(prompt, wish=Wish(max_tokens=tokens, grammar=form)))


@dataclass(slots=True)
class Address:
    """A server of OpenAI's API."""

    shown: str
    secure: bool
    host: str
    port: int | None
    path: str
    name: str | None

    @classmethod
    def of(cls, address: str) -> "Address":
        """Refuses what is no address, and one that holds a password."""
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if not host or parts.query:
            raise EdgeError(
                f"{address} is no address of a model", fix="write it as http://HOST:PORT/v1"
            )
        if parts.username is not None or parts.password is not None:
            raise EdgeError(
                "an address holds no password: it would be seen by all",
                fix=f"set {KEYS[0]} instead",
            )
        name = unquote(parts.fragment) or None
        shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
        return cls(shown, parts.scheme.lower() == "https", host, port, parts.path.rstrip("/"), name)

    def answer(self, prompt: str, schema: Mapping[str, Any], tokens: int) -> str:
        if self.name is None:
            self.name = self._only()
        form = {"name": "answer", "strict": True, "schema": dict(schema)}
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0,
            "response_format": {"type": "json_schema", "json_schema": form},
        }
        said = self._asked("POST", "/chat/completions", json.dumps(body).encode())
        try:
            content = said["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise self._odd() from None
        return content if isinstance(content, str) else ""

    def check(self) -> None:
        """Refuse an address at which nobody answers, whatever it would be."""
        try:
            self._once("GET", "/models", None)
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(_said(error)) from None

    def _only(self) -> str:
        """The name of the one model that it serves."""
        said = self._asked("GET", "/models", None)
        try:
            names = [str(model["id"]) for model in said["data"]]
        except (KeyError, TypeError):
            raise self._odd() from None
        if len(names) != 1:
            raise EdgeError(
                f"{self.shown} serves {len(names)} models: {', '.join(names[:8])}",
                fix=f"say which: --model {self.shown}#NAME",
            )
        return names[0]

    def _asked(self, method: str, path: str, body: bytes | None) -> Any:
        problem = ""
        for tries in range(_TRIES):
            if tries:
                time.sleep(_WAIT * 2.0**tries)
            try:
                status, content = self._once(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                problem = _said(error)
                continue
            if status == 200:
                return self._read(content)
            problem = f"{status} {content[:200].decode(errors='replace')}"
            if status not in _LATER:
                break
        raise self._silent(problem)

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=_PATIENCE)
        try:
            connection.request(method, self.path + path, body, _headers())
            answer = connection.getresponse()
            return answer.status, answer.read(_LONGEST)
        finally:
            connection.close()

    def _read(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise self._odd() from None

    def _silent(self, problem: str) -> EdgeError:
        return EdgeError(
            f"{self.shown} does not answer: {problem}",
            fix=f"see that it runs, that {KEYS[0]} is its key, then give the same command with --resume",
        )

    def _odd(self) -> EdgeError:
        return EdgeError(
            f"{self.shown} does not speak OpenAI's API",
            fix="write the address as http://HOST:PORT/v1",
        )


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _headers() -> dict[str, str]:
    name = next((name for name in KEYS if os.environ.get(name)), None)
    given = {"Content-Type": "application/json"}
    if name is None:
        return given
    key = os.environ[name].strip()
    if not (key.isascii() and key.isprintable()):
        raise EdgeError(f"what {name} holds is no key", fix=f"set {name} to the server's key alone")
    return {**given, "Authorization": f"Bearer {key}"}
