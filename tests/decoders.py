"""What laws of decoding on real runtimes share: a decoder of any that offers a capability, and when two
greedy answers agree.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT, converted, tiny

from edge import targets
from edge.artifact.manifest import Artifact
from edge.convert.options import with_exits
from edge.decode.exits import ExitDecoder
from edge.errors import Unsupported
from edge.protocols import Decoder, EarlyExit, Evictable, Roundable
from edge.quant import recipe as recipes
from edge.run import opening
from edge.source.checkpoint import Checkpoint
from edge.spec import sees_all
from edge_runtimes.reference.decoder import checkpoint_weights
from edge_runtimes.reference.exits import ExitReferenceDecoder

FP32 = recipes.parse("fp32")
ONE_TABLE = {"coreml", "gguf"}  # runtimes whose layers share one table of rows


def offering(name: str) -> list[str]:
    """Runtimes that offer a capability, and the reference; found without importing any."""
    folders = sorted(file.parent for file in (ROOT / "runtimes").glob("*/__init__.py"))
    found = [folder.name for folder in folders if name in (folder / "__init__.py").read_text()]
    return ["reference", *found]


def benches(
    name: str, *, exit_: int | None = None, refused: Collection[tuple[str, str]] = ()
) -> Any:
    """A fixture: on each runtime that offers a capability, benches by family. `refused`: runtimes and the
    families that they refuse by name.
    """

    @pytest.fixture(params=offering(name))
    def opening(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Open:
        folder = tmp_path_factory.getbasetemp() / "decoders"  # one conversion serves every law

        def opened(family: str) -> Bench:
            if (request.param, family) in refused:
                pytest.skip(f"{request.param} refuses this of {family}")
            return Bench(request.param, folder / family, family, exit_=exit_)

        return opened

    return opening


class Bench:
    """One tiny checkpoint of random weights in fp32, three layers deep, on one runtime. `exit_`: the
    layers after which it may stop. What lies in the folder already is used again.
    """

    def __init__(
        self,
        runtime: str,
        folder: Path,
        family: str,
        *,
        exit_: int | None = None,
        draft_vocab: int | None = None,
    ) -> None:
        self.runtime, self._exit = runtime, exit_
        exits = () if exit_ is None else (exit_,)
        self.source = folder / "source"
        if not self.source.exists():
            tiny(self.source, family, num_hidden_layers=3)
        self._checkpoint = with_exits(Checkpoint.open(self.source), exits, draft_vocab)
        self.spec = self._checkpoint.spec
        self.tolerance = 2e-5
        self._numpy = False
        if runtime == "reference":
            return
        try:
            numerics = targets.runtime(runtime).numerics(FP32, exact=False)
        except Unsupported as error:
            pytest.skip(str(error))
        self.tolerance = max(2e-5, numerics.tolerance)
        options = {"exits": exits, "draft_vocab": draft_vocab}
        out = folder / f"{runtime}-{exit_}-{draft_vocab}"
        self._artifact = Artifact.open(self._converted(out, **options))
        self._numpy = targets.refusal(runtime) is not None  # which does not run on this system

    def _converted(self, out: Path, **options: Any) -> Path:
        if out.exists():
            return out
        fixed = "FIXED_CACHES" in vars(targets.converter(self.runtime))
        rows = (32,) if fixed and sees_all(self.spec) else ()
        return converted(out, self.source, target=self.runtime, snapkv_rows=rows, **options)

    def oracle(self) -> Decoder:
        return targets.oracle().oracle(self._checkpoint, FP32)

    def evictable(self) -> Evictable:
        if self.runtime == "reference":
            return self.oracle()  # type: ignore[return-value]
        return opening.open_evictable(self._artifact, threads=None, reference=self._numpy)

    def roundable(self) -> Roundable:
        return opening.open_rounding(self._artifact, threads=None)

    def early(self) -> EarlyExit:
        assert self._exit is not None
        if self.runtime == "reference":
            weights = checkpoint_weights(self._checkpoint)
            return ExitDecoder(ExitReferenceDecoder(self.spec, weights, self._exit))
        return opening.open_exits(
            self._artifact, exit_=self._exit, threads=None, reference=self._numpy
        )

    def close(self, got: np.ndarray, want: np.ndarray) -> bool:
        return bool(np.abs(got - want).max() <= self.tolerance * np.abs(want).max())

    def same_answer(self, got: Sequence[int], want: Sequence[int], prompt: Sequence[int]) -> bool:
        """Token for token; where they first differ, the oracle must hold the two for equally likely
        within what this runtime rounds.
        """
        if list(got) == list(want):
            return True
        first = next(i for i, (a, b) in enumerate(zip(got, want, strict=True)) if a != b)
        logits = self.oracle().prefill([*prompt, *want[:first]])
        margin = abs(float(logits[got[first]] - logits[want[first]]))
        return margin <= 2 * self.tolerance * float(np.abs(logits).max())


Open = Callable[[str], Bench]
