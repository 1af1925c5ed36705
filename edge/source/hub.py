"""Questions to the Hugging Face hub, through its own library: `HF_ENDPOINT` and `HF_TOKEN` count.

What the hub refuses becomes an error that says what to do. Nothing that runs code is fetched.
"""

import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.config import LIMIT, Config, is_plain, parse_json
from edge.files.safetensors import Entry, header_size, parse_header
from edge.source.headers import INDEX, SINGLE, Headers, shards

WANTED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "*.tiktoken",
    "preprocessor_config.json",
    "conversation.py",  # whose texts are read, and which is never run
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
)
PICKLED = (  # where there is no safetensors file: read as data here, as well
    "pytorch_model.bin",
    "pytorch_model-*-of-*.bin",
    "pytorch_model.bin.index.json",
)
_PEEK = 4096  # bytes of a tensor that are compared in one place
_AT_ONCE = 8  # headers that are asked for together
_PATIENCE = 10.0  # seconds without an answer


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one commit; `files`: those that concern us, with their sizes if they are known."""

    source: str
    revision: str
    files: Mapping[str, int]

    @classmethod
    def at(cls, source: str, revision: str | None) -> "Repository":
        """Ask what `source` (owner/name) holds at a commit, or now."""
        from huggingface_hub import HfApi

        hub = HfApi(endpoint=_endpoint())
        info = _asked(
            source, lambda: hub.model_info(source, revision=revision, files_metadata=True)
        )
        if not is_commit(info.sha or "") or info.sha != (revision or info.sha):
            raise Damaged(f"the hub gave another revision of {source}", fix="try again later")
        sizes = {item.rfilename: item.size or 0 for item in info.siblings or ()}
        wanted = sorted(name for name in sizes if _is_wanted(name))
        if not any(map(_is_safe, wanted)):
            wanted = sorted(name for name in sizes if _is_wanted(name, *PICKLED))
        if "config.json" not in wanted or not any(
            _is_safe(name) or name.endswith(".bin") for name in wanted
        ):
            raise EdgeError(
                f"{source} has no config.json with weights in safetensors or torch's files",
                fix="pull a repository that has them",
            )
        return cls(source, str(info.sha), {name: sizes[name] for name in wanted})

    def download(self, name: str, folder: Path) -> None:
        """A whole file into a folder; one that was cut off goes on where it stopped."""
        from huggingface_hub import hf_hub_download

        def fetch() -> object:
            return hf_hub_download(
                self.source,
                name,
                revision=self.revision,
                local_dir=folder,
                endpoint=_endpoint(),
            )

        _asked(self.source, fetch)

    def headers(self) -> Headers:
        """Its config and the headers of its weights, by ranges: no weight is transferred, but a few
        kilobytes where a head lies beside a tied embedding.
        """
        config = Config(self._json("config.json"), "config.json")
        if not any(map(_is_safe, self.files)):
            raise Unsupported(
                f"{self.source} has torch's files alone, whose tensors are not told from afar",
                fix=f"edge pull {self.source}, and plan then",
            )
        names = self._weights()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = dict(zip(names, pool.map(self._header, names), strict=True))
        sizes = {**self.files, **{name: size for name, (_, size) in found.items()}}
        files = {name: entries for name, (entries, _) in found.items()}
        return Headers(config, files, sum(sizes.values()), same=partial(self._same, files))

    def _weights(self) -> tuple[str, ...]:
        """As `edge.source.headers.weight_files` chooses."""
        if SINGLE in self.files or INDEX not in self.files:
            return (SINGLE,)
        names = shards(self._json(INDEX), self._where(INDEX))
        lost = [name for name in names if name not in self.files]
        if lost:
            raise Damaged(
                f"{self.source} lacks {lost[0]}, which its index names", fix="tell its owner"
            )
        return names

    def _json(self, name: str) -> dict[str, Any]:
        content, size = self._read(name, range(LIMIT))
        if size > LIMIT:
            raise Damaged(
                f"{self._where(name)} is larger than {LIMIT >> 20} MiB", fix="this is no config"
            )
        return parse_json(content, self._where(name))

    def _header(self, name: str) -> tuple[dict[str, Entry], int]:
        """The tensors of a file of weights, and its size."""
        where = self._where(name)
        start, size = self._read(name, range(8))
        length = header_size(start, size, where)
        content, again = self._read(name, range(8, 8 + length)) if length else (b"", size)
        if again != size:
            raise Damaged(f"{where} changed while it was read", fix="try again")
        return parse_header(content, size, where), size

    def _same(self, files: Mapping[str, Mapping[str, Entry]], first: str, second: str) -> bool:
        """Whether two tensors agree in their first, middle and last bytes: heads that were trained
        apart do so nowhere.
        """
        holders = {name: file for file, entries in files.items() for name in entries}
        (a, one), (b, other) = (
            (holders[name], files[holders[name]][name]) for name in (first, second)
        )
        if not one.alike(other) or not one.nbytes:
            return False
        size = min(_PEEK, one.nbytes)
        spans = [range(at, at + size) for at in (0, (one.nbytes - size) // 2, one.nbytes - size)]
        return all(self._part(a, one, span) == self._part(b, other, span) for span in spans)

    def _part(self, file: str, entry: Entry, span: range) -> bytes:
        """These bytes of a tensor."""
        return self._read(file, range(entry.start + span.start, entry.start + span.stop))[0]

    def _read(self, name: str, span: range) -> tuple[bytes, int]:
        """These bytes of a file, as far as it goes, and its size."""
        content, size = _asked(self.source, lambda: self._get(name, span))
        if len(content) != min(span.stop, size) - span.start:
            raise Damaged(
                f"the hub gave {len(content):,} bytes of {self._where(name)}, not those asked for",
                fix="try again",
            )
        return content, size

    def _get(self, name: str, span: range) -> tuple[bytes, int]:
        """A server that ignores the range is not heard to its end."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import (
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
        )

        url = hf_hub_url(self.source, name, revision=self.revision, endpoint=_endpoint())
        asked = {"Range": f"bytes={span.start}-{span.stop - 1}", "Accept-Encoding": "identity"}
        headers = {**build_hf_headers(), **asked}
        with http_stream_backoff("GET", url, headers=headers, timeout=_PATIENCE) as response:
            hf_raise_for_status(response)
            partial = response.status_code == 206
            field = "Content-Range" if partial else "Content-Length"
            size = int(response.headers[field].rpartition("/")[2])
            skip = 0 if partial else span.start
            content = bytearray()
            for piece in response.iter_bytes():
                content += piece
                if len(content) >= skip + len(span):
                    break
        return bytes(content[skip : skip + len(span)]), size

    def _where(self, name: str) -> str:
        return f"{self.source}/{name}"


