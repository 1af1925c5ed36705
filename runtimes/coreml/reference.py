"""The reference evaluation as a decoder: on any system, and slow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from edge.errors import Damaged
from edge.spec import DecoderSpec
from edge.typing import AnyArray
from runtimes.coreml.decoder import CoreMlDecoder, packages
from runtimes.coreml.evaluator import Evaluator
from runtimes.coreml.program import Program


class _Evaluated:
    """One package behind `runtimes.coreml.decoder.Caller`."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self.functions: Sequence[str] = tuple(evaluator.program.functions)

    def call(self, name: str, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        return self._evaluator.call(name, inputs)


def open_reference(
    folder: Path, spec: DecoderSpec, *, exact: bool, part: str = ""
) -> CoreMlDecoder:
    """A decoder that evaluates in numpy. `exact`: nothing is rounded on the way."""
    programs = [Program.open(package) for package in packages(folder)]
    for program in programs:
        agree(program, spec, part)
    callers = [_Evaluated(Evaluator(p, "fp32" if exact else "declared")) for p in programs]
    return CoreMlDecoder(spec, callers, part)


def agree(program: Program, spec: DecoderSpec, part: str) -> None:
    """A manifest may lie: its spec must have the program's cache and vocabulary."""
    step = program.functions.get(part.replace("-", "_") + "step")
    caches = [] if step is None else [kind.shape for kind in step.states.values()]
    good = bool(caches) and all(len(s) == 4 and (s[2] or 0) >= spec.context for s in caches)
    logits = [] if step is None else [k for op in step.ops for n, k in op.outputs if n == "logits"]
    single = all(len(function.outputs) == 1 for function in program.functions.values())
    if not good or not single or any(kind.shape[-1] != spec.vocab for kind in logits):
        raise Damaged(
            f"{program.folder} is of another model than its edge.json", fix="convert again"
        )
