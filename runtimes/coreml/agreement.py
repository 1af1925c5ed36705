"""Whether packages are what their manifest says: found before anything runs, for a manifest may lie.

T positions, S rows of a cache, G kv heads, H query heads, W head width, D model width, V vocabulary.
"""

import re
from collections.abc import Mapping, Sequence

from edge.errors import Damaged
from edge.spec import DecoderSpec
from edge_runtimes.coreml.program import Function, Program
from edge_runtimes.coreml.types import TensorType

KEYS, VALUES = "keyCache", "valueCache"
_INPUTS = {"inputIds", "hidden", "position", "rows", "last"}
_CALLED = re.compile(
    r"(cut\d{1,7}_)?(step|prompt\d{1,6}|score\d{1,6})|rows\d{1,6}"
    r"|observe\d{1,6}|early\d{1,4}|draft\d{1,4}|late\d{1,4}_\d{1,4}"
)
_CUT = re.compile(r"cut(\d{1,7})_")
_QUERIES = re.compile(r"queries(\d{1,4})")
_EARLY = re.compile(r"early|draft")
_DRAFT = re.compile(r"draft\d{1,4}")


def called(program: Program, part: str) -> dict[str, Function]:
    """The functions of a part that a decoder calls, by their names within it."""
    label = part.replace("-", "_")
    return {
        name.removeprefix(label): function
        for name, function in program.functions.items()
        if name.startswith(label) and _CALLED.fullmatch(name.removeprefix(label))
    }


def agree(program: Program, spec: DecoderSpec, part: str) -> None:
    """Each of them must have the caches, inputs and outputs that its spec says."""
    for name, function in called(program, part).items():
        if not (_takes(function) and _gives(name, function, spec) and _holds(name, function, spec)):
            raise Damaged(
                f"{program.folder} is of another model than its edge.json: its function {name} differs",
                fix="convert again",
            )


def caches(program: Program, part: str) -> dict[str, tuple[int, ...]]:
    """Shapes of states, by name: [1, G, S, W]."""
    return {
        name: tuple(size or 0 for size in kind.shape)
        for function in called(program, part).values()
        for name, kind in function.states.items()
    }


def shares(packages: Sequence[Mapping[str, tuple[int, ...]]], spec: DecoderSpec) -> list[range]:
    """Which layers each package holds, from the shapes of its caches: those differ in rows alone."""
    out, stop = [], 0
    for shapes in packages:
        start, whole = stop, shapes.get(KEYS, (1, 0, 0, 0))
        heads = whole[1]
        while heads > 0 and stop < len(spec.layers):
            heads -= spec.layers[stop].kv_heads
            stop += 1
        widest = max((layer.head_width for layer in spec.layers[start:stop]), default=-1)
        if heads or whole[3] != widest or not all(_within(s, whole) for s in shapes.values()):
            raise _other()
        out.append(range(start, stop))
    if stop < len(spec.layers):
        raise _other()
    return out


def _within(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    return (shape[:2], shape[3]) == (whole[:2], whole[3]) and shape[2] <= whole[2]


def _other() -> Damaged:
    return Damaged("the packages' caches are not those of edge.json", fix="convert again")


def _takes(function: Function) -> bool:
    return function.inputs.keys() <= _INPUTS


def _gives(name: str, function: Function, spec: DecoderSpec) -> bool:
    """Logits, a stream, queries: each once, and of the right size."""
    results = function.results
    if not results or len(results) < len(function.outputs):
        return False
    return all(_fits(name, output, kind, spec) for output, kind in results.items())


def _fits(name: str, output: str, kind: TensorType, spec: DecoderSpec) -> bool:
    queries = _QUERIES.fullmatch(output)
    if queries:
        index = int(queries[1])
        if index >= len(spec.layers) or len(kind.shape) != 4:
            return False
        layer = spec.layers[index]
        return (kind.shape[1], kind.shape[3]) == (layer.heads, layer.head_width)
    drafted = spec.vocab if spec.draft_vocab is None else spec.draft_vocab
    vocab = drafted if _DRAFT.fullmatch(name) else spec.vocab
    sizes = {"logits": vocab, "nextHidden": spec.width}
    single = _EARLY.match(name) is None or kind.shape[1:2] == (1,)
    return single and len(kind.shape) == 3 and kind.shape[2] == sizes.get(output, -1)


def _holds(name: str, function: Function, spec: DecoderSpec) -> bool:
    """Caches of as many rows as will be written: a draft's last part has none."""
    cut = _CUT.match(name)
    rows, suffix = (int(cut[1]), cut[1]) if cut else (spec.context, "")
    if not function.states:
        return _DRAFT.fullmatch(name) is not None
    shapes = [kind.shape for kind in function.states.values()]
    return (
        set(function.states) == {KEYS + suffix, VALUES + suffix}
        and shapes[0] == shapes[1]
        and len(shapes[0]) == 4
        and (shapes[0][2] or 0) >= rows
    )