def is_commit(revision: str) -> bool:
    return re.fullmatch("[0-9a-f]{40}", revision) is not None


def _is_wanted(name: str, *more: str) -> bool:
    """A file of the repository's own folder: a pattern's star would match a path, too."""
    return is_plain(name) and any(fnmatch(name, pattern) for pattern in (*WANTED, *more))


def _is_safe(name: str) -> bool:
    return name.endswith(".safetensors")


def _endpoint() -> str | None:
    """The hub to ask, read now: the library reads it when it is imported."""
    return os.environ.get("HF_ENDPOINT")


def _asked(source: str, ask: Callable[[], Any]) -> Any:
    """One request; what the hub refuses becomes an error that says what to do."""
    from huggingface_hub import errors

    try:
        return ask()
    except errors.GatedRepoError:
        raise EdgeError(
            f"{source} is gated: its owner must grant you access",
            fix=f"accept the licence at huggingface.co/{source}, then set HF_TOKEN to a token of yours",
        ) from None
    except errors.RepositoryNotFoundError:
        raise EdgeError(
            f"the hub has no {source}, or only for those who may see it",
            fix="check the name; for a private repository set HF_TOKEN",
        ) from None
    except errors.RevisionNotFoundError:
        raise EdgeError(
            f"the pinned revision of {source} is gone", fix="edge rm the model, then pull it again"
        ) from None
    except Exception as error:  # its HTTP client's own errors come through, too
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
        raise EdgeError(
            f"{source} could not be read: {reason}",
            fix="check the network, and give the command again: what a pull has fetched stays",
        ) from None
