"""torch behind `edge.protocols.Decoder`: a sequence over a cache, on the CPU or on CUDA.

It computes in the type that the artifact's numbers have: floats in their own, codes in that of their
scales. T tokens, V vocabulary.
"""

import os
from collections.abc import Sequence

import numpy as np
import torch

from edge.artifact.manifest import Artifact, recipe_of
from edge.contracts import Numerics, Opening
from edge.errors import EdgeError, Unsupported
from edge.nn.decoder import decoder, embed
from edge.quant.recipe import Recipe
from edge.quant.tensor import Float
from edge.system import processors
from edge.system.cancellation import go_on
from edge.typing import F32, Fed
from edge_runtimes.torch.adapted import adapted
from edge_runtimes.torch.cache import ANSWER, StaticCache
from edge_runtimes.torch.ops import TorchOps
from edge_runtimes.torch.weights import DTYPES, load

CHUNK = 512  # tokens of a prompt at a time: bounds the memory of activations


class TorchDecoder:
    """One sequence over an artifact's folder; if exact, all in float32."""

    def __init__(self, opening: Opening) -> None:
        folder = opening.folder
        self.spec = spec = opening.spec
        self.capacity = spec.context
        # It sees the affinity mask by itself, and takes a thread a core; it sees no quota.
        own = min(torch.get_num_threads(), processors.here().count)
        self._threads = processors.threads(opening.threads or own)
        self._device = device()
        recipe = recipe_of(Artifact.open(folder).manifest)
        self._dtype = DTYPES[number(recipe, exact=opening.exact)]
        with torch.inference_mode():
            loaded = load(folder, spec, recipe, dtype=self._dtype, device=self._device)
            self._weights = adapted(
                loaded, opening.branches, dtype=self._dtype, device=self._device
            )
            self._use(StaticCache(spec, self._dtype, self._device))

    @property
    def length(self) -> int:
        return self._cache.length

    def prefill(self, tokens: Sequence[int]) -> F32:
        # An answer follows a prompt: its first step should not be the one that grows the cache.
        self._cache.reserve(min(self.length + len(tokens) + ANSWER, self.capacity))
        for at in range(0, len(tokens), CHUNK):
            if at:
                go_on()
            logits = self._run(self._last, tokens[at : at + CHUNK])
        return logits[-1]

    def step(self, token: int) -> F32:
        return self._run(self._last, (token,))[-1]

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> F32:
        return array(
            embed(self._all, self.spec, torch.tensor([list(tokens)], device=self._device))[0]
        )

    def prefill_rows(self, rows: F32) -> F32:
        self._cache.reserve(min(self.length + len(rows) + ANSWER, self.capacity))
        for at in range(0, len(rows), CHUNK):
            if at:
                go_on()
            logits = self._run(self._last, rows[at : at + CHUNK])
        return logits[-1]

    def score(self, tokens: Sequence[int]) -> F32:
        chunks = (tokens[at : at + CHUNK] for at in range(0, len(tokens), CHUNK))
        return np.concatenate([self._run(self._all, chunk) for chunk in chunks])

    def rewind(self, length: int) -> None:
        self._cache.rewind(length)

    @torch.inference_mode()
    def _run(self, ops: TorchOps, fed: Fed) -> F32:
        """Append tokens [T], or rows [T, D] -> logits [T or 1, V]."""
        rows = isinstance(fed, np.ndarray) and fed.ndim == 2
        logits = decoder(ops, self.spec, self._fed(fed), embedded=rows)
        self._cache.length += len(fed)
        return array(logits[0])

    def _ids(self, tokens: Sequence[int]) -> torch.Tensor:
        return self._fed(tokens)

    def _fed(self, fed: Fed) -> torch.Tensor:
        """Tokens or rows that there is room for: [1, T] or [1, T, D]."""
        count, at = len(fed), self._cache.length
        assert count > 0, "no tokens"
        assert at + count <= self.capacity, f"{count} after {at} of {self.capacity}"
        if self._threads != torch.get_num_threads():
            torch.set_num_threads(self._threads)
        self._cache.reserve(at + count)
        if isinstance(fed, np.ndarray):
            return torch.tensor(np.ascontiguousarray(fed)[None], device=self._device)
        return torch.tensor([list(fed)], device=self._device)

    def _use(self, cache: StaticCache) -> None:
        self._cache = cache
        self._last, self._all = (self._ops(last_only=last) for last in (True, False))

    def _ops(
        self, *, last_only: bool = False, votes: dict[int, torch.Tensor] | None = None
    ) -> TorchOps:
        return TorchOps(
            self._weights,
            cache=self._cache,
            dtype=self._dtype,
            last_only=last_only,
            compiled=os.environ.get("EDGE_COMPILE") == "1",
            votes=votes,
        )


def array(x: torch.Tensor) -> F32:
    """In float32, for numpy."""
    found: F32 = x.float().cpu().numpy()
    return found


def numerics(recipe: Recipe, *, exact: bool) -> Numerics:
    """A narrow float rounds every activation; bfloat16, three bits shorter, eight times as far. Where inputs
    are rounded to few bits, one in the middle of two falls to either: as far as a step of the largest.
    """
    kind, bits = number(recipe, exact=exact), recipe.body.inputs
    wide = 1e-4 if recipe.body.is_float else 1e-3
    wide = 1 / ((1 << bits - 1) - 1) if bits else wide
    return Numerics(tolerance={"fp32": wide, "fp16": 1e-2, "bf16": 8e-2}[kind], cache=kind)


def number(recipe: Recipe, *, exact: bool) -> Float:
    """The type that a decoder computes in."""
    return "fp32" if exact else recipe.body.number


def device() -> torch.device:
    """`EDGE_DEVICE`, or else CUDA where there is any."""
    name = os.environ.get("EDGE_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
    except RuntimeError:
        found = torch.device("meta")
    if found.type not in ("cpu", "cuda"):
        raise EdgeError(f"EDGE_DEVICE is {name!r:.40}", fix="use cpu, cuda, or cuda:1 and so on")
    return _seen(found, instead="set EDGE_DEVICE=cpu")


def device_on(kind: str, *, instead: str) -> torch.device:
    """`cpu` or `cuda`: of several the one that `EDGE_DEVICE` names."""
    if os.environ.get("EDGE_DEVICE", "").startswith(kind):
        return device()
    return _seen(torch.device(kind), instead=instead)


def _seen(device: torch.device, *, instead: str) -> torch.device:
    """The same, if torch sees it; or else refused."""
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise Unsupported(
            f"torch {torch.__version__} sees no device {device} here",
            fix=f"{instead}, or install a torch that is built for your GPU",
        )
    return device
